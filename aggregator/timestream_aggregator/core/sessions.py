"""The streamer's sessions: what is known of each outlives frames of others, pauses, connections and runs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from timestream_aggregator.core.actions import Noted
from timestream_aggregator.core.numbering import Missing, Numbers, Repeated, WentBack
from timestream_aggregator.g3.parser import Frame
from timestream_api.ledger import Duplicate, Joined, Loss, Renumbered
from timestream_api.report import LossCause

_KEPT: Final = 8  # sessions with their metadata and repeats
_COUNTED: Final = 64  # and in all, with their count
_CLOCKS_AGREE: Final = 60.0  # seconds


@dataclass(frozen=True, slots=True)
class KnownSession:
    """A session that an earlier run recorded, and the highest frame_num that was accounted for."""

    session_id: int
    stream_id: str | None
    highest: int


@dataclass(frozen=True, slots=True)
class EarlierRun:
    """When a recorder of this stream ran before, in Unix seconds; one that was killed has not `stopped`."""

    started: float
    stopped: float | None


@dataclass(slots=True, eq=False)
class Session:
    """One session; the frames that name none, while no session runs, are of one without an id."""

    id: int | None = None
    stream_id: str | None = None
    observation: bytes = b""
    numbers: Numbers | None = None
    heard: int = 0  # the last connection that gave a numbered frame which was not replayed
    lost: int = 0  # frames, ahead of the one that is recorded next
    missed: int = 0  # the same, before the recorder joined
    why: str | None = None  # the cause of what is missing at the beginning is doubtful

    def holds(self, frame: Frame) -> bool:
        """Return whether the frame names this session."""
        if self.id != frame.session_id:
            return False
        return None in {self.stream_id, frame.stream_id} or self.stream_id == frame.stream_id

    def tell(self, missing: Sequence[Missing]) -> list[Noted]:
        """Count what is missing, and return what there is to say about it."""
        facts: list[Noted] = []
        before = [gap for gap in missing if gap.cause is LossCause.LATE_JOIN]
        if before:
            first, count = before[-1].last + 1, sum(gap.count for gap in before)
            self.missed += count
            facts.append(Joined(session_id=self.id, stream_id=self.stream_id, first=first, count=count))
        for gap in missing:
            if gap.cause is not LossCause.LATE_JOIN:
                self.lost += gap.count
                first, last, why = gap.first, gap.last, self.why
                loss = Loss(
                    count=gap.count, session_id=self.id, first=first, last=last, cause=gap.cause, why=why
                )
                facts.append(loss)
        self.why = None if facts else self.why
        return facts


class Sessions:
    """The sessions of all streams that a sender sends, and how each of them began."""

    def __init__(self) -> None:
        self._known: list[Session] = []  # the one met last is the last
        self._earlier: EarlierRun | None = None
        self._started = math.inf
        self._connection = 1
        self._turned: set[str | None] = set()  # streams that began or ended a session on this connection
        self._damaged = False  # a frame, since the last good one
        self._least: int | None = None  # the number that sessions begin with, once one has been seen to
        self._apart = False  # the sender's clock and ours

    def resume(self, known: Sequence[KnownSession], earlier: EarlierRun | None, started: float) -> None:
        """Take in what earlier runs recorded, and when this one started."""
        self._earlier, self._started = earlier, started
        for each in known:
            numbers = Numbers(each.highest, LossCause.RESTART)
            self._keep(Session(each.session_id, each.stream_id, numbers=numbers))

    def connected(self) -> None:
        """What comes from here on is from a new connection."""
        self._connection += 1
        self._turned.clear()
        self._damaged = False
        for numbers in self._counting():
            numbers.connected()

    def damaged(self) -> None:
        """A frame came whose bytes are not what was sent: of which session it is is not known."""
        self._damaged = True
        for numbers in self._counting():
            numbers.damaged()

    def turned(self, stream_id: str | None) -> None:
        """A session of this stream, or of whichever sends, has begun or ended before our eyes."""
        self._turned.add(stream_id)

    def find(self, frame: Frame) -> Session:
        """Return the session that `frame` names, which may be a new one."""
        found = next((each for each in reversed(self._known) if each.holds(frame)), None)
        found = found or Session(frame.session_id)
        found.stream_id = found.stream_id or frame.stream_id
        if not self._known or found is not self._known[-1]:
            self._keep(found)
        return found

    def count(self, session: Session, frame: Frame, wall: float, *, replayed: bool) -> list[Noted]:
        """Take in a frame to record; return what its number says. A Duplicate is not to be recorded again."""
        number = frame.frame_num
        if session.id is None or number is None:
            return []
        if number == 0:
            self._least = 0
        if session.numbers is None:
            session.numbers = self._begin(session, session.id, number, wall)
        found = session.numbers.follow(frame, number, replayed=replayed)
        if not replayed:
            session.heard, self._damaged = self._connection, False
        facts = session.tell([each for each in found if isinstance(each, Missing)])
        for each in found:
            if isinstance(each, Repeated):
                facts.append(duplicate(frame))
            elif isinstance(each, WentBack):
                facts.append(Renumbered(session_id=session.id, last=each.last, first=each.first))
        return facts

    def settle(self, frame: Frame | None = None) -> list[Noted]:
        """Return what is missing among what was replayed, now that the replay is over; not of the frame's session."""
        facts: list[Noted] = []
        for each in self._known:
            if each.numbers and each.numbers.held and not (frame and each.holds(frame)):
                facts += each.tell(each.numbers.settle())
        return facts

    def _begin(self, session: Session, began: int, number: int, wall: float) -> Numbers:
        """Return the numbers of a session that is met with this one."""
        cause = self._cause(session, began)
        if cause in {LossCause.SENDER, LossCause.DAMAGED}:
            self._apart = abs(began - wall) > _CLOCKS_AGREE if number in {0, 1} else self._apart
        elif self._apart or began - wall > _CLOCKS_AGREE:
            session.why = "session_id is no time by the recorder's clock: set both clocks"
            cause = LossCause.RECONNECT if cause is LossCause.LATE_JOIN else cause
        if number == 1 and self._least is None and cause is LossCause.SENDER:
            self._least = 1
        return Numbers(min(self._least or 0, number) - 1, cause)

    def _cause(self, session: Session, began: int) -> LossCause:
        """Return why frames at the beginning have not come, if some have not. A session's id is when it began."""
        former = {
            each.heard
            for each in self._known
            if each.heard and each.stream_id == session.stream_id and (each.id or 0) < began
        }
        if self._connection in former or self._turned & {None, session.stream_id}:
            return LossCause.DAMAGED if self._damaged else LossCause.SENDER
        if former or began > self._started:
            return LossCause.RECONNECT
        run = self._earlier
        if run and run.started <= began and (run.stopped is None or run.stopped > began):
            return LossCause.RESTART
        return LossCause.LATE_JOIN

    def _counting(self) -> list[Numbers]:
        return [each.numbers for each in self._known if each.numbers]

    def _keep(self, session: Session) -> None:
        """Make the session the last one met; of those met long ago, keep the count alone."""
        if session in self._known:
            self._known.remove(session)
        self._known.append(session)
        if len(self._known) > _KEPT:
            former = self._known[-_KEPT - 1]
            former.observation = b""
            if former.numbers:
                former.numbers.forget_repeats()
        del self._known[:-_COUNTED]


def duplicate(frame: Frame) -> Duplicate:
    """Return what is said of a frame that came again."""
    return Duplicate(type=frame.type, session_id=frame.session_id, frame_num=frame.frame_num)
