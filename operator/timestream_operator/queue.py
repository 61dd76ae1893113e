"""Keys to look at: each of them once, one worker a key, again after a time, with backoff after a failure.

Knows nothing of Kubernetes. `Schedule` decides and takes time as an argument; `WorkQueue` has the threads.
"""

import heapq
import logging
import math
import random
import threading
import time
from collections.abc import Callable, Hashable
from itertools import count
from typing import Final, Generic, TypeVar

FIRST_DELAY: Final = 0.5
LONGEST_DELAY: Final = 60.0

logger = logging.getLogger(__name__)
K = TypeVar("K", bound=Hashable)


class RetryError(Exception):
    """A passing trouble: the key is tried again, later each time."""


def backoff(failures: int, jitter: float) -> float:
    """Return the seconds to wait after so many failures in a row. `jitter`, 0 to 1, takes off up to half."""
    delay = min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** min(failures - 1, 16))
    return delay * (1 - jitter / 2)


class Schedule(Generic[K]):
    """Which key is due when. A key that is being worked on is not given out again before it is done."""

    def __init__(self) -> None:
        self._due: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._order = count()
        self._running: set[K] = set()
        self._failures: dict[K, int] = {}

    def wake(self, key: K, at: float) -> None:
        """Look at `key` at the time `at`, or earlier if that was asked for."""
        if at < self._due.get(key, math.inf):
            self._due[key] = at
            self._push(key)

    def take(self, now: float) -> K | None:
        """Return the key that is due longest, which is then being worked on, or None."""
        while self._heap and self._heap[0][0] <= now:
            at, _, key = heapq.heappop(self._heap)
            if self._due.get(key) == at and key not in self._running:
                del self._due[key]
                self._running.add(key)
                return key
        return None

    def done(self, key: K, again: float | None) -> None:
        """Note that the work on `key` succeeded; look again at the time `again`."""
        self._failures.pop(key, None)
        self._free(key, again)

    def failed(self, key: K, now: float, jitter: float) -> float:
        """Note that the work on `key` failed; return the seconds after which it is tried again."""
        self._failures[key] = self._failures.get(key, 0) + 1
        delay = backoff(self._failures[key], jitter)
        self._free(key, now + delay)
        return delay

    def wait(self, now: float) -> float | None:
        """Return the seconds until a key may be due, None where none is waiting."""
        return max(0.0, self._heap[0][0] - now) if self._heap else None

    def _free(self, key: K, again: float | None) -> None:
        self._running.discard(key)
        if key in self._due:
            self._push(key)  # what woke it meanwhile has left the heap
        if again is not None:
            self.wake(key, again)

    def _push(self, key: K) -> None:
        if key not in self._running:
            heapq.heappush(self._heap, (self._due[key], next(self._order), key))


class WorkQueue(Generic[K]):
    """A few threads that call `work(key)` for each key that is due, which returns the seconds to its next."""

    def __init__(self, work: Callable[[K], float | None], workers: int) -> None:
        self._work = work
        self._schedule: Schedule[K] = Schedule()
        self._changed = threading.Condition()
        self._stopping = False
        self._threads = [
            threading.Thread(target=self._run, name=f"worker-{n}", daemon=True) for n in range(workers)
        ]

    def start(self) -> None:
        """Begin to work."""
        for thread in self._threads:
            thread.start()

    def stop(self, timeout: float) -> bool:
        """Begin nothing new; return whether all work under way ended within `timeout` seconds."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        end = time.monotonic() + timeout
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(max(0.0, end - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def wake(self, key: K, after: float = 0.0) -> None:
        """Look at `key` in `after` seconds at the latest. Safe from any thread."""
        with self._changed:
            self._schedule.wake(key, time.monotonic() + after)
            self._changed.notify()

    def _run(self) -> None:
        while (key := self._next()) is not None:
            self._attempt(key)

    def _next(self) -> K | None:
        with self._changed:
            while not self._stopping:
                now = time.monotonic()
                if (key := self._schedule.take(now)) is not None:
                    return key
                self._changed.wait(self._schedule.wait(now))
            return None

    def _attempt(self, key: K) -> None:
        try:
            again = self._work(key)
        except RetryError as error:
            logger.warning(
                "tried in vain", extra={"key": str(key), "error": str(error), "again": self._failed(key)}
            )
        except Exception:  # a bug in the work on one key must not end the work on the others
            logger.exception("a bug", extra={"key": str(key), "again_seconds": self._failed(key)})
        else:
            with self._changed:
                self._schedule.done(key, None if again is None else time.monotonic() + again)
                self._changed.notify()

    def _failed(self, key: K) -> float:
        with self._changed:
            self._changed.notify()
            jitter = random.random()  # noqa: S311 - it spreads retries, it guards nothing
            return round(self._schedule.failed(key, time.monotonic(), jitter), 1)
