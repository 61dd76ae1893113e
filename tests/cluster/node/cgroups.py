"""The node's own subtree of every cgroup hierarchy (version 1), and its end."""

import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from tests.cluster.errors import ClusterError, UnavailableError

WANTED: Final = ("cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "name=systemd")
PATIENCE_SECONDS: Final = 10.0


def make_subtrees(name: str) -> list[Path]:
    """Make and return a cgroup called `name` below ours in every hierarchy that the node needs.

    Raises:
        UnavailableError: the machine has cgroups of version 2 only, or we may not make any.
    """
    parents = _hierarchies()
    if not parents:
        raise UnavailableError(
            "the full node is not started",
            why="it was made for cgroups of version 1, and this machine has version 2",
            fix="Name a cluster with KUBE_CONTEXT, or install docker and kind",
        )
    try:
        return [_make(controller, parent / name) for controller, parent in parents.items()]
    except OSError as error:
        raise UnavailableError(
            "the full node is not started",
            why=f"it cannot make cgroups ({error})",
            fix="Run where cgroups are writable, or name a cluster with KUBE_CONTEXT",
        ) from error


def join(folders: Iterable[Path], pid: int) -> None:
    """Move a process into these cgroups."""
    for folder in folders:
        (folder / "cgroup.procs").write_text(str(pid))


def remove(folders: Sequence[Path]) -> None:
    """Remove these cgroups and all below them; their processes may still be on the way out.

    Raises:
        ClusterError: one of them is still busy after ten seconds.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while left := [folder for folder in folders if folder.exists()]:
        for folder in left:
            _remove_tree(folder)
        if time.monotonic() > deadline:
            raise ClusterError(
                f"the cgroup {left[0]} cannot be removed", why="a process is still in it", fix="End it"
            )
        time.sleep(0.02)


def processes(folders: Sequence[Path], pod_uid: str) -> list[int]:
    """Return the processes of a pod, as this machine numbers them."""
    memory = next(folder for folder in folders if "memory" in folder.parts)
    files = memory.glob(f"**/pod{pod_uid}/*/cgroup.procs")
    return [int(pid) for file in files for pid in file.read_text().split()]


def _hierarchies() -> dict[str, Path]:
    """Return our own cgroup in each wanted hierarchy; hierarchies of two controllers come once."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    points = {
        option: Path(at)
        for _, at, kind, options, *_ in mounts
        if kind == "cgroup"
        for option in options.split(",")
    }
    own: dict[str, Path] = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        first = controllers.split(",")[0]
        if first in WANTED and first in points:
            own[first] = points[first] / path.lstrip("/")
    return own if "memory" in own else {}


def _make(controller: str, folder: Path) -> Path:
    folder.mkdir(parents=True)
    if controller == "cpuset":  # an empty set admits no process
        for name in ("cpuset.cpus", "cpuset.mems"):
            (folder / name).write_text((folder.parent / name).read_text())
    return folder


def _remove_tree(folder: Path) -> None:
    below = sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True)
    for path in (*below, folder):
        with suppress(OSError):  # busy for a moment, or gone already
            path.rmdir()
