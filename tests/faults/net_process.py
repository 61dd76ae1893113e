"""What a process holds, by the kernel's account: memory, descriptors, threads, children."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True, slots=True)
class Holdings:
    """Of one process, now. `memory` is what it has in RAM, in bytes."""

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
        return cls(
            memory=int(values.get("VmRSS", "0").split()[0]) * 1024,
            descriptors=len(list((folder / "fd").iterdir())),
            threads=int(values["Threads"]),
            children=sum(len(path.read_text().split()) for path in folder.glob("task/*/children")),
        )

    def __str__(self) -> str:
        return f"{self.memory / 1e6:5.1f} MB, {self.descriptors} descriptors, {self.threads} threads"
