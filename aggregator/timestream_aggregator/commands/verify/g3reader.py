"""spt3g, which comes without types: what `verify` uses of its reader, and nothing more."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Protocol, cast

_G3_UNITS: Final = 1e8  # of G3Time, in a second
REFUSALS: Final = (RuntimeError, ValueError, MemoryError)
"""What spt3g's reader raises about bytes that it cannot read."""


class ReadFrame(Protocol):
    """A frame that was read."""

    type: int

    def get(self, name: str, default: None, /) -> object:
        """Return a value, or None; RuntimeError if spt3g cannot make an object of its bytes."""

    def __len__(self) -> int:
        """Return the number of values."""
        ...


class G3Reader(Protocol):
    """spt3g's reader of one file."""

    def Process(self, frame: None, /) -> Sequence[ReadFrame]:  # noqa: N802 - spt3g's name
        """Return the next frame, or nothing at the end of the file."""
        ...

    def tell(self) -> int:
        """Return the offset in bytes of what is read next; -1 at the end of the file."""
        ...


def open_reader(path: Path) -> G3Reader:
    """Return spt3g's reader, and keep spt3g from writing its own messages into the table."""
    from spt3g import core  # noqa: PLC0415 - 60 MB and half a second that the other commands do without

    spt3g = cast("Any", core)
    spt3g.G3Logger.global_logger = spt3g.G3MultiLogger(spt3g.G3LoggerVector())
    return cast("G3Reader", spt3g.G3Reader(str(path)))


def type_of(frame: ReadFrame) -> str:
    """Return the characters of a frame's type."""
    return int(frame.type).to_bytes(4, "big").lstrip(b"\0").decode("ascii", "backslashreplace")


def whole_number(frame: ReadFrame, name: str) -> int | None:
    """Return an integer of the frame, None if there is none of that name."""
    value = _value(frame, name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def moment_of(frame: ReadFrame) -> str | None:
    """Return the frame's own time, ISO 8601, UTC."""
    ticks = getattr(_value(frame, "time"), "time", None)
    if not isinstance(ticks, int):
        return None
    try:
        return datetime.fromtimestamp(ticks / _G3_UNITS, UTC).isoformat(timespec="milliseconds")
    except (ValueError, OverflowError, OSError):  # beyond the years that a calendar has
        return None


def _value(frame: ReadFrame, name: str) -> object:
    """Return a value of the frame; None if there is none, or one of a class that spt3g does not know."""
    try:
        return frame.get(name, None)
    except RuntimeError:
        return None
