"""An acquisition: frames of one session with no gap between them, and the files that hold them.

Its files share a base name; each is closed when it is long or large enough, and the next one begins with the
session's metadata, so that each can be read alone.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from timestream_aggregator.core.actions import Action, Close, Moment, Noted, Open, Write, WriteHead
from timestream_aggregator.core.naming import Base, FileId, base_for, safe_stream_id, usable_session
from timestream_aggregator.core.numbering import Session
from timestream_aggregator.core.progress import NOTHING_YET, Event, Progress, State, advance
from timestream_aggregator.g3.parser import Frame
from timestream_api.ledger import Gap, Joined, Loss, Renamed
from timestream_api.report import CloseReason
from timestream_api.settings import RecorderSettings
from timestream_api.values import Layout

OBSERVATION: Final = "O"
MOST_OPEN: Final = 4  # acquisitions at a time
_MOST_BASES: Final = 1024


@dataclass(frozen=True, slots=True)
class Rules:
    """What a user can choose about acquisitions. Times in seconds."""

    time_per_file: float
    frame_gap: float
    stream_id: str = "stream"
    layout: Layout = Layout.TIMESTAMP
    max_file_bytes: int | None = None
    most_open: int = MOST_OPEN

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


class Acquisition:
    """One of those that are open; its `key`, a small number, tells it from the others."""

    def __init__(self, rules: Rules, session: Session, key: int, numbers: dict[Base, int]) -> None:
        self.session, self.key = session, key
        self.state, self.progress = State.IDLE, NOTHING_YET
        self._rules, self._numbers = rules, numbers  # next ones, of all base names used last

    def deadline(self) -> float:
        """Return the monotonic second at which `expire` has something to do."""
        return self._gap_end() if self.state is State.BETWEEN else min(self._gap_end(), self._file_end())

    def expire(self) -> list[Action]:
        """Return what to do about the limit that was met first."""
        if self.state is State.RECORDING and self._file_end() < self._gap_end():
            return self._fill(CloseReason.TIME_LIMIT)
        since = datetime.fromtimestamp(self.progress.last.wall, UTC)
        return [*self.finish(CloseReason.GAP), Gap(base=self.progress.file.path, since=since)]

    def finish(self, reason: CloseReason) -> list[Action]:
        """Return what to do when the acquisition is over. Safe to repeat."""
        actions: list[Action] = [Close(self.key, reason)] if self.state is State.RECORDING else []
        self.state = advance(self.state, Event.ENDED)
        return actions

    def record(self, frame: Frame, now: Moment) -> list[Action]:
        """Return what writes `frame`."""
        actions: list[Action] = []
        if self.state is State.RECORDING and self._is_full(frame):
            actions += self._fill(CloseReason.SIZE_LIMIT)
        if self.state is not State.RECORDING:
            actions += self._open(frame, now)
        if frame.type == OBSERVATION:  # later files begin with it: it gets bytes that stay
            self.session.observation = b"".join(frame.parts)
            frame = replace(frame, parts=(memoryview(self.session.observation),))
        self._count(frame, now)
        actions.append(Write(self.key, frame))
        return actions

    def count_missing(self, fact: Noted) -> None:
        """Take in what is told of frames that are in no file."""
        if isinstance(fact, Loss) and fact.session_id == self.session.id:
            self.progress.lost += fact.count
        elif isinstance(fact, Joined) and fact.session_id == self.session.id:
            self.progress.missed += fact.count

    def _gap_end(self) -> float:
        return self.progress.last.monotonic + self._rules.frame_gap

    def _file_end(self) -> float:
        return self.progress.opened.monotonic + self._rules.time_per_file

    def _fill(self, reason: CloseReason) -> list[Action]:
        """End the file, not the acquisition."""
        self.state = advance(self.state, Event.FILLED)
        return [Close(self.key, reason)]

    def _is_full(self, frame: Frame) -> bool:
        most = self._rules.max_file_bytes
        return most is not None and self.progress.file_bytes + frame.size > most

    def _open(self, frame: Frame, now: Moment) -> list[Action]:
        """Return what opens the next file, the first one of an acquisition or a later one, for `frame`."""
        actions = self._begin(now) if self.state is State.IDLE else []
        head, progress = self.session.observation, self.progress
        progress.file = self._next_file(progress.file.base)
        progress.opened, progress.file_bytes = now, 0
        actions.append(Open(self.key, progress.file, now, progress.session_id, progress.stream_id))
        if head and frame.type != OBSERVATION:
            progress.file_bytes = len(head)
            actions.append(WriteHead(self.key, head))
        self.state = advance(self.state, Event.OPENED)
        return actions

    def _begin(self, now: Moment) -> list[Action]:
        """Begin an acquisition, and return a note if it cannot be called what the streamer calls it."""
        session, rules = self.session, self._rules
        stream_id = safe_stream_id(session.stream_id or "")
        usable = session.id if usable_session(session.id) else None
        base = base_for(rules.layout, now.wall, usable, stream_id or rules.stream_id)
        self.progress = Progress(FileId(base, 0), session.id, stream_id or None, now, now, now)
        given = session.stream_id
        if rules.layout is Layout.TIMESTAMP or (given in {None, stream_id} and session.id in {None, usable}):
            return []
        return [Renamed(base=base.path(0), stream_id=given, session_id=session.id)]

    def _next_file(self, base: Base) -> FileId:
        number = self._numbers.pop(base, 0)
        if len(self._numbers) >= _MOST_BASES:
            del self._numbers[next(iter(self._numbers))]
        self._numbers[base] = number + 1
        return FileId(base, number)

    def _count(self, frame: Frame, now: Moment) -> None:
        progress, number = self.progress, frame.frame_num
        progress.last = now
        progress.frames += 1
        progress.bytes += frame.size
        progress.file_bytes += frame.size
        if number is not None:
            progress.last_frame_num = number
            if progress.first_frame_num is None:
                progress.first_frame_num = number
