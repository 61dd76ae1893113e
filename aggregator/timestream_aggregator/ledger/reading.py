"""The ledger's files, and reading on in them from where one stopped before."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from timestream_aggregator.disk.calls import Disk
from timestream_aggregator.disk.layout import own
from timestream_api.ledger import BEGINNING, Line, decode, is_of_another_kind

_FILE: Final = re.compile(r"ledger(?:-[0-9]{4}-[0-9]{2})?\.jsonl")
_BLOCK: Final = 1 << 20
_MOST_TORN: Final = 100  # pieces of lines that may be written again


@dataclass(slots=True)
class Place:
    """Up to where the ledger was read: a file of it, and how many bytes."""

    name: str = ""
    at: int = 0


def name_at(when: datetime) -> str:
    """Return the name of the file for lines that are written then."""
    return f"ledger-{when:%Y-%m}.jsonl"


def files(root: Path, disk: Disk) -> list[str]:
    """Return the names of the ledger's files in the data folder `root`, the oldest first."""
    return sorted(filter(_FILE.fullmatch, disk.names(own(root))), key=month)


def month(name: str) -> str:
    """Return what the ledger's files are in order by: nothing for the one that there was before there were many."""
    return name.removeprefix("ledger").removesuffix(".jsonl")


def read_on(root: Path, place: Place, disk: Disk) -> Iterator[bytes]:
    """Yield the whole lines after `place`, which goes along. OSError: they cannot be read."""
    for name in files(root, disk):
        if month(name) < month(place.name):
            continue
        if name != place.name:
            place.name, place.at = name, 0
        fd = disk.open_to_read(own(root, name))
        try:
            yield from _lines(disk, fd, place)
        finally:
            disk.close(fd)


def _lines(disk: Disk, fd: int, place: Place) -> Iterator[bytes]:
    rest = b""
    while piece := disk.read(fd, _BLOCK, place.at + len(rest)):
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            place.at += len(line) + 1
            yield line + b"\n"
        if len(rest) > _BLOCK:  # no line is that long
            place.at, rest = place.at + len(rest), b""


def understood(
    found: Iterable[bytes], unreadable: Callable[[], None], passed: Callable[[bytes], bool] = lambda _: False
) -> Iterator[tuple[bytes, Line]]:
    """Yield what lines of the ledger say, but for those that are `passed` over and kinds of a later version.

    `unreadable` is called for each that says nothing, also if it stands in front of one that does. A piece of a line
    that was written again, since the disk had no room for the rest, is none of them.
    """
    torn = list[bytes]()
    for text in found:
        begin = max(0, text.rfind(BEGINNING))
        piece, whole = text[:begin], text[begin:]
        torn = [earlier for earlier in torn if not whole.startswith(earlier)]
        if not passed(whole):
            line = decode(words := whole.decode(errors="replace"))
            if line is not None:
                yield whole, line
            elif not is_of_another_kind(words):
                piece = text.rstrip(b"\n")
        if piece.strip():
            torn.append(piece)
        if len(torn) > _MOST_TORN:
            del torn[0]
            unreadable()
    for _ in torn:
        unreadable()
