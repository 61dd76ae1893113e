"""What `verify` takes out of a frame that spt3g has read; spt3g comes without types."""

from datetime import UTC, datetime
from typing import Any, Final

_G3_UNITS: Final = 1e8  # of G3Time, in a second


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
    except RuntimeError:
        return None
