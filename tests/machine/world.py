"""A whole recorder on a simulated disk, in one thread and on a clock that the test turns.

Its writer gets items as the source would put them. What it hands to its files and to its ledger is seen here,
so that a test can say what has to be on the disk.
"""

import logging
from collections import Counter, deque
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Final
from unittest.mock import patch

from tests.machine.simulated_disk import SimulatedDisk
from timestream_aggregator import buffer as buffer_module
from timestream_aggregator import clock as clock_module
from timestream_aggregator.buffer import Buffer, Item, Received, Segment
from timestream_aggregator.clock import Pulse
from timestream_aggregator.core.actions import Moment
from timestream_aggregator.disk import folder as files_module
from timestream_aggregator.disk.folder import OWN_FOLDER, DataFolder
from timestream_aggregator.disk.quarantine import Quarantine
from timestream_aggregator.ledger import file as ledger_module
from timestream_aggregator.ledger.file import Ledger
from timestream_aggregator.ledger.losses import Losses
from timestream_aggregator.ledger.recent import History, read
from timestream_aggregator.recovery.recovery import Recovery
from timestream_aggregator.writing import patience as stall_module
from timestream_aggregator.writing import stream_files as output_module
from timestream_aggregator.writing import writer as writer_module
from timestream_aggregator.writing.patience import Stall
from timestream_aggregator.writing.stream_files import Neighbours, Output
from timestream_aggregator.writing.tally import Recordable
from timestream_aggregator.writing.writer import Resumed, Writer
from timestream_api.ledger import Fact, Left, Loss
from timestream_api.report import LossCause
from timestream_api.settings import RecorderSettings

ROOT: Final = Path("/data")
STAGING: Final = ROOT / OWN_FOLDER / "staging"
EPOCH: Final = 1_700_000_000.0  # 2023-11-14 22:13:20 UTC
SEGMENT: Final = 700  # bytes
LOG: Final = logging.getLogger("simulated")
LOG.setLevel(logging.CRITICAL + 1)


class Clock:
    """The time, for all modules; it goes on when somebody waits. `on_wait` is called then."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.on_wait: Callable[[], None] = lambda: None

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return EPOCH + self.now - 1000

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.on_wait()

    def moment(self) -> Moment:
        return Moment(self.monotonic(), self.time())

    @contextmanager
    def everywhere(self) -> Generator[None]:
        """Let the recorder's modules have no other clock, and no other way to wait."""
        modules = (buffer_module, clock_module, ledger_module, output_module, stall_module, writer_module)
        with ExitStack() as stack:
            for module in modules:
                stack.enter_context(patch.object(module, "time", self))
            threads = SimpleNamespace(Event=lambda: Event(self))
            stack.enter_context(patch.object(stall_module, "threading", threads))
            number = count()

            def token_hex(size: int) -> str:
                return f"{next(number):0{2 * size}x}"

            tokens = SimpleNamespace(token_hex=token_hex)
            for module in (files_module, ledger_module):
                stack.enter_context(patch.object(module, "secrets", tokens))
            yield


class Event:
    """An event that nobody but this thread sets."""

    def __init__(self, clock: Clock) -> None:
        self._clock, self._set = clock, False

    def set(self) -> None:
        self._set = True

    def is_set(self) -> bool:
        return self._set

    def wait(self, seconds: float) -> bool:
        if not self._set:
            self._clock.sleep(seconds)
        return self._set


class NothingMoreError(Exception):
    """The writer asks for more than the test has put."""


class Supply(Buffer):
    """What the writer takes from: items of the test, in segments so small that each goes round soon.

    A segment that was given back is overwritten: nobody may look at it any more.
    """

    def __init__(self) -> None:
        super().__init__(1 << 30)
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
        if not self.items:
            raise NothingMoreError
        return self.items.popleft()

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


@dataclass
class Seen:
    """What one run of the recorder gave to its files and told its ledger."""

    handed: Counter[bytes] = field(default_factory=Counter[bytes])
    facts: list[Fact] = field(default_factory=list[Fact])
    dropped: set[int] = field(default_factory=set[int])  # connections

    def drop(self, number: int) -> None:
        """Take note that connection `number` delivers no frames; the writer's upstream."""
        self.dropped.add(number)

    def note_new_frame(self) -> None:
        return


class WatchedOutput(Output):
    """Tells what it was given."""

    seen: Seen

    @property
    def untold(self) -> int:
        """How many frames were discarded and not yet noted."""
        return self._discards.count

    def write(self, frame: Recordable, *, observation: bool = False) -> None:
        self.seen.handed[b"".join(frame.parts)] += 1
        super().write(frame, observation=observation)


class WatchedLedger(Ledger):
    """Tells what it was told."""

    seen: Seen

    def note(self, fact: Fact, at: datetime | None = None) -> None:
        self.seen.facts.append(fact)
        super().note(fact, at)


class Run:
    """One process of the recorder, put together as `Recorder` does it, without its threads."""

    def __init__(
        self,
        disk: SimulatedDisk,
        settings: RecorderSettings,
        pressed: Callable[[], bool],
        *,
        recovers_first: bool,
    ) -> None:
        """Start. UnusableFolderError: the disk does not take the first files."""
        self.seen = Seen()
        self._disk, self._settings, self._recovers_first, self._resumed = (
            disk,
            settings,
            recovers_first,
            False,
        )
        folder = DataFolder(ROOT, disk)
        folder.prepare()
        pulse = Pulse("writer")
        self.ledger = WatchedLedger(ROOT, settings.stream_id, LOG, disk)
        self.ledger.seen = self.seen
        losses = Losses(self.ledger, LOG)
        self.recovery = Recovery(
            folder, self._tell, LOG, losses=losses, max_frame_bytes=settings.max_frame_bytes
        )
        for path in self._history().paths:
            folder.reserve(path)
        neighbours = Neighbours(ledger=self.ledger, losses=losses, left=self.recovery.take)
        stall = Stall(settings.max_stall, pressed)
        self.output = WatchedOutput(
            folder, settings.sync_interval, LOG, pulse, neighbours=neighbours, stall=stall
        )
        self.output.seen = self.seen
        self.supply = Supply()
        self.writer = Writer(
            settings,
            buffer=self.supply,
            output=self.output,
            quarantine=Quarantine(ROOT, disk),
            ledger=self.ledger,
            losses=losses,
            upstream=self.seen,
            log=LOG,
            pulse=pulse,
            before=self._resume,
        )

    @property
    def discarded(self) -> int:
        """How many frames were discarded because the disk took nothing, noted or about to be."""
        noted = [fact for fact in self.seen.facts if isinstance(fact, Loss) and fact.cause == LossCause.DISK]
        return sum(fact.count for fact in noted if not fact.path) + self.output.untold

    @property
    def left(self) -> int:
        """How many frames are in files that could not be published, as the ledger was told."""
        return sum(fact.frames for fact in self.seen.facts if isinstance(fact, Left))

    def work(self) -> bool:
        """Let the writer deal with all that was put; return whether it goes on."""
        try:
            self.writer.run()
        except NothingMoreError:
            return True
        return False

    def _tell(self, fact: Fact) -> None:
        self.ledger.note(fact)
        self.ledger.write(sync=True)

    def _resume(self) -> Resumed | None:
        """Do once what the writer's thread does first; recovery may not be done by then."""
        if self._resumed:
            return None
        if self._recovers_first:
            self.recovery.run()
        self._resumed = True
        history = self._history()
        if history.session_id is None or history.highest is None:
            return None
        return Resumed(history.session_id, history.highest)

    def _history(self) -> History:
        try:
            return read(ROOT, self._settings.stream_id, self._disk)
        except OSError:
            return History()
