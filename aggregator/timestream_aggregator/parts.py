"""Puts the parts of a recorder together, in the order in which they need each other; nothing runs yet.

Whoever calls this gives the disk and the clock: a recorder the machine's, a test its own.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from timestream_aggregator.buffer import Buffer
from timestream_aggregator.clock import SYSTEM, Clock, Pulse
from timestream_aggregator.core.file_facts import FileFacts
from timestream_aggregator.core.naming import parse, safe_stream_id
from timestream_aggregator.disk.calls import Disk
from timestream_aggregator.disk.folder import DataFolder
from timestream_aggregator.disk.marked import marked
from timestream_aggregator.disk.quarantine import Quarantine
from timestream_aggregator.ledger.file import Ledger
from timestream_aggregator.ledger.losses import Losses, Lost
from timestream_aggregator.ledger.memory import Memory
from timestream_aggregator.ledger.state import remember
from timestream_aggregator.network.source import Source
from timestream_aggregator.readback.readback import Readback
from timestream_aggregator.recovery.recovery import Recovery
from timestream_aggregator.writing.patience import Patience
from timestream_aggregator.writing.space import StorageWatch
from timestream_aggregator.writing.stream_files import Observers, StreamFiles
from timestream_aggregator.writing.writer import Resumed, Writer
from timestream_api.ledger import Fact
from timestream_api.report import LossCause, Totals
from timestream_api.settings import RecorderSettings

LOOK_AGAIN: Final = 1.0  # seconds


@dataclass(frozen=True, slots=True)
class Parts:
    """What a recorder consists of."""

    buffer: Buffer
    source: Source
    writer: Writer
    writing: Pulse
    output: StreamFiles
    ledger: Ledger
    losses: Losses
    recovery: Recovery
    readback: Readback
    storage: StorageWatch
    before: Totals
    """Of all runs before."""


def assemble(
    settings: RecorderSettings,
    log: logging.Logger,
    disk: Disk | None = None,
    clock: Clock = SYSTEM,
    *,
    buffer: Buffer | None = None,
    changed: Callable[[], None] = lambda: None,
    published: Callable[[], None] = lambda: None,
) -> Parts:
    """Return the parts of one recorder.

    Args:
        settings: what is asked of it.
        log: where its messages go.
        disk: the system calls that its files are made with.
        clock: the time, and how to wait.
        buffer: what the writer takes from, if not the one that the source fills.
        changed: called when there is something to report; it has to return at once.
        published: called at the end, when the last file is; the ledger is open until it returns.

    Raises:
        UnusableFolderError: the data folder is no good.
    """
    root, writing = settings.data_dir, Pulse("writer", clock)
    disk = marked(disk or Disk(), writing)
    folder = DataFolder(root, disk)
    folder.prepare()
    buffer = buffer or Buffer(settings.buffer_bytes, clock)
    memory = remember(root, settings.stream_id, f"{settings.address}:{settings.port}", disk, log)
    before, unverified = memory.totals, list(memory.unverified.values())
    ledger = Ledger(root, settings.stream_id, log, disk, clock, memory=memory)
    losses = Losses(ledger, log, clock)
    tell = _teller(ledger, changed)
    for path in memory.names.values():
        folder.reserve(path)  # whoever had that name may have been fetched away
    readback = Readback(root, tell, log)
    read_back = readback.add if settings.verify else _leave_unread
    recovery = Recovery(
        folder,
        tell,
        log,
        earlier=memory,
        losses=losses,
        published=read_back,
    )
    observers = Observers(
        ledger=ledger,
        losses=losses,
        published=read_back,
        left=recovery.take,
        healed=recovery.try_again,
        changed=changed,
    )
    patience = Patience(settings.max_stall, lambda: buffer.state().stalled, clock)
    output = StreamFiles(
        folder, settings.sync_interval, log, writing, observers=observers, patience=patience, clock=clock
    )
    source = Source(settings, buffer, log, changed, clock)

    def resume() -> Resumed | None:
        """Return what an earlier run recorded last, also in files that it left; what comes meanwhile is buffered."""
        while not clock.wait(recovery.looked, LOOK_AGAIN):
            log.info("looking for the last numbers in files that were left")
        for written in unverified:
            if parse(written.path) is not None:
                read_back(written)
        if recovery.ahead is None:  # told to stop before that
            return None
        for path, frame in recovery.ahead:
            memory.reach(path, frame.session_id, safe_stream_id(frame.stream_id or ""), frame.frame_num)
        return _resumed(memory, losses)

    writer = Writer(
        settings,
        buffer=buffer,
        output=output,
        quarantine=Quarantine(root, disk),
        ledger=ledger,
        losses=losses,
        upstream=source,
        log=log,
        pulse=writing,
        before=resume,
        after=published,
        clock=clock,
    )
    storage = StorageWatch(root, settings.min_free_bytes, log)
    return Parts(buffer, source, writer, writing, output, ledger, losses, recovery, readback, storage, before)


def _teller(ledger: Ledger, changed: Callable[[], None]) -> Callable[[Fact], None]:
    """Return what has a fact in the ledger before anything else happens."""

    def tell(fact: Fact) -> None:
        ledger.note(fact)
        ledger.write(sync=True)
        changed()

    return tell


def _resumed(memory: Memory, losses: Losses) -> Resumed | None:
    """Return where the session goes on that was recorded last; what came of any and was not written is lost."""
    for session in list(memory.sessions):
        for first, last in session.unwritten:
            lost = Lost(last - first + 1, LossCause.RESTART, session.session_id, first, last)
            losses.note(replace(lost, stream_id=session.stream_id))
    known = {
        session.session_id: session.accounted for session in memory.sessions if session.accounted is not None
    }
    return Resumed(max(known), known[max(known)]) if known else None


def _leave_unread(_: FileFacts) -> None:
    """Have nothing read back."""
