"""The status document that a recorder sends: what it is doing, what it has done, what was lost."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Final

from pydantic import AfterValidator, Field, StringConstraints

from timestream_api.values import Model

Text = Annotated[str, StringConstraints(max_length=1024)]
Name = Annotated[str, StringConstraints(max_length=255)]
MOST: Final = (1 << 63) - 1
"""The largest number that the API server takes: a count beyond it stays there, since the report has to arrive."""
Count = Annotated[int, Field(ge=0), AfterValidator(lambda count: min(count, MOST))]


class ConnectionState(StrEnum):
    """Where the recorder stands with its sender."""

    CONNECTING = "Connecting"
    CONNECTED = "Connected"
    STOPPED = "Stopped"


class CloseReason(StrEnum):
    """Why a file was closed."""

    TIME_LIMIT = "TimeLimit"
    SIZE_LIMIT = "SizeLimit"
    GAP = "Gap"
    END = "End"
    START = "Start"
    SESSION_CHANGED = "SessionChanged"
    SILENCE = "Silence"
    DISCONNECTED = "Disconnected"
    DISK = "DiskTrouble"
    STOPPED = "Stopped"


class LossCause(StrEnum):
    """Why frames are in no file, probably."""

    LATE_JOIN = "LateJoin"
    RESTART = "Restart"
    RECONNECT = "Reconnect"
    SENDER = "Sender"
    DAMAGED = "Damaged"
    DISK = "Disk"


class Connection(Model):
    """The TCP connection to the sender."""

    state: ConnectionState = Field(description="Connecting, Connected or Stopped")
    endpoint: Name = Field(description="HOST:PORT as configured, with the IP address where it is known")
    since: datetime = Field(description="When this state began")
    attempts: Count = Field(default=0, description="Attempts to connect since the last success")
    last_error: Text | None = Field(default=None, description="Why the last attempt or connection ended")
    last_frame_time: datetime | None = Field(default=None, description="When the last frame arrived")


class AcquisitionReport(Model):
    """The running acquisition: frames with no gap between them."""

    base_name: Name = Field(description="Folder and base name of its files, under the data folder")
    session: int | None = Field(default=None, description="session_id that the streamer gave it")
    stream_id: Name | None = Field(default=None, description="sostream_id that the streamer gave it")
    started: datetime = Field(description="When its first frame arrived")
    frames: Count = Field(default=0, description="Frames recorded")
    bytes: Count = Field(default=0, description="Bytes recorded")
    lost: Count = Field(default=0, description="Frames that its session counted and that never arrived")
    first_frame_num: int | None = Field(default=None, description="First frame_num")
    last_frame_num: int | None = Field(default=None, description="Last frame_num")


class CurrentFile(Model):
    """The file that is being written; it gets its final name when it is complete."""

    path: Name = Field(description="Final path, under the data folder")
    opened: datetime = Field(description="When its first frame arrived")
    frames: Count = Field(default=0, description="Frames in it so far")
    bytes: Count = Field(default=0, description="Bytes in it so far")


class LastFile(Model):
    """The file published last."""

    path: Name = Field(description="Path under the data folder")
    frames: Count = Field(description="Frames in it")
    bytes: Count = Field(description="Bytes in it")
    crc32c: Annotated[str, StringConstraints(max_length=8, pattern=r"^[0-9a-f]{8}$")] = Field(
        alias="crc32c", description="CRC-32C of the whole file, hexadecimal"
    )
    closed: datetime = Field(description="When it was published")
    reason: CloseReason = Field(description="Why it was closed")
    verified: bool | None = Field(
        default=None, description="Whether it was read back through spt3g, once that is known"
    )


class LastLoss(Model):
    """The frames that were lost last."""

    time: datetime = Field(description="When that was found")
    count: Count = Field(description="How many they are")
    cause: LossCause = Field(
        description=(
            "LateJoin: sent before the recorder joined the session. Restart: sent while no recorder ran. "
            "Reconnect: sent while there was no connection. Sender: skipped or dropped by the sender. "
            "Damaged: came damaged or odd, and are in quarantine. Disk: came, and the disk did not take or keep them"
        )
    )
    session: int | None = Field(default=None, description="Their session_id")
    first: int | None = Field(default=None, description="Their first frame_num")
    last: int | None = Field(default=None, description="Their last frame_num")


class LastPutAside(Model):
    """What came last that is in no file, since it is no good frame."""

    time: datetime = Field(description="When it came")
    bytes: Count = Field(description="Its size")
    why: Text = Field(description="What is wrong with it, and what to do")


class Totals(Model):
    """Counts since the recorder started."""

    files: Count = Field(default=0, description="Files published")
    verified: Count = Field(default=0, description="Files read back through spt3g")
    bad_files: Count = Field(default=0, description="Files that do not hold what was received")
    recovered: Count = Field(
        default=0, description="Files that an earlier run left unfinished, completed and published"
    )
    frames: Count = Field(default=0, description="Frames recorded")
    bytes: Count = Field(default=0, description="Bytes recorded")
    lost: Count = Field(
        default=0, description="Frames that the sender counted and that never arrived, or were discarded"
    )
    duplicates: Count = Field(default=0, description="Repeated frames that were not written again")
    quarantined: Count = Field(
        default=0, description="Damaged pieces of the stream, and odd frames, that were put aside"
    )
    gaps: Count = Field(default=0, description="Pauses longer than frameGap between acquisitions")


class StorageReport(Model):
    """The disk under the data folder."""

    capacity_bytes: Count = Field(description="Size of the file system")
    free_bytes: Count = Field(description="What is free for the recorder")
    writable: bool = Field(default=True, description="Whether the last write succeeded")
    trouble: Text | None = Field(default=None, description="What is wrong with the disk, if anything")


class BufferReport(Model):
    """The memory between the network and the disk."""

    bytes: Count = Field(default=0, description="Received and not yet on disk")
    peak_bytes: Count = Field(default=0, description="The most there has been since the start")
    stalled: bool = Field(default=False, description="Full: the sender is being held back")
    stalls: Count = Field(default=0, description="How often it has been full since the start")


class Report(Model):
    """One whole report. It replaces the one before."""

    time: datetime = Field(description="When this report was made")
    started_at: datetime = Field(description="When the recorder started")
    version: Name = Field(description="Version of the recorder")
    pod: Name | None = Field(default=None, description="Pod that the recorder runs in")
    node: Name | None = Field(default=None, description="Node that the pod runs on")
    connection: Connection = Field(description="The TCP connection to the sender")
    acquisition: AcquisitionReport | None = Field(default=None, description="The running acquisition, if any")
    current_file: CurrentFile | None = Field(default=None, description="The file being written, if any")
    last_file: LastFile | None = Field(default=None, description="The file published last, if any")
    totals: Totals = Field(default=Totals(), description="Counts since the recorder started")
    last_bad_file: Name | None = Field(
        default=None, description="The file found last that does not hold what was received"
    )
    last_loss: LastLoss | None = Field(default=None, description="The frames lost last, if any were")
    last_put_aside: LastPutAside | None = Field(
        default=None, description="What came last that is no good frame, if anything did"
    )
    storage: StorageReport | None = Field(default=None, description="The disk under the data folder")
    buffer: BufferReport = Field(
        default=BufferReport(), description="The memory between the network and the disk"
    )
