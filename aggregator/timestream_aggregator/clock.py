"""The clocks of the recorder's shell, and the pulse by which others see that a thread's loop goes round."""

import time
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Final

from timestream_aggregator.core.actions import Moment

HEALTHY: Final = 30.0  # seconds within which a loop has to go round


def moment() -> Moment:
    """Return now, on the clock that nobody sets and on the one that people read."""
    return Moment(monotonic=time.monotonic(), wall=time.time())


def utc(wall: float | None = None) -> datetime:
    """Return now, or the Unix time `wall`, in UTC."""
    return datetime.now(UTC) if wall is None else datetime.fromtimestamp(wall, UTC)


class Pulse:
    """Says whether a thread's loop still goes round, without asking the thread.

    A thread that waits for something outside, a disk or a name service, is not ill: a restart would not help
    it and would lose what is buffered. It says so before it waits.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._beat = time.monotonic()
        self._waits_for: str | None = None

    def beat(self) -> None:
        """Say that the loop has gone round."""
        self._beat = time.monotonic()

    @contextmanager
    def waiting_for(self, what: str) -> Generator[None]:
        """Say that the thread waits for `what`, as long as that takes."""
        self._waits_for = what
        try:
            yield
        finally:
            self._waits_for = None
            self.beat()

    def trouble(self) -> str | None:
        """Return what is wrong with the loop, or None."""
        age = time.monotonic() - self._beat
        if self._waits_for or age < HEALTHY:
            return None
        return f"the loop of the {self.name} has not gone round for {age:.0f} s"
