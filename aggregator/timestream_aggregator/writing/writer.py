"""The writer thread: has done what was decided of what arrived, and keeps files and ledger on the disk.

It alone uses the files. A call to the disk may hold it for ever: nobody but the disk's own work waits with it.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Final

from timestream_aggregator.clock import SYSTEM, Clock, Pulse, utc
from timestream_aggregator.core.actions import Close, Note, Open, Write, WriteHead
from timestream_aggregator.core.files import OBSERVATION
from timestream_aggregator.disk.quarantine import Kept, Quarantine
from timestream_aggregator.ledger.file import Ledger
from timestream_aggregator.ledger.telling import Telling
from timestream_aggregator.writing.handoff import Handoff, PutAside, Step
from timestream_aggregator.writing.stream_files import StreamFiles
from timestream_aggregator.writing.tally import Acquired, Board
from timestream_api import ledger as facts
from timestream_api.report import CloseReason

LOOK_UP: Final = 1.0  # seconds between two rounds of the loop, at most


class Writer:
    """Takes batches until nothing more comes. `run()` is the thread."""

    def __init__(
        self,
        *,
        handoff: Handoff,
        outputs: Sequence[StreamFiles],
        board: Board,
        quarantine: Quarantine,
        ledger: Ledger,
        telling: Telling,
        log: logging.Logger,
        pulse: Pulse,
        unread: Callable[[], int],
        after: Callable[[], None] = lambda: None,
        clock: Clock = SYSTEM,
    ) -> None:
        """Make one; `after` is called in the thread when all is published, may take a while and use the ledger.

        `unread` tells at the end how many bytes had arrived and were not taken.
        """
        self._handoff = handoff
        self._outputs = outputs
        self._board = board
        self._quarantine = quarantine
        self._ledger = ledger
        self._telling = telling
        self._log = log
        self._pulse = pulse
        self._unread = unread
        self._after = after
        self._clock = clock

    def run(self) -> None:
        """Write what arrives; return when all of it is published, or the disk still fails at the deadline."""
        while self.step():
            pass
        self.end()

    def step(self) -> bool:
        """Do what the next batch calls for, or what is due; return whether more may follow."""
        self._pulse.beat()
        batch = self._handoff.take(self._patience())
        if batch is not None:
            for output in self._outputs:
                output.arrived(batch.arrived)
            for action in batch.actions:
                self._carry_out(action)
            self._flush()
            self._handoff.done()
        for output in self._outputs:
            output.sync_if_due()
        self._write_ledger()
        return not self._handoff.over

    def end(self) -> None:
        """Publish what there is, and say that the run is over."""
        for output in self._outputs:
            output.close(CloseReason.STOPPED)
            output.finish()
        unwritten = self._board.unwritten
        if unwritten:
            self._log.error("stopped without writing everything", extra={"frames": unwritten})
        with self._pulse.waiting_for("what happens to published files"):
            self._after()
        self._ledger.note(facts.Stopped(unwritten=unwritten, unread=self._unread()))
        with self._pulse.waiting_for("the disk"):
            self._ledger.close()

    def _carry_out(self, action: Step) -> None:
        match action:
            case Write():
                self._outputs[action.key].write(action.frame, observation=action.frame.type == OBSERVATION)
            case Open():
                acquired = Acquired(utc(action.at.wall), action.session_id, action.stream_id)
                self._outputs[action.key].open(action.file, acquired)
            case WriteHead():
                self._outputs[action.key].begin_with(action.data)
            case Close():
                self._outputs[action.key].close(action.reason)
            case Note():
                self._telling.tell(action.fact)
            case PutAside():
                self._flush()
                self._put_aside(action)

    def _flush(self) -> None:
        for output in self._outputs:
            output.flush()

    def _put_aside(self, piece: PutAside) -> None:
        """Keep a damaged piece of the stream, and say so; if that fails, say that and go on."""
        kept: Kept | None = None
        try:
            kept = self._quarantine.keep(piece.parts, self._clock.utc()) if piece.parts else None
        except OSError as error:
            self._telling.complain("cannot keep a damaged piece", error)
        fact = piece.fact
        if kept is not None:
            fact = fact.model_copy(update={"kept": kept.path.name, "kept_bytes": kept.bytes})
        self._telling.tell(fact)

    def _write_ledger(self) -> None:
        if self._ledger.pending:
            with self._pulse.waiting_for("the disk"):
                self._ledger.write()

    def _patience(self) -> float:
        """Return for how long nothing is due."""
        due = [when for output in self._outputs if (when := output.sync_due()) is not None]
        return max(0.0, min([LOOK_UP, *(when - self._clock.monotonic() for when in due)]))
