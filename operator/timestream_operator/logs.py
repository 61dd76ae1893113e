"""Log lines: JSON in a pod, for people elsewhere; what a call gives as `extra` stands behind the message."""

import json
import logging
from datetime import UTC, datetime
from typing import Any, Final

# What every record has; the rest is `extra`.
KNOWN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
# kopf tells of each event, and of each start and stop of a watch.
CHATTY: Final = ("kopf", "aiohttp", "asyncio", "urllib3")


def set_up(level: str, *, as_json: bool) -> None:
    """Send all log lines of at least `level` to standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if as_json else TextLines())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)


def extras(record: logging.LogRecord) -> dict[str, Any]:
    """Return what the call gave as `extra`."""
    return {name: value for name, value in vars(record).items() if name not in KNOWN}


class JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **extras(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class TextLines(logging.Formatter):
    """Time, level, message, key=value."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, with a traceback below it where there is one."""
        time = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S")
        pairs = "".join(f" {name}={value}" for name, value in extras(record).items())
        trace = "\n" + self.formatException(record.exc_info) if record.exc_info else ""
        return f"{time} {record.levelname.lower()} {record.getMessage()}{pairs}{trace}"
