"""Looks through a staged file, a piece at a time: how far it is good, and what is in it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from crc32c import crc32c

from timestream_aggregator.core.file_facts import FileFacts
from timestream_aggregator.disk.calls import Disk
from timestream_aggregator.g3.format import HEADER
from timestream_aggregator.g3.parser import Damaged, Frame, Parser, WireError

PIECE: Final = 1 << 20  # bytes; memory is this much, or the largest frame


@dataclass(slots=True)
class Scan:
    """What was found. The first `good` bytes of `size` are whole frames with a good crc."""

    size: int
    good: int = 0
    frames: int = 0
    crc: int = 0  # CRC-32C of the good bytes
    session_id: int | None = None
    first_frame_num: int | None = None
    last_frame_num: int | None = None
    damage: str | None = None  # why the rest is not just the beginning of a frame

    def facts(self, path: str) -> FileFacts:
        """Return what the good frames make of the file, which is called `path`."""
        return FileFacts(
            path=path,
            bytes=self.good,
            frames=self.frames,
            crc=self.crc,
            session_id=self.session_id,
            first_frame_num=self.first_frame_num,
            last_frame_num=self.last_frame_num,
        )

    def add(self, frame: Frame) -> None:
        """Count a good frame."""
        for part in frame.parts:
            self.crc = crc32c(part, self.crc)
        self.good += frame.size
        self.frames += 1
        if self.session_id is None:
            self.session_id = frame.session_id
        if frame.frame_num is not None:
            self.last_frame_num = frame.frame_num
            if self.first_frame_num is None:
                self.first_frame_num = frame.frame_num


def scan(disk: Disk, fd: int, max_frame_bytes: int, between: Callable[[], None] = lambda: None) -> Scan:
    """Return what the file holds; `between` is called after each piece. OSError: it cannot be read."""
    found, parser = Scan(disk.size(fd)), Parser(max_frame_bytes)
    try:
        for piece in pieces(disk, fd, 0, found.size):
            for item in parser.feed(memoryview(piece)):
                if isinstance(item, Damaged):
                    found.damage = item.why
                elif _is_hollow(item):
                    found.damage = "nothing but zeros follows the header of a frame"
                else:
                    found.add(item)
                    continue
                break
            if found.damage is not None:
                break
            between()
    except WireError as error:
        found.damage = str(error)
    if found.damage is not None and _are_zeros(disk, fd, found):
        found.damage = None
    return found


def _is_hollow(frame: Frame) -> bool:
    """Return whether a frame is a header and zeros: where a loss of power cut a write, and no frame at all.

    They read as entries without name and value, as many as the header announces, and the crc of nothing is 0.
    """
    return not frame.crc and not any(b"".join(frame.parts)[HEADER.size :])


def pieces(disk: Disk, fd: int, start: int, end: int) -> Iterator[bytes]:
    """Yield the bytes from `start` to `end`, or to where the file ends before that."""
    while start < end:
        piece = disk.read(fd, min(PIECE, end - start), start)
        if not piece:
            return
        yield piece
        start += len(piece)


def _are_zeros(disk: Disk, fd: int, found: Scan) -> bool:
    """Return whether nothing but zeros follows the good bytes: room that was made and never written to."""
    return not any(any(piece) for piece in pieces(disk, fd, found.good, found.size))
