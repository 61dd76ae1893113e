"""The sessions of all streams on a port: what is known of each outlives frames of others, connections and runs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from timestream_aggregator.core.actions import Noted
from timestream_aggregator.core.numbering import Session
from timestream_aggregator.g3.parser import Frame
from timestream_api.report import LossCause

_KEPT: Final = 16  # sessions
_CLOCKS_AGREE: Final = 60.0  # seconds


@dataclass(frozen=True, slots=True)
class KnownSession:
    """A session that an earlier run recorded, and the highest frame_num that was accounted for."""

    session_id: int
    stream_id: str | None  # as the streamer gave it, or its safe name
    highest: int


@dataclass(frozen=True, slots=True)
class EarlierRun:
    """When a recorder of this stream ran before, in Unix seconds; one that was killed has not `stopped`."""

    started: float
    stopped: float | None


class Sessions:
    """The sessions met last, and how each of them began."""

    def __init__(self) -> None:
        self._known: list[Session] = []  # the one met last is the last
        self._earlier: EarlierRun | None = None
        self._started = math.inf
        self._connection = 1
        self.turned: set[str | None] = set()
        """Streams, or None for whichever, that have begun or ended a session on this connection."""
        self._damaged = False  # a frame, since the last good one
        self.held: list[Session] = []
        """Those of which a replay has shown frames, until it is over."""
        self._least: int | None = None  # the number that sessions begin with, once one has been seen to
        self._apart = False  # the sender's clock and ours

    def resume(self, known: Sequence[KnownSession], earlier: EarlierRun | None, started: float) -> None:
        """Take in the sessions of earlier runs, the latest one last, and when the last run and this one started."""
        self._earlier, self._started = earlier, started
        for each in known[-_KEPT:]:
            session = Session(each.session_id, each.stream_id)
            session.counted = True
            session.begin(each.highest, LossCause.RESTART)
            self._known.append(session)

    def connected(self) -> None:
        """What comes from here on is from a new connection."""
        self._connection += 1
        self.turned.clear()
        self._damaged = False
        for each in self._known:
            each.connected()

    def damaged(self) -> None:
        """A frame came whose bytes are not what was sent: of which session it is is not known."""
        self._damaged = True
        for each in self._known:
            each.damaged()

    def find(self, frame: Frame) -> Session:
        """Return the session that `frame` names, which may be a new one."""
        if self._known and self._known[-1].holds(frame):
            return self._known[-1]
        at = next((at for at, each in enumerate(self._known) if each.holds(frame)), None)
        found = Session(frame.session_id) if at is None else self._known.pop(at)
        found.stream_id = frame.stream_id or found.stream_id
        self._known.append(found)
        del self._known[:-_KEPT]
        return found

    def count(self, session: Session, frame: Frame, wall: float, *, replayed: bool) -> list[Noted]:
        """Take in a frame to record; return what its number says. A Duplicate is not to be recorded again."""
        number = frame.frame_num
        if session.id is None or number is None:
            return []
        self._least = 0 if number == 0 else self._least
        if not session.counted:
            self._begin(session, session.id, number, wall)
        if replayed:
            self.held = [*(each for each in self.held if each is not session), session]
        else:
            session.heard, self._damaged = self._connection, False
        return session.follow(frame, number, replayed=replayed)

    def settle(self, frame: Frame | None = None) -> list[Noted]:
        """Return what is missing among what was replayed, now that the replay is over; not of the frame's session."""
        held, self.held = self.held, []
        if frame is not None:
            self.held = [each for each in held if each.held and each.holds(frame)]
        return [fact for each in held if each not in self.held for fact in each.settle()]

    def _begin(self, session: Session, began: int, number: int, wall: float) -> None:
        """Let the count of a session begin, which is met with this number. Its id is when it began."""
        cause, why = self._cause(session, began), None
        if cause in {LossCause.SENDER, LossCause.DAMAGED}:
            self._apart = abs(began - wall) > _CLOCKS_AGREE if number in {0, 1} else self._apart
        elif self._apart or began - wall > _CLOCKS_AGREE:
            why = "session_id is no time by the recorder's clock: set both clocks"
            cause = LossCause.RECONNECT if cause is LossCause.LATE_JOIN else cause
        if number == 1 and self._least is None and cause is LossCause.SENDER:
            self._least = 1
        session.counted = True
        session.begin(min(self._least or 0, number) - 1, cause, why)

    def _cause(self, session: Session, began: int) -> LossCause:
        """Return why frames at its beginning have not come, if some have not. It began within the second `began`."""
        former = {
            each.heard
            for each in self._known
            if each.heard and each.stream_id == session.stream_id and (each.id or 0) < began
        }
        if self._connection in former or self.turned & {None, session.stream_id}:
            return LossCause.DAMAGED if self._damaged else LossCause.SENDER
        if former or began + 1 > self._started:
            return LossCause.RECONNECT
        run = self._earlier
        if run and run.started < began + 1 and (run.stopped is None or run.stopped > began):
            return LossCause.RESTART
        return LossCause.LATE_JOIN
