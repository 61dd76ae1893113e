"""spt3g's reader, and what is taken out of the frames it has read; spt3g comes without types."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, cast

REFUSALS: Final = (RuntimeError, ValueError, MemoryError)
"""What spt3g's reader raises about bytes that it cannot read."""
_G3_UNITS: Final = 1e8  # of G3Time, in a second


def open_reader(path: str | Path) -> Any:
    """Return spt3g's reader, which has no types, and keep spt3g from writing messages of its own."""
    from spt3g import core  # noqa: PLC0415 - 60 MB and half a second: of those who need it, at low priority

    spt3g = cast("Any", core)
    spt3g.G3Logger.global_logger = spt3g.G3MultiLogger(spt3g.G3LoggerVector())
    try:
        return spt3g.G3Reader(str(path))
    except (TypeError, UnicodeEncodeError) as error:
        raise ValueError("spt3g opens no path that is not UTF-8") from error


def in_short(error: BaseException) -> str:
    """Return what spt3g says, without the place in its sources."""
    return str(error).partition("\n")[0].partition(" (in ")[0]


def type_of(frame: Any) -> str:
    """Return the characters of a frame's type."""
    return int(frame.type).to_bytes(4, "big").lstrip(b"\0").decode("ascii", "backslashreplace")


def whole_number(frame: Any, name: str) -> int | None:
    """Return an integer of the frame, None if there is none of that name."""
    value = _value(frame, name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def moment_of(frame: Any) -> str | None:
    """Return the frame's own time, ISO 8601, UTC."""
    ticks = getattr(_value(frame, "time"), "time", None)
    if not isinstance(ticks, int):
        return None
    try:
        return datetime.fromtimestamp(ticks / _G3_UNITS, UTC).isoformat(timespec="milliseconds")
    except (ValueError, OverflowError, OSError):  # beyond the years that a calendar has
        return None


def _value(frame: Any, name: str) -> object:
    """Return a value of the frame; None if there is none, or one of a class that spt3g does not know."""
    try:
        return frame.get(name, None)
    except (RuntimeError, ValueError):  # the latter: a text that is not UTF-8
        return None
