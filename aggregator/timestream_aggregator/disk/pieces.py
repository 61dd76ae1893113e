"""Bytes in pieces, as one write takes them."""

import errno
from collections.abc import Iterable, Iterator
from typing import Final

from timestream_aggregator.disk.calls import Disk

WRITE_LIMIT: Final = 1 << 20
"""Bytes in one write, so that a slow disk answers often enough to be seen working."""
PIECES_LIMIT: Final = 512
"""Pieces in one write; the kernel's own limit is 1024."""


def batches(parts: Iterable[memoryview]) -> Iterator[list[memoryview]]:
    """Yield `parts` in pieces for one write each: at most `WRITE_LIMIT` bytes and `PIECES_LIMIT` pieces."""
    batch: list[memoryview] = []
    room = WRITE_LIMIT
    for part in parts:
        start = 0
        while start < len(part):
            piece = part[start : start + room]
            batch.append(piece)
            start += len(piece)
            room -= len(piece)
            if not room or len(batch) == PIECES_LIMIT:
                yield batch
                batch, room = [], WRITE_LIMIT
    if batch:
        yield batch


def rest(pieces: list[memoryview], written: int) -> list[memoryview]:
    """Return what remains of `pieces` after the first `written` bytes."""
    for index, piece in enumerate(pieces):
        if written < len(piece):
            return [piece[written:], *pieces[index + 1 :]]
        written -= len(piece)
    return []


def copy(disk: Disk, source: int, target: int) -> None:
    """Write all bytes of the open file `source` to `target`, from the beginning of both."""
    at = 0
    while piece := disk.read(source, WRITE_LIMIT, at):
        at += sum(write_all(disk, target, [memoryview(piece)], at))


def write_all(disk: Disk, fd: int, pieces: list[memoryview], offset: int) -> Iterator[int]:
    """Write all of `pieces` at `offset`, however many calls it takes, and yield what each call took."""
    while pieces:
        written = disk.write(fd, pieces, offset)
        if not written:
            raise OSError(errno.EIO, "the disk takes no more bytes and does not say why")
        yield written
        offset += written
        pieces = rest(pieces, written)
