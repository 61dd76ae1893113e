"""The system calls of the file path, one after another: where a test kills the recorder, or has a call fail.

strace counts the calls of each thread by itself. From the first call on (`START`) that is the main thread, which
tries the folder; attached to a recorder that waits for frames (`RUNNING`), it is the writer alone.
"""

import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Final

import pytest

from tests.faults.rehearsal import await_last, play, record, until
from tests.faults.warm import Command, Warm, strace
from tests.tools.patience import PATIENCE
from tests.tools.raw_server import RawServer
from tests.tools.recorder import OWN_FOLDER, ledger_of

needs_strace = [
    pytest.mark.root,
    pytest.mark.skipif(
        shutil.which("strace") is None or os.geteuid() != 0,
        reason="strace as root is needed: faults at each system call are not tested",
    ),
]


class Since(Enum):
    """From when on calls are counted."""

    START = auto()
    RUNNING = auto()


@dataclass(frozen=True, slots=True)
class Point:
    """A kind of system call; only those on `path` of the recorder's own folder, if there is one.

    `linked` is for a disk that cannot rename without replacing, so that files get their names by linkat.
    """

    since: Since
    call: str
    path: str | None = None
    linked: bool = False

    def __str__(self) -> str:
        links = ", linked" if self.linked else ""
        return f"{self.call} of {self.path or 'files'}, from {self.since.name.lower()}{links}"

    @property
    def name(self) -> str:
        """The point, as a part of a file name."""
        return f"{self.since.name}-{self.call}-{self.path}-{self.linked}"

    def options(self, folder: Path, inject: str) -> list[str]:
        """Return the options of strace that do `inject` to these calls."""
        where = ["-P", str(folder / OWN_FOLDER / self.path)] if self.path else []
        links = ["-e", "inject=renameat2:error=EINVAL"] if self.linked else []
        calls = {self.call, *(["renameat2"] if self.linked else [])}
        return [*where, "-e", f"trace={','.join(calls)}", *links, "-e", f"inject={self.call}:{inject}"]


LEDGER: Final = ledger_of(Path()).name
POINTS: Final = [
    *(Point(Since.START, call) for call in ("mkdir", "openat", "renameat2", "unlink", "fsync")),
    *(Point(Since.START, call, LEDGER) for call in ("openat", "write", "fdatasync")),
    *(
        Point(Since.RUNNING, call)
        for call in (
            "mkdir",
            "openat",
            "flock",
            "pwritev2",
            "fdatasync",
            "ftruncate",
            "fsync",
            "renameat2",
            "unlink",
        )
    ),
]
LINKED: Final = [Point(Since.START, "linkat", linked=True), Point(Since.START, "unlink", linked=True)]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a recording went: its exit code, -9 if it was killed, and whether a call failed."""

    code: int | None
    early: bool  # it ended before it had everything
    met: bool
    log: str


@contextmanager
def injected(command: Command, point: Point, folder: Path, inject: str) -> Generator[None]:
    """Have strace do `inject` to a command's calls."""
    with strace(command, trace_of(folder), *point.options(folder, inject)):
        yield


def trace_of(folder: Path) -> Path:
    """Return where the trace of a recording into `folder` is."""
    return folder.with_name(f"{folder.name}.trace")


def met(folder: Path) -> bool:
    """Return whether a call failed as it was to, by the trace."""
    return "(INJECTED)" in trace_of(folder).read_text()


def rehearse(
    warm: Warm,
    folder: Path,
    point: Point,
    inject: str,
    heal_after: float | None = None,
    *,
    hopeless: bool = False,
) -> Outcome:
    """Record both sessions into `folder` while strace does `inject`; it lets go after `heal_after` seconds.

    With `hopeless` nobody waits for the last frame to be in a file.
    """
    folder.mkdir(exist_ok=True)
    early = False
    with RawServer() as server, record(warm, folder, server.port) as recorder:
        if point.since is Since.RUNNING:
            recorder.go()
            until(lambda: "connected" in recorder.logged())
        with injected(recorder, point, folder, inject):
            recorder.go()
            play(server)
            if heal_after is None:
                early = not await_last(recorder, folder, 5.0 if hopeless else PATIENCE)
                recorder.stop()
            else:
                recorder.wait(heal_after)
        if heal_after is not None:
            early = not await_last(recorder, folder)
            recorder.stop()
        return Outcome(recorder.wait(0), early, met(folder), recorder.logged())
