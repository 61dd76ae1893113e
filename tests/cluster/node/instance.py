"""Starts the namespaces of a node and ends them, with all they leave; Kubernetes inside is not its matter."""

import fcntl
import os
import shutil
import signal
import socket
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Final

from tests.cluster import paths
from tests.cluster.build import Binaries
from tests.cluster.errors import ClusterError
from tests.cluster.node import cgroups
from tests.cluster.node.layout import Layout
from tests.cluster.node.record import Process, Record, first_child
from tests.cluster.process import Daemon, wait_for, without_proxies

STOP_SECONDS: Final = 30.0


class Instance:
    """A node that this process started."""

    def __init__(self, layout: Layout, record: Record, wall: Daemon, leash: int) -> None:
        """Keep what is needed to follow and to end it."""
        self.layout = layout
        self.record = record
        self.wall = wall
        self._leash = leash

    def stop(self) -> None:
        """End it and remove what it leaves."""
        end(self.layout)
        self.wall.stop()
        if self._leash >= 0:
            os.close(self._leash)
            self._leash = -1


def running(layout: Layout) -> Record | None:
    """Return the node's record while it runs and is somebody's; None otherwise."""
    record = Record.read(layout)
    return record if record and record.alive() and not record.orphaned() else None


def start(layout: Layout, binaries: Binaries, *, tied: bool) -> Instance:
    """Start the node's first process; first remove whatever an earlier run left.

    Args:
        layout: which node.
        binaries: all parts.
        tied: end the node when this process ends, however it does.

    Raises:
        ClusterError: the node runs already, for somebody else.
        UnavailableError: the machine does not let us.
    """
    layout.check()
    layout.home.mkdir(parents=True, exist_ok=True)
    with _one_start_at_a_time(layout):
        if record := running(layout):
            raise ClusterError(
                f"the node {layout.name!r} is in use",
                why=f"process {record.starter.pid} started it",
                fix="Wait for it, or set TIMESTREAM_NODE to another name",
            )
        end(layout)
        return _launch(layout, binaries, tied=tied)


def end(layout: Layout) -> None:
    """End the node if it runs, and remove what it or a crashed run left; images are kept. Safe to repeat."""
    record = Record.read(layout)
    if record:
        _end_processes(record)
        cgroups.remove(record.folders())
    shutil.rmtree(layout.state, ignore_errors=True)
    layout.record.unlink(missing_ok=True)


def _end_processes(record: Record) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        for process in record.processes():
            process.signal(number)
        with suppress(ClusterError):
            return wait_for("the end of the node", lambda: not record.alive(), STOP_SECONDS)
    raise ClusterError(
        "the node does not end", why=f"{record.processes()} is stuck", fix="Restart the machine"
    )


@contextmanager
def _one_start_at_a_time(layout: Layout) -> Generator[None]:
    with (layout.home / "start.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _launch(layout: Layout, binaries: Binaries, *, tied: bool) -> Instance:
    for folder in (layout.containerd, layout.logs):
        folder.mkdir(parents=True, exist_ok=True)
    with socket.create_server(("127.0.0.1", 0)) as door:
        record = _prepare(layout, door.getsockname()[1], tied=tied)
        inherited, kept = os.pipe() if tied else (-1, -1)
        wall = _wall(layout, record, binaries, door.fileno(), inherited)
        wall.start()
        if tied:
            os.close(inherited)
    record = replace(record, wall=Process.of(wall.pid))
    record.write(layout)
    wait_for("the first process", lambda: first_child(wall.pid) is not None, 10, [wall])
    record = replace(record, first=first_child(wall.pid))
    record.write(layout)
    return Instance(layout, record, wall, kept)


def _prepare(layout: Layout, port: int, *, tied: bool) -> Record:
    """Make the cgroups, and write down at once what would have to be removed."""
    starter = Process.of(os.getpid())
    assert starter
    folders = [str(folder) for folder in cgroups.make_subtrees(f"timestream-{layout.name}-{starter.pid}")]
    record = Record(starter, tied, folders, port)
    record.write(layout)
    return record


def _wall(layout: Layout, record: Record, binaries: Binaries, door: int, leash: int) -> Daemon:
    python = [sys.executable, "-m"]
    inside = [*python, "tests.cluster.node.inside", layout.name, str(door), str(leash)]
    return Daemon(
        "node",
        [*python, "tests.cluster.node.enter", *record.cgroups, "--", *inside],
        layout.logs / "node.log",
        without_proxies({"PATH": binaries.path(), "PYTHONPATH": str(paths.REPOSITORY)}),
        pass_fds=[fd for fd in (door, leash) if fd >= 0],
    )
