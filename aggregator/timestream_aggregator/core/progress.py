"""Where a recording stands: its states with their one table, and the acquisition so far."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from timestream_aggregator.core.actions import Moment
from timestream_aggregator.core.naming import Base, FileId
from timestream_api.report import AcquisitionReport


class State(StrEnum):
    """Where the recording stands."""

    IDLE = "idle"
    RECORDING = "recording"
    BETWEEN = "between files"


class Event(StrEnum):
    """What changes the state."""

    OPENED = "a file was opened"
    FILLED = "the file was closed, the acquisition goes on"
    ENDED = "the acquisition ended"


TRANSITIONS: Final[Mapping[State, Mapping[Event, State]]] = {
    State.IDLE: {Event.OPENED: State.RECORDING, Event.ENDED: State.IDLE},
    State.RECORDING: {Event.FILLED: State.BETWEEN, Event.ENDED: State.IDLE},
    State.BETWEEN: {Event.OPENED: State.RECORDING, Event.ENDED: State.IDLE},
}


class IllegalTransitionError(Exception):
    """A fault of this program."""


def advance(state: State, event: Event) -> State:
    """Return the state that follows `state` when `event` happens."""
    try:
        return TRANSITIONS[state][event]
    except KeyError:
        raise IllegalTransitionError(f"{event} is impossible while {state}") from None


@dataclass(slots=True)
class Progress:
    """An acquisition so far. `frames` and `bytes` are what came; `file_bytes` counts the file's head too."""

    file: FileId
    session_id: int | None
    stream_id: str | None
    started: Moment
    opened: Moment
    last: Moment
    frames: int = 0
    bytes: int = 0
    lost: int = 0
    missed: int = 0
    file_bytes: int = 0
    first_frame_num: int | None = None
    last_frame_num: int | None = None

    def report(self) -> AcquisitionReport:
        """Return what there is to say of it now."""
        return AcquisitionReport(
            base_name=f"{self.file.base.folder}/{self.file.base.stem}",
            session=self.session_id,
            stream_id=self.stream_id,
            started=datetime.fromtimestamp(self.started.wall, UTC),
            frames=self.frames,
            bytes=self.bytes,
            lost=self.lost,
            missed=self.missed,
            first_frame_num=self.first_frame_num,
            last_frame_num=self.last_frame_num,
        )


NOTHING_YET: Final = Progress(FileId(Base("", ""), 0), None, None, Moment(0, 0), Moment(0, 0), Moment(0, 0))
