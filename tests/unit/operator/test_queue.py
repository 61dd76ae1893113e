"""The queue: each key once, one worker a key, nothing that woke is forgotten, failures wait longer each time."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from timestream_operator.queue import FIRST_DELAY, LONGEST_DELAY, RetryError, WorkQueue, backoff

ENOUGH = 5.0  # seconds


async def until(holds: Callable[[], object]) -> None:
    """Return when that holds."""
    end = time.monotonic() + ENOUGH
    while not holds():
        assert time.monotonic() < end
        await asyncio.sleep(0.002)


class Gate:
    """Work that goes on only when it is let."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.go_on = threading.Semaphore(0)

    def work(self, key: str) -> None:
        self.begun.append(key)
        assert self.go_on.acquire(timeout=ENOUGH)


def test_a_key_that_is_woken_many_times_is_worked_on_once() -> None:
    async def story() -> list[str]:
        done: list[str] = []
        queue = WorkQueue[str](done.append, workers=2)
        for _ in range(5):
            queue.wake("a")
        await until(lambda: done)
        await asyncio.sleep(0.05)
        assert await queue.stop(ENOUGH)
        return done

    assert asyncio.run(story()) == ["a"]


def test_a_key_that_waits_for_a_worker_is_worked_on_once_however_often_it_is_woken() -> None:
    async def story() -> list[str]:
        gate = Gate()
        queue = WorkQueue[str](gate.work, workers=1)
        queue.wake("a")
        await until(lambda: gate.begun)
        for _ in range(5):
            queue.wake("b")
            await asyncio.sleep(0.001)
        gate.go_on.release(10)
        await until(lambda: len(gate.begun) > 1)
        await asyncio.sleep(0.05)
        assert await queue.stop(ENOUGH)
        return gate.begun

    assert asyncio.run(story()) == ["a", "b"]


def test_a_key_is_not_worked_on_before_it_is_due_and_an_earlier_look_replaces_a_later_one() -> None:
    async def story() -> None:
        times: dict[str, float] = {}
        queue = WorkQueue[str](lambda key: times.update({key: time.monotonic()}), workers=2)
        begun = time.monotonic()
        queue.wake("later", after=0.2)
        queue.wake("earlier", after=100.0)
        queue.wake("earlier", after=0.1)
        queue.wake("never", after=100.0)
        await until(lambda: len(times) == 2)
        assert 0.1 <= times["earlier"] - begun < 0.2 <= times["later"] - begun
        assert await queue.stop(ENOUGH)

    asyncio.run(story())


def test_what_wakes_a_key_while_it_is_worked_on_is_done_afterwards() -> None:
    async def story() -> None:
        gate = Gate()
        queue = WorkQueue[str](gate.work, workers=2)
        queue.wake("a")
        await until(lambda: gate.begun)
        queue.wake("a")
        await asyncio.sleep(0.05)
        assert gate.begun == ["a"], "one worker a key"
        gate.go_on.release(2)
        await until(lambda: gate.begun == ["a", "a"])
        assert await queue.stop(ENOUGH)

    asyncio.run(story())


def test_a_key_is_looked_at_again_after_the_seconds_that_the_work_returns() -> None:
    async def story() -> None:
        times: list[float] = []

        def work(_: str) -> float | None:
            times.append(time.monotonic())
            return 0.1 if len(times) == 1 else None

        queue = WorkQueue[str](work, workers=1)
        queue.wake("a")
        await until(lambda: len(times) == 2)
        assert times[1] - times[0] >= 0.1
        await asyncio.sleep(0.2)
        assert len(times) == 2
        assert await queue.stop(ENOUGH)

    asyncio.run(story())


def test_a_failure_is_tried_again_later_each_time_and_success_forgets_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    failing = [True, True, True, False, True]

    async def story() -> None:
        left = list(failing)

        def work(_: str) -> None:
            if left.pop(0):
                raise RetryError("the API server is away")

        queue = WorkQueue[str](work, workers=1)
        for number in range(len(failing)):
            queue.wake("a")
            await until(lambda number=number: len(left) == len(failing) - number - 1)
            await until(lambda: not queue._running)
        assert await queue.stop(ENOUGH)

    asyncio.run(story())
    pauses = [vars(record)["again"] for record in caplog.records]
    least = [FIRST_DELAY / 2, FIRST_DELAY, FIRST_DELAY * 2, FIRST_DELAY / 2]
    assert all(half - 0.1 <= pause <= 2 * half for half, pause in zip(least, pauses, strict=True)), pauses


def test_a_failure_is_tried_again_without_being_woken() -> None:
    async def story() -> None:
        tried: list[str] = []

        def work(key: str) -> None:
            tried.append(key)
            if len(tried) == 1:
                raise RetryError("the API server is away")

        queue = WorkQueue[str](work, workers=1)
        queue.wake("a")
        await until(lambda: tried == ["a", "a"])
        assert await queue.stop(ENOUGH)

    asyncio.run(story())


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_a_wait_is_bounded_and_never_none_at_all(failures: int, jitter: float) -> None:
    assert FIRST_DELAY / 2 <= backoff(failures, jitter) <= LONGEST_DELAY


STEPS = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from([0.0, 0.0, 0.003]), st.booleans()))


@settings(deadline=None, max_examples=40)
@given(STEPS)
def test_whatever_happens_no_key_has_two_workers_and_none_is_forgotten(
    steps: list[tuple[str, float, bool]],
) -> None:
    async def story() -> None:
        lock, together, most = threading.Lock(), Counter[str](), Counter[str]()
        seen: dict[str, float] = {}

        def work(key: str) -> float | None:
            began = time.monotonic()
            with lock:
                together[key] += 1
                most[key] = max(most[key], together[key])
                most["all"] = max(most["all"], sum(together.values()))
            time.sleep(0.002)
            with lock:
                together[key] -= 1
            seen[key] = began
            return None

        queue = WorkQueue[str](work, workers=2)
        woken: dict[str, float] = {}
        for key, after, pauses in steps:
            woken[key] = time.monotonic()
            queue.wake(key, after)
            await asyncio.sleep(0.001 if pauses else 0)
        await until(lambda: all(seen.get(key, 0.0) >= at for key, at in woken.items()))
        assert await queue.stop(ENOUGH)
        assert max(most[key] for key in "abc") <= 1
        assert most["all"] <= 2

    asyncio.run(story())


def test_a_failure_of_one_key_does_not_hold_up_the_others(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        seen = threading.Event()

        def work(key: str) -> None:
            if key == "trouble":
                raise RetryError("the API server is away")
            if key == "bug":
                raise ZeroDivisionError
            seen.set()

        queue = WorkQueue[str](work, workers=1)
        for key in ("trouble", "bug", "fine"):
            queue.wake(key)
        await until(seen.is_set)
        assert await queue.stop(ENOUGH)

    asyncio.run(story())
    levels = {record.getMessage(): record.levelname for record in caplog.records}
    assert levels == {"tried in vain": "WARNING", "a bug": "ERROR"}


def test_stopping_waits_for_the_work_under_way_and_no_longer_than_it_may() -> None:
    async def story() -> list[str]:
        gate = Gate()
        queue = WorkQueue[str](gate.work, workers=1)
        queue.wake("a")
        queue.wake("waits for its worker")
        await until(lambda: gate.begun)
        assert not await queue.stop(0.05)
        queue.wake("b")
        gate.go_on.release(3)
        assert await queue.stop(ENOUGH)
        return gate.begun

    assert asyncio.run(story()) == ["a"]
