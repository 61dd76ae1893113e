"""Keeps damaged pieces of the stream for people to look at: few, and never in the way of recording."""

import secrets
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Final

from timestream_aggregator.disk.calls import Disk
from timestream_aggregator.disk.folder import OWN_FOLDER
from timestream_aggregator.disk.pieces import batches

MOST_FILES: Final = 100
MOST_BYTES: Final = 256 << 20
MOST_BYTES_OF_ONE: Final = 16 << 20


class Quarantine:
    """The folder of damaged pieces. The first ones are kept: they tell how it began."""

    def __init__(self, root: Path, disk: Disk | None = None) -> None:
        self.folder = root / OWN_FOLDER / "quarantine"
        self._disk = disk or Disk()

    def keep(self, parts: Iterable[memoryview], now: datetime) -> Path | None:
        """Write `parts`, or as much of them as is kept of one, to a file of its own.

        Returns:
            Its path, or None if there is no room for more.
        """
        self._disk.make_folder(self.folder)
        room = self._room()
        if room <= 0:
            return None
        path = self.folder / f"{now:%Y-%m-%d-%H-%M-%S}.{secrets.token_hex(4)}.g3part"
        fd = self._disk.create(path)
        try:
            self._write(fd, parts, room)
        finally:
            self._disk.close(fd)
        return path

    def _room(self) -> int:
        """Return how many bytes may still be kept, of one piece."""
        sizes = [self._disk.size_at(self.folder / name) for name in self._disk.names(self.folder)]
        if len(sizes) >= MOST_FILES:
            return 0
        return min(MOST_BYTES - sum(sizes), MOST_BYTES_OF_ONE)

    def _write(self, fd: int, parts: Iterable[memoryview], room: int) -> None:
        """Write `parts` up to `room` bytes; what a short write leaves out is not worth a second one."""
        offset = 0
        for pieces in batches(parts):
            if offset >= room:
                return
            offset += self._disk.write(fd, pieces, offset)
