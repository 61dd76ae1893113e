"""Looks for the next good frame behind bytes that are none."""

from typing import Final

from timestream_aggregator.g3.format import BEGINNING, HEADER, WireError
from timestream_aggregator.g3.frame import Frame, FrameReader, most_followed

_CUT: Final = len(BEGINNING) - 1  # bytes at the end that may begin a frame


class Search:
    """One search. What may be a frame is kept until that is known: no more than the largest frame.

    A frame is found when its crc is good and not that of nothing.
    """

    def __init__(self, limit: int) -> None:
        self._most = most_followed(limit)
        self._reader = FrameReader(limit)
        self._bytes = bytearray()
        self._at = 0  # how far the frame that may begin at the first byte is read
        self._reading = False
        self._seen = 0  # bytes that are in no frame, once more for each that they only seemed to be in

    @property
    def hopeless(self) -> bool:
        """Whether that is enough: what is searched costs good frames, should they never be found."""
        return self._seen > self._most

    def look(self, *pieces: memoryview) -> bytes | None:
        """Take in `pieces`; return all from the next good frame on, None while it is not there."""
        for piece in pieces:
            self._bytes += piece
        while not self.hopeless and (self._reading or self._find_header()):
            self._reading = self._read()
            if self._reader.done and self._is_good():
                return bytes(self._bytes)
            if self._reading:
                return None
            self._seen += self._at
            self._drop(1)
        return None

    def _find_header(self) -> bool:
        """Drop what comes before the next header; return whether that is all there."""
        at = self._bytes.find(BEGINNING)
        self._drop(at if at >= 0 else max(0, len(self._bytes) - _CUT))
        self._reader.restart()
        self._at = 0
        return at >= 0 and len(self._bytes) >= HEADER.size

    def _read(self) -> bool:
        """Read on in what may be a frame; return whether more of it is to come."""
        with memoryview(self._bytes) as view:
            try:
                self._at = self._reader.advance(view, self._at, len(view))
            except WireError:
                return False
        return not self._reader.done and not self._reader.odd

    def _is_good(self) -> bool:
        item = self._reader.item((), 0)
        return isinstance(item, Frame) and item.crc != 0

    def _drop(self, size: int) -> None:
        del self._bytes[:size]
        self._seen += size
