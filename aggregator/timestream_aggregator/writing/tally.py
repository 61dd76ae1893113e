"""What is known of the files of one stream: the one being written, the last one, and all together."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from timestream_aggregator.clock import utc
from timestream_aggregator.core.actions import Open
from timestream_aggregator.core.file_facts import FileFacts
from timestream_aggregator.core.files import OBSERVATION
from timestream_aggregator.disk.staged import StagedFile
from timestream_aggregator.g3.parser import Frame
from timestream_api import ledger
from timestream_api.report import CloseReason, CurrentFile, LastFile


@dataclass(frozen=True, slots=True)
class Copy:
    """An Observation that was received before and begins a later file again."""

    parts: Sequence[memoryview]
    size: int
    type: str = OBSERVATION
    frame_num: None = None


Recordable = Frame | Copy


@dataclass(frozen=True, slots=True)
class FilesState:
    """What has been written so far; replaced as a whole, so that other threads may look at it."""

    current: CurrentFile | None = None
    last: LastFile | None = None
    files: int = 0
    frames: int = 0
    size: int = 0
    trouble: str | None = None


@dataclass(slots=True)
class Board:
    """Where all files of a stream say how they stand."""

    state: FilesState = FilesState()
    unwritten: int = 0  # frames discarded since the recorder had to stop


@dataclass(slots=True)
class Tally:
    """The frames in a file that stand in no earlier one. Times of arrival are Unix seconds."""

    recorded: int = 0
    first_time: float | None = None
    last_time: float | None = None
    first_frame_num: int | None = None
    last_frame_num: int | None = None

    def add(self, frames: Iterable[Recordable], at: float) -> None:
        """Count `frames`, which arrived `at` that time and are in the file now."""
        for frame in frames:
            self.recorded += 1
            if frame.frame_num is not None:
                self.last_frame_num = frame.frame_num
                if self.first_frame_num is None:
                    self.first_frame_num = frame.frame_num
        if self.recorded:
            self.last_time = at
            self.first_time = at if self.first_time is None else self.first_time

    def facts(self, path: str, file: StagedFile, asked: Open) -> FileFacts:
        """Return what is in the file, which is to be called `path` or is already."""
        numbers = self.first_frame_num, self.last_frame_num
        return FileFacts(path, file.size, file.frames, file.crc, asked.session_id, *numbers, asked.stream_id)

    def published(self, file: FileFacts, reason: CloseReason) -> ledger.Published:
        """Return what the ledger is told when the file is published."""
        return ledger.Published(
            **file.line(),
            repeated=file.frames - self.recorded,
            reason=reason,
            first_frame_time=utc(self.first_time or 0),
            last_frame_time=utc(self.last_time or 0),
        )

    def left(self, file: FileFacts, why: str) -> ledger.Left:
        """Return what the ledger is told when the file cannot be published."""
        return ledger.Left(**file.line(), repeated=file.frames - self.recorded, why=why)
