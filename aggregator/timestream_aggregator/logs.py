"""Log messages: a readable line each on a terminal, a JSON object each anywhere else.

Nobody who logs ever waits for whoever reads: a thread of its own alone writes to the standard error.
"""

import logging
import os
import threading
import time
from collections import Counter, deque
from collections.abc import Generator, Mapping
from contextlib import contextmanager, redirect_stderr
from typing import Final

from timestream_api.log_lines import JsonLines, TextLines

NAME: Final = "timestream_aggregator"
STANDARD_ERROR: Final = 2  # descriptor
SELDOM: Final = 60.0  # seconds
MOST_WAITING: Final = 1 << 20  # bytes that nobody has read yet
LAST_WORDS: Final = 1.0  # seconds that who reads gets at the end, to take what waits
_RETRY_AFTER: Final = 0.05  # seconds
_ERASE_LINE: Final = b"\r\x1b[K"


@contextmanager
def to_standard_error(level: str) -> Generator["LogWriter"]:
    """Send messages of `level` and above there, and in the same way all else that is written to it."""
    writer = LogWriter(STANDARD_ERROR)
    logger = logging.getLogger(NAME)
    logger.handlers[:] = [writer]
    logger.setLevel(level.upper())
    logger.propagate = False
    try:
        with redirect_stderr(writer):  # pyright: ignore[reportArgumentType] - it is written to, no more
            yield writer
    finally:
        writer.close()


def for_stream(stream_id: str) -> logging.Logger:
    """Return the logger of one stream."""
    return logging.getLogger(f"{NAME}.{stream_id}")


class LogWriter(logging.Handler):
    """Has messages, and on a terminal a live line below them, written to a descriptor by a thread of its own.

    Messages that find no room are dropped, and counted in a line of their own once half of the room is free.
    """

    def __init__(self, descriptor: int) -> None:
        """Begin to write to `descriptor`, until `close()`."""
        super().__init__()
        self._descriptor = descriptor
        self._erase = _ERASE_LINE if os.isatty(descriptor) else b""
        self.setFormatter(TextLines() if self._erase else JsonLines("stream", f"{NAME}."))
        self.live = bool(self._erase)
        """Whether there is a terminal for `show()`; one that has failed is none any more."""
        self._changed = threading.Condition()
        self._waiting = deque[tuple[bytes, int]]()  # each with the number of messages that it stands for
        self._size = 0
        self._dropped = 0
        self._failing = False
        self._live_line: bytes | None = None
        self._ending = False
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Have a message written."""
        try:
            line = self.format(record)
        except Exception as error:  # noqa: BLE001 - a bad message must not end who says it
            line = f"a message that cannot be written: {record.msg!r}: {error!r}"
        self.write(f"{line}\n")

    def write(self, text: str) -> None:
        """Have `text` written, or count it as dropped."""
        data = text.encode(errors="backslashreplace")
        with self._changed:
            room = MOST_WAITING // 2 if self._dropped else MOST_WAITING
            if self._size + len(data) > room:
                self._dropped += 1
                return
            self._tell_dropped()
            self._add(data, 1)

    def show(self, line: str) -> None:
        """Keep `line` as the last one on the terminal, instead of the one before."""
        with self._changed:
            self._live_line = self._erase + line.encode() + b"\r"
            self._changed.notify()

    def close(self) -> None:
        """Write what waits, and end; not later than in about a second, whoever reads."""
        with self._changed:
            if self._ending:
                return
            self._ending = True
            self._live_line = self._erase if self.live else None
            self._changed.notify()
        self._thread.join(LAST_WORDS)
        super().close()

    def _add(self, data: bytes, messages: int) -> None:
        self._waiting.append((data, messages))
        self._size += len(data)
        self._changed.notify()

    def _tell_dropped(self) -> None:
        if self._dropped:
            extra = {
                "name": NAME,
                "levelname": "WARNING",
                "msg": "log messages dropped",
                "count": self._dropped,
            }
            line = self.format(logging.makeLogRecord(extra))
            messages, self._dropped = self._dropped, 0
            self._add(f"{line}\n".encode(), messages)

    def _run(self) -> None:
        while (piece := self._next()) is not None:
            data, messages = piece
            self._failing = not self._wrote(data)
            if self._failing:
                self.live = False
                with self._changed:
                    self._dropped += messages

    def _next(self) -> tuple[bytes, int] | None:
        """Return what is to be written next, None at the end."""
        with self._changed:
            if not self._waiting and not self._failing:
                self._tell_dropped()
            self._changed.wait_for(lambda: self._waiting or self._live_line or self._ending)
            if self._waiting:
                data, messages = self._waiting.popleft()
                self._size -= len(data)
                return self._erase + data, messages
            line, self._live_line = self._live_line, None
            return None if line is None else (line, 0)

    def _wrote(self, data: bytes) -> bool:
        """Write all of `data`, however long that takes; return whether that was possible."""
        while data:
            try:
                data = data[os.write(self._descriptor, data) :]
            except BlockingIOError:  # whoever shares the descriptor with us has made it so
                time.sleep(_RETRY_AFTER)
            except OSError:
                return False
        return True


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
