"""The writer thread: has done what was decided of what arrived, and keeps files and ledger on the disk.

It alone uses the files. A call to the disk may hold it for ever: nobody but the disk's own work waits with it.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from timestream_aggregator.clock import SYSTEM, Clock, Pulse
from timestream_aggregator.core.actions import Close, Open, Write, WriteHead
from timestream_aggregator.disk.quarantine import Kept, Quarantine
from timestream_aggregator.ledger.file import Ledger
from timestream_aggregator.ledger.telling import Telling
from timestream_aggregator.writing.handoff import Handoff, PutAside, Step
from timestream_aggregator.writing.stream_files import StreamFiles
from timestream_aggregator.writing.tally import Board
from timestream_api import ledger as facts
from timestream_api.report import CloseReason

LOOK_UP: Final = 1.0  # seconds between two rounds of the loop, at most


@dataclass(slots=True, eq=False)
class Writer:
    """Takes batches until nothing more comes. `run()` is the thread."""

    handoff: Handoff
    outputs: Sequence[StreamFiles]
    board: Board
    quarantine: Quarantine
    ledger: Ledger
    telling: Telling
    log: logging.Logger
    pulse: Pulse
    unread: Callable[[], int]
    """Tells at the end how many bytes had arrived and were not taken."""
    after: Callable[[], None] = lambda: None
    """Called in the thread when all is published; it may take a while and use the ledger."""
    clock: Clock = SYSTEM

    def run(self) -> None:
        """Write what arrives; return when all of it is published, or the disk still fails at the deadline."""
        while self.step():
            pass
        self.end()

    def step(self) -> bool:
        """Do what the next batch calls for, or what is due; return whether more may follow."""
        self.pulse.beat()
        batch = self.handoff.take(self._patience())
        if batch is not None:
            for output in self.outputs:
                output.arrived(batch.arrived)
            for action in batch.actions:
                self._carry_out(action)
            self._flush()
            self.handoff.done()
        for output in self.outputs:
            output.sync_if_due()
        self._write_ledger()
        return not self.handoff.over

    def end(self) -> None:
        """Publish what there is, and say that the run is over."""
        for output in self.outputs:
            output.close(CloseReason.STOPPED)
            output.discards.tell()
        unwritten = self.board.unwritten
        if unwritten:
            self.log.error("stopped without writing everything", extra={"frames": unwritten})
        with self.pulse.waiting_for("what happens to published files"):
            self.after()
        self.ledger.note(facts.Stopped(unwritten=unwritten, unread=self.unread()))
        with self.pulse.waiting_for("the disk"):
            self.ledger.close()

    def _carry_out(self, action: Step) -> None:
        match action:
            case Write():
                self.outputs[action.key].write(action.frame)
            case Open():
                self.outputs[action.key].open(action)
            case WriteHead():
                self.outputs[action.key].begin_with(action.data)
            case Close():
                self.outputs[action.key].close(action.reason)
            case PutAside():
                self._flush()
                self._put_aside(action)
            case _:
                self.telling.tell(action)
                if self.ledger.crowded:
                    self._write_ledger()

    def _flush(self) -> None:
        for output in self.outputs:
            output.flush()

    def _put_aside(self, piece: PutAside) -> None:
        """Keep a damaged piece of the stream, and say so; if that fails, say that and go on."""
        kept: Kept | None = None
        try:
            kept = self.quarantine.keep(piece.parts, self.clock.utc()) if piece.parts else None
        except OSError as error:
            self.telling.complain("cannot keep a damaged piece", error)
        fact = piece.fact
        if kept is not None:
            fact = fact.model_copy(update={"kept": kept.path.name, "kept_bytes": kept.bytes})
        self.telling.tell(fact)

    def _write_ledger(self) -> None:
        if self.ledger.pending:
            with self.pulse.waiting_for("the disk"):
                self.ledger.write()

    def _patience(self) -> float:
        """Return for how long nothing is due."""
        due = [when for output in self.outputs if (when := output.sync_due()) is not None]
        return max(0.0, min([LOOK_UP, *(when - self.clock.monotonic() for when in due)]))
