"""What is decided and not yet carried out: one batch that the writer has, and one that waits for it.

While a call to the disk does not return, or fails, the framer waits here and the buffer fills. Once there is no
room left and the writer has been away for `max_stall`, each further batch takes the place of the one that waits:
its frames are discarded and counted by the framer, whom the disk does not hold.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from timestream_aggregator.buffer import Buffer, Segment
from timestream_aggregator.clock import Clock
from timestream_aggregator.core.actions import Close, Noted, Open, Write, WriteHead
from timestream_aggregator.core.files import OBSERVATION
from timestream_aggregator.ledger.telling import Discards, Telling
from timestream_api.ledger import Quarantined

LOOK_AGAIN: Final = 0.25  # seconds between two looks at whether frames have to be discarded
TELL_EVERY: Final = 10.0  # seconds, while frames are discarded


@dataclass(frozen=True, slots=True)
class Piece:
    """Received bytes that are still needed: they end at `end` of the stream and came in batch `batch`."""

    segment: Segment
    end: int
    batch: int


@dataclass(frozen=True, slots=True)
class PutAside:
    """Keep a damaged piece of the stream, and tell of it. No parts: what comes again is kept once."""

    parts: tuple[memoryview, ...]
    fact: Quarantined


FileStep = Open | Write | WriteHead | Close
Step = FileStep | Noted | PutAside


@dataclass(slots=True)
class Batch:
    """What one item calls for, and the memory that is free once that is done."""

    number: int
    arrived: float = 0.0  # Unix seconds, of its frames
    actions: list[Step] = field(default_factory=list[Step])
    size: int = 0  # bytes of the buffer
    pieces: list[Piece] = field(default_factory=list[Piece])


@dataclass(eq=False)
class Handoff:
    """Where the framer leaves a batch and the writer takes it. `away` is for any thread."""

    buffer: Buffer
    telling: Telling
    why: Callable[[], str]
    """What holds the writer."""
    max_stall: float
    clock: Clock

    def __post_init__(self) -> None:
        """Begin with nothing to hand over."""
        self.discards = Discards(self.telling)
        self._changed = threading.Condition()
        self._waiting: Batch | None = None
        self._current: Batch | None = None
        self._away_since: float | None = None
        self._told = 0.0
        self._ended = False

    @property
    def away(self) -> float:
        """For how many seconds the writer has not come back for more."""
        since = self._away_since
        return 0.0 if since is None else self.clock.monotonic() - since

    @property
    def over(self) -> bool:
        """Whether nothing is left to take, and nothing more comes."""
        return self._ended and self._waiting is None

    def open_to(self) -> bool:
        """Return whether `put` would return at once."""
        return self._waiting is None or self._must_discard()

    def put(self, batch: Batch) -> None:
        """Leave `batch` for the writer, once the one before is taken or has to be discarded."""
        with self._changed:
            while not self._changed.wait_for(self.open_to, LOOK_AGAIN):
                self.tell_discards()
            older, self._waiting = self._waiting, batch
            if older is not None:
                self._discard(older, batch)
            self._changed.notify_all()

    def take(self, timeout: float) -> Batch | None:
        """Return the next batch, or None if none comes within `timeout` seconds or at all."""
        with self._changed:
            self._away_since = None
            self.discards.tell()
            self._changed.wait_for(lambda: self._waiting is not None or self._ended, timeout)
            self._away_since = self.clock.monotonic()
            self._current, self._waiting = self._waiting, None
            self._changed.notify_all()
            return self._current

    def done(self) -> None:
        """Give back the memory of the batch that was taken: its frames are in a file, or counted as lost."""
        with self._changed:
            batch, self._current = self._current, None
        if batch is not None:
            self._release(batch.size, batch.pieces)

    def tell_discards(self) -> None:
        """Tell of the frames discarded since the last time, if that is some seconds ago."""
        with self._changed:
            if self.discards.count and self.clock.monotonic() >= self._told + TELL_EVERY:
                self._told = self.clock.monotonic()
                self.discards.tell()

    def end(self) -> None:
        """Nothing more is put."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _must_discard(self) -> bool:
        return self.away >= self.max_stall and self.buffer.state().stalled

    def _discard(self, older: Batch, batch: Batch) -> None:
        """Discard the frames of `older`; what else it called for becomes the beginning of `batch`."""
        kept: list[FileStep] = []
        for action in older.actions:
            match action:
                case PutAside():
                    self.telling.tell(action.fact)
                case Write() if action.frame.type != OBSERVATION:
                    self.discards.add(action.frame.frame_num, action.frame.session_id, self.why())
                case Open() | Write() | WriteHead() | Close():
                    self.discards.tell()
                    kept.append(action)
                case _:
                    self.telling.tell(action)
        for key in {action.key for action in kept}:
            batch.actions[:0] = self._condensed([action for action in kept if action.key == key])
        self._give_back(older)

    def _condensed(self, actions: list[FileStep]) -> list[FileStep]:
        """Return what of that still matters: a file to close, one to open, and the Observation that it begins with."""
        kept: list[FileStep] = []
        begun = 0  # what follows is of the last file
        opens = False
        for action in actions:
            match action:
                case Write() | WriteHead():
                    self._drop(kept, begun)
                    kept.append(action)
                case Close() if opens:
                    self._drop(kept, begun - 1)
                    begun, opens = len(kept), False
                case Close() | Open():
                    kept.append(action)
                    begun, opens = len(kept), isinstance(action, Open)
        return kept

    def _drop(self, kept: list[FileStep], start: int) -> None:
        """Leave out what was kept from `start` on, and count the frames."""
        for action in kept[start:]:
            if isinstance(action, Write):
                self.discards.tell()
                self.discards.add(action.frame.frame_num, action.frame.session_id, self.why())
                self.discards.tell()
        del kept[start:]

    def _give_back(self, older: Batch) -> None:
        """Give back what only `older` needed; what the writer's batch needs too comes back with that."""
        current = self._current
        shared = [piece for piece in older.pieces if current is not None and piece.batch <= current.number]
        if current is not None:
            current.pieces += shared
        self._release(older.size, older.pieces[len(shared) :])

    def _release(self, size: int, pieces: list[Piece]) -> None:
        self.buffer.done(size)
        for piece in pieces:
            self.buffer.give_back(piece.segment, 1)
