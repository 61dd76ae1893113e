"""A node leaves nothing behind: not after its end, not after its starter was killed."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from tests.cluster import paths
from tests.cluster.build import build
from tests.cluster.fixtures import enter
from tests.cluster.node import instance
from tests.cluster.node.layout import Layout
from tests.cluster.node.node import start_node
from tests.cluster.node.record import Record
from tests.cluster.packages import install_packages, require_root
from tests.cluster.parts import NODE
from tests.cluster.process import wait_for

pytestmark = [pytest.mark.node, pytest.mark.timeout(120, func_only=True)]

STARTER = """
import sys, time
from tests.cluster.node.layout import Layout
from tests.cluster.node.node import node
with node(Layout(sys.argv[1])):
    print("up", flush=True)
    time.sleep(600)
"""


@contextmanager
def _all_there() -> Generator[None]:
    require_root()
    install_packages()
    build(NODE)
    yield


@pytest.fixture
def layout(pytestconfig: pytest.Config) -> Generator[Layout]:
    """Give a node of the test's own, and end it whatever happens."""
    with ExitStack() as stack:
        enter(_all_there(), stack, pytestconfig)
    layout = Layout(f"leftovers-of-a-node-in-a-folder-with-a-long-path-{os.getpid()}")
    yield layout
    instance.end(layout)
    shutil.rmtree(layout.home)


def traces(layout: Layout) -> list[str]:
    """Return every trace of the node: processes, cgroups, mounts, network devices, and its state."""
    commands = [f"process {file}" for file in Path("/proc").glob("[0-9]*/cmdline") if _names(file, layout)]
    cgroups = [str(path) for path in Path("/sys/fs/cgroup").glob(f"*/**/timestream-{layout.name}-*")]
    mounts = [line for line in Path("/proc/self/mounts").read_text().splitlines() if layout.name in line]
    devices = [str(path) for path in Path("/sys/class/net").glob("node0*")]
    state = [str(path) for path in (layout.state, layout.record) if path.exists()]
    return [*commands, *cgroups, *mounts, *devices, *state]


def _names(file: Path, layout: Layout) -> bool:
    with suppress(OSError):
        return layout.name.encode() in file.read_bytes()
    return False


def test_nothing_is_left_after_the_end(layout: Layout) -> None:
    started, running = start_node(layout, tied=True)
    assert traces(layout)
    assert "coredns" in running.kubectl("get", "pods", "--all-namespaces")

    started.stop()

    assert not traces(layout)


def test_a_killed_starter_takes_the_node_with_it_and_the_next_start_removes_the_rest(layout: Layout) -> None:
    command = [sys.executable, "-c", STARTER, layout.name]
    with subprocess.Popen(command, cwd=paths.REPOSITORY, stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout
        assert starter.stdout.readline() == "up\n"
        record = Record.read(layout)
        assert record
        starter.send_signal(signal.SIGKILL)
    wait_for("the end of the node", lambda: not record.alive(), 20)
    assert traces(layout)

    started, _ = start_node(layout, tied=True)
    assert not any(folder.exists() for folder in record.folders())
    started.stop()

    assert not traces(layout)
