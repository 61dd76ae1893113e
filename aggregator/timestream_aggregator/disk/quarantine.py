"""Keeps damaged pieces of the stream for people to look at: few, and never in the way of recording."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from timestream_aggregator.disk.calls import Disk
from timestream_aggregator.disk.layout import own
from timestream_aggregator.disk.pieces import batches

MOST_FILES: Final = 100
MOST_BYTES: Final = 256 << 20
MOST_BYTES_OF_ONE: Final = 16 << 20
_NUMBERED: Final = re.compile(r"(\d{6,})_.*\.g3part")


@dataclass(frozen=True, slots=True)
class Kept:
    """A piece that was kept, and how many bytes of it."""

    path: Path
    bytes: int


class Quarantine:
    """The folder of damaged pieces. The first ones are kept: they tell how it began.

    Names begin with a number that only rises, also over restarts, so that they stand in the order in which the
    pieces came, however many come in one second and whatever the clock does.
    """

    def __init__(self, root: Path, disk: Disk | None = None) -> None:
        self.folder = own(root, "quarantine")
        self._disk = disk or Disk()
        self._number = 0  # of the last piece; it goes on if people take pieces away

    def keep(self, parts: Iterable[memoryview], now: datetime) -> Kept | None:
        """Write `parts`, or as much of them as is kept of one, to a file of its own.

        Returns:
            That, or None if there is no room for more.
        """
        self._disk.make_folder(self.folder)
        names = self._disk.names(self.folder)
        room = self._room(names)
        if room <= 0:
            return None
        path, fd = self._create(names, now)
        try:
            return Kept(path, self._write(fd, parts, room))
        finally:
            self._disk.close(fd)

    def _create(self, names: Sequence[str], now: datetime) -> tuple[Path, int]:
        """Return a new piece and its descriptor; another recorder in this folder may have taken a number first."""
        while True:
            path = self.folder / f"{self._next_number(names):06}_{now:%Y-%m-%d-%H-%M-%S}.g3part"
            try:
                return path, self._disk.create(path)
            except FileExistsError:
                continue

    def _next_number(self, names: Sequence[str]) -> int:
        """Return the number of the next piece: after all pieces that are there, and all that were."""
        found = (int(match[1]) for match in map(_NUMBERED.fullmatch, names) if match)
        self._number = max(self._number, *found, 0) + 1
        return self._number

    def _room(self, names: Sequence[str]) -> int:
        """Return how many bytes may still be kept, of one piece, beside those in `names`."""
        sizes = [self._disk.size_at(self.folder / name) for name in names]
        if len(sizes) >= MOST_FILES:
            return 0
        return min(MOST_BYTES - sum(sizes), MOST_BYTES_OF_ONE)

    def _write(self, fd: int, parts: Iterable[memoryview], room: int) -> int:
        """Return how many bytes of `parts`, up to `room`, were written; after a short write they go on."""
        offset = 0
        for pieces in batches(parts):
            if offset >= room:
                break
            offset += self._disk.write(fd, pieces, offset)
        return offset
