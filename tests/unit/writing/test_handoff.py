"""What becomes of frames while the writer does not come back for more."""

import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from timestream_aggregator.buffer import Buffer, Received
from timestream_aggregator.clock import SYSTEM, Clock
from timestream_aggregator.core.actions import Close, Open, Write, WriteHead
from timestream_aggregator.core.naming import Base, FileId
from timestream_aggregator.g3.parser import Frame
from timestream_aggregator.ledger.file import Ledger, lines
from timestream_aggregator.ledger.telling import Telling
from timestream_aggregator.writing.handoff import Batch, Handoff, Piece, PutAside, Step
from timestream_api.ledger import Gap, Loss, Quarantined
from timestream_api.report import CloseReason

LOG = logging.getLogger("test")
BASE = Base("17000", "2023-11-14-22-13-20")
SIZE = 1000


class TurnedClock(Clock):
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@dataclass
class Rig:
    """A handoff whose writer has taken the first batch and does not come back."""

    root: Path
    clock: TurnedClock
    buffer: Buffer
    ledger: Ledger
    handoff: Handoff
    number: int = 0

    def batch(self, *actions: Step) -> Batch:
        """Return a batch of bytes that have arrived."""
        segment = self.buffer.segment(0.0)
        assert segment is not None
        start = segment.filled
        segment.filled += SIZE
        self.buffer.put(Received(1, segment, start, segment.filled, SYSTEM.moment()))
        assert self.buffer.take(0.0) is not None
        self.number += 1
        return Batch(self.number, actions=list(actions), size=SIZE, pieces=[Piece(segment, 0, self.number)])

    def losses(self) -> list[tuple[int, int | None, int | None, str | None]]:
        self.ledger.write()
        facts = (line.fact for line in lines(self.root))
        return [(fact.count, fact.first, fact.last, fact.why) for fact in facts if isinstance(fact, Loss)]


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    clock, buffer, ledger = TurnedClock(), Buffer(4 << 20), Ledger(tmp_path, "test", LOG)
    telling = Telling(ledger, LOG)
    handoff = Handoff(buffer, telling, why=lambda: "hangs", max_stall=60, clock=clock)
    yield Rig(tmp_path, clock, buffer, ledger, handoff)
    ledger.close()


def scan(number: int | None, kind: str = "S") -> Write:
    return Write(0, Frame(kind, (memoryview(b"%r;" % number),), 3, 0, session_id=7, frame_num=number))


def opened(number: int) -> Open:
    return Open(0, FileId(BASE, number), SYSTEM.moment(), 7, "ufm")


def fill(rig: Rig) -> None:
    """Let more wait to arrive than there is room for."""
    while (segment := rig.buffer.segment(0.2)) is not None:
        rig.buffer.put(Received(1, segment, segment.filled, len(segment.view), SYSTEM.moment()))
        segment.filled = len(segment.view)
    assert rig.buffer.state().stalled


def taken(rig: Rig, batch: Batch) -> Batch:
    """Let the writer take that one and stay away."""
    rig.handoff.put(batch)
    first = rig.handoff.take(0.0)
    assert first is batch
    return batch


def actions_of(batch: Batch | None) -> list[Step]:
    assert batch is not None
    return batch.actions


def test_a_batch_that_finds_no_room_waits_while_the_buffer_has_some_however_long_the_writer_is_away(
    rig: Rig,
) -> None:
    taken(rig, rig.batch(scan(0)))
    rig.handoff.put(rig.batch(scan(1)))
    rig.clock.now += 100_000
    putting = threading.Thread(target=rig.handoff.put, args=(rig.batch(scan(2)),))
    putting.start()
    putting.join(0.6)
    assert putting.is_alive()
    rig.handoff.done()

    assert actions_of(rig.handoff.take(0.0)) == [scan(1)]
    putting.join(5)
    assert actions_of(rig.handoff.take(0.0)) == [scan(2)]
    assert rig.losses() == []


@pytest.mark.parametrize(("away", "waits"), [(59.0, True), (60.0, False)])
def test_with_a_full_buffer_it_waits_for_max_stall(rig: Rig, away: float, waits: bool) -> None:  # noqa: FBT001
    taken(rig, rig.batch(scan(0)))
    rig.handoff.put(rig.batch(scan(1)))
    fill(rig)
    rig.clock.now += away

    assert rig.handoff.open_to() is not waits


def test_the_oldest_that_wait_are_discarded_and_counted_and_what_the_writer_has_stays_as_it_is(
    rig: Rig,
) -> None:
    first = taken(rig, rig.batch(scan(0)))
    rig.handoff.put(rig.batch(scan(1), scan(2)))
    later = [rig.batch(scan(3)), rig.batch(scan(9), scan(10))]
    last = rig.batch(scan(11))
    fill(rig)
    rig.clock.now += 60
    for batch in later:
        rig.handoff.put(batch)
        rig.handoff.tell_discards()
    rig.clock.now += 10
    rig.handoff.put(last)
    rig.handoff.tell_discards()

    assert first.actions == [scan(0)]
    assert rig.losses() == [(2, 1, 2, "hangs"), (1, 3, 3, "hangs"), (2, 9, 10, "hangs")], "while it hangs"
    rig.handoff.done()
    assert actions_of(rig.handoff.take(0.0)) == [scan(11)]


def test_what_was_discarded_is_told_when_the_writer_comes_back(rig: Rig) -> None:
    taken(rig, rig.batch(scan(0)))
    rig.handoff.put(rig.batch(scan(1), scan(2)))
    later = rig.batch(scan(3))
    fill(rig)
    rig.clock.now += 60
    rig.handoff.put(later)
    rig.handoff.done()

    assert actions_of(rig.handoff.take(0.0)) == [scan(3)]
    assert rig.losses() == [(2, 1, 2, "hangs")]


def test_memory_that_the_writer_still_looks_at_goes_round_only_when_it_is_done(rig: Rig) -> None:
    first = rig.batch(scan(0))
    shared = Piece(
        first.pieces[0].segment, 0, first.number
    )  # the rest of it belongs to a frame of the next batch
    second = rig.batch(scan(1))
    first.pieces, second.pieces = [], [shared, *second.pieces]
    taken(rig, first)
    rig.handoff.put(second)
    third = rig.batch(scan(2))
    fill(rig)
    rig.clock.now += 60
    before = shared.segment.ranges
    rig.handoff.put(third)

    assert first.pieces == [shared]
    assert shared.segment.ranges == before - 1, "only what was discarded is free"
    rig.handoff.done()
    assert shared.segment.ranges == before - 2


def test_of_discarded_batches_files_to_open_and_close_stay_and_the_last_observation(rig: Rig) -> None:
    taken(rig, rig.batch(scan(0)))
    rig.handoff.put(rig.batch(scan(1), Close(0, CloseReason.TIME_LIMIT), opened(1), WriteHead(0, b"head")))
    later = [
        rig.batch(scan(2), Close(0, CloseReason.TIME_LIMIT), opened(2), scan(3, "O"), scan(4)),
        rig.batch(scan(5, "O"), scan(6)),
        rig.batch(scan(7)),
    ]
    fill(rig)
    rig.clock.now += 60
    for batch in later:
        rig.handoff.put(batch)
    rig.handoff.done()

    kept = actions_of(rig.handoff.take(0.0))
    assert kept == [Close(0, CloseReason.TIME_LIMIT), opened_at(kept, 2), scan(5, "O"), scan(7)]
    numbers = [
        number for count, first, _, _ in rig.losses() if first for number in range(first, first + count)
    ]
    assert sorted(numbers) == [1, 2, 3, 4, 6]


def opened_at(actions: list[Step], number: int) -> Open:
    """Return the one that opens that file."""
    return next(each for each in actions if isinstance(each, Open) and each.file.number == number)


def test_what_a_discarded_batch_had_to_tell_is_told(rig: Rig) -> None:
    gap = Gap(base="a_000.g3", since=SYSTEM.utc())
    taken(rig, rig.batch(scan(0)))
    rig.handoff.put(
        rig.batch(gap, PutAside((memoryview(b"bad"),), Quarantined(bytes=3, why="its crc is wrong")))
    )
    later = rig.batch(scan(2))
    fill(rig)
    rig.clock.now += 60
    rig.handoff.put(later)
    rig.ledger.write()

    assert [line.fact.kind for line in lines(rig.root)] == ["gap", "quarantined"]
    told = [line.fact for line in lines(rig.root)]
    assert isinstance(told[0], Gap)
    assert isinstance(told[1], Quarantined)
    assert told[1].kept is None


def test_after_the_end_nothing_waits_for_more(rig: Rig) -> None:
    rig.handoff.put(rig.batch(scan(0)))
    rig.handoff.end()

    assert not rig.handoff.over
    assert rig.handoff.take(60.0) is not None
    assert rig.handoff.over
    assert rig.handoff.take(60.0) is None
