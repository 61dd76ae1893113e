"""The recorder's decisions: frames and times in; open, write, close and note out.

An acquisition is frames with no gap between them. Its files share a base name; each is closed when it is long
or large enough, and the next one begins with the session's metadata, so that each can be read alone.
"""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import IntEnum
from typing import Final

from timestream_aggregator.core.actions import Action, Close, Moment, Note, Open, Write, WriteHead
from timestream_aggregator.core.naming import Base, FileId, base_for, safe_stream_id, usable_session
from timestream_aggregator.core.numbering import Missing, Numbers, Repeated, WentBack
from timestream_aggregator.core.progress import NOTHING_YET, Event, Progress, Snapshot, State, advance
from timestream_aggregator.core.replay import Replay
from timestream_aggregator.g3.parser import Frame
from timestream_api.ledger import Duplicate, Gap, Loss, Renamed, Renumbered, UnknownFlowControl
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


@dataclass(slots=True)
class _Session:
    """What is known of the streamer's session, over pauses and reconnects, until it ends."""

    id: int | None = None
    stream_id: str | None = None
    observation: bytes = b""
    numbers: Numbers = field(default_factory=Numbers)


class Recording:
    """Decides what becomes of each frame, over all connections of a recorder's life.

    The times it is given are those of arrival, and do not decrease.
    """

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._state = State.IDLE
        self._progress = NOTHING_YET
        self._session = _Session()
        self._replay = Replay()
        self._missed = 0  # frames, ahead of the one that is being dealt with
        self._numbers: dict[Base, int] = {}  # next ones, of the base names used last

    def connected(self) -> None:
        """The next frames come from a new connection, what its sender replays first. Ends no acquisition."""
        self._replay.connected()
        self._session.numbers.connected()

    def succeeding(self) -> None:
        """A second connection stands; until `connected`, frames still come from the first.

        Both get what the sender sends meanwhile: what comes again on the second is dropped there.
        """
        self._replay.succeeding()

    def resume(self, session_id: int, highest: int) -> None:
        """An earlier run recorded frames of this session, up to that frame_num. Call it before any frame comes."""
        self._session = _Session(session_id, numbers=Numbers(highest))

    def damaged(self) -> None:
        """A frame came whose bytes are not what was sent; it is not recorded."""
        self._session.numbers.damaged()

    def receive(self, frame: Frame, now: Moment) -> list[Action]:
        """Return what to do, in order, about a frame whose bytes arrived at `now`."""
        actions = self.tick(now)
        replayed = self._replay.is_replayed(frame)
        if self._replay.is_doubled(frame, replayed=replayed):
            actions.append(_duplicate(frame))
        elif frame.flow_control is not None:
            actions += self._obey(frame.flow_control, stale=replayed)
        elif frame.type != PIPELINE_INFO and not self._replay.is_repeated(frame, replayed=replayed):
            actions += self._enter_session(frame)
            if self._is_new(frame, actions, replayed=replayed):
                self._record(frame, now, actions)
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
        actions: list[Action] = [Close(reason)] if self._state is State.RECORDING else []
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

    def _obey(self, value: int, *, stale: bool) -> list[Action]:
        """Return what to do about flow control; what is replayed starts and ends nothing."""
        match value:
            case FlowControl.ALIVE | FlowControl.CLEANSE:
                return []
            case FlowControl.START | FlowControl.END:
                return [] if stale else self._end_session(_FLOW_REASON[value])
            case _:
                return [Note(UnknownFlowControl(value=value))]

    def _end_session(self, reason: CloseReason) -> list[Action]:
        self._session = _Session()
        return self.finish(reason)

    def _enter_session(self, frame: Frame) -> list[Action]:
        """Return what to do about the session that `frame` names; one that names none belongs to any."""
        actions: list[Action] = []
        if frame.session_id is not None and frame.session_id != self._session.id:
            actions = self._end_session(CloseReason.SESSION_CHANGED)
            self._session.id = frame.session_id
        if frame.stream_id is not None:
            self._session.stream_id = frame.stream_id
        return actions

    def _is_new(self, frame: Frame, actions: list[Action], *, replayed: bool) -> bool:
        """Return whether to record `frame`; append a note if its number does not follow the one before."""
        session, number = self._session, frame.frame_num
        if session.id is None or number is None:
            return True
        found = session.numbers.follow(frame, number, replayed=replayed)
        if found is not None:
            actions.append(self._note(frame, found))
        return not isinstance(found, Repeated)

    def _note(self, frame: Frame, found: Missing | WentBack | Repeated) -> Note:
        if isinstance(found, Repeated):
            return _duplicate(frame)
        session_id, first, last = self._session.id, found.first, found.last
        if isinstance(found, WentBack):
            return Note(Renumbered(session_id=session_id, last=last, first=first))
        self._missed = found.count
        return Note(Loss(count=found.count, session_id=session_id, first=first, last=last, cause=found.cause))

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

    def _count(self, frame: Frame, now: Moment) -> None:
        progress, number = self._progress, frame.frame_num
        progress.last = now
        progress.frames += 1
        progress.bytes += frame.size
        progress.lost, self._missed = progress.lost + self._missed, 0
        progress.file_bytes += frame.size
        if number is not None:
            progress.last_frame_num = number
            if progress.first_frame_num is None:
                progress.first_frame_num = number


_FLOW_REASON: Final = {FlowControl.START: CloseReason.START, FlowControl.END: CloseReason.END}


def _duplicate(frame: Frame) -> Note:
    return Note(Duplicate(type=frame.type, session_id=frame.session_id, frame_num=frame.frame_num))
