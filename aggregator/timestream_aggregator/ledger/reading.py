"""The ledger's files, and reading on in them from where one stopped before."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from timestream_aggregator.disk.calls import Disk
from timestream_aggregator.disk.layout import own

NAME: Final = "ledger.jsonl"
_FILE: Final = re.compile(r"ledger(?:-[0-9]{4}-[0-9]{2})?\.jsonl")
_BLOCK: Final = 1 << 20


@dataclass(slots=True)
class Place:
    """Up to where the ledger was read: a file of it, and how many bytes."""

    name: str = ""
    at: int = 0


def files(root: Path, disk: Disk) -> list[str]:
    """Return the names of the ledger's files in the data folder `root`, the oldest first."""
    return sorted(filter(_FILE.fullmatch, disk.names(own(root))), key=_month)


def _month(name: str) -> str:
    return name.removeprefix("ledger").removesuffix(".jsonl")  # none, of the time when there was one file


def read_on(root: Path, place: Place, disk: Disk) -> Iterator[str]:
    """Yield the whole lines after `place`, which goes along. OSError: they cannot be read."""
    for name in files(root, disk):
        if _month(name) < _month(place.name):
            continue
        if name != place.name:
            place.name, place.at = name, 0
        fd = disk.open_to_read(own(root, name))
        try:
            yield from _lines(disk, fd, place)
        finally:
            disk.close(fd)


def _lines(disk: Disk, fd: int, place: Place) -> Iterator[str]:
    rest = b""
    while piece := disk.read(fd, _BLOCK, place.at + len(rest)):
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            place.at += len(line) + 1
            yield line.decode(errors="replace")
        if len(rest) > _BLOCK:  # no line is that long
            place.at, rest = place.at + len(rest), b""
