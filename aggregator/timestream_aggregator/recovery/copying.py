"""Copies pieces of one file to another, through the system calls of `Disk`."""

import errno
from collections.abc import Callable, Iterable
from pathlib import Path

from timestream_aggregator.disk.calls import Disk
from timestream_aggregator.recovery.scan import pieces


def copy(
    disk: Disk, fd: int, stretches: Iterable[tuple[int, int]], path: Path, between: Callable[[], None]
) -> None:
    """Make the file `path` of these bytes, from where to where, of the file `fd`, and bring them to the disk.

    What it held before is gone. `between` is called before each piece. OSError: a call failed.
    """
    disk.make_folder(path.parent)
    target = disk.open_anew(path)
    try:
        put(disk, fd, stretches, target, between)
        disk.sync(target)
    finally:
        disk.close(target)


def put(
    disk: Disk, fd: int, stretches: Iterable[tuple[int, int]], target: int, between: Callable[[], None]
) -> None:
    """Write these bytes of the file `fd` one after another into the file `target`, which may be the same."""
    at = 0
    for start, end in stretches:
        for piece in pieces(disk, fd, start, end):
            between()
            at = _write(disk, target, piece, at)


def _write(disk: Disk, fd: int, piece: bytes, at: int) -> int:
    """Write `piece` at `at`, however many calls it takes, and return where it ends."""
    view = memoryview(piece)
    while view:
        written = disk.write(fd, [view], at)
        if not written:
            raise OSError(errno.EIO, "the disk takes no more bytes and does not say why")
        view, at = view[written:], at + written
    return at
