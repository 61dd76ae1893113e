"""How long a failing disk is waited for: attempts with growing pauses, and an end to patience."""

import random
import threading
from typing import Final

from timestream_aggregator.clock import SYSTEM, Clock

RETRY_FIRST: Final = 0.25  # seconds
RETRY_AT_MOST: Final = 15.0
RETRY_DISCARDING: Final = 1.0  # each second more is data lost


class Patience:
    """The trouble with the disk, as far as time is concerned. For the writer's thread, but for `stop()`."""

    def __init__(self, max_stall: float, clock: Clock = SYSTEM) -> None:
        """Make one; after `max_stall` seconds of trouble frames are discarded, and each second counts."""
        self._max_stall = max_stall
        self._clock = clock
        self._stop = threading.Event()
        self._give_up_at = float("inf")
        self._since: float | None = None  # monotonic seconds, of the first failure
        self._pause = RETRY_FIRST
        self._try_at = 0.0
        self.why = ""  # what the disk said last

    def stop(self, patience: float) -> None:
        """Give way `patience` seconds from now if the disk still fails then. Any thread may call this."""
        self._give_up_at = self._clock.monotonic() + patience
        self._stop.set()

    def failed(self, error: OSError) -> None:
        """Take note of a failure."""
        now = self._clock.monotonic()
        self.why = str(error)
        self._since = now if self._since is None else self._since
        is_long = now - self._since >= self._max_stall
        at_most = RETRY_FIRST if self._stop.is_set() else RETRY_DISCARDING if is_long else RETRY_AT_MOST
        pause = min(self._pause, at_most)
        self._try_at = now + pause * random.uniform(0.8, 1.2)  # noqa: S311 - jitter
        self._pause = min(self._pause * 2, RETRY_AT_MOST)

    def over(self) -> None:
        """Take note of a success."""
        self._since, self._pause, self._try_at = None, RETRY_FIRST, 0.0

    def may_try(self) -> bool:
        """Return whether it is time for an attempt."""
        return self._clock.monotonic() >= self._try_at

    def must_give_up(self) -> bool:
        """Return whether what cannot be written now has to be given up."""
        return self._since is not None and self._clock.monotonic() >= self._give_up_at

    def wait(self) -> None:
        """Wait a little before the next look."""
        pause = max(0.0, min(self._try_at - self._clock.monotonic(), RETRY_FIRST))
        if self._clock.wait(self._stop, pause):
            self._clock.sleep(min(pause, 0.05))
