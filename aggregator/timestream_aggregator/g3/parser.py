"""Bytes of a G3 stream in, whole frames out: incremental, without copying, and without trusting a length.

spt3g's own reader has no bound on a frame, and its writer re-orders what it read; here the bytes stay as
they came. `g3` has the format, `frame` reads one. A frame whose end is known costs no other, however odd it is.
"""

from collections.abc import Callable, Iterator
from typing import Final

from timestream_aggregator.g3.format import U64, WireError
from timestream_aggregator.g3.frame import LONGEST_ITEM, NOT_AN_INT, Damaged, Frame, FrameReader
from timestream_aggregator.g3.search import Search

__all__ = ["NOT_AN_INT", "Damaged", "Frame", "Parser", "WireError"]

KEPT_BYTES: Final = 1 << 20
"""So much of what is passed over is kept, for people to look at, unless somebody wants more."""


class Parser:
    """Cuts the bytes of one connection, or of one file, into frames.

    It keeps views, and copies at most one short item that the end of a segment cuts: memory grows only with
    the bytes that the caller keeps. `fed` counts them; `offset` is where in the stream the incomplete frame
    begins. Of frames that are passed over it keeps the beginning, and no view.
    """

    def __init__(
        self,
        max_frame_bytes: int,
        look_on: Callable[[WireError], bool] = lambda _: False,
        kept_bytes: int = KEPT_BYTES,
    ) -> None:
        """Make one; `look_on` says whether to look for good frames behind what is refused, or to raise that.

        Of what is passed over the first `kept_bytes` are kept.
        """
        self.fed = 0
        self.offset = 0
        self._limit, self._look_on, self._kept_bytes = max_frame_bytes, look_on, kept_bytes
        self._segment = memoryview(b"")
        # In the segment: where the frame's part begins, how far it is read, where it ends.
        self._begin: int = 0
        self._at: int = 0
        self._end: int = 0
        self._earlier: list[memoryview] = []  # the frame's parts in earlier segments
        self._carry = b""  # copy of an item's beginning in earlier segments
        self._kept = bytearray()  # copy of the beginning of what is passed over
        self._reader = FrameReader(max_frame_bytes)
        self._search: Search | None = None
        self.refused: WireError | None = None
        """What is raised from now on, or behind which good frames are looked for."""

    @property
    def incomplete(self) -> int:
        """Return the size of the incomplete frame at the end, in bytes."""
        return self.fed - self.offset

    @property
    def held(self) -> int:
        """Return how many bytes at the end are still needed: segments wholly before them may be used again."""
        return self._end - self._begin + sum(map(len, self._earlier))

    @property
    def odd(self) -> str | None:
        """Return what is odd about the incomplete frame, if that is known by now."""
        return self._reader.why if self._reader.odd else None

    def feed(self, segment: memoryview, start: int = 0, end: int | None = None) -> Iterator[Frame | Damaged]:
        """Take in segment[start:end] and return the frames it completes; exhaust them before the next feed.

        Give the same memoryview of a whole segment (of bytes) each time: ranges that adjoin become one view.

        Raises:
            WireError: while iterating, after the last good frame; from then on, always.
        """
        self._adopt(segment, start, len(segment) if end is None else end)
        return iter(self._next if self._search is None else self._look, None)

    def torn(self) -> tuple[memoryview, ...]:
        """Return what follows the last whole frame: an incomplete one, or what was refused and all after.

        Of what is passed over only the beginning.
        """
        parts = (memoryview(bytes(self._kept)), *self._earlier, self._segment[self._begin : self._end])
        return tuple(part for part in parts if len(part))

    def _adopt(self, segment: memoryview, start: int, end: int) -> None:
        """Make segment[start:end] what is read next."""
        self.fed += end - start
        if segment is not self._segment or start != self._end:
            if self._begin < self._end:
                self._earlier.append(self._segment[self._begin : self._end])
            if self.refused is None:
                self._carry += self._segment[self._at : self._end]
            self._segment, self._begin, self._at = segment, start, start
        self._end = end

    def _next(self) -> Frame | Damaged | None:
        """Return the next frame, or None while its end has not arrived."""
        if self.refused is not None:
            raise self.refused.anew()
        try:
            if self._carry:
                self._bridge()
            self._at = self._reader.advance(self._segment, self._at, self._end)
            if self._reader.done:
                return self._cut()
            return self._skip() if self._reader.odd else None
        except WireError as error:
            error.offset = self.offset
            self.refused = error.anew()  # what was raised leads to its frames, and those to the segment
            if not self._look_on(error):
                raise
        self._search = Search(self._limit)
        return self._look()

    def _bridge(self) -> None:
        """Read the item that the end of a segment cut, in a copy that joins its pieces."""
        window = self._carry + self._segment[self._at : min(self._at + LONGEST_ITEM, self._end)]
        read = self._reader.advance(memoryview(window), 0, len(window))
        if read:
            self._at += read - len(self._carry)
            self._carry = b""
        elif not self._reader.odd:  # the window is shorter than the longest item, so it holds all there is
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

    def _skip(self) -> Damaged | None:
        """Pass over an odd frame; return it once its end has arrived."""
        if self._carry:
            window = self._carry + self._segment[self._at : min(self._at + U64.size, self._end)]
            read = self._reader.skip(memoryview(window), 0, len(window))
            beyond = read - len(self._carry)  # below 0: nothing follows what is carried
            self._at = self._at + beyond if beyond >= 0 else self._end
            self._carry = b"" if beyond >= 0 else window[read:]
        self._at = self._reader.skip(self._segment, self._at, self._end)
        if self._reader.done:
            return self._put_aside(self._reader.size, self._reader.why)
        self._carry += self._segment[self._at : self._end]
        self._at = self._end
        self._let_go(self._end)
        return None

    def _look(self) -> Frame | Damaged | None:
        """Look for a good frame behind what was refused; return what was passed over once there is one."""
        if self._search is None or self.refused is None:
            return self._next()
        found = self._search.look(*self._earlier, self._segment[self._begin : self._end])
        self._at = self._end
        self._let_go(self._end)
        if found is not None:
            why, self._search, self.refused, self._carry = str(self.refused), None, None, b""
            self._segment, self._begin, self._at, self._end = memoryview(found), 0, 0, len(found)
            return self._put_aside(self.incomplete - len(found), why)
        if self._search.hopeless:
            self._search = None
            raise self.refused.anew()
        return None

    def _put_aside(self, size: int, why: str) -> Damaged:
        """Return the `size` bytes that were passed over, which end where reading stands, and begin a frame."""
        self._let_go(self._at)
        kept = memoryview(bytes(self._kept[:size]))
        item = Damaged((kept,), size, self.offset, why, odd=True)
        self.offset += size
        self._kept.clear()
        self._reader.restart()
        return item

    def _let_go(self, stop: int) -> None:
        """Keep no view of what comes before `stop` in the segment, and a copy of its beginning."""
        for part in (*self._earlier, self._segment[self._begin : stop]):
            self._kept += part[: self._kept_bytes - len(self._kept)]
        self._earlier.clear()
        self._begin = stop
