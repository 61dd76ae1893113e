"""Looks through a staged file, a piece at a time: which good frames are in it, before damage and behind it.

Memory is two pieces, whatever a length says. Behind what is no good frame the next one is found by its header. A
header that is none is followed as far as the lengths after it go: all of them together cost no more than reading the
file so many times, however many there are.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Final

from crc32c import crc32c

from timestream_aggregator.core.file_facts import FileFacts
from timestream_aggregator.core.naming import safe_stream_id
from timestream_aggregator.disk.calls import Disk
from timestream_aggregator.disk.pieces import PIECE, read
from timestream_aggregator.g3.format import HEADER, MAX_ENTRIES, U32, U64
from timestream_aggregator.g3.frame import LONGEST_ITEM, FrameReader
from timestream_aggregator.g3.parser import Frame, WireError
from timestream_api.settings import LARGEST_FRAME

MOST_MISSING: Final = 500
"""Ranges of missing numbers that are told one by one."""
_READINGS: Final = 64  # of the whole file, in search of good frames
_AT_LEAST: Final = 1 << 30  # bytes read in that search, for a small file
_ENTRY_COST: Final = 1 << 10  # bytes that are read in the time that it takes to follow an entry
_CHEAP_ENTRIES: Final = 8
_BEGINNING: Final = re.compile(
    rb"\x01\x01\0\0\0..\0\0[!-~](?:\0\0\0|[!-~](?:\0\0|[!-~](?:\0|[!-~])))", re.DOTALL
)
_TOO_LONG: Final = "a frame that would end after the file does"
_LATEST: Final = 64  # frames
_HOLLOW: Final = "there are nothing but zeros in a frame"
_GIVEN_UP: Final = "too much in it looks like a frame and is none, so that it was not searched to its end"


@dataclass(frozen=True, slots=True)
class Good:
    """A good frame: bytes `start` to `end` of the file. `crc` is that of all before damage, or behind it, so far."""

    frame: Frame
    start: int
    end: int
    crc: int
    behind: bool  # damage


@dataclass(slots=True)
class Part:
    """Good frames of a file, one after another, and what they are as a file of their own."""

    bytes: int = 0
    frames: int = 0
    crc: int = 0  # CRC-32C of their bytes
    session_id: int | None = None
    stream_id: str | None = None
    first_frame_num: int | None = None
    last_frame_num: int | None = None

    def add(self, good: Good) -> None:
        """Count a frame."""
        self.bytes += good.end - good.start
        self.frames += 1
        self.crc = good.crc
        if self.session_id is None:
            self.session_id = good.frame.session_id
        self.stream_id = self.stream_id or safe_stream_id(good.frame.stream_id or "") or None
        if good.frame.frame_num is not None:
            self.last_frame_num = good.frame.frame_num
            if self.first_frame_num is None:
                self.first_frame_num = good.frame.frame_num

    def facts(self, path: str) -> FileFacts:
        """Return what the frames make of a file that is called `path`."""
        return FileFacts(path, **asdict(self))


@dataclass(frozen=True, slots=True)
class Missing:
    """Numbers of a session that are missing where a file is damaged, both included."""

    session_id: int
    first: int
    last: int


@dataclass(slots=True)
class Scan:
    """What was found in a file of `size` bytes."""

    size: int
    head: Part = field(default_factory=Part)
    """What the file begins with."""
    behind: Part = field(default_factory=Part)
    """The good frames after the first byte that belongs to none."""
    damage: str | None = None
    """Why what follows the head is not just zeros, or the beginning of a frame."""
    missing: list[Missing] = field(default_factory=list[Missing])
    more_missing: int = 0  # numbers in further ranges
    largest: int = 0  # bytes of the largest frame
    _last: Good | None = None

    @property
    def rest(self) -> int:
        """How many bytes follow the head."""
        return self.size - self.head.bytes

    def add(self, good: Good) -> None:
        """Count a frame that stands behind those before."""
        if self._last is not None and self._last.end != good.start:
            self._compare(self._last.frame, good.frame)
        (self.behind if good.behind else self.head).add(good)
        self.largest = max(self.largest, good.end - good.start)
        self._last = good

    def _compare(self, before: Frame, after: Frame) -> None:
        """Take note of the numbers that are missing between frames with damage between them."""
        session, last, number = after.session_id, before.frame_num, after.frame_num
        if session is None or session != before.session_id or last is None or number is None:
            return
        if number - last < 2:
            return
        if len(self.missing) < MOST_MISSING:
            self.missing.append(Missing(session, last + 1, number - 1))
        else:
            self.more_missing += number - last - 1


def scan(disk: Disk, fd: int, between: Callable[[], None] = lambda: None) -> Scan:
    """Return what the file holds; `between` is called after each piece. OSError: it cannot be read."""
    frames = Frames(disk, fd, between)
    found = Scan(frames.size)
    for good in frames.walk(0):
        found.add(good)
    if not found.behind.frames and _are_zeros(disk, fd, found):
        return found
    found.damage = frames.damage
    if found.damage is None and (found.behind.frames or found.rest > found.largest + PIECE):
        found.damage = _TOO_LONG
    return found


def last_numbered(disk: Disk, fd: int, between: Callable[[], None]) -> Frame | None:
    """Return the last good frame with a number, if there is one near the file's end. OSError: it cannot be read."""
    latest = islice(Frames(disk, fd, between).backwards(), _LATEST)
    return next(
        (good.frame for good in latest if None not in {good.frame.session_id, good.frame.frame_num}), None
    )


class Frames:
    """The good frames of an open file, in order. OSError: it cannot be read."""

    def __init__(self, disk: Disk, fd: int, between: Callable[[], None]) -> None:
        self.size = disk.size(fd)
        self.damage: str | None = (
            None  # why the first that is no good frame is none; None: it may be a torn one
        )
        self._disk, self._fd, self._between = disk, fd, between
        self._reader = FrameReader(LARGEST_FRAME)
        self._base, self._view = 0, memoryview(b"")  # a piece of the file, and where that is
        self._why: str | None = None
        self._allowance = _READINGS * self.size + _AT_LEAST

    def walk(self, at: int) -> Iterator[Good]:
        """Yield the good frames from byte `at` on, with damage between them or not."""
        crc, behind = 0, False
        while at < self.size:
            good = self._read(at, crc, behind=behind)
            if good is None:
                if not behind:
                    crc, behind, self.damage = 0, True, self._why
                good = self._search(at + 1, crc)
            if good is None:
                return
            yield good
            at, crc = good.end, good.crc

    def stretches(self, at: int) -> Iterator[tuple[int, int]]:
        """Yield where the good frames from byte `at` on begin and end, those that adjoin together."""
        start = end = at
        for good in self.walk(at):
            if good.start != end:
                if start < end:
                    yield start, end
                start = good.start
            end = good.end
        if start < end:
            yield start, end

    def backwards(self) -> Iterator[Good]:
        """Yield good frames, the last one first, as they are found by their headers: it takes little of the file."""
        for start in range((self.size - 1) // PIECE * PIECE, -1, -PIECE):
            found = _BEGINNING.finditer(self._bytes(start, PIECE + HEADER.size - 1))
            for match in reversed(list(found)):
                good = self._read(start + match.start(), 0, behind=True)
                if good is not None:
                    yield good
            if self._allowance < 0:
                return

    def _search(self, at: int, crc: int) -> Good | None:
        """Return the first good frame that begins at `at` or later."""
        for start in self._beginnings(at):
            if self._allowance < 0:
                self.damage = _GIVEN_UP
                return None
            good = self._read(start, crc, behind=True)
            if good is not None:
                return good
        return None

    def _beginnings(self, at: int) -> Iterator[int]:
        """Yield where something looks like the header of a frame."""
        while at < self.size:
            offset, base, view = self._look_at(at), self._base, self._view
            for match in _BEGINNING.finditer(view, offset):
                yield base + match.start()
            end = base + len(view)
            at = self.size if end in {at, self.size} else end - HEADER.size + 1

    def _read(self, start: int, crc: int, *, behind: bool) -> Good | None:
        """Return the frame that begins at `start`, None if there is no good one."""
        reader, at = self._reader, start
        reader.restart()
        self._why = None
        try:
            while not reader.done:
                offset = self._look_at(at)
                stop = reader.advance(self._view, offset, len(self._view))
                if reader.odd:
                    return self._refuse(start, at, reader.why)
                if stop == offset or start + reader.size > self.size:
                    return self._refuse(start, at, None)
                crc = crc32c(self._view[offset:stop], crc)
                at += stop - offset
        except WireError as error:
            return self._refuse(start, at, str(error))
        item = reader.item((), start)
        if not isinstance(item, Frame):
            return self._refuse(start, at, item.why)
        if self._is_hollow(start, item):
            return self._refuse(start, at, _HOLLOW)
        return Good(item, start, at, crc, behind)

    def _refuse(self, start: int, end: int, why: str | None) -> None:
        """Take note of why there is no good frame at `start`, and of what it took to find that out."""
        self._why = why
        self._reader = FrameReader(LARGEST_FRAME)
        entries = min((end - start) // (2 * U64.size), MAX_ENTRIES)
        self._allowance -= end - start + _ENTRY_COST * max(0, entries - _CHEAP_ENTRIES)

    def _is_hollow(self, start: int, frame: Frame) -> bool:
        """Return whether a frame is made of zeros: where a loss of power cut a write, and no frame at all.

        They read as entries, of the lengths that were written or of none, and the crc of any number of zeros is 0. A
        frame has names. One that announces no entries is a frame: its type comes last in the header, so that all of
        that was written.
        """
        if frame.size == HEADER.size + U32.size:
            return False
        at, end = start + HEADER.size, start + frame.size - U32.size
        while at < end and not frame.crc:
            (length,) = U64.unpack(self._bytes(at, U64.size))
            name = self._bytes(at + U64.size, length + U64.size)
            if any(name[:length]):
                return False
            at += 2 * U64.size + length + int.from_bytes(name[length:], "little")
        return not frame.crc

    def _look_at(self, at: int) -> int:
        """Have in view what is at `at`, enough of it to read on, and return where that is in view."""
        end = self._base + len(self._view)
        if not self._base <= at <= end or (end - at < LONGEST_ITEM and end < self.size):
            self._between()
            self._base, self._view = at, memoryview(self._bytes(at, PIECE))
        return at - self._base

    def _bytes(self, at: int, size: int) -> bytes:
        """Return `size` bytes, or as many as the file has from `at` on."""
        return b"".join(read(self._disk, self._fd, at, min(at + size, self.size)))


def _are_zeros(disk: Disk, fd: int, found: Scan) -> bool:
    """Return whether nothing but zeros follows the good bytes: room that was made and never written to."""
    return not any(any(piece) for piece in read(disk, fd, found.head.bytes, found.size))
