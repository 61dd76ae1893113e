"""How a log message becomes a line: JSON for programs, key=value for people; `extra` stands behind the message."""

import json
import logging
from datetime import UTC, datetime
from typing import Any, Final

LONGEST: Final = 4000
"""Characters of a message, a value or a traceback; of what is longer, the middle is left out."""
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonLines(logging.Formatter):
    """One JSON object a line."""

    def __init__(self, origin: str = "logger", within: str = "") -> None:
        """The logger's name stands under the key `origin`, without `within` at its beginning."""
        super().__init__()
        self._origin = origin
        self._within = within

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            self._origin: record.name.removeprefix(self._within),
            "message": shortened(record.getMessage()),
            **_extra(record),
        }
        if record.exc_info:
            line["traceback"] = shortened(self.formatException(record.exc_info))
        return json.dumps(line, default=lambda value: shortened(str(value)))


class TextLines(logging.Formatter):
    """Time, level, message, key=value."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, with a traceback below it where there is one."""
        time = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S")
        pairs = "".join(f" {name}={_plain(value)}" for name, value in _extra(record).items())
        trace = f"\n{shortened(self.formatException(record.exc_info))}" if record.exc_info else ""
        return f"{time} {record.levelname.lower():<7} {shortened(record.getMessage())}{pairs}{trace}"


def shortened(text: str) -> str:
    """Return `text` with no more than about LONGEST characters."""
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2]} ... {text[-LONGEST // 2 :]}"


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    """Return what the call gave as `extra`."""
    given = {name: value for name, value in vars(record).items() if name not in _STANDARD}
    return {name: shortened(value) if isinstance(value, str) else value for name, value in given.items()}


def _plain(value: object) -> str:
    """Return `value` as a word of a line: nothing in it moves a terminal's cursor."""
    text = shortened(str(value))
    return text if text.isprintable() and " " not in text else json.dumps(text)
