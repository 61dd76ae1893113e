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

from timestream_aggregator.account import Last, OutputState
from timestream_aggregator.actions import NoteKind
from timestream_aggregator.buffer import Buffer, Stopped
from timestream_aggregator.clock import Pulse, utc
from timestream_aggregator.files import DataFolder
from timestream_aggregator.ledger import Ledger, recent_paths
from timestream_aggregator.output import Output
from timestream_aggregator.progress import Snapshot, State
from timestream_aggregator.quarantine import Quarantine
from timestream_aggregator.recovery import Recovery
from timestream_aggregator.source import Source
from timestream_aggregator.storage import StorageWatch
from timestream_aggregator.writer import Writer
from timestream_api import report as api
from timestream_api.ledger import Fact, Started
from timestream_api.settings import RecorderSettings

VERSION: Final = version("timestream-aggregator")
DISK_PATIENCE: Final = 10.0  # seconds that a failing disk gets, once the recorder has to stop
_SOURCE_PATIENCE: Final = 2.0  # seconds that the source gets to notice that it has to stop


class Recorder:
    """Records one stream from `start()` to `stop()`."""

    def __init__(
        self, settings: RecorderSettings, log: logging.Logger, over: threading.Event | None = None
    ) -> None:
        """Make the parts; `over` is set when a loop ends by a fault. UnusableFolderError: the folder is no good."""
        folder = DataFolder(settings.data_dir)
        folder.prepare()
        self._log = log
        self._started_at = utc()
        self._buffer = Buffer(settings.buffer_bytes)
        self._writing = Pulse("writer")
        self._listener: Callable[[], None] = lambda: None
        self._ledger = Ledger(settings.data_dir, settings.stream_id, log)
        self._output = Output(
            folder, settings.sync_interval, log, self._writing, ledger=self._ledger, changed=self._changed
        )
        self._source = Source(settings, self._buffer, log, self._changed)
        _reserve_names(folder, log)
        self._recovery = Recovery(folder, self._tell, log, settings.max_frame_bytes)
        quarantine = Quarantine(settings.data_dir)
        self._writer = Writer(
            settings,
            buffer=self._buffer,
            output=self._output,
            quarantine=quarantine,
            ledger=self._ledger,
            upstream=self._source,
            log=log,
            pulse=self._writing,
        )
        self._storage = StorageWatch(settings.data_dir, settings.min_free_bytes, log)
        self._failed: str | None = None
        source = f"{settings.address}:{settings.port}"
        self._started = Started(version=VERSION, source=source, pod=os.environ.get("POD_NAME"))
        self.over = over or threading.Event()  # a loop has ended, by a fault or because it was told to
        self._threads = [
            self._thread("source", self._source.run),
            self._thread("writer", self._writer.run),
            self._thread("storage", self._storage.run),
        ]
        self._recovering = threading.Thread(target=self._recovery.run_beside, name="recovery", daemon=True)

    def start(self) -> None:
        """Begin to connect and to record."""
        self._ledger.note(self._started)
        for thread in self._threads:
            thread.start()
        self._recovering.start()

    def stop(self) -> None:
        """Receive no more, write what was received and publish it; return when that is done or cannot be."""
        source, writer, _ = self._threads
        self._output.stop(DISK_PATIENCE)
        self._recovery.stop()
        self._source.stop()
        source.join(_SOURCE_PATIENCE)
        if source.is_alive():  # in the name service, say: it has nothing more to give
            self._buffer.put(Stopped())
        self._await(writer)
        if not source.is_alive():
            self._source.close()
        self._storage.stop()
        self._recovering.join(_SOURCE_PATIENCE)

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
        return self._writer.unwritten > 0 or self._threads[1].is_alive()

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
        return api.Report(
            time=utc(),
            started_at=self._started_at,
            version=VERSION,
            pod=os.environ.get("POD_NAME"),
            node=os.environ.get("NODE_NAME"),
            connection=self._connection(seen.last_frame),
            acquisition=_acquisition(seen.acquisition),
            current_file=_current(output),
            last_file=_last(output.last),
            totals=api.Totals(
                files=output.files,
                recovered=self._recovery.count,
                frames=output.frames,
                bytes=output.size,
                lost=output.lost + seen.notes.get(NoteKind.LOSS, 0),
                duplicates=seen.notes.get(NoteKind.DUPLICATE, 0),
                quarantined=seen.quarantined,
                gaps=seen.notes.get(NoteKind.GAP, 0),
            ),
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
            writer.join(DISK_PATIENCE + _SOURCE_PATIENCE)
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


def _reserve_names(folder: DataFolder, log: logging.Logger) -> None:
    """Give no name a second time that a file had which somebody has fetched away."""
    try:
        for path in recent_paths(folder.root):
            folder.reserve(path)
    except OSError as error:
        log.warning("the ledger cannot be read", extra={"why": str(error)})


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


def _last(last: Last | None) -> api.LastFile | None:
    return last and api.LastFile(
        path=last.path,
        frames=last.frames,
        bytes=last.size,
        crc32c=f"{last.crc:08x}",
        closed=last.closed,
        reason=last.reason,
    )
