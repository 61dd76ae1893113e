"""The writer thread: cuts frames out of what arrived, asks the core what each means, and has it done.

It alone uses the parser, the core and the files. What others want to know of them stands in `state`, which is
replaced as a whole.
"""

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from crc32c import crc32c

from timestream_aggregator import logs
from timestream_aggregator.buffer import (
    Buffer,
    Item,
    LinkDown,
    LinkUp,
    NoMore,
    Received,
    Segment,
    Silent,
    Succeeding,
)
from timestream_aggregator.clock import SYSTEM, Clock, Pulse, utc
from timestream_aggregator.core.acquisition import Recording
from timestream_aggregator.core.actions import Action, Close, Note, Noted, Open, Write, WriteHead
from timestream_aggregator.core.files import OBSERVATION, Rules
from timestream_aggregator.core.progress import Snapshot
from timestream_aggregator.core.replay import NEVER_REPLAYED, Oddities
from timestream_aggregator.disk.quarantine import Kept, Quarantine
from timestream_aggregator.g3.parser import Damaged, Frame, Parser, WireError
from timestream_aggregator.ledger.file import Ledger
from timestream_aggregator.ledger.losses import Losses
from timestream_aggregator.writing.stream_files import StreamFiles
from timestream_aggregator.writing.tally import Acquired
from timestream_api import ledger as facts
from timestream_api.report import CloseReason, LastPutAside
from timestream_api.settings import RecorderSettings

LOOK_UP: Final = 1.0  # seconds between two rounds of the loop, at most


class Upstream(Protocol):
    """What the writer tells whoever receives."""

    def drop(self, number: int) -> None:
        """Connection `number` delivers no frames."""
        ...

    def note_new_frame(self) -> None:
        """The sender is alive."""
        ...

    def note_replayable_frame(self) -> None:
        """The sender has something to repeat to a new client."""
        ...


@dataclass(slots=True)
class _Held:
    """Received bytes that may still be looked at: which segments they are in, up to where in the stream."""

    buffer: Buffer
    entries: deque[tuple[Segment, int, int]] = field(default_factory=deque[tuple[Segment, int, int]])

    def add(self, segment: Segment, end: int) -> None:
        """Add bytes of `segment` that end at offset `end` of the stream."""
        ranges = 1
        if self.entries and self.entries[-1][0] is segment:
            ranges += self.entries.pop()[2]
        self.entries.append((segment, end, ranges))

    def release(self, offset: int) -> None:
        """Give back the segments that lie wholly before `offset` of the stream."""
        while self.entries and self.entries[0][1] <= offset:
            segment, _, ranges = self.entries.popleft()
            self.buffer.give_back(segment, ranges)


@dataclass(frozen=True, slots=True)
class WriterState:
    """What the writer knows, for the report."""

    acquisition: Snapshot
    notes: Mapping[type[Noted], int]
    """How many there were of each kind; of `Joined`, how many frames came before."""
    quarantined: int = 0
    last_frame: float | None = None
    """When the last frame arrived, in Unix seconds."""
    put_aside: LastPutAside | None = None


class Writer:
    """Takes items from the buffer until the one that says it is the end. `run()` is the thread."""

    def __init__(
        self,
        settings: RecorderSettings,
        *,
        buffer: Buffer,
        output: StreamFiles,
        quarantine: Quarantine,
        ledger: Ledger,
        losses: Losses,
        upstream: Upstream,
        log: logging.Logger,
        pulse: Pulse,
        before: Callable[[Recording], None] = lambda _: None,
        after: Callable[[], None] = lambda: None,
        clock: Clock = SYSTEM,
    ) -> None:
        """Make one; `before` is called in the thread before anything is written, `after` when all is published.

        Both may take a while, and may tell the ledger things; `before` tells the recording of earlier runs.
        """
        self._max_frame_bytes = settings.max_frame_bytes
        self._buffer = buffer
        self._output = output
        self._quarantine = quarantine
        self._ledger = ledger
        self._losses = losses
        self._before = before
        self._after = after
        self._limited = logs.RateLimited(log)
        self._upstream = upstream
        self._log = log
        self._pulse = pulse
        self._clock = clock
        self._recording = Recording(Rules.from_settings(settings))
        self._held = _Held(buffer)
        self._parser: Parser | None = None  # None: what comes belongs to no connection that delivers frames
        self._ignored = 0  # bytes of such a connection
        self._new_frame = self._replayable_frame = False
        self._unread = 0  # bytes that had arrived before the end and were not taken
        self._notes: Counter[type[Noted]] = Counter()
        self._oddities = Oddities()
        self._quarantined = 0
        self._last_put_aside: LastPutAside | None = None
        self._last_frame: float | None = None
        self.state = self._look()

    def run(self) -> None:
        """Write what arrives; return when all of it is published, or the disk still fails at the deadline."""
        self.begin()
        while self.step():
            pass
        self.end()

    def begin(self) -> None:
        """Go on where an earlier run ended, as far as that is known."""
        with self._pulse.waiting_for("what an earlier run left"):
            self._before(self._recording)

    def step(self) -> bool:
        """Do what is due, or what the next item calls for; return whether more may follow."""
        self._pulse.beat()
        item = self._buffer.take(self._patience())
        running = self._deal_with(item) if item is not None else True
        if self._buffer.empty:
            self._run_timers()
        self._output.sync_if_due()
        self._write_ledger()
        self.state = self._look()
        return running

    def end(self) -> None:
        """Publish what there is, and say that the run is over."""
        self._output.finish()
        if self._output.unwritten:
            self._log.error("stopped without writing everything", extra={"frames": self._output.unwritten})
        with self._pulse.waiting_for("what happens to published files"):
            self._after()
        self._ledger.note(facts.Stopped(unwritten=self._output.unwritten, unread=self._unread))
        with self._pulse.waiting_for("the disk"):
            self._ledger.close()

    # --- what arrives

    def _deal_with(self, item: Item) -> bool:
        """Do what `item` calls for; return whether more may follow."""
        match item:
            case Received():
                self._receive(item)
            case LinkUp():
                self._parser, self._ignored = Parser(self._max_frame_bytes, self._is_replayed), 0
                self._recording.connected()
                self._ledger.note(facts.Connected(endpoint=item.endpoint), utc(item.at.wall))
            case Succeeding():
                self._recording.succeeding()
            case Silent():
                self._carry_out(self._recording.finish(CloseReason.SILENCE))
            case LinkDown():
                self._end_connection(item.why)
                self._ledger.note(_disconnected(item), utc(item.at.wall))
                self._carry_out(self._recording.finish(CloseReason.DISCONNECTED))
            case NoMore():
                self._unread = item.unread
                self._note_unfinished()
                self._carry_out(self._recording.finish(CloseReason.STOPPED))
                return False
        return True

    def _receive(self, item: Received) -> None:
        """Write the frames that `item` completes, then give back the memory that nobody needs any more."""
        size = item.end - item.start
        self._output.arrived(item.at.wall)
        parser = self._parser
        if parser is None:
            self._ignored += size
            self._buffer.give_back(item.segment, 1)
        else:
            try:
                self._parse(parser, item)
            except WireError as error:
                self._output.flush()
                self._refuse(parser, item, error)
            else:
                self._output.flush()
                self._held.add(item.segment, parser.fed)
                self._held.release(parser.fed - parser.held)
        self._buffer.done(size)
        if self._new_frame:
            self._upstream.note_new_frame()
        if self._replayable_frame:
            self._upstream.note_replayable_frame()
        self._new_frame = self._replayable_frame = False

    def _parse(self, parser: Parser, item: Received) -> None:
        for frame in parser.feed(item.segment.view, item.start, item.end):
            if isinstance(frame, Frame):
                self._last_frame = item.at.wall
                self._replayable_frame |= frame.type not in NEVER_REPLAYED
                self._carry_out(self._recording.receive(frame, item.at))
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
        self._last_put_aside = LastPutAside(time=self._clock.utc(), bytes=size, why=why[:1024])

    def _refuse(self, parser: Parser, item: Received, error: WireError) -> None:
        """Give up a connection that delivers no frames."""
        self._put_aside(parser.torn(), parser.incomplete, str(error))
        self._report_put_aside(parser.incomplete, str(error))
        self._held.release(parser.fed)
        self._buffer.give_back(item.segment, 1)
        self._parser = None
        self._upstream.drop(item.connection)

    def _end_connection(self, why: str) -> None:
        """Put the beginning of a frame aside that will never be whole."""
        if self._parser is not None and self._parser.incomplete:
            reason = self._parser.refused or f"torn: {why}"
            self._put_aside(self._parser.torn(), self._parser.incomplete, str(reason))
        if self._parser is not None:
            self._held.release(self._parser.fed)
        if self._ignored:
            self._log.warning(
                "ignored what came after bytes that are no frame", extra={"bytes": self._ignored}
            )
        self._parser, self._ignored = None, 0

    def _note_unfinished(self) -> None:
        """Say that the recorder stops in the middle of a frame; it is not damaged, so it is not kept."""
        if self._parser is not None and self._parser.incomplete:
            self._log.warning("stopped in the middle of a frame", extra={"bytes": self._parser.incomplete})

    def _put_aside(self, parts: tuple[memoryview, ...], size: int, why: str) -> None:
        """Keep a damaged piece of the stream, and say so; if that fails, say that and go on. No parts: kept before."""
        self._quarantined += 1
        kept: Kept | None = None
        try:
            kept = self._quarantine.keep(parts, self._clock.utc()) if parts else None
        except OSError as error:
            extra = {"bytes": size, "why": why, "disk": str(error)}
            self._limited.log(logging.ERROR, "cannot keep a damaged piece", extra)
        else:
            extra = {"bytes": size, "why": why, "kept": str(kept and kept.path)}
            self._limited.log(logging.WARNING, "damaged piece of the stream", extra)
        fact = facts.Quarantined(bytes=size, why=why)
        if kept is not None:
            fact = fact.model_copy(update={"kept": kept.path.name, "kept_bytes": kept.bytes})
        self._ledger.note(fact)

    # --- what is to be done

    def _carry_out(self, actions: Iterable[Action]) -> None:
        for action in actions:
            match action:
                case Write():
                    self._new_frame = True
                    self._output.write(action.frame, observation=action.frame.type == OBSERVATION)
                case Open():
                    acquired = Acquired(utc(action.at.wall), action.session_id, action.stream_id)
                    self._output.open(action.file, acquired)
                case WriteHead():
                    self._output.begin_with(action.data)
                case Close():
                    self._output.close(action.reason)
                case Note():
                    self._tell(action.fact)

    def _tell(self, fact: Noted) -> None:
        """Count what the core notes, and bring it to log and ledger."""
        self._notes[type(fact)] += fact.count if isinstance(fact, facts.Joined) else 1
        if isinstance(fact, facts.Loss):
            self._losses.note(fact)
            return
        level = logging.INFO if isinstance(fact, facts.Gap | facts.Joined) else logging.WARNING
        told = fact.model_dump(mode="json", exclude={"kind"}, exclude_none=True)
        self._limited.log(level, fact.kind, told)
        self._ledger.note(fact)

    def _write_ledger(self) -> None:
        if self._ledger.pending:
            with self._pulse.waiting_for("the disk"):
                self._ledger.write()

    def _run_timers(self) -> None:
        """Do what is due by the clock."""
        now, due = self._clock.moment(), self._recording.deadline()
        if due is not None and now.monotonic >= due:
            self._carry_out(self._recording.tick(now))

    def _patience(self) -> float:
        """Return for how long nothing is due."""
        due = [when for when in (self._recording.deadline(), self._output.sync_due()) if when is not None]
        return max(0.0, min([LOOK_UP, *(when - self._clock.monotonic() for when in due)]))

    def _look(self) -> WriterState:
        return WriterState(
            self._recording.snapshot(),
            dict(self._notes),
            self._quarantined,
            self._last_frame,
            self._last_put_aside,
        )


def _disconnected(item: LinkDown) -> facts.Disconnected:
    return facts.Disconnected(why=item.why, times=item.times if item.times > 1 else None)
