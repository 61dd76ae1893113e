"""Log messages: a readable line each on a terminal, a JSON object each anywhere else."""

import logging
import sys
import time
from collections import Counter
from collections.abc import Mapping
from typing import Final, TextIO

from timestream_api.log_lines import JsonLines, TextLines

NAME: Final = "timestream_aggregator"
SELDOM: Final = 60.0  # seconds


def set_up(level: str, stream: TextIO = sys.stderr) -> None:
    """Send messages of `level` and above to `stream`."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(TextLines() if stream.isatty() else JsonLines("stream", f"{NAME}."))
    logger = logging.getLogger(NAME)
    logger.handlers[:] = [handler]
    logger.setLevel(level.upper())
    logger.propagate = False


def for_stream(stream_id: str) -> logging.Logger:
    """Return the logger of one stream."""
    return logging.getLogger(f"{NAME}.{stream_id}")


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
