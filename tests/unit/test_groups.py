"""What shares a cluster runs in one process, before all else; the other tests run in any."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.paths import REPOSITORY
from tests.groups import group_of

TEST = """
import os, pathlib, pytest
@pytest.mark.parametrize("number", range(8))
def test_it(number):
    with pathlib.Path({log!r}).open("a") as log:
        log.write({suite!r} + " " + os.environ["PYTEST_XDIST_WORKER"] + chr(10))
"""


def run(folder: Path, *suites: str, marker: str = "", processes: int = 3) -> tuple[list[list[str]], str]:
    """Run eight tests of each suite; return suite and process of each, and what pytest says."""
    log = folder / "log"
    for suite in suites:
        file = folder / "tests" / suite / "test_it.py"
        file.parent.mkdir(parents=True)
        file.write_text(TEST.format(log=str(log), suite=suite).replace("@", f"{marker}\n@", 1))
    own = {"PYTHONPATH": str(REPOSITORY), "PYTEST_ADDOPTS": ""}
    options = ["-p", "tests.conftest", "-p", "no:cacheprovider", "--import-mode=importlib", "--rootdir=."]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, f"--numprocesses={processes}", "tests"],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if "PYTEST" not in name} | own,
        capture_output=True,
        text=True,
        check=False,
    )
    ran = [line.split() for line in log.read_text().splitlines()] if log.exists() else []
    return ran, done.stdout + done.stderr


def test_each_group_runs_in_a_process_of_its_own_and_all_else_in_several(tmp_path: Path) -> None:
    ran, said = run(tmp_path, "unit", "e2e", "chart", "api")

    assert "32 passed" in said
    workers = {suite: {worker for name, worker in ran if name == suite} for suite, _ in ran}
    assert workers["api"] == workers["chart"]
    assert len(workers["api"]) == len(workers["e2e"]) == 1
    assert workers["api"] != workers["e2e"]


def test_a_test_that_needs_a_cluster_and_is_in_no_group_is_refused(tmp_path: Path) -> None:
    ran, said = run(tmp_path, "recorder", marker="@pytest.mark.node", processes=0)

    assert not ran
    assert "tests/recorder/test_it.py::test_it[0] needs a node and is elsewhere" in said


@pytest.mark.parametrize(
    ("nodeid", "group"),
    [
        ("tests/api/test_crd_defaults.py::test_a", "control_plane"),
        ("tests/cluster/test_controlplane.py::test_a", "control_plane"),
        ("tests/cluster/test_node.py::test_a", "node"),
        ("tests/e2e/test_one_line.py::test_a[tests/api/]", "node"),
        ("tests/unit/g3/test_parser.py::test_a[tests/api/]", None),
    ],
)
def test_a_group_is_known_by_the_folder(nodeid: str, group: str | None) -> None:
    assert group_of(nodeid) == group
