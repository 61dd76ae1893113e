"""Keys to look at: each of them once, one worker a key, again after a time, with backoff after a failure.

Knows nothing of Kubernetes. The event loop keeps the times, a pool of threads does the work.
"""

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
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


class WorkQueue(Generic[K]):
    """Has `work(key)` called in a thread for each key that is due; it returns the seconds to the next look.

    All else is called on one event loop.
    """

    def __init__(self, work: Callable[[K], float | None], workers: int) -> None:
        self._work = work
        self._threads = ThreadPoolExecutor(workers, "worker")
        self._idle = asyncio.Semaphore(workers)
        self._due: dict[K, asyncio.TimerHandle] = {}
        self._running: dict[K, asyncio.Task[None]] = {}
        self._failures: Counter[K] = Counter()
        self._stopping = False

    async def stop(self, within: float) -> bool:
        """Begin nothing new; return whether all work under way ended within so many seconds."""
        self._stopping = True
        self._threads.shutdown(wait=False)
        return not self._running or not (await asyncio.wait(self._running.values(), timeout=within))[1]

    def wake(self, key: K, after: float = 0.0) -> None:
        """Look at `key` in `after` seconds at the latest."""
        at = asyncio.get_running_loop().time() + after
        if key not in self._due or at < self._due[key].when():
            self._look_at(key, at)

    def _look_at(self, key: K, at: float) -> None:
        if key in self._due:
            self._due[key].cancel()
        self._due[key] = asyncio.get_running_loop().call_at(at, self._begin, key)

    def _begin(self, key: K) -> None:
        if key not in self._running:
            self._running[key] = asyncio.create_task(self._attempt(key))

    async def _attempt(self, key: K) -> None:
        async with self._idle:
            self._due.pop(key).cancel()  # what wakes it from now on is looked at afterwards
            again = None if self._stopping else await self._result(key)
        del self._running[key]
        if again is not None:
            self.wake(key, again)
        if key in self._due:
            self._look_at(key, self._due[key].when())  # its time may have come meanwhile

    async def _result(self, key: K) -> float | None:
        """Work on `key`; return the seconds to the next look."""
        try:
            again = await asyncio.get_running_loop().run_in_executor(self._threads, self._work, key)
        except RetryError as error:
            again = self._failed(key)
            logger.warning(
                "tried in vain", extra={"key": str(key), "error": str(error), "again": round(again, 1)}
            )
        except Exception:  # a bug in the work on one key must not end the work on the others
            again = self._failed(key)
            logger.exception("a bug", extra={"key": str(key), "again_seconds": round(again, 1)})
        else:
            del self._failures[key]
        return again

    def _failed(self, key: K) -> float:
        self._failures[key] += 1
        return backoff(self._failures[key], random.random())  # noqa: S311 - spreads retries
