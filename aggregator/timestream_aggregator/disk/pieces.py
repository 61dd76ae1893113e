"""Bytes in pieces, as one call takes them."""

import errno
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

from timestream_aggregator.disk.calls import Disk

PIECE: Final = 1 << 20
"""Bytes in one read or write, so that a slow disk answers often enough to be seen working."""
PIECES_LIMIT: Final = 512
"""Pieces in one write; the kernel's own limit is 1024."""


def batches(parts: Iterable[memoryview]) -> Iterator[list[memoryview]]:
    """Yield `parts` in pieces for one write each: at most `PIECE` bytes and `PIECES_LIMIT` pieces."""
    batch: list[memoryview] = []
    room = PIECE
    for part in parts:
        start = 0
        while start < len(part):
            piece = part[start : start + room]
            batch.append(piece)
            start += len(piece)
            room -= len(piece)
            if not room or len(batch) == PIECES_LIMIT:
                yield batch
                batch, room = [], PIECE
    if batch:
        yield batch


def read(disk: Disk, fd: int, start: int, end: int) -> Iterator[bytes]:
    """Yield the bytes from `start` to `end`, or to where the file ends before that."""
    while start < end:
        piece = disk.read(fd, min(PIECE, end - start), start)
        if not piece:
            return
        yield piece
        start += len(piece)


def write(disk: Disk, fd: int, pieces: list[memoryview], at: int) -> Iterator[int]:
    """Write all of `pieces` at `at`, however many calls it takes, and yield how many bytes each call took."""
    while pieces:
        written = disk.write(fd, pieces, at)
        if not written:
            raise OSError(errno.EIO, "the disk takes no more bytes and does not say why")
        yield written
        at += written
        pieces = _rest(pieces, written)


def _rest(pieces: list[memoryview], written: int) -> list[memoryview]:
    """Return what remains of `pieces` after the first `written` bytes."""
    for index, piece in enumerate(pieces):
        if written < len(piece):
            return [piece[written:], *pieces[index + 1 :]]
        written -= len(piece)
    return []


def copy(
    disk: Disk,
    source: int,
    target: int,
    stretches: Iterable[tuple[int, int]],
    between: Callable[[], None] = lambda: None,
) -> None:
    """Write these bytes of the file `source`, from where to where, one after another to `target`.

    That may be the same file. `between` is called before each piece is written.
    """
    at = 0
    for start, end in stretches:
        for piece in read(disk, source, start, end):
            between()
            at += sum(write(disk, target, [memoryview(piece)], at))


def copy_to(
    disk: Disk,
    source: int,
    path: Path,
    stretches: Iterable[tuple[int, int]],
    between: Callable[[], None] = lambda: None,
) -> None:
    """Make the file `path` of these bytes, in place of what it held before, and bring them to the disk."""
    target = disk.open_anew(path)
    try:
        copy(disk, source, target, stretches, between)
        disk.sync(target)
    finally:
        disk.close(target)
