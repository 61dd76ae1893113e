"""Bytes of a G3 stream in, whole frames out: incremental, without copying, and without trusting a length.

spt3g's own reader has no bound on a frame, and its writer re-orders what it read; here the bytes stay as
they came. `g3` has the format, `frame` reads one.
"""

from collections.abc import Iterator

from timestream_aggregator.g3.format import WireError
from timestream_aggregator.g3.frame import LONGEST_ITEM, NOT_AN_INT, Damaged, Frame, FrameReader

__all__ = ["NOT_AN_INT", "Damaged", "Frame", "Parser", "WireError"]


class Parser:
    """Cuts the bytes of one connection, or of one file, into frames.

    It keeps views, and copies at most one short item that the end of a segment cuts: memory grows only with
    the bytes that the caller keeps. `fed` counts them; `offset` is where in the stream the incomplete frame
    begins. Segments wholly before it may be used again once the frames in them are written.
    """

    def __init__(self, max_frame_bytes: int) -> None:
        self.fed = 0
        self.offset = 0
        self._segment = memoryview(b"")
        # In the segment: where the frame's part begins, how far it is read, where it ends.
        self._begin = self._at = self._end = 0
        self._earlier: list[memoryview] = []  # the frame's parts in earlier segments
        self._carry = b""  # copy of an item's beginning in earlier segments
        self._reader = FrameReader(max_frame_bytes)
        self._refused: WireError | None = None

    @property
    def held(self) -> int:
        """Return the size of the incomplete frame at the end, in bytes."""
        return self.fed - self.offset

    def feed(self, segment: memoryview, start: int = 0, end: int | None = None) -> Iterator[Frame | Damaged]:
        """Take in segment[start:end] and return the frames it completes; exhaust them before the next feed.

        Give the same memoryview of a whole segment (of bytes) each time: ranges that adjoin become one view.

        Raises:
            WireError: while iterating, after the last good frame; from then on, always.
        """
        self._adopt(segment, start, len(segment) if end is None else end)
        return iter(self._next, None)

    def torn(self) -> tuple[memoryview, ...]:
        """Return what follows the last whole frame: an incomplete one, or what was refused and all after."""
        tail = self._segment[self._begin : self._end]
        return (*self._earlier, tail) if len(tail) else tuple(self._earlier)

    def _adopt(self, segment: memoryview, start: int, end: int) -> None:
        """Make segment[start:end] what is read next."""
        self.fed += end - start
        if segment is not self._segment or start != self._end:
            if self._begin < self._end:
                self._earlier.append(self._segment[self._begin : self._end])
            if self._refused is None:
                self._carry += self._segment[self._at : self._end]
            self._segment, self._begin, self._at = segment, start, start
        self._end = end

    def _next(self) -> Frame | Damaged | None:
        """Return the next frame, or None while its end has not arrived."""
        if self._refused is not None:
            raise self._refused.anew()
        try:
            if self._carry:
                self._bridge()
            self._at = self._reader.advance(self._segment, self._at, self._end)
        except WireError as error:
            error.offset = self.offset
            self._refused = error.anew()  # what was raised leads to its frames, and those to the segment
            raise
        return self._cut() if self._reader.done else None

    def _bridge(self) -> None:
        """Read the item that the end of a segment cut, in a copy that joins its pieces."""
        window = self._carry + self._segment[self._at : min(self._at + LONGEST_ITEM, self._end)]
        read = self._reader.advance(memoryview(window), 0, len(window))
        if read:
            self._at += read - len(self._carry)
            self._carry = b""
        else:  # the window is shorter than the longest item, so it holds all there is
            self._at, self._carry = self._end, window

    def _cut(self) -> Frame | Damaged:
        """Return the frame that has just ended, and begin the next."""
        reader, tail = self._reader, self._segment[self._begin : self._at]
        item = reader.item((*self._earlier, tail) if self._earlier else (tail,), self.offset)
        self.offset += reader.size
        self._begin = self._at
        self._earlier.clear()
        self._reader.restart()
        return item
