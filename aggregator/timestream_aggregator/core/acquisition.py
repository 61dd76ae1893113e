"""The recorder's decisions: frames and times in; open, write, close and note out.

An acquisition is frames with no gap between them. Its files share a base name; each is closed when it is long
or large enough, and the next one begins with the session's metadata, so that each can be read alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import IntEnum
from typing import Final

from timestream_aggregator.core.actions import Action, Close, Moment, Note, Noted, Open, Write, WriteHead
from timestream_aggregator.core.naming import Base, FileId, base_for, safe_stream_id, usable_session
from timestream_aggregator.core.numbering import Session, duplicate
from timestream_aggregator.core.progress import NOTHING_YET, Event, Progress, Snapshot, State, advance
from timestream_aggregator.core.replay import Replay
from timestream_aggregator.core.sessions import EarlierRun, KnownSession, Sessions
from timestream_aggregator.g3.parser import Frame
from timestream_api.ledger import Duplicate, Gap, Joined, Loss, Renamed, UnknownFlowControl
from timestream_api.report import CloseReason
from timestream_api.settings import RecorderSettings
from timestream_api.values import Layout

OBSERVATION: Final = "O"
PIPELINE_INFO: Final = "P"
_MOST_BASES: Final = 1024


class FlowControl(IntEnum):
    """Values of sostream_flowcontrol."""

    ALIVE = 0
    START = 1
    END = 2
    CLEANSE = 3


@dataclass(frozen=True, slots=True)
class Rules:
    """What a user can choose about acquisitions. Times in seconds."""

    time_per_file: float
    frame_gap: float
    stream_id: str = "stream"
    layout: Layout = Layout.TIMESTAMP
    max_file_bytes: int | None = None

    @classmethod
    def from_settings(cls, settings: RecorderSettings) -> "Rules":
        """Return the part of the recorder's settings that is decided here."""
        return cls(
            settings.time_per_file,
            settings.frame_gap,
            settings.stream_id,
            settings.layout,
            settings.max_file_bytes,
        )


class Recording:
    """Decides what becomes of each frame, over all connections of a recorder's life.

    The times it is given are those of arrival, and do not decrease.
    """

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._state = State.IDLE
        self._progress = NOTHING_YET
        self._sessions = Sessions()
        self._session = Session()  # that of the frame recorded last, until it ends
        self._replay = Replay()
        self._numbers: dict[Base, int] = {}  # next ones, of the base names used last

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
        told = [] if replayed else self._sessions.settle(frame)
        actions += map(Note, told)
        self._count_missing(told)
        if self._replay.is_doubled(frame, replayed=replayed):
            actions.append(Note(duplicate(frame)))
        elif frame.flow_control is not None:
            actions += self._obey(frame, frame.flow_control, stale=replayed)
        elif frame.type != PIPELINE_INFO and not self._replay.is_repeated(frame, replayed=replayed):
            session = self._session_of(frame)
            told = self._sessions.count(session, frame, now.wall, replayed=replayed)
            actions += map(Note, told)
            if not any(isinstance(fact, Duplicate) for fact in told):
                self._enter(session, actions)
                self._record(frame, now, actions)
                self._count_missing(told)
        return actions

    def tick(self, now: Moment) -> list[Action]:
        """Return what to do because time has passed, while all bytes that arrived before are dealt with."""
        actions: list[Action] = []
        while (deadline := self.deadline()) is not None and now.monotonic >= deadline:
            actions += self._expire()
        return actions

    def deadline(self) -> float | None:
        """Return the monotonic second at which `tick` has something to do, None if that takes a frame."""
        if self._state is State.IDLE:
            return None
        if self._state is State.BETWEEN:
            return self._gap_end()
        return min(self._gap_end(), self._file_end())

    def finish(self, reason: CloseReason) -> list[Action]:
        """Return what to do when the acquisition is over, for whatever reason. Safe to repeat."""
        actions: list[Action] = []
        if reason is CloseReason.STOPPED:
            actions += map(Note, self._sessions.settle())
        if self._state is State.RECORDING:
            actions.append(Close(reason))
        self._state = advance(self._state, Event.ENDED)
        return actions

    def snapshot(self) -> Snapshot:
        """Return how things are, as a copy."""
        return Snapshot(self._state, replace(self._progress))

    def _gap_end(self) -> float:
        return self._progress.last.monotonic + self._rules.frame_gap

    def _file_end(self) -> float:
        return self._progress.opened.monotonic + self._rules.time_per_file

    def _expire(self) -> list[Action]:
        """Return what to do about the limit that was met first."""
        if self._state is State.RECORDING and self._file_end() < self._gap_end():
            return self._fill(CloseReason.TIME_LIMIT)
        since = datetime.fromtimestamp(self._progress.last.wall, UTC)
        return [*self.finish(CloseReason.GAP), Note(Gap(base=self._progress.file.path, since=since))]

    def _fill(self, reason: CloseReason) -> list[Action]:
        """End the file, not the acquisition."""
        self._state = advance(self._state, Event.FILLED)
        return [Close(reason)]

    def _obey(self, frame: Frame, value: int, *, stale: bool) -> list[Action]:
        """Return what to do about flow control; what is replayed starts and ends nothing."""
        match value:
            case FlowControl.ALIVE | FlowControl.CLEANSE:
                return []
            case FlowControl.START | FlowControl.END:
                return [] if stale else self._turn(frame.stream_id, _FLOW_REASON[value])
            case _:
                return [Note(UnknownFlowControl(value=value))]

    def _turn(self, stream_id: str | None, reason: CloseReason) -> list[Action]:
        """End the acquisition, unless it is of another stream; what is known of its session stays, but for the head."""
        self._sessions.turned(stream_id)
        if stream_id is not None and self._session.stream_id not in {None, stream_id}:
            return []
        self._session.observation = b""
        self._session = Session()
        return self.finish(reason)

    def _session_of(self, frame: Frame) -> Session:
        """Return the session of a frame; one that names none belongs to any."""
        if frame.session_id is not None:
            return self._sessions.find(frame)
        if self._session.id is None:
            self._session.stream_id = frame.stream_id or self._session.stream_id
        return self._session

    def _enter(self, session: Session, actions: list[Action]) -> None:
        """Append what ends the acquisition, if the next frame to record is of another session."""
        if session is not self._session:
            actions += self.finish(CloseReason.SESSION_CHANGED)
            self._session = session

    def _record(self, frame: Frame, now: Moment, actions: list[Action]) -> None:
        """Append what writes `frame`."""
        if self._state is State.RECORDING and self._is_full(frame):
            actions += self._fill(CloseReason.SIZE_LIMIT)
        if self._state is not State.RECORDING:
            actions += self._open(frame, now)
        if frame.type == OBSERVATION:
            self._session.observation = b"".join(frame.parts)
        self._count(frame, now)
        actions.append(Write(frame))

    def _is_full(self, frame: Frame) -> bool:
        most = self._rules.max_file_bytes
        return most is not None and self._progress.file_bytes + frame.size > most

    def _open(self, frame: Frame, now: Moment) -> list[Action]:
        """Return what opens the next file, the first one of an acquisition or a later one, for `frame`."""
        actions = self._begin(now) if self._state is State.IDLE else []
        head, progress = self._session.observation, self._progress
        progress.file = self._next_file(progress.file.base)
        progress.opened, progress.file_bytes = now, 0
        actions.append(Open(progress.file, now, progress.session_id, progress.stream_id))
        if head and frame.type != OBSERVATION:
            progress.file_bytes = len(head)
            actions.append(WriteHead(head))
        self._state = advance(self._state, Event.OPENED)
        return actions

    def _begin(self, now: Moment) -> list[Action]:
        """Begin an acquisition, and return a note if it cannot be called what the streamer calls it."""
        session, rules = self._session, self._rules
        stream_id = safe_stream_id(session.stream_id or "")
        usable = session.id if usable_session(session.id) else None
        base = base_for(rules.layout, now.wall, usable, stream_id or rules.stream_id)
        self._progress = Progress(FileId(base, 0), session.id, stream_id or None, now, now, now)
        given = session.stream_id
        if rules.layout is Layout.TIMESTAMP or (given in {None, stream_id} and session.id in {None, usable}):
            return []
        return [Note(Renamed(base=base.path(0), stream_id=given, session_id=session.id))]

    def _next_file(self, base: Base) -> FileId:
        number = self._numbers.pop(base, 0)
        if len(self._numbers) >= _MOST_BASES:
            del self._numbers[next(iter(self._numbers))]
        self._numbers[base] = number + 1
        return FileId(base, number)

    def _count_missing(self, told: Sequence[Noted]) -> None:
        for fact in told:
            if isinstance(fact, Loss | Joined) and fact.session_id == self._session.id:
                self._progress.lost += fact.count if isinstance(fact, Loss) else 0
                self._progress.missed += fact.count if isinstance(fact, Joined) else 0

    def _count(self, frame: Frame, now: Moment) -> None:
        progress, number = self._progress, frame.frame_num
        progress.last = now
        progress.frames += 1
        progress.bytes += frame.size
        progress.file_bytes += frame.size
        if number is not None:
            progress.last_frame_num = number
            if progress.first_frame_num is None:
                progress.first_frame_num = number


_FLOW_REASON: Final = {FlowControl.START: CloseReason.START, FlowControl.END: CloseReason.END}
