"""One recorder: the source's and the writer's threads, what lies between them, and what is said of them.

The report is put together by whoever asks, out of values that each part replaces as a whole: nobody waits for
anybody.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Final

from timestream_aggregator.buffer import Buffer, Stopped
from timestream_aggregator.clock import Pulse, utc
from timestream_aggregator.core.actions import NoteKind
from timestream_aggregator.core.progress import Snapshot, State
from timestream_aggregator.disk.calls import Disk
from timestream_aggregator.disk.folder import DataFolder
from timestream_aggregator.disk.quarantine import Quarantine
from timestream_aggregator.ledger.file import Ledger
from timestream_aggregator.ledger.losses import Losses
from timestream_aggregator.ledger.recent import History, Written, read
from timestream_aggregator.network.source import Source
from timestream_aggregator.readback.readback import Readback
from timestream_aggregator.recovery.recovery import Recovery
from timestream_aggregator.writing.patience import Stall
from timestream_aggregator.writing.space import StorageWatch
from timestream_aggregator.writing.stream_files import Neighbours, Output
from timestream_aggregator.writing.tally import Last, OutputState
from timestream_aggregator.writing.writer import Resumed, Writer
from timestream_api import report as api
from timestream_api.ledger import Fact, Started
from timestream_api.settings import RecorderSettings

VERSION: Final = version("timestream-aggregator")
RECOVERY_PATIENCE: Final = 20.0  # seconds; what comes meanwhile is buffered
DISK_PATIENCE: Final = 10.0  # seconds that a failing disk gets, once the recorder has to stop
_PATIENCE: Final = 2.0  # seconds that a thread gets to notice that it has to stop


class Recorder:
    """Records one stream from `start()` to `stop()`."""

    def __init__(
        self, settings: RecorderSettings, log: logging.Logger, over: threading.Event | None = None
    ) -> None:
        """Make the parts; `over` is set when a loop ends by a fault. UnusableFolderError: the folder is no good."""
        folder = DataFolder(settings.data_dir)
        folder.prepare()
        self._settings = settings
        self._log = log
        self._started_at = utc()
        self._listener: Callable[[], None] = lambda: None
        self._failed: str | None = None
        self.over = over or threading.Event()  # a loop has ended, by a fault or because it was told to
        self._buffer = Buffer(settings.buffer_bytes)
        self._writing = Pulse("writer")
        self._ledger = Ledger(settings.data_dir, settings.stream_id, log)
        self._losses = Losses(self._ledger, log)
        self._earlier = self._history()
        self._readback = Readback(settings.data_dir, self._tell, log)
        self._recovery = Recovery(
            folder,
            self._tell,
            log,
            earlier=self._earlier,
            losses=self._losses,
            published=self._read_back,
            max_frame_bytes=settings.max_frame_bytes,
        )
        for path in self._earlier.paths:
            folder.reserve(path)  # whoever had that name may have been fetched away
        self._output = self._make_output(folder)
        self._source = Source(settings, self._buffer, log, self._changed)
        self._writer = self._make_writer()
        self._storage = StorageWatch(settings.data_dir, settings.min_free_bytes, log)
        self._source_thread = self._thread("source", self._source.run)
        self._writer_thread = self._thread("writer", self._writer.run)
        self._others = [
            self._thread("storage", self._storage.run),
            self._thread("recovery", self._recovery.run_beside),
            self._thread("readback", self._readback.run),
        ]

    def _make_output(self, folder: DataFolder) -> Output:
        neighbours = Neighbours(
            ledger=self._ledger,
            losses=self._losses,
            published=lambda last: self._read_back(Written(last.path, last.size, last.frames, last.crc)),
            left=self._recovery.take,
            changed=self._changed,
        )
        stall = Stall(self._settings.max_stall, lambda: self._buffer.state().stalled)
        return Output(
            folder, self._settings.sync_interval, self._log, self._writing, neighbours=neighbours, stall=stall
        )

    def _make_writer(self) -> Writer:
        return Writer(
            self._settings,
            buffer=self._buffer,
            output=self._output,
            quarantine=Quarantine(self._settings.data_dir),
            ledger=self._ledger,
            losses=self._losses,
            upstream=self._source,
            log=self._log,
            pulse=self._writing,
            before=self._resume,
        )

    def start(self) -> None:
        """Begin to connect and to record."""
        source = f"{self._settings.address}:{self._settings.port}"
        self._ledger.note(Started(version=VERSION, source=source, pod=os.environ.get("POD_NAME")))
        for thread in (self._source_thread, self._writer_thread, *self._others):
            thread.start()

    def stop(self) -> None:
        """Receive no more, write what was received and publish it; return when that is done or cannot be."""
        self._output.stop(DISK_PATIENCE)
        self._stop_others()
        self._source.stop()
        self._source_thread.join(_PATIENCE)
        if self._source_thread.is_alive():  # in the name service, say: it has nothing more to give
            self._buffer.put(Stopped())
        self._await(self._writer_thread)
        if not self._source_thread.is_alive():
            self._source.close()

    def _stop_others(self) -> None:
        """Let recovery and read-back end first: they tell the ledger things, and the writer closes it."""
        self._recovery.stop()
        self._readback.stop()
        self._storage.stop()
        deadline = time.monotonic() + _PATIENCE
        for thread in self._others:
            thread.join(max(0.0, deadline - time.monotonic()))

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call `listener` when there is something to say that people wait for. It has to return at once."""
        self._listener = listener

    @property
    def failed(self) -> str | None:
        """The fault of this program that ended a loop, if one did."""
        return self._failed

    @property
    def incomplete(self) -> bool:
        """Whether the disk did not take all that was received before the end."""
        return self._output.unwritten > 0 or self._output.left > 0 or self._writer_thread.is_alive()

    def ill(self) -> str | None:
        """Return why a restart would help, or None. A failing disk or a silent sender is no reason."""
        return self._failed or self._source.pulse.trouble() or self._writing.trouble()

    def unready(self) -> str | None:
        """Return why nothing can be recorded, or None. The sender's absence is no reason."""
        storage = self._storage.state
        if self._failed or self._output.state.trouble or storage is None:
            return self._failed or self._output.state.trouble or "the disk has not been looked at yet"
        return storage.trouble if not storage.writable else None

    def report(self) -> api.Report:
        """Return what there is to say now."""
        seen, output = self._writer.state, self._output.state
        lost, read_back = self._losses.state, self._readback.state
        return api.Report(
            time=utc(),
            started_at=self._started_at,
            version=VERSION,
            pod=os.environ.get("POD_NAME"),
            node=os.environ.get("NODE_NAME"),
            connection=self._connection(seen.last_frame),
            acquisition=_acquisition(seen.acquisition),
            current_file=_current(output),
            last_file=output.last and _last(output.last, read_back.outcomes),
            totals=api.Totals(
                files=output.files,
                recovered=self._recovery.count,
                frames=output.frames,
                bytes=output.size,
                verified=read_back.good,
                bad_files=read_back.bad,
                lost=lost.count,
                duplicates=seen.notes.get(NoteKind.DUPLICATE, 0),
                quarantined=seen.quarantined,
                gaps=seen.notes.get(NoteKind.GAP, 0),
            ),
            last_bad_file=read_back.latest_bad,
            last_loss=lost.latest,
            storage=self._disk(output),
            buffer=self._buffer.state(),
        )

    def _thread(self, name: str, loop: Callable[[], None]) -> threading.Thread:
        return threading.Thread(target=lambda: self._guard(name, loop), name=name, daemon=True)

    def _await(self, writer: threading.Thread) -> None:
        """Wait until the writer is done; not for a disk that hangs, for no signal ends a call that does."""
        seen = None
        while writer.is_alive() and seen is not self._output.state:
            seen = self._output.state
            writer.join(DISK_PATIENCE + _PATIENCE)
        if writer.is_alive():
            self._log.error("the disk hangs", extra={"buffered": self._buffer.state().bytes})

    def _guard(self, name: str, loop: Callable[[], None]) -> None:
        """Run a loop; if it ends by a fault of this program, everything has to end, and loudly."""
        try:
            loop()
        except Exception as error:  # noqa: BLE001 - whatever it is, it ends the recorder
            self._failed = f"the {name} failed: {error!r}"
            self._log.critical("a fault of this program", exc_info=error, extra={"loop": name})
        self.over.set()

    def _tell(self, fact: Fact) -> None:
        """Have a fact in the ledger before anything else happens."""
        self._ledger.note(fact)
        self._ledger.write(sync=True)
        self._changed()

    def _read_back(self, written: Written) -> None:
        if self._settings.verify:
            self._readback.add(written)

    def _resume(self) -> Resumed | None:
        """Return what an earlier run recorded last, once all that it left is recovered, or that takes too long."""
        self._recovery.caught_up.wait(RECOVERY_PATIENCE)
        for written in self._earlier.unverified.values():
            self._read_back(written)
        history = self._history()
        if history.session_id is None or history.highest is None:
            return None
        return Resumed(history.session_id, history.highest)

    def _history(self) -> History:
        try:
            return read(self._settings.data_dir, self._settings.stream_id, Disk())
        except OSError as error:
            self._log.warning("the ledger cannot be read", extra={"why": str(error)})
            return History()

    def _changed(self) -> None:
        self._listener()

    def _connection(self, last_frame: float | None) -> api.Connection:
        when = None if last_frame is None else utc(last_frame)
        return self._source.connection.model_copy(update={"last_frame_time": when})

    def _disk(self, output: OutputState) -> api.Storage | None:
        """Return what the watch saw, and what the writer met if that is worse."""
        seen = self._storage.state
        if seen is None or output.trouble is None:
            return seen
        return seen.model_copy(update={"writable": False, "trouble": output.trouble})


def _acquisition(snapshot: Snapshot) -> api.Acquisition | None:
    if snapshot.state is State.IDLE:
        return None
    now = snapshot.acquisition
    return api.Acquisition(
        base_name=now.file.base.stem
        if not now.file.base.folder
        else f"{now.file.base.folder}/{now.file.base.stem}",
        session=now.session_id,
        stream_id=now.stream_id,
        started=utc(now.started.wall),
        frames=now.frames,
        bytes=now.bytes,
        lost=now.lost,
        first_frame_num=now.first_frame_num,
        last_frame_num=now.last_frame_num,
    )


def _current(output: OutputState) -> api.CurrentFile | None:
    now = output.current
    return now and api.CurrentFile(path=now.path, opened=now.opened, frames=now.frames, bytes=now.size)


def _last(last: Last, outcomes: Mapping[str, bool]) -> api.LastFile:
    return api.LastFile(
        path=last.path,
        frames=last.frames,
        bytes=last.size,
        crc32c=f"{last.crc:08x}",
        closed=last.closed,
        reason=last.reason,
        verified=outcomes.get(last.path),
    )
