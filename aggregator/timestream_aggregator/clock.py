"""The clock of the recorder's shell, and the pulse by which others see that a thread's loop goes round."""

import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Final

from timestream_aggregator.core.actions import Moment

HEALTHY: Final = 30.0  # seconds within which a loop has to go round


def utc(wall: float) -> datetime:
    """Return the Unix time `wall`, in UTC."""
    return datetime.fromtimestamp(wall, UTC)


class Clock:
    """What time it is, and how a thread lets time pass. A test gives a clock that it turns itself."""

    def monotonic(self) -> float:
        """Return seconds on the clock that nobody sets."""
        return time.monotonic()

    def wall(self) -> float:
        """Return Unix seconds on the clock that people read."""
        return time.time()

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Wait until `event` is set, for at most `seconds`; return whether it is."""
        return event.wait(seconds)

    def sleep(self, seconds: float) -> None:
        """Let `seconds` pass."""
        time.sleep(seconds)

    def moment(self) -> Moment:
        """Return now, on both clocks."""
        return Moment(monotonic=self.monotonic(), wall=self.wall())

    def utc(self) -> datetime:
        """Return now, in UTC."""
        return utc(self.wall())


SYSTEM: Final = Clock()


class Pulse:
    """Says whether a thread's loop still goes round, without asking the thread.

    A thread that waits for something outside, a disk or a name service, is not ill: a restart would not help
    it and would lose what is buffered. It says so before it waits; what others say does not count.
    """

    def __init__(self, name: str, clock: Clock = SYSTEM) -> None:
        self.name = name
        self._clock = clock
        self._beat = clock.monotonic()
        self._waits_for: str | None = None
        self._thread: int | None = None

    def beat(self) -> None:
        """Say that the loop of the calling thread has gone round."""
        self._beat, self._thread = self._clock.monotonic(), threading.get_ident()

    @contextmanager
    def waiting_for(self, what: str) -> Generator[None]:
        """Say that the thread waits for `what`, as long as that takes. It may be waiting for something already."""
        if self._thread not in {None, threading.get_ident()}:
            yield
            return
        before, self._waits_for = self._waits_for, what
        try:
            yield
        finally:
            self._waits_for = before
            self.beat()

    def trouble(self) -> str | None:
        """Return what is wrong with the loop, or None."""
        age = self._clock.monotonic() - self._beat
        if self._waits_for or age < HEALTHY:
            return None
        return f"the loop of the {self.name} has not gone round for {age:.0f} s"
