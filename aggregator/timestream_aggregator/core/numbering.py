"""frame_num, by which the streamer counts the frames of a session: what is missing, and what came twice."""

from dataclasses import dataclass
from typing import Final

from timestream_aggregator.core.replay import NEVER_REPLAYED
from timestream_aggregator.g3.parser import Frame
from timestream_api.report import LossCause

_GENERATION: Final = 2048
_BEFORE_JOINING: Final = frozenset({LossCause.LATE_JOIN, LossCause.RESTART})


@dataclass(frozen=True, slots=True)
class Missing:
    """Frames of a session that have not come: first and last number, and why probably; LATE_JOIN is no loss."""

    first: int
    last: int
    cause: LossCause

    @property
    def count(self) -> int:
        """How many they are."""
        return self.last - self.first + 1


@dataclass(frozen=True, slots=True)
class WentBack:
    """The streamer's count went back from `last` to `first` with a frame that had not come before."""

    last: int
    first: int


class Repeated:
    """A Scan or Timepoint has come before, byte for byte."""


REPEATED: Final = Repeated()
Verdict = Missing | WentBack | Repeated


class Numbers:
    """The numbers of one session. Feed it each frame to record, in order."""

    def __init__(self, highest: int, cause: LossCause) -> None:
        """Count on from `highest`; what is missing behind it did not come for that `cause`."""
        self._highest, self._cause = highest, cause
        self._earlier = (highest, cause)  # up to which number what is missing has another cause
        self.held: set[int] = set()
        """What was replayed, in another order than it was sent in, until that is over."""
        self._recent: dict[int, int] = {}  # crc of the latest Scans and Timepoints, by number
        self._older: dict[int, int] = {}  # of those before

    def connected(self) -> None:
        """What comes from here on is from a new connection."""
        if self.held or self._cause is not LossCause.RESTART:
            if self._cause in _BEFORE_JOINING:
                self._earlier = (max(self.held, default=self._highest), self._cause)
            self._cause = LossCause.RECONNECT

    def damaged(self) -> None:
        """A frame came whose bytes are not what was sent: its number is not known."""
        if self._cause is LossCause.SENDER:
            self._cause = LossCause.DAMAGED

    def forget_repeats(self) -> None:
        """Give back memory: keep the count alone."""
        self._recent, self._older = {}, {}

    def follow(self, frame: Frame, number: int, *, replayed: bool) -> list[Verdict]:
        """Take in a frame with that frame_num; return what the number says, of the frame or of those before it."""
        is_data, before = frame.type in NEVER_REPLAYED, self._highest
        if is_data:
            if frame.crc in (self._recent.get(number), self._older.get(number)):
                return [REPEATED]
            self._remember(number, frame.crc)
        elif number <= before:  # metadata that was sent before, and not to us
            return []
        if replayed:
            self.held.add(number)
            return []
        found: list[Verdict] = [*self.settle(number)]
        self._cause = LossCause.SENDER
        if number <= before:
            self._highest = number
            found.append(WentBack(before, number))
        return found

    def settle(self, before: int | None = None) -> list[Missing]:
        """Return what is missing up to that number; without one, up to the highest that the replay held."""
        held = sorted(number for number in self.held if before is None or number < before)
        self.held.difference_update(held)
        found: list[Missing] = []
        for number in held if before is None else [*held, before]:
            first = self._highest + 1
            if number > first:
                until, cause = self._earlier
                found.append(Missing(first, number - 1, cause if first <= until else self._cause))
            self._highest = max(self._highest, number)
        return found

    def _remember(self, number: int, crc: int) -> None:
        if len(self._recent) >= _GENERATION:
            self._older, self._recent = self._recent, {}
        self._recent[number] = crc
