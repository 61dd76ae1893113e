"""The recorder's decisions: frames and times in; open, write, close and note out.

What each frame means for the acquisitions that are open; what these make of it in files, `files` says.
"""

from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import Final

from timestream_aggregator.core.actions import Action, Moment, Noted
from timestream_aggregator.core.files import Acquisition, Rules
from timestream_aggregator.core.naming import Base
from timestream_aggregator.core.numbering import Session, duplicate
from timestream_aggregator.core.progress import State
from timestream_aggregator.core.replay import Replay
from timestream_aggregator.core.sessions import EarlierRun, KnownSession, Sessions
from timestream_aggregator.g3.parser import Frame
from timestream_api.ledger import Duplicate, UnknownFlowControl
from timestream_api.report import AcquisitionReport, CloseReason

PIPELINE_INFO: Final = "P"


class FlowControl(IntEnum):
    """Values of sostream_flowcontrol."""

    ALIVE = 0
    START = 1
    END = 2
    CLEANSE = 3


class Recording:
    """Decides what becomes of each frame, over all connections of a recorder's life.

    The times it is given are those of arrival, and do not decrease.
    """

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._sessions = Sessions()
        self._session = Session()  # that of the frame recorded last, until it ends
        self._replay = Replay()
        self._numbers: dict[Base, int] = {}  # next ones, of the base names used last
        self._last = Acquisition(rules, self._session, 0, self._numbers)
        self._open: list[Acquisition] = []  # the one that got a frame last is the last

    def connected(self) -> None:
        """The next frames come from a new connection, what its sender replays first. Ends no acquisition."""
        self._replay.connected()
        self._sessions.connected()

    def succeeding(self) -> None:
        """A second connection stands; until `connected`, frames still come from the first.

        Both get what the sender sends meanwhile: what comes again on the second is dropped there.
        """
        self._replay.succeeding()

    def resume(self, sessions: Sequence[KnownSession], earlier: EarlierRun | None, started: float) -> None:
        """Go on with what earlier runs recorded; this one started at a Unix time. Call it before any frame comes."""
        self._sessions.resume(sessions, earlier, started)

    def damaged(self) -> None:
        """A frame came whose bytes are not what was sent; it is not recorded."""
        self._sessions.damaged()

    def receive(self, frame: Frame, now: Moment) -> list[Action]:
        """Return what to do, in order, about a frame whose bytes arrived at `now`."""
        actions = self.tick(now)
        replayed = self._replay.is_replayed(frame)
        if self._sessions.held and not replayed:
            actions += self._note(self._sessions.settle(frame))
        if self._replay.is_doubled(frame, replayed=replayed):
            actions.append(duplicate(frame))
        elif frame.flow_control is not None:
            actions += self._obey(frame, frame.flow_control, stale=replayed)
        elif frame.type != PIPELINE_INFO and not self._replay.is_repeated(frame, replayed=replayed):
            session = self._session_of(frame)
            told = self._sessions.count(session, frame, now.wall, replayed=replayed)
            if told and isinstance(told[0], Duplicate):
                return [*actions, told[0]]
            actions += self._enter(session)
            written = self._last.record(frame, now)
            actions += [*self._note(told), *written] if told else written
        return actions

    def tick(self, now: Moment) -> list[Action]:
        """Return what to do because time has passed, while all bytes that arrived before are dealt with."""
        actions: list[Action] = []
        while (deadline := self.deadline()) is not None and now.monotonic >= deadline:
            actions += min(self._open, key=Acquisition.deadline).expire()
            self._forget_ended()
        return actions

    def deadline(self) -> float | None:
        """Return the monotonic second at which `tick` has something to do, None if that takes a frame."""
        return min(map(Acquisition.deadline, self._open), default=None)

    def finish(self, reason: CloseReason) -> list[Action]:
        """Return what to do when all acquisitions are over, for whatever reason. Safe to repeat."""
        told = self._sessions.settle() if reason is CloseReason.STOPPED else []
        return [*self._note(told), *self._end(list(self._open), reason)]

    def report(self) -> AcquisitionReport | None:
        """Return how things are with the acquisition that got a frame last, unless it is over."""
        return None if self._last.state is State.IDLE else self._last.progress.report()

    def _end(self, acquisitions: Iterable[Acquisition], reason: CloseReason) -> list[Action]:
        actions = [action for each in acquisitions for action in each.finish(reason)]
        self._forget_ended()
        return actions

    def _forget_ended(self) -> None:
        self._open = [each for each in self._open if each.state is not State.IDLE]

    def _obey(self, frame: Frame, value: int, *, stale: bool) -> list[Action]:
        """Return what to do about flow control; what is replayed starts and ends nothing."""
        match value:
            case FlowControl.ALIVE | FlowControl.CLEANSE:
                return []
            case FlowControl.START | FlowControl.END:
                return [] if stale else self._turn(frame.stream_id, _FLOW_REASON[value])
            case _:
                return [UnknownFlowControl(value=value)]

    def _turn(self, stream_id: str | None, reason: CloseReason) -> list[Action]:
        """End the acquisition of that stream, else the last one; of its session all stays but the head."""
        self._sessions.turned.add(stream_id)
        named = [each for each in self._open if stream_id is not None and each.session.stream_id == stream_id]
        ending = named or [each for each in self._open if None in {stream_id, each.session.stream_id}][-1:]
        for each in ending:
            each.session.observation = b""
        if stream_id is None or self._session.stream_id in {None, stream_id}:
            self._session.observation = b""
            self._session = Session()
        return self._end(ending, reason)

    def _session_of(self, frame: Frame) -> Session:
        """Return the session of a frame; one that names none belongs to any."""
        if frame.session_id is not None:
            return self._sessions.find(frame)
        if self._session.id is None:
            self._session.stream_id = frame.stream_id or self._session.stream_id
        return self._session

    def _enter(self, session: Session) -> list[Action]:
        """Make the session's acquisition the last one; return what ends another, if too many are open."""
        if session is self._last.session and self._last.state is not State.IDLE:
            return []
        actions: list[Action] = []
        self._session = session
        found = next((each for each in self._open if each.session is session), None)
        if found is None:
            if len(self._open) >= self._rules.most_open:
                actions += self._end(self._open[:1], CloseReason.SESSION_CHANGED)
            used = {each.key for each in self._open}
            key = next(key for key in range(self._rules.most_open) if key not in used)
            found = Acquisition(self._rules, session, key, self._numbers)
        self._open = [*(each for each in self._open if each is not found), found]
        self._last = found
        return actions

    def _note(self, told: Sequence[Noted]) -> list[Action]:
        """Count what is missing where it is, and return what tells of it."""
        for fact in told:
            for each in self._open:
                each.count_missing(fact)
        return list(told)


_FLOW_REASON: Final = {FlowControl.START: CloseReason.START, FlowControl.END: CloseReason.END}
