"""What a process holds, by the kernel's account: memory, descriptors, threads, children."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median_low
from typing import Final, Self

PIPES: Final = 2
"""Descriptors that a child is talked to with."""


@dataclass(frozen=True, slots=True)
class Holdings:
    """Of one process, now. `memory` is what it has in RAM, in bytes; pipes to its children are not counted."""

    memory: int
    descriptors: int
    threads: int
    children: int = 0

    @classmethod
    def of(cls, pid: int) -> Self:
        """Return those of process `pid`; FileNotFoundError or ProcessLookupError if it has ended."""
        folder = Path(f"/proc/{pid}")
        values = dict(
            line.split(":", 1) for line in (folder / "status").read_text().splitlines() if ":" in line
        )
        children = sum(len(path.read_text().split()) for path in folder.glob("task/*/children"))
        return cls(
            memory=int(values.get("VmRSS", "0").split()[0]) * 1024,
            descriptors=len(list((folder / "fd").iterdir())) - PIPES * children,
            threads=int(values["Threads"]),
            children=children,
        )

    @classmethod
    def least(cls, seen: Sequence[Self]) -> Self:
        """Return the least of each: what comes and goes is no growth."""
        return cls(
            memory=min(held.memory for held in seen),
            descriptors=min(held.descriptors for held in seen),
            threads=min(held.threads for held in seen),
            children=min(held.children for held in seen),
        )

    @classmethod
    def typical(cls, seen: Sequence[Self]) -> Self:
        """Return what there is most of the time; of memory the least, for it comes back late."""
        return cls(
            memory=min(held.memory for held in seen),
            descriptors=median_low(held.descriptors for held in seen),
            threads=median_low(held.threads for held in seen),
            children=median_low(held.children for held in seen),
        )

    @classmethod
    def settled(cls, pid: int) -> Self:
        """Return the least that process `pid` holds in half a second."""
        seen = list[Self]()
        for _ in range(10):
            seen.append(cls.of(pid))
            time.sleep(0.05)
        return cls.least(seen)
