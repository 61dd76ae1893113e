"""One recorder: the source's and the writer's threads, what lies between them, and what is said of them.

The report is put together by whoever asks, out of values that each part replaces as a whole: nobody waits for
anybody.
"""

import logging
import os
import threading
from collections.abc import Callable
from importlib.metadata import version
from typing import Final

from timestream_aggregator.buffer import NoMore
from timestream_aggregator.clock import HEALTHY, SYSTEM, Clock, utc
from timestream_aggregator.parts import Parts
from timestream_api import report as api
from timestream_api.ledger import Started
from timestream_api.settings import RecorderSettings

VERSION: Final = version("timestream-aggregator")
DISK_PATIENCE: Final = 10.0  # seconds that a failing disk gets, once the recorder has to stop
_LOOK_AGAIN: Final = 0.02  # seconds
_PATIENCE: Final = 2.0  # seconds that a thread gets to notice that it has to stop


class Recorder:
    """Records one stream from `start()` to `stop()`."""

    def __init__(
        self,
        settings: RecorderSettings,
        log: logging.Logger,
        over: threading.Event | None = None,
        clock: Clock = SYSTEM,
    ) -> None:
        """Make the parts; `over` is set when a loop ends by a fault. UnusableFolderError: the folder is no good."""
        self._settings = settings
        self._log = log
        self._clock = clock
        self._started_at = clock.utc()
        self._listener: Callable[[], None] = lambda: None
        self._failed: str | None = None
        self.over = over or threading.Event()  # a loop has ended, by a fault or because it was told to
        self._read_back_until = 0.0
        self._parts = parts = Parts(settings, log, clock=clock, changed=self._changed, published=self._finish)
        self._source = self._thread("source", parts.source.run)
        self._framer = self._thread("framer", parts.framer.run)
        self._writer = self._thread("writer", parts.writer.run)
        self._others = [
            self._thread("storage", parts.storage.run),
            self._thread("recovery", parts.recovery.run_beside),
        ]
        self._readback = self._thread("readback", parts.readback.run)

    def start(self) -> None:
        """Begin to connect and to record."""
        ledger = self._parts.ledger
        ledger.note(Started(version=VERSION, source=ledger.memory.source, pod=os.environ.get("POD_NAME")))
        ledger.write(sync=True)  # what is wrong with it is known from the start
        for thread in (self._source, self._framer, self._writer, *self._others, self._readback):
            thread.start()

    def stop(self, read_back: float = 0.0) -> None:
        """Receive no more, write what was received and publish it; return when that is done or cannot be.

        For at most `read_back` seconds from now on, files that have been published are read back.
        """
        parts = self._parts
        self._read_back_until = self._clock.monotonic() + read_back
        parts.patience.stop(DISK_PATIENCE)
        parts.storage.stop()
        if not parts.recovery.looked.is_set():  # the writer waits for it
            parts.recovery.stop()
        parts.source.stop()
        self._source.join(DISK_PATIENCE)
        if self._source.is_alive():  # a fault of this program; what was received is written all the same
            parts.buffer.put(NoMore())
        self._await(self._writer)
        parts.recovery.stop()  # if the writer did not get that far
        parts.readback.stop()
        self._readback.join(_PATIENCE)
        if not self._source.is_alive():
            parts.source.close()

    def _finish(self) -> None:
        """Let recovery and read-back end, before the writer closes the ledger that they tell things."""
        parts, deadline = self._parts, self._clock.monotonic() + _PATIENCE
        parts.recovery.try_again()
        while parts.recovery.unfinished and self._clock.monotonic() < deadline:
            self._clock.sleep(_LOOK_AGAIN)
        parts.recovery.stop()
        for thread in self._others:
            thread.join(max(0.0, deadline - self._clock.monotonic()))
        parts.readback.finish(self._read_back_until - self._clock.monotonic())

    def _changed(self) -> None:
        self._listener()

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call `listener` when there is something to say that people wait for. It has to return at once."""
        self._listener = listener

    @property
    def failed(self) -> str | None:
        """The fault of this program that ended a loop, if one did."""
        return self._failed

    @property
    def incomplete(self) -> bool:
        """Whether the disk did not take all that was received before the end, or not all that was to be told."""
        parts = self._parts
        lost = parts.board.unwritten + parts.recovery.pending + parts.ledger.state.dropped
        return lost > 0 or self._writer.is_alive()

    def ill(self) -> str | None:
        """Return why a restart would help, or None. A failing disk or a silent sender is no reason."""
        return self._failed or next(filter(None, (pulse.trouble() for pulse in self._parts.pulses)), None)

    def unready(self) -> str | None:
        """Return why nothing can be recorded, or None. The sender's absence is no reason."""
        storage = self._parts.storage.state
        trouble = self._failed or self._disk_trouble()
        if trouble or storage is None:
            return trouble or "the disk has not been looked at yet"
        return storage.trouble if not storage.writable else None

    def report(self) -> api.Report:
        """Return what there is to say now."""
        seen, output = self._parts.framer.state, self._parts.board.state
        read_back, memory, last = self._parts.readback.state, self._parts.ledger.memory, output.last
        return api.Report(
            time=self._clock.utc(),
            started_at=self._started_at,
            version=VERSION,
            pod=os.environ.get("POD_NAME"),
            node=os.environ.get("NODE_NAME"),
            connection=self._connection(seen.last_frame),
            acquisition=seen.acquisition,
            current_file=output.current,
            last_file=last and last.model_copy(update={"verified": read_back.outcomes.get(last.path)}),
            totals=_sum(self._parts.before, self._parts.recovery.content, self.since_start()).model_copy(
                update={"bad_files": memory.totals.bad_files}  # those that nobody has acknowledged
            ),
            last_bad_file=next(iter(memory.bad[-1:]), None),
            last_loss=self._parts.telling.lost.latest,
            last_put_aside=seen.put_aside,
            storage=self._disk(),
            ledger=self._parts.ledger.state,
            buffer=self._parts.buffer.state(),
        )

    def since_start(self) -> api.Totals:
        """Return the counts of this run alone."""
        output, read_back = self._parts.board.state, self._parts.readback.state
        told, before = self._parts.ledger.memory.totals, self._parts.before
        return api.Totals(
            files=output.files,
            recovered=self._parts.recovery.count,
            frames=output.frames,
            bytes=output.size,
            verified=read_back.good,
            bad_files=read_back.bad,
            lost=self._parts.telling.lost.count,
            missed=told.missed - before.missed,
            duplicates=told.duplicates - before.duplicates,
            quarantined=told.quarantined - before.quarantined,
            gaps=told.gaps - before.gaps,
        )

    def _thread(self, name: str, loop: Callable[[], None]) -> threading.Thread:
        return threading.Thread(target=lambda: self._guard(name, loop), name=name, daemon=True)

    def _await(self, writer: threading.Thread) -> None:
        """Wait until the writer is done; not for a disk that hangs, for no signal ends a call that does."""
        seen = None
        while writer.is_alive() and seen is not self._parts.board.state:
            seen = self._parts.board.state
            writer.join(DISK_PATIENCE + _PATIENCE)
        if writer.is_alive():
            self._log.error("the disk hangs", extra={"buffered": self._parts.buffer.state().bytes})

    def _guard(self, name: str, loop: Callable[[], None]) -> None:
        """Run a loop; if it ends by a fault of this program, everything has to end, and loudly."""
        try:
            loop()
        except Exception as error:  # noqa: BLE001 - whatever it is, it ends the recorder
            self._failed = f"the {name} failed: {error!r}"
            self._log.critical("a fault of this program", exc_info=error, extra={"loop": name})
        self.over.set()

    def _connection(self, last_frame: float | None) -> api.Connection:
        when = None if last_frame is None else utc(last_frame)
        return self._parts.source.connection.model_copy(update={"last_frame_time": when})

    def _disk(self) -> api.StorageReport | None:
        """Return what the watch saw, and what the writer met if that is worse."""
        seen, trouble = self._parts.storage.state, self._disk_trouble()
        if seen is None or trouble is None:
            return seen
        return seen.model_copy(update={"writable": False, "trouble": trouble})

    def _disk_trouble(self) -> str | None:
        """Return what the writer met: a call that fails, or one that does not return."""
        away = self._parts.handoff.away
        hangs = f"a call to the disk has not returned for {away:.0f} s" if away >= HEALTHY else None
        return self._parts.board.state.trouble or hangs


def _sum(*parts: api.Totals) -> api.Totals:
    return api.Totals(
        **{name: sum(getattr(part, name) for part in parts) for name in api.Totals.model_fields}
    )
