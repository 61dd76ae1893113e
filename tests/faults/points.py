"""The system calls of the file path, one after another: where a test kills the recorder, or has a call fail.

strace counts the calls of each thread by itself. From the first call on (`START`) that is the main thread, which
tries the folder; attached to a recorder that waits for frames (`RUNNING`), it is the writer alone.
"""

import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Final

from tests.faults.rehearsal import await_last, play, record, until
from tests.faults.warm import Command, Warm, calls, strace
from tests.recorder.raw_server import RawServer
from tests.recorder.recorder import OWN_FOLDER

RUNS: Final = int(os.environ.get("TIMESTREAM_FAULT_RUNS", "0"))  # 0: as many as CI has time for


class Since(Enum):
    """From when on calls are counted."""

    START = auto()
    RUNNING = auto()


@dataclass(frozen=True, slots=True)
class Point:
    """A kind of system call; only those on `path` of the recorder's own folder, if there is one."""

    since: Since
    call: str
    path: str | None = None

    def __str__(self) -> str:
        return f"{self.call} of {self.path or 'files'}, from {self.since.name.lower()}"

    def options(self, folder: Path, inject: str) -> list[str]:
        """Return the options of strace that do `inject` to these calls."""
        where = ["-P", str(folder / OWN_FOLDER / self.path)] if self.path else []
        return [*where, "-e", f"trace={self.call}", "-e", f"inject={self.call}:{inject}"]


LEDGER: Final = "ledger.jsonl"
POINTS: Final = [
    *(Point(Since.START, call) for call in ("mkdir", "openat", "linkat", "unlink", "fsync")),
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
            "linkat",
            "unlink",
        )
    ),
]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a recording went: its exit code, -9 if it was killed, and whether the fault came about."""

    code: int | None
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


def met(folder: Path, signal: str = "SIGKILL") -> bool:
    """Return whether what was injected came about, by the trace."""
    trace = trace_of(folder)
    return any("(INJECTED)" in line or "(DELAYED)" in line for line in calls(trace)) or (
        trace.exists() and f"killed by {signal}" in trace.read_text()
    )


def rehearse(warm: Warm, folder: Path, point: Point, inject: str, heal_after: float | None = None) -> Outcome:
    """Record both sessions into `folder` while strace does `inject`; it lets go after `heal_after` seconds."""
    folder.mkdir(exist_ok=True)
    with RawServer() as server, record(warm, folder, server.port) as recorder:
        if point.since is Since.RUNNING:
            recorder.go()
            until(lambda: "connected" in recorder.logged(), 5)
        with injected(recorder, point, folder, inject):
            recorder.go()
            play(server)
            if heal_after is None:
                await_last(recorder, folder)
                recorder.stop(timeout=20)
            else:
                recorder.wait(heal_after)
        if heal_after is not None:
            await_last(recorder, folder)
            recorder.stop()
        return Outcome(recorder.wait(0), met(folder), recorder.logged())
