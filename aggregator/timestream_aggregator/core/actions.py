"""What the core of the recorder tells its shell to do, and the times that it is told."""

from dataclasses import dataclass

from timestream_aggregator.core.naming import FileId
from timestream_aggregator.g3.parser import Frame
from timestream_api.ledger import Duplicate, Gap, Joined, Loss, Renamed, Renumbered, UnknownFlowControl
from timestream_api.report import CloseReason

Noted = Gap | Joined | Loss | Duplicate | Renumbered | Renamed | UnknownFlowControl
"""What is to be brought to log and ledger."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A time on two clocks, in seconds: the one that never jumps, and Unix time."""

    monotonic: float
    wall: float


@dataclass(frozen=True, slots=True)
class Open:
    """Begin a file. Its `key`, a small number, tells the acquisition from the others that are open.

    The number is the least that it may have: where files with this base name exist, from a run before or
    because two acquisitions began in one second, it is the one after the highest (`naming.next_number`).
    """

    key: int
    file: FileId
    at: Moment
    session_id: int | None
    stream_id: str | None


@dataclass(frozen=True, slots=True)
class WriteHead:
    """Write the bytes of a frame that an earlier file holds: the session's last Observation."""

    key: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Write:
    """Write a frame that has just come. The bytes of an Observation stay, those of others are the buffer's."""

    key: int
    frame: Frame


@dataclass(frozen=True, slots=True)
class Close:
    """Complete and publish the open file."""

    key: int
    reason: CloseReason


Action = Open | WriteHead | Write | Close | Noted
