"""The buffer between the two threads."""

import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from timestream_aggregator.buffer import SEGMENT_BYTES, Buffer, Item, LinkDown, LinkUp, Received, Segment
from timestream_aggregator.core.actions import Moment


def fill(buffer: Buffer, size: int = SEGMENT_BYTES, at: float = 0.0, timeout: float = 1.0) -> Received | None:
    """Receive `size` bytes, as the source does; None if there is no segment."""
    segment = buffer.segment(timeout)
    if segment is None:
        return None
    start = segment.filled
    segment.filled = min(start + size, SEGMENT_BYTES)
    item = Received(1, segment, start, segment.filled, Moment(at, at))
    buffer.put(item)
    return item


def drain(buffer: Buffer) -> list[Segment]:
    """Deal with everything, as the writer does, and return the segments."""
    segments: list[Segment] = []
    while isinstance(item := buffer.take(0), Received):
        buffer.give_back(item.segment, 1)
        buffer.done(item.end - item.start)
        segments.append(item.segment)
    return segments


@contextmanager
def draining(buffer: Buffer, after: float) -> Generator[None]:
    timer = threading.Timer(after, lambda: drain(buffer))
    timer.start()
    yield
    timer.join()


def test_two_segments_go_round_while_the_writer_keeps_up() -> None:
    buffer, seen = Buffer(64 * SEGMENT_BYTES), set[int]()
    for _ in range(20):
        fill(buffer)
        seen |= {id(segment) for segment in drain(buffer)}
    assert len(seen) <= 2


def test_a_writer_that_is_late_by_less_than_fifty_milliseconds_costs_no_third_segment() -> None:
    buffer = Buffer(64 * SEGMENT_BYTES)
    first, second = fill(buffer), fill(buffer)
    with draining(buffer, after=0.02):
        third = fill(buffer)
    assert first is not None
    assert second is not None
    assert third is not None
    assert third.segment in {first.segment, second.segment} or third.segment is first.segment


def test_a_writer_that_is_late_by_more_gets_memory_to_be_late() -> None:
    buffer = Buffer(64 * SEGMENT_BYTES)
    segments = {id(item.segment) for _ in range(4) if (item := fill(buffer))}
    assert len(segments) == 4


def test_a_full_buffer_gives_no_segment_and_says_that_it_stalls() -> None:
    buffer = Buffer(3 * SEGMENT_BYTES)
    filled = [fill(buffer, timeout=0.1) for _ in range(4)]

    assert [item is not None for item in filled] == [True, True, True, False]
    assert buffer.state().stalled
    assert buffer.state().bytes == 3 * SEGMENT_BYTES

    drain(buffer)
    assert fill(buffer) is not None
    assert not buffer.state().stalled
    assert buffer.state().peak_bytes == 3 * SEGMENT_BYTES


def test_a_frame_larger_than_the_buffer_gets_the_segments_it_needs_without_waiting() -> None:
    buffer = Buffer(2 * SEGMENT_BYTES)
    start = time.monotonic()
    for _ in range(20):  # the writer holds on to all of them: their frame is not whole yet
        item = fill(buffer)
        assert item is not None
        assert buffer.take(0) is item
        buffer.done(item.end - item.start)
    assert time.monotonic() - start < 0.5


def test_bytes_that_trickle_need_no_item_each() -> None:
    buffer = Buffer(4 * SEGMENT_BYTES)
    for number in range(1000):
        fill(buffer, size=1, at=number * 1e-5)
    item = buffer.take(0)
    assert isinstance(item, Received)
    assert (item.start, item.end) == (0, 1000)
    assert buffer.take(0) is None


def test_bytes_that_arrived_apart_keep_their_times() -> None:
    buffer = Buffer(4 * SEGMENT_BYTES)
    for second in (0.0, 1.0):
        fill(buffer, size=10, at=second)
    assert [item.at.monotonic for _ in range(2) if isinstance(item := buffer.take(0), Received)] == [0.0, 1.0]


def test_items_keep_their_order_and_taking_waits_for_them() -> None:
    buffer = Buffer(4 * SEGMENT_BYTES)
    connected = LinkUp(1, Moment(0, 0))
    threading.Timer(0.05, buffer.put, [connected]).start()
    assert buffer.take(5) is connected
    start = time.monotonic()
    assert buffer.take(0.1) is None
    assert time.monotonic() - start >= 0.1


def test_a_segment_is_not_filled_again_while_a_byte_of_it_is_needed() -> None:
    buffer = Buffer(64 * SEGMENT_BYTES)
    held = fill(buffer, size=10)
    assert held is not None
    for second in range(1, 10):
        item = fill(buffer, at=second)
        assert item is not None
        assert item.segment is not held.segment or item.start >= held.end
        taken = buffer.take(0)
        while isinstance(taken, Received):
            buffer.done(taken.end - taken.start)
            if taken is not held:
                buffer.give_back(taken.segment, 1)
            taken = buffer.take(0)


def test_memory_goes_back_to_the_system_some_time_after_a_burst() -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    buffer = Buffer(64 * SEGMENT_BYTES, spare_after=0.2)
    before = resident()
    for _ in range(32):
        item = fill(buffer)
        assert item is not None
        item.segment.view[:] = bytes(SEGMENT_BYTES)
        del item
    burst = resident() - before
    drain(buffer)
    deadline = time.monotonic() + 5
    while resident() - before > 4 * SEGMENT_BYTES and time.monotonic() < deadline:
        fill(buffer)
        drain(buffer)
        time.sleep(0.05)

    assert burst > 30 * SEGMENT_BYTES
    assert resident() - before <= 4 * SEGMENT_BYTES


def test_connections_that_end_without_a_byte_while_the_writer_waits_are_told_as_one() -> None:
    buffer, at = Buffer(4 * SEGMENT_BYTES), Moment(0, 0)
    for number in range(1, 1001):
        buffer.put(LinkUp(number, at))
        buffer.put(LinkDown(number, at, "the sender closed the connection"))
    buffer.put(LinkUp(1001, at))
    items = list[Item]()
    while (item := buffer.take(0)) is not None:
        items.append(item)
    assert items == [
        LinkUp(1, at),
        LinkDown(1, at, "the sender closed the connection", times=1000),
        LinkUp(1001, at),
    ]


def test_a_connection_that_delivered_is_told_for_itself() -> None:
    buffer, at = Buffer(4 * SEGMENT_BYTES), Moment(0, 0)
    for number in (1, 2):
        buffer.put(LinkUp(number, at))
        fill(buffer, size=1)
        buffer.put(LinkDown(number, at, "why"))
    taken = [type(buffer.take(0)) for _ in range(6)]
    assert taken == [LinkUp, Received, LinkDown] * 2


def test_items_without_number_fill_the_buffer_as_bytes_do() -> None:
    buffer = Buffer(4 * SEGMENT_BYTES)
    for _ in range(3 * SEGMENT_BYTES // 512):
        buffer.put(LinkUp(1, Moment(0, 0)))
    filled = [fill(buffer, timeout=0.1) for _ in range(3)]
    assert [item is not None for item in filled] == [True, True, False]
    assert buffer.state().stalled


def test_beyond_its_limit_it_takes_what_it_is_told_to() -> None:
    buffer = Buffer(2 * SEGMENT_BYTES)
    assert [fill(buffer, timeout=0.1) is not None for _ in range(3)] == [True, True, False]
    buffer.extend(SEGMENT_BYTES)
    assert [fill(buffer, timeout=0.1) is not None for _ in range(2)] == [True, False]
