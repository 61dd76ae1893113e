"""A session and its frame_num, by which the streamer counts its frames: what is missing, and what came twice."""

from typing import Final

from timestream_aggregator.core.actions import Noted
from timestream_aggregator.core.naming import safe_stream_id
from timestream_aggregator.core.replay import NEVER_REPLAYED
from timestream_aggregator.g3.parser import Frame
from timestream_api.ledger import Duplicate, Joined, Loss, Renumbered
from timestream_api.report import LossCause

_GENERATION: Final = 2048
_BEFORE_JOINING: Final = frozenset({LossCause.LATE_JOIN, LossCause.RESTART})


class Session:
    """What is known of one session; the frames that name none, while none runs, are of one without an id."""

    def __init__(self, session_id: int | None = None, stream_id: str | None = None) -> None:
        self.id, self.stream_id = session_id, stream_id
        self.observation = b""
        self.counted = False
        self.heard = 0  # the last connection that gave a numbered frame which was not replayed
        self.held: set[int] = set()
        """Numbers that were replayed, in another order than they were sent in, until that is over."""
        self.begin(-1, LossCause.LATE_JOIN)
        self._recent: dict[int, int] = {}  # crc of the latest Scans and Timepoints, by number
        self._older: dict[int, int] = {}  # of those before

    def begin(self, highest: int, cause: LossCause, why: str | None = None) -> None:
        """Count on from `highest`; what is missing behind it did not come for that cause, doubtful if `why` says so."""
        self._highest, self._cause, self._why = highest, cause, why
        self._earlier = (highest, cause)  # up to which number what is missing has another cause

    def holds(self, frame: Frame) -> bool:
        """Return whether the frame names this session; of an earlier run only the safe name of its stream is known."""
        if self.id != frame.session_id:
            return False
        mine, named = self.stream_id, frame.stream_id
        return mine == named or mine is None or named is None or mine == safe_stream_id(named)

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

    def follow(self, frame: Frame, number: int, *, replayed: bool) -> list[Noted]:
        """Take in a frame with that frame_num; return what the number says, of the frame or of those before it."""
        is_data, before = frame.type in NEVER_REPLAYED, self._highest
        if is_data:
            if frame.crc in (self._recent.get(number), self._older.get(number)):
                return [duplicate(frame)]
            self._remember(number, frame.crc)
        elif number <= before:  # metadata that was sent before, and not to us
            return []
        if replayed:
            self.held.add(number)
            return []
        facts = self.settle(number) if self.held or number != before + 1 else []
        self._highest = number
        self._cause = LossCause.SENDER
        if number <= before:
            facts.append(Renumbered(session_id=self.id, last=before, first=number))
        return facts

    def settle(self, before: int | None = None) -> list[Noted]:
        """Return what is missing up to that number; without one, up to the highest that was replayed."""
        ends = sorted(number for number in self.held if before is None or number < before)
        self.held.difference_update(ends)
        facts: list[Noted] = []
        for number in ends if before is None else [*ends, before]:
            if number > self._highest + 1:
                facts.append(self._missing(self._highest + 1, number))
            self._highest = max(self._highest, number)
        return facts

    def _missing(self, first: int, end: int) -> Joined | Loss:
        """Return what is said of the numbers from `first` up to the one before `end`."""
        until, cause = self._earlier
        cause = cause if first <= until else self._cause
        if cause is LossCause.LATE_JOIN:
            return Joined(session_id=self.id, stream_id=self.stream_id, first=end, count=end - first)
        why, self._why = self._why, None
        return Loss(count=end - first, session_id=self.id, first=first, last=end - 1, cause=cause, why=why)

    def _remember(self, number: int, crc: int) -> None:
        if len(self._recent) >= _GENERATION:
            self._older, self._recent = self._recent, {}
        self._recent[number] = crc


def duplicate(frame: Frame) -> Duplicate:
    """Return what is said of a frame that came again."""
    return Duplicate(type=frame.type, session_id=frame.session_id, frame_num=frame.frame_num)
