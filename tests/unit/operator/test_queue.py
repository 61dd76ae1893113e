"""The queue: each key once, one worker a key, nothing that woke is forgotten, failures wait longer each time."""

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timestream_operator.queue import FIRST_DELAY, LONGEST_DELAY, RetryError, Schedule, WorkQueue, backoff


def test_a_key_that_is_woken_many_times_is_given_out_once() -> None:
    schedule = Schedule[str]()
    for _ in range(5):
        schedule.wake("a", 1.0)
    assert schedule.take(1.0) == "a"
    assert schedule.take(2.0) is None


def test_a_key_is_not_given_out_before_it_is_due() -> None:
    schedule = Schedule[str]()
    schedule.wake("a", 10.0)
    assert schedule.take(9.9) is None
    assert schedule.wait(9.0) == 1.0
    assert schedule.take(10.0) == "a"


def test_an_earlier_look_replaces_a_later_one() -> None:
    schedule = Schedule[str]()
    schedule.wake("a", 100.0)
    schedule.wake("a", 1.0)
    assert schedule.take(1.0) == "a"
    schedule.done("a", None)
    assert schedule.take(200.0) is None


def test_what_wakes_a_key_while_it_is_worked_on_is_done_afterwards() -> None:
    schedule = Schedule[str]()
    schedule.wake("a", 0.0)
    assert schedule.take(0.0) == "a"
    schedule.wake("a", 1.0)
    assert schedule.take(2.0) is None
    schedule.done("a", 500.0)
    assert schedule.take(2.0) == "a"


def test_a_failure_is_tried_again_later_each_time_and_success_forgets_it() -> None:
    schedule = Schedule[str]()
    delays: list[float] = []
    for _ in range(3):
        schedule.wake("a", 0.0)
        assert schedule.take(0.0) == "a"
        delays.append(schedule.failed("a", 0.0, jitter=0.0))
    assert delays == [FIRST_DELAY, 2 * FIRST_DELAY, 4 * FIRST_DELAY]
    schedule.wake("a", 0.0)
    schedule.take(0.0)
    schedule.done("a", None)
    schedule.wake("a", 0.0)
    schedule.take(0.0)
    assert schedule.failed("a", 0.0, jitter=0.0) == FIRST_DELAY


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_a_wait_is_bounded_and_never_none_at_all(failures: int, jitter: float) -> None:
    assert FIRST_DELAY / 2 <= backoff(failures, jitter) <= LONGEST_DELAY


steps = st.lists(
    st.tuples(st.sampled_from(["wake", "later", "take", "done", "failed"]), st.sampled_from("abc"))
)


@given(steps)
def test_whatever_happens_no_key_has_two_workers_and_none_is_forgotten(taken: list[tuple[str, str]]) -> None:
    schedule = Schedule[str]()
    running: set[str] = set()
    awake: set[str] = set()
    for now, (step, key) in enumerate(taken):
        if step in {"wake", "later"}:
            schedule.wake(key, now + (5 if step == "later" else 0))
            awake.add(key)
        elif step == "take" and (given_out := schedule.take(now)):
            assert given_out not in running
            running.add(given_out)
            awake.discard(given_out)
        elif step in {"done", "failed"} and key in running:
            running.discard(key)
            if step == "failed":
                schedule.failed(key, now, jitter=0.5)
                awake.add(key)
            else:
                schedule.done(key, None)
    for key in list(running):
        schedule.done(key, None)
    rest = set(iter(lambda: schedule.take(1e9), None))
    assert rest == awake


def test_workers_do_what_is_due_and_end_when_they_are_told() -> None:
    done: list[str] = []
    all_done = threading.Event()

    def work(key: str) -> None:
        done.append(key)
        if len(done) == 3:
            all_done.set()

    queue = WorkQueue[str](work, workers=2)
    queue.wake("early")
    queue.start()
    queue.wake("now")
    queue.wake("soon", after=0.05)
    queue.wake("never", after=1000)
    assert all_done.wait(5)
    assert queue.stop(5)
    assert sorted(done) == ["early", "now", "soon"]


def test_one_key_is_never_worked_on_by_two_workers_at_once() -> None:
    together, most, rounds = 0, 0, 0
    lock, enough = threading.Lock(), threading.Event()

    def work(_: str) -> float:
        nonlocal together, most, rounds
        with lock:
            together += 1
            most = max(most, together)
        time.sleep(0.002)
        with lock:
            together -= 1
            rounds += 1
        if rounds >= 50:
            enough.set()
        return 0.0

    queue = WorkQueue[str](work, workers=4)
    queue.start()
    while not enough.wait(0.0005):
        queue.wake("a")
    assert queue.stop(5)
    assert most == 1


def test_a_failure_of_one_key_does_not_hold_up_the_others(caplog: pytest.LogCaptureFixture) -> None:
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
    queue.start()
    assert seen.wait(5)
    assert queue.stop(5)
    levels = {record.getMessage(): record.levelname for record in caplog.records}
    assert levels == {"tried in vain": "WARNING", "a bug": "ERROR"}


def test_stopping_waits_for_the_work_under_way_and_no_longer_than_it_may() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def work(_: str) -> None:
        begun.set()
        go_on.wait(10)

    queue = WorkQueue[str](work, workers=1)
    queue.start()
    queue.wake("a")
    assert begun.wait(5)
    assert not queue.stop(0.05)
    go_on.set()
    assert queue.stop(5)
