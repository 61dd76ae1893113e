"""What is known about a node from outside: its processes and cgroups, kept in a file for whoever comes later.

A process is known by its number, the time of its start and the boot: a number alone may be somebody else's
by now.
"""

import json
import os
import signal
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from tests.cluster.node.layout import Layout

BOOT = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Process:
    """One process of this machine, whoever has its number later."""

    pid: int
    start_ticks: int
    boot: str

    @classmethod
    def of(cls, pid: int) -> Self | None:
        """Return the process that has the number now; None when there is none."""
        stat = _stat(pid)
        return cls(pid, int(stat[19]), BOOT.read_text().strip()) if stat else None

    def alive(self) -> bool:
        """Return whether it still runs (a zombie does not)."""
        stat = _stat(self.pid)
        return stat is not None and stat[0] != "Z" and Process.of(self.pid) == self

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, if it still runs."""
        if self.alive():
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)


@dataclass(frozen=True, slots=True)
class Record:
    """A node that was started: `wall` is its unshare process, `first` the first process inside.

    Both are None while it is being started. `port` is where its door listens.
    """

    starter: Process
    tied: bool
    cgroups: list[str]
    port: int
    wall: Process | None = None
    first: Process | None = None

    def alive(self) -> bool:
        """Return whether anything of it runs."""
        return any(process.alive() for process in self.processes())

    def processes(self) -> list[Process]:
        """Return its processes that are known, the first one inside first: it knows how to stop."""
        return [process for process in (self.first, self.wall) if process]

    def orphaned(self) -> bool:
        """Return whether it ought to have gone with its starter."""
        return self.tied and not self.starter.alive()

    def folders(self) -> list[Path]:
        """Return its cgroups."""
        return [Path(folder) for folder in self.cgroups]

    def write(self, layout: Layout) -> None:
        """Keep it, whole or not at all."""
        unfinished = layout.record.with_suffix(".new")
        unfinished.write_text(json.dumps(asdict(self)))
        unfinished.rename(layout.record)

    @classmethod
    def read(cls, layout: Layout) -> Self | None:
        """Return the record of the node; None when there is none."""
        try:
            kept = json.loads(layout.record.read_text())
        except FileNotFoundError:
            return None
        processes = {key: Process(**kept[key]) for key in ("starter", "wall", "first") if kept[key]}
        return cls(**kept | processes)


def first_child(pid: int) -> Process | None:
    """Return the first child of a process, if it has one."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    numbers = children.read_text().split() if children.exists() else []
    return Process.of(int(numbers[0])) if numbers else None


def _stat(pid: int) -> list[str] | None:
    """Return the fields of /proc/PID/stat from the state on (the name before may have spaces)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
