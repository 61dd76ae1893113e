"""The framer thread: cuts frames out of what arrived and asks the core what each means; the writer has it done.

It alone uses the parser and the core. It never asks the disk anything: what a call that does not return holds up
is the writer. What others want to know stands in `state`, which is replaced as a whole.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final, Protocol

from crc32c import crc32c

from timestream_aggregator.buffer import (
    Buffer,
    Item,
    LinkDown,
    LinkUp,
    NoMore,
    Received,
    Silent,
    Succeeding,
)
from timestream_aggregator.clock import SYSTEM, Clock, Pulse, utc
from timestream_aggregator.core.acquisition import Recording
from timestream_aggregator.core.actions import Action, Write
from timestream_aggregator.core.files import Rules
from timestream_aggregator.core.replay import NEVER_REPLAYED, Oddities
from timestream_aggregator.g3.parser import Damaged, Frame, Parser, WireError
from timestream_aggregator.ledger.file import Ledger
from timestream_aggregator.writing.handoff import Batch, Handoff, Piece, PutAside
from timestream_api import ledger as facts
from timestream_api.report import AcquisitionReport, CloseReason, LastPutAside
from timestream_api.settings import RecorderSettings

LOOK_UP: Final = 1.0  # seconds between two rounds of the loop, at most


class Upstream(Protocol):
    """What the framer tells whoever receives."""

    def drop(self, number: int) -> None:
        """Connection `number` delivers no frames."""
        ...

    def note_new_frame(self) -> None:
        """The sender is alive."""
        ...

    def note_replayable_frame(self) -> None:
        """The sender has something to repeat to a new client."""
        ...


@dataclass(frozen=True, slots=True)
class FramerState:
    """What the framer knows, for the report."""

    acquisition: AcquisitionReport | None = None
    last_frame: float | None = None
    """When the last frame arrived, in Unix seconds."""
    put_aside: LastPutAside | None = None


@dataclass(eq=False)
class Framer:
    """Takes items from the buffer until the one that says it is the end. `run()` is the thread."""

    settings: RecorderSettings
    buffer: Buffer
    handoff: Handoff
    ledger: Ledger
    upstream: Upstream
    log: logging.Logger
    pulse: Pulse
    before: Callable[[Recording], None] = lambda _: None
    """Called in the thread first; it may take a while to tell of earlier runs."""
    clock: Clock = SYSTEM

    def __post_init__(self) -> None:
        """Begin with nothing."""
        self._recording = Recording(Rules.from_settings(self.settings))
        self._batch = Batch(0)
        self._pieces: deque[Piece] = deque()  # received bytes that may still be looked at
        self._parser: Parser | None = None  # None: what comes belongs to no connection that delivers frames
        self._ignored = 0  # bytes of such a connection
        self._new_frame = self._replayable_frame = False
        self._oddities = Oddities()
        self._last_frame: float | None = None
        self.unread = 0  # bytes that had arrived before the end and were not taken
        self.state = FramerState()

    def run(self) -> None:
        """Deal with what arrives until nothing more comes."""
        try:
            self.begin()
            while self.step():
                pass
        finally:
            self.handoff.end()

    def begin(self) -> None:
        """Go on where an earlier run ended, as far as that is known."""
        with self.pulse.waiting_for("what an earlier run left"):
            self.before(self._recording)

    def step(self) -> bool:
        """Decide what is due, or what the next item calls for; return whether more may follow."""
        self.pulse.beat()
        item = self.buffer.take(self._patience())
        running = self._deal_with(item) if item is not None else True
        if self.buffer.empty:
            self._run_timers()
        self.state = replace(
            self.state,
            acquisition=self._recording.report(),
            last_frame=self._last_frame,
        )
        batch = self._batch
        if batch.actions or batch.size:
            self._batch = Batch(batch.number + 1)
            with self.pulse.waiting_for("the writer"):
                self.handoff.put(batch)
        self.handoff.tell_discards()
        return running

    # --- what arrives

    def _deal_with(self, item: Item) -> bool:
        """Do what `item` calls for; return whether more may follow."""
        match item:
            case Received():
                self._receive(item)
            case LinkUp():
                self._parser, self._ignored = Parser(self.settings.max_frame_bytes, self._is_replayed), 0
                self._recording.connected()
                self.ledger.note(facts.Connected(endpoint=item.endpoint), utc(item.at.wall))
            case Succeeding():
                self._recording.succeeding()
            case Silent():
                self._have_done(self._recording.finish(CloseReason.SILENCE))
            case LinkDown():
                self._end_connection(item.why)
                self.ledger.note(_disconnected(item), utc(item.at.wall))
                self._have_done(self._recording.finish(CloseReason.DISCONNECTED))
            case NoMore():
                self.unread = item.unread
                self._note_unfinished()
                self._have_done(self._recording.finish(CloseReason.STOPPED))
                return False
        return True

    def _receive(self, item: Received) -> None:
        """Have the frames recorded that `item` completes, and the memory given back that nobody needs any more."""
        size, parser = item.end - item.start, self._parser
        self._batch.arrived, self._batch.size = item.at.wall, size
        self._pieces.append(Piece(item.segment, parser.fed + size if parser else 0, self._batch.number))
        if parser is None:
            self._ignored += size
            self._free(0)
        else:
            try:
                self._parse(parser, item)
            except WireError as error:
                self._refuse(parser, item, error)
            else:
                self._free(parser.fed - parser.held)
        if self._new_frame:
            self.upstream.note_new_frame()
        if self._replayable_frame:
            self.upstream.note_replayable_frame()
        self._new_frame = self._replayable_frame = False

    def _parse(self, parser: Parser, item: Received) -> None:
        for frame in parser.feed(item.segment.view, item.start, item.end):
            if isinstance(frame, Frame):
                self._last_frame = item.at.wall
                self._replayable_frame |= frame.type not in NEVER_REPLAYED
                self._have_done(self._recording.receive(frame, item.at))
            else:
                self._keep_damaged(frame)

    def _keep_damaged(self, frame: Damaged) -> None:
        """Put a frame aside; what the sender gives to each new client is kept once."""
        self._recording.damaged()
        again = frame.odd and self._oddities.comes_again((frame.why, crc32c(b"".join(frame.parts))))
        self._put_aside(() if again else frame.parts, frame.size, frame.why)
        self._report_put_aside(frame.size, frame.why)

    def _is_replayed(self, error: WireError) -> bool:
        """Return whether the next connection would begin with the same: then this one is read on."""
        again = not error.foreign and self._oddities.comes_again(str(error))
        if again and self._parser is not None:
            self._report_put_aside(self._parser.incomplete, str(error))
        return again

    def _report_put_aside(self, size: int, why: str) -> None:
        told = LastPutAside(time=self.clock.utc(), bytes=size, why=why[:1024])
        self.state = replace(self.state, put_aside=told)

    def _refuse(self, parser: Parser, item: Received, error: WireError) -> None:
        """Give up a connection that delivers no frames."""
        self._put_aside(parser.torn(), parser.incomplete, str(error))
        self._report_put_aside(parser.incomplete, str(error))
        self._free(parser.fed)
        self._parser = None
        self.upstream.drop(item.connection)

    def _end_connection(self, why: str) -> None:
        """Put the beginning of a frame aside that will never be whole."""
        if self._parser is not None and self._parser.incomplete:
            reason = self._parser.refused or f"torn: {why}"
            self._put_aside(self._parser.torn(), self._parser.incomplete, str(reason))
        if self._parser is not None:
            self._free(self._parser.fed)
        if self._ignored:
            self.log.warning(
                "ignored what came after bytes that are no frame", extra={"bytes": self._ignored}
            )
        self._parser, self._ignored = None, 0

    def _note_unfinished(self) -> None:
        """Say that the recorder stops in the middle of a frame; it is not damaged, so it is not kept."""
        if self._parser is not None and self._parser.incomplete:
            self.log.warning("stopped in the middle of a frame", extra={"bytes": self._parser.incomplete})

    def _free(self, offset: int) -> None:
        """Let the memory that lies wholly before `offset` of the stream be given back with this batch."""
        while self._pieces and self._pieces[0].end <= offset:
            self._batch.pieces.append(self._pieces.popleft())

    def _put_aside(self, parts: tuple[memoryview, ...], size: int, why: str) -> None:
        self._batch.actions.append(PutAside(parts, facts.Quarantined(bytes=size, why=why)))

    # --- what is to be done

    def _have_done(self, actions: Iterable[Action]) -> None:
        for action in actions:
            self._new_frame |= isinstance(action, Write)
            self._batch.actions.append(action)

    def _run_timers(self) -> None:
        """Do what is due by the clock."""
        now, due = self.clock.moment(), self._recording.deadline()
        if due is not None and now.monotonic >= due:
            self._have_done(self._recording.tick(now))

    def _patience(self) -> float:
        """Return for how long nothing is due."""
        due = self._recording.deadline()
        return LOOK_UP if due is None else max(0.0, min(LOOK_UP, due - self.clock.monotonic()))


def _disconnected(item: LinkDown) -> facts.Disconnected:
    return facts.Disconnected(why=item.why, times=item.times if item.times > 1 else None)
