"""Puts the parts of a recorder together, in the order in which they need each other; nothing runs yet.

Whoever calls this gives the disk and the clock: a recorder the machine's, a test its own.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from timestream_aggregator.buffer import Buffer
from timestream_aggregator.clock import SYSTEM, Clock, Pulse
from timestream_aggregator.core.acquisition import Recording
from timestream_aggregator.core.file_facts import FileFacts
from timestream_aggregator.core.files import MOST_OPEN
from timestream_aggregator.core.naming import parse, safe_stream_id
from timestream_aggregator.core.sessions import EarlierRun, KnownSession
from timestream_aggregator.disk.calls import Disk
from timestream_aggregator.disk.folder import DataFolder
from timestream_aggregator.disk.marked import marked
from timestream_aggregator.disk.quarantine import Quarantine
from timestream_aggregator.ledger.file import Ledger
from timestream_aggregator.ledger.memory import Memory
from timestream_aggregator.ledger.state import remember
from timestream_aggregator.ledger.telling import Discards, Telling
from timestream_aggregator.network.source import Source
from timestream_aggregator.readback.readback import Readback
from timestream_aggregator.recovery.recovery import Recovery
from timestream_aggregator.writing.framer import Framer
from timestream_aggregator.writing.handoff import Handoff
from timestream_aggregator.writing.patience import Patience
from timestream_aggregator.writing.space import StorageWatch
from timestream_aggregator.writing.stream_files import Observers, StreamFiles
from timestream_aggregator.writing.tally import Board
from timestream_aggregator.writing.writer import Writer
from timestream_api.ledger import Fact, Loss
from timestream_api.report import LossCause, Totals
from timestream_api.settings import RecorderSettings

LOOK_AGAIN: Final = 1.0  # seconds


@dataclass(frozen=True, slots=True)
class Parts:
    """What a recorder consists of."""

    buffer: Buffer
    source: Source
    framer: Framer
    handoff: Handoff
    writer: Writer
    pulses: tuple[Pulse, ...]
    outputs: Sequence[StreamFiles]
    board: Board
    patience: Patience
    ledger: Ledger
    telling: Telling
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
    telling = Telling(ledger, log, clock)
    tell = _teller(ledger, changed)
    earlier, started = _earlier_run(memory), clock.wall()
    for path in memory.names.values():
        folder.reserve(path)  # whoever had that name may have been fetched away
    readback = Readback(root, tell, log)
    read_back = readback.add if settings.verify else _leave_unread
    recovery = Recovery(
        folder,
        tell,
        log,
        earlier=memory,
        losses=telling,
        published=read_back,
    )
    observers = Observers(
        ledger=ledger,
        telling=telling,
        published=read_back,
        left=recovery.take,
        healed=recovery.try_again,
        changed=changed,
    )
    patience = Patience(settings.max_stall, clock)
    board = Board()
    outputs = [
        StreamFiles(
            folder,
            settings.sync_interval,
            log,
            writing,
            observers=observers,
            patience=patience,
            board=board,
            clock=clock,
        )
        for _ in range(MOST_OPEN)
    ]
    source = Source(settings, buffer, log, changed, clock)

    def resume(recording: Recording) -> None:
        """Tell what earlier runs recorded, also in files that they left; what comes meanwhile is buffered."""
        while not clock.wait(recovery.looked, LOOK_AGAIN):
            log.info("looking for the last numbers in files that were left")
        for written in unverified:
            if parse(written.path) is not None:
                read_back(written)
        if recovery.ahead is None:  # told to stop before that
            return
        for path, frame in recovery.ahead:
            memory.reach(path, frame.session_id, safe_stream_id(frame.stream_id or ""), frame.frame_num)
        recording.resume(_known(memory, telling), earlier, started)

    handoff = Handoff(
        buffer,
        Discards(telling),
        telling,
        why=lambda: board.state.trouble or "a call to the disk does not return",
        max_stall=settings.max_stall,
        clock=clock,
    )
    framing = Pulse("framer", clock)
    framer = Framer(
        settings,
        buffer=buffer,
        handoff=handoff,
        ledger=ledger,
        upstream=source,
        log=log,
        pulse=framing,
        before=resume,
        clock=clock,
    )
    writer = Writer(
        handoff=handoff,
        outputs=outputs,
        board=board,
        quarantine=Quarantine(root, disk),
        ledger=ledger,
        telling=telling,
        log=log,
        pulse=writing,
        unread=lambda: framer.unread,
        after=published,
        clock=clock,
    )
    storage = StorageWatch(root, settings.min_free_bytes, log)
    return Parts(
        buffer=buffer,
        source=source,
        framer=framer,
        handoff=handoff,
        writer=writer,
        pulses=(source.pulse, framing, writing),
        outputs=outputs,
        board=board,
        patience=patience,
        ledger=ledger,
        telling=telling,
        recovery=recovery,
        readback=readback,
        storage=storage,
        before=before,
    )


def _teller(ledger: Ledger, changed: Callable[[], None]) -> Callable[[Fact], None]:
    """Return what has a fact in the ledger before anything else happens."""

    def tell(fact: Fact) -> None:
        ledger.note(fact)
        ledger.write(sync=True)
        changed()

    return tell


def _earlier_run(memory: Memory) -> EarlierRun | None:
    if memory.started is None:
        return None
    return EarlierRun(memory.started.timestamp(), memory.stopped.timestamp() if memory.stopped else None)


def _known(memory: Memory, telling: Telling) -> list[KnownSession]:
    """Return the sessions that may go on; what came of any and was not written is lost."""
    for session in list(memory.sessions):
        for first, last in session.unwritten:
            telling.tell(
                Loss(
                    count=last - first + 1,
                    cause=LossCause.RESTART,
                    session_id=session.session_id,
                    stream_id=session.stream_id,
                    first=first,
                    last=last,
                )
            )
    return [
        KnownSession(session.session_id, session.stream_id, session.accounted)
        for session in memory.sessions
        if session.accounted is not None
    ]


def _leave_unread(_: FileFacts) -> None:
    """Have nothing read back."""
