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
    """Frames of a session that should have come: their first and last number, and why probably they did not."""

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
Verdict = Missing | WentBack | Repeated | None


class Numbers:
    """The numbers of one session. Feed it each frame to record, in order."""

    def __init__(self, highest: int | None = None) -> None:
        """Begin with the highest number that an earlier run recorded, if one did."""
        self._highest = highest
        self._cause = LossCause.LATE_JOIN if highest is None else LossCause.RESTART
        self._recent: dict[int, int] = {}  # crc of the latest Scans and Timepoints, by number
        self._older: dict[int, int] = {}  # of those before

    def connected(self) -> None:
        """What comes from here on is from a new connection."""
        if self._cause not in _BEFORE_JOINING:
            self._cause = LossCause.RECONNECT

    def damaged(self) -> None:
        """A frame came whose bytes are not what was sent: its number is not known."""
        if self._cause is LossCause.SENDER:
            self._cause = LossCause.DAMAGED

    def follow(self, frame: Frame, number: int, *, replayed: bool) -> Verdict:
        """Take in a frame with that frame_num; return what the number says, of the frame or of those before it."""
        highest, cause, is_data = self._highest, self._cause, frame.type in NEVER_REPLAYED
        if is_data:
            if frame.crc in (self._recent.get(number), self._older.get(number)):
                return REPEATED
            self._remember(number, frame.crc)
        elif highest is not None and number <= highest:  # metadata that was sent before, and not to us
            return None
        if not replayed:
            self._cause = LossCause.SENDER
        self._highest = number
        if highest is None or number == highest + 1:
            return None
        return Missing(highest + 1, number - 1, cause) if number > highest else WentBack(highest, number)

    def _remember(self, number: int, crc: int) -> None:
        if len(self._recent) >= _GENERATION:
            self._older, self._recent = self._recent, {}
        self._recent[number] = crc
