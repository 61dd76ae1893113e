"""What a sender repeats: its replay after a connect, and what two connections of the recorder both get.

A G3NetworkSender gives a new client the latest frame of each type other than Scan and Timepoint, in the order
of first appearance, ahead of anything new. Clients connected at the same time get the same frames.
"""

from hashlib import blake2b
from typing import Final

from timestream_aggregator.g3.parser import Frame

NEVER_REPLAYED: Final = frozenset("ST")
_MOST_TYPES: Final = 64
_MOST_DOUBLED: Final = 4096


class Oddities:
    """What was refused or put aside: what comes again is in the sender's replay to each new connection."""

    def __init__(self) -> None:
        self._met: dict[object, None] = {}  # the latest ones

    def comes_again(self, what: object) -> bool:
        """Take note of `what`; return whether it has come before."""
        again = what in self._met
        self._met.pop(what, None)
        if len(self._met) >= _MOST_TYPES:
            del self._met[next(iter(self._met))]
        self._met[what] = None
        return again


class Replay:
    """Tells which frames have come before. Feed it every frame, in order."""

    def __init__(self) -> None:
        self._replaying = False
        self._types: set[str] = set()  # met on this connection while it was replaying
        self._last: dict[str, bytes] = {}  # digest of the last frame of each type
        self._before: dict[str, bytes] = {}  # the same, when the second of two connections was made
        self._overlapping = False
        self._doubled: set[tuple[str, int, int]] = set()  # type, size and crc of what both connections got

    def succeeding(self) -> None:
        """A second connection stands: what the first gives from here on may come again on the second."""
        self._overlapping = True
        self._before = dict(self._last)
        self._doubled.clear()

    def connected(self) -> None:
        """What comes from here on is from a new connection, and its replay first."""
        if not self._overlapping:
            self._before.clear()
        self._replaying, self._overlapping = True, False
        self._types.clear()

    def is_replayed(self, frame: Frame) -> bool:
        """Return whether `frame` is part of the replay: ahead of all Scans, and the first of its type."""
        if self._replaying and (
            frame.type in NEVER_REPLAYED or frame.type in self._types or len(self._types) >= _MOST_TYPES
        ):
            self._replaying = False
        if self._replaying:
            self._types.add(frame.type)
        return self._replaying

    def is_doubled(self, frame: Frame, *, replayed: bool) -> bool:
        """Return whether `frame` was received on the connection before, while both stood."""
        identity = (frame.type, frame.size, frame.crc)
        if self._overlapping:
            if len(self._doubled) < _MOST_DOUBLED:
                self._doubled.add(identity)
            return False
        if identity in self._doubled:
            return True
        if self._doubled and not replayed:  # the first new one: what came twice is behind
            self._doubled.clear()
        return False

    def is_repeated(self, frame: Frame, *, replayed: bool) -> bool:
        """Return whether a replayed `frame` equals the last of its type; remember it as the last if not."""
        if frame.type in NEVER_REPLAYED:
            return False
        digest = _digest(frame)
        if replayed and digest in {self._last.get(frame.type), self._before.get(frame.type)}:
            return True
        self._last.pop(frame.type, None)
        if len(self._last) >= _MOST_TYPES:
            del self._last[next(iter(self._last))]
        self._last[frame.type] = digest
        return False


def _digest(frame: Frame) -> bytes:
    digest = blake2b(digest_size=16)
    for part in frame.parts:
        digest.update(part)
    return digest.digest()
