"""A whole recorder on a simulated disk, in one thread and on a clock that the test turns.

Its writer gets items as the source would put them. What it hands to its files and to its ledger is seen here,
so that a test can say what has to be on the disk.
"""

import logging
import threading
from collections import Counter, deque
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Final

from tests.machine.simulated_disk import SimulatedDisk
from timestream_aggregator.buffer import Buffer, Item, Received, Segment
from timestream_aggregator.clock import Clock
from timestream_aggregator.core.actions import Moment, Write
from timestream_aggregator.disk.layout import OWN_FOLDER
from timestream_aggregator.parts import Parts
from timestream_aggregator.writing.handoff import Batch
from timestream_api import report
from timestream_api.ledger import Fact, Left, Loss
from timestream_api.report import LossCause
from timestream_api.settings import RecorderSettings

ROOT: Final = Path("/data")
STAGING: Final = ROOT / OWN_FOLDER / "staging"
EPOCH: Final = 1_700_000_000.0  # 2023-11-14 22:13:20 UTC
SEGMENT: Final = 700  # bytes
LOG: Final = logging.getLogger("simulated")
LOG.setLevel(logging.CRITICAL + 1)


class TurnedClock(Clock):
    """A clock that goes on when the test turns it or somebody waits. `on_wait` is called then."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.on_wait: Callable[[], None] = lambda: None

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return EPOCH + self.now - 1000

    def wait(self, event: threading.Event, seconds: float) -> bool:
        if not event.is_set():
            self.sleep(seconds)
        return event.is_set()

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.on_wait()


class Supply(Buffer):
    """What the writer takes from: items of the test, in segments so small that each goes round soon.

    A segment that was given back is overwritten: nobody may look at it any more.
    """

    def __init__(self, pressed: Callable[[], bool]) -> None:
        """Make one; `pressed` tells whether it is full."""
        super().__init__(1 << 30)
        self._pressed = pressed
        self.items: deque[Item | None] = deque()
        self._filling: Segment | None = None

    def fill(self, connection: int, data: bytes, at: Moment) -> None:
        """Put bytes that arrived, in as many segments as they need."""
        while data:
            segment = self._filling
            if segment is None or segment.filled == SEGMENT:
                self._let_go(segment)
                segment = self._filling = Segment(memoryview(bytearray(SEGMENT)))
            start = segment.filled
            piece = data[: SEGMENT - start]
            segment.view[start : start + len(piece)] = piece
            segment.filled += len(piece)
            segment.ranges += 1
            self.items.append(Received(connection, segment, start, segment.filled, at))
            data = data[len(piece) :]

    def take(self, timeout: float) -> Item | None:  # noqa: ARG002
        return self.items.popleft()

    def state(self) -> report.BufferReport:
        return report.BufferReport(stalled=self._pressed())

    def done(self, size: int) -> None:  # noqa: ARG002
        return

    def give_back(self, segment: Segment, ranges: int) -> None:
        segment.ranges -= ranges
        assert segment.ranges >= 0, "a segment was given back twice"
        self._wipe(segment)

    @property
    def empty(self) -> bool:
        return not self.items

    def _let_go(self, segment: Segment | None) -> None:
        if segment is not None:
            segment.filling = False
            self._wipe(segment)

    def _wipe(self, segment: Segment) -> None:
        if not segment.filling and not segment.ranges:
            segment.view[:] = b"\xaa" * SEGMENT


class Run:
    """One process of the recorder, without its threads: what it does is done when the test says so."""

    def __init__(
        self,
        disk: SimulatedDisk,
        settings: RecorderSettings,
        clock: Clock,
        pressed: Callable[[], bool],
        *,
        recovers_first: bool,
    ) -> None:
        """Start. UnusableFolderError: the disk does not take the first files."""
        self.handed: Counter[bytes] = Counter()  # frames, as they were given to files
        self.facts: list[Fact] = []  # as the ledger was told
        self._recovers_first, self._begun = recovers_first, False
        self.supply = Supply(pressed)
        parts = Parts(settings, LOG, disk, clock, buffer=self.supply)
        self._parts, self.recovery = parts, parts.recovery
        self._framing = False
        put, take, note = parts.handoff.put, parts.handoff.take, parts.ledger.note

        def watched_put(batch: Batch) -> None:
            frames = (action.frame for action in batch.actions if isinstance(action, Write))
            self.handed.update(b"".join(frame.parts) for frame in frames)
            put(batch)

        def watched_note(fact: Fact, at: datetime | None = None) -> None:
            self.facts.append(fact)
            note(fact, at)

        parts.handoff.put, parts.ledger.note = watched_put, watched_note
        parts.handoff.take = lambda timeout: take(0 * timeout)

    @property
    def discarded(self) -> int:
        """How many frames were discarded because the disk took nothing, noted or about to be."""
        noted = [fact for fact in self.facts if isinstance(fact, Loss) and fact.cause == LossCause.DISK]
        waiting = [each.discards for each in (*self._parts.outputs, self._parts.handoff)]
        return sum(fact.count for fact in noted if not fact.path) + sum(each.count for each in waiting)

    @property
    def left(self) -> int:
        """How many frames are in files that could not be published, as the ledger was told."""
        return sum(fact.frames for fact in self.facts if isinstance(fact, Left))

    def work(self) -> bool:
        """Let framer and writer deal with all that was put; return whether they go on."""
        if not self._begun:
            self._begin()
        going = True
        while going and (self.supply.items or self._is_one_waiting):
            if not self._is_one_waiting:
                self._frame()
            going = self._parts.writer.step()
        if not going:
            self._parts.writer.end()
        return going

    def waited(self) -> None:
        """While the writer waits for the disk, let the framer go on as far as it can."""
        if self.supply.items and not self._framing and self._begun and self._parts.handoff.open_to():
            self._frame()

    def give_up_after(self, seconds: float) -> None:
        """Give a failing disk only so much longer, as a recorder that has to stop does."""
        self._parts.patience.stop(seconds)

    def close(self) -> None:
        """Give back what the process would have given back by ending."""
        self._parts.source.close()

    @property
    def _is_one_waiting(self) -> bool:
        return self._parts.handoff._waiting is not None  # pyright: ignore[reportPrivateUsage]

    def _frame(self) -> None:
        self._framing = True
        if not self._parts.framer.step():
            self._parts.handoff.end()
        self._framing = False

    def _begin(self) -> None:
        """Do once what the threads do first; recovery may not be done by the time the writer begins."""
        self._begun = True
        self.recovery.look_ahead()
        if self._recovers_first:
            self.recovery.run()
        self._framing = True
        self._parts.framer.begin()
        self._framing = False
