"""A line of the ledger: what happened to one stream, in words that a program reads. `docs/ledger.md` explains each.

A line is a JSON object: who tells it and when, then `kind` and what that kind tells. What is not known is left
out. A reader has to pass over kinds and keys that it does not know.
"""

import json
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field

from timestream_api.report import CloseReason, Count
from timestream_api.values import Model

VERSION: Final = 1
LINE_LIMIT: Final = 4096  # bytes, line end included: one write of so few is never mixed with another's
BEGINNING: Final = b'{"v":'


def _cut_at(longest: int) -> BeforeValidator:
    """Return what makes any text one that fits into a line and on a terminal: cut, and printable."""

    def cut(value: object) -> object:
        if not isinstance(value, str) or (len(value) <= longest and value.isprintable()):
            return value
        text = "".join(character if character.isprintable() else "?" for character in value[: longest + 1])
        return text if len(text) <= longest else f"{text[: longest - 1]}…"

    return BeforeValidator(cut)


def _utc(value: datetime) -> datetime:
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


Short = Annotated[str, _cut_at(64)]
Text = Annotated[str, _cut_at(256)]
Path = Annotated[str, _cut_at(300)]
Time = Annotated[datetime, AfterValidator(_utc)]
Number = Annotated[int, Field(ge=-(1 << 63), lt=1 << 63)]
"""session_id or frame_num, as frames hold them."""
Crc = Annotated[str, Field(pattern=r"^[0-9a-f]{8}$")]


class _Fact(Model):
    model_config = ConfigDict(extra="ignore")  # what a later version adds


class _Many(_Fact):
    times: Count | None = Field(
        default=None, description="How many such things this line tells of, if more than one"
    )


class Started(_Fact):
    """A recorder has started; `run` tells its lines from those of others."""

    kind: Literal["started"] = "started"
    version: Short
    source: Text = Field(description="HOST:PORT of the sender, as configured")
    pod: Text | None = None


class Stopped(_Fact):
    """A recorder has ended as it was told to. A run without this line was killed."""

    kind: Literal["stopped"] = "stopped"
    unwritten: Count = Field(default=0, description="Frames that the disk did not take before the end")
    unread: Count = Field(default=0, description="Bytes that had arrived and were left to the sender")


class Connected(_Many):
    """A connection to the sender stands."""

    kind: Literal["connected"] = "connected"
    endpoint: Text


class Disconnected(_Many):
    """A connection has ended."""

    kind: Literal["disconnected"] = "disconnected"
    why: Text


class Gap(_Many):
    """No frame came for longer than frameGap: the acquisition ended."""

    kind: Literal["gap"] = "gap"
    base: Path = Field(description="Last file of the acquisition that ended")
    since: Time = Field(description="When its last frame arrived")


class Loss(_Fact):
    """Frames that the sender counted and that are in no file."""

    kind: Literal["loss"] = "loss"
    count: Count
    session_id: Number | None = None
    stream_id: Short | None = None
    first: Number | None = Field(default=None, description="First missing frame_num")
    last: Number | None = Field(default=None, description="Last missing frame_num")
    cause: Short | None = Field(default=None, description="The probable one: a LossCause")
    why: Text | None = Field(default=None, description="What the disk says, where it is the cause")
    path: Path | None = Field(default=None, description="The file whose bytes the disk lost")


class Joined(_Fact):
    """The recorder met a session that had begun before any recorder of the stream ran. Nothing is lost."""

    kind: Literal["joined"] = "joined"
    session_id: int | None = None
    stream_id: Short | None = Field(default=None, description="sostream_id that the streamer gave")
    first: int = Field(description="A frame_num that is recorded")
    count: Count = Field(description="How many frames right before it had been sent, and are in no file")


class Duplicate(_Many):
    """A frame came again and was not written again."""

    kind: Literal["duplicate"] = "duplicate"
    type: Short
    session_id: Number | None = None
    frame_num: Number | None = None
    last: Number | None = Field(default=None, description="Of several the last frame_num")


class Renumbered(_Fact):
    """The streamer's frame_num went back within a session. The frames are recorded all the same."""

    kind: Literal["renumbered"] = "renumbered"
    session_id: Number | None = None
    last: Number = Field(description="The number before")
    first: Number = Field(description="The number after")


class Renamed(_Fact):
    """Files cannot be called what the streamer calls them."""

    kind: Literal["renamed"] = "renamed"
    base: Path
    stream_id: Short | None = None
    session_id: Number | None = None


class UnknownFlowControl(_Many):
    """A flow-control frame with a value that nobody knows; it was dropped."""

    kind: Literal["unknownFlowControl"] = "unknownFlowControl"
    value: int | None = None


class Quarantined(_Many):
    """A damaged piece of the stream, or a frame that is odd, is in no file."""

    kind: Literal["quarantined"] = "quarantined"
    bytes: Count
    why: Text
    kept: Path | None = Field(default=None, description="Where it was put; none when it was not kept")
    kept_bytes: Count | None = Field(default=None, description="How much of it that is")


class Opened(_Fact):
    """A file is being written; it has no final name yet."""

    kind: Literal["opened"] = "opened"
    path: Path = Field(description="The name it is meant to get")


class _File(_Fact):
    path: Path = Field(description="Under the data folder")
    bytes: Count
    frames: Count
    crc32c: Crc = Field(alias="crc32c", description="CRC-32C of the whole file, hexadecimal")
    session_id: Number | None = None
    stream_id: Short | None = Field(default=None, description="sostream_id, as it may be in a name")
    first_frame_num: Number | None = None
    last_frame_num: Number | None = None


class Published(_File):
    """A file has its final name and is on the disk."""

    kind: Literal["published"] = "published"
    repeated: Count = Field(default=0, description="Of the frames, how many an earlier file holds too")
    first_frame_time: Time | None = Field(default=None, description="When its first frame arrived")
    last_frame_time: Time | None = Field(default=None, description="When its last frame arrived")
    reason: CloseReason


class Left(_File):
    """A file could not be published. What the disk kept of it is recovered as soon as that can be read."""

    kind: Literal["left"] = "left"
    repeated: Count = Field(default=0, description="Of the frames, how many an earlier file holds too")
    why: Text


class Verified(_Fact):
    """A published file was read back."""

    kind: Literal["verified"] = "verified"
    path: Path
    good: bool = Field(description="Whether it holds what was received")
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    why: Text | None = Field(default=None, description="What is wrong with it")


class Acknowledged(_Fact):
    """Somebody has seen to a file that does not hold what was received."""

    kind: Literal["acknowledged"] = "acknowledged"
    path: Path


class Recovered(_File):
    """A file that a run before left unfinished has its final name and is on the disk."""

    kind: Literal["recovered"] = "recovered"
    wanted: Path | None = Field(default=None, description="The name it was meant to get, if that is another")
    cut: Count = Field(default=0, description="Bytes of a torn frame, or zeros, cut off its end")
    quarantined: Count = Field(default=0, description="Bytes after the first damaged frame, put aside")
    kept: Path | None = Field(default=None, description="Where those were put")


class Removed(_Fact):
    """A file that a run before left held no whole frame."""

    kind: Literal["removed"] = "removed"
    path: Path = Field(description="The name it was meant to get")
    cut: Count = 0
    quarantined: Count = 0
    kept: Path | None = None


class Trouble(_Fact):
    """The disk fails; until `troubleOver` nothing is written."""

    kind: Literal["trouble"] = "trouble"
    why: Text


class TroubleOver(_Fact):
    """The disk works again."""

    kind: Literal["troubleOver"] = "troubleOver"
    after: Text


class Torn(_Fact):
    """The ledger's last line was torn by a crash and has been cut off."""

    kind: Literal["torn"] = "torn"
    bytes: Count
    text: Text = Field(description="How it began")


Fact = (
    Started
    | Stopped
    | Connected
    | Disconnected
    | Gap
    | Loss
    | Joined
    | Duplicate
    | Renumbered
    | Renamed
    | UnknownFlowControl
    | Quarantined
    | Opened
    | Published
    | Left
    | Verified
    | Acknowledged
    | Recovered
    | Removed
    | Trouble
    | TroubleOver
    | Torn
)
_KINDS: Final = frozenset(fact.model_fields["kind"].default for fact in get_args(Fact))


class Line(_Fact):
    """Who tells what, and when."""

    v: Literal[1] = VERSION
    time: Time
    stream: Short = Field(description="Name of the recorder's stream")
    run: Short = Field(description="Differs from run to run of a recorder")
    dropped: Count = Field(default=0, description="Lines before this one that could not be kept")
    fact: Fact = Field(discriminator="kind")

    def encode(self) -> bytes:
        """Return the line, with its end: at most LINE_LIMIT bytes."""
        values = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        fact: dict[str, Any] = values.pop("fact")
        if not self.dropped:
            del values["dropped"]
        ordered = {**values, "kind": fact.pop("kind"), **fact}
        return json.dumps(ordered, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def decode(line: str) -> Line | None:
    """Return what a line says; None if it is torn, or of a version or kind that is not known here.

    What was torn may stand in front of a whole line: it began before that and was never ended.
    """
    text = line[max(0, line.rfind(BEGINNING.decode())) :]
    try:
        return Line.model_validate_json(f'{{"fact":{text},{text[1:]}')  # both take of it what is theirs
    except (ValueError, OverflowError, RecursionError):  # of JSON, or pydantic's; of times; of brackets
        return None


def is_of_another_kind(line: str) -> bool:
    """Return whether a line is whole and tells of a kind that only a later version knows."""
    try:
        values = json.loads(line)
        return values["v"] == VERSION and values["kind"] not in _KINDS
    except (ValueError, TypeError, LookupError, RecursionError):
        return False
