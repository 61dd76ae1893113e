"""Log messages: a readable line each on a terminal, a JSON object each anywhere else."""

import json
import logging
import sys
import time
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, TextIO

NAME: Final = "timestream_aggregator"
SELDOM: Final = 60.0  # seconds
_OVER_LIVE_LINE: Final = "\r\x1b[K"  # the cursor stands in the line that `record` keeps up to date
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


def set_up(level: str, stream: TextIO = sys.stderr) -> None:
    """Send messages of `level` and above to `stream`."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(ReadableFormatter() if stream.isatty() else JsonFormatter())
    logger = logging.getLogger(NAME)
    logger.handlers[:] = [handler]
    logger.setLevel(level.upper())
    logger.propagate = False


def for_stream(stream_id: str) -> logging.Logger:
    """Return the logger of one stream."""
    return logging.getLogger(f"{NAME}.{stream_id.replace('.', '_')}")


class RateLimited:
    """Logs each message at most `MOST` times a minute; the first of the next minute says how many were left out."""

    MOST: Final = 10

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._since: dict[str, float] = {}
        self._count: Counter[str] = Counter()

    def log(self, level: int, message: str, extra: Mapping[str, object]) -> None:
        """Log `message`, or count it."""
        now = time.monotonic()
        if now - self._since.get(message, float("-inf")) >= SELDOM:
            left_out = self._count.pop(message, 0) - self.MOST
            self._since[message] = now
            extra = {**extra, "left_out": left_out} if left_out > 0 else extra
        self._count[message] += 1
        if self._count[message] <= self.MOST:
            self._log.log(level, message, extra=dict(extra))


class JsonFormatter(logging.Formatter):
    """One JSON object a message; what was given as extra stands beside it."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "stream": record.name.rpartition(".")[2],
            "message": record.getMessage(),
            **_extra(record),
        }
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)


class ReadableFormatter(logging.Formatter):
    """Time, level, message, and what was given as extra as key=value."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, and a traceback below it if there is one."""
        at = datetime.fromtimestamp(record.created, UTC)
        extra = "".join(f" {key}={value}" for key, value in _extra(record).items())
        line = f"{_OVER_LIVE_LINE}{at:%H:%M:%S} {record.levelname.lower():<7} {record.getMessage()}{extra}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    return {key: value for key, value in vars(record).items() if key not in _STANDARD}
