"""Puts the parts of a recorder together, in the order in which they need each other; nothing runs yet.

Whoever calls this gives the disk and the clock: a recorder the machine's, a test its own.
"""

import logging
from collections.abc import Callable
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
from timestream_aggregator.ledger.telling import Telling
from timestream_aggregator.network.source import Source
from timestream_aggregator.readback.readback import Readback
from timestream_aggregator.recovery.recovery import Recovery
from timestream_aggregator.writing.framer import Framer
from timestream_aggregator.writing.handoff import Handoff
from timestream_aggregator.writing.patience import Patience
from timestream_aggregator.writing.space import StorageWatch
from timestream_aggregator.writing.stream_files import StreamFiles
from timestream_aggregator.writing.tally import Board
from timestream_aggregator.writing.writer import Writer
from timestream_api.ledger import Fact, Loss
from timestream_api.report import LossCause
from timestream_api.settings import RecorderSettings

LOOK_AGAIN: Final = 1.0  # seconds


class Parts:
    """What a recorder consists of."""

    def __init__(
        self,
        settings: RecorderSettings,
        log: logging.Logger,
        disk: Disk | None = None,
        clock: Clock = SYSTEM,
        *,
        buffer: Buffer | None = None,
        changed: Callable[[], None] = lambda: None,
        published: Callable[[], None] = lambda: None,
    ) -> None:
        """Make the parts of one recorder.

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
        self._log, self._clock = log, clock
        root, writing = settings.data_dir, Pulse("writer", clock)
        disk = marked(disk or Disk(), writing)
        folder = DataFolder(root, disk)
        folder.prepare()
        self.buffer = buffer or Buffer(settings.buffer_bytes, clock)
        memory = remember(root, settings.stream_id, f"{settings.address}:{settings.port}", disk, log)
        self.before = memory.totals  # of all runs before
        self._earlier, self._started = _earlier_run(memory), clock.wall()
        self._unverified = list(memory.unverified.values())
        self.ledger = Ledger(root, settings.stream_id, log, disk, clock, memory=memory)
        self.telling = Telling(self.ledger, log, clock)

        def tell(fact: Fact) -> None:
            """Have a fact in the ledger before anything else happens."""
            self.ledger.note(fact)
            self.ledger.write(sync=True)
            changed()

        for file in filter(None, map(parse, memory.names.values())):
            folder.reserve(file)  # whoever had that name may have been fetched away
        self.readback = Readback(root, tell, log)
        self._read_back: Callable[[FileFacts], None] = (
            self.readback.add if settings.verify else lambda _: None
        )
        self.recovery = Recovery(
            folder, tell, log, earlier=memory, losses=self.telling, published=self._read_back
        )
        self.patience, self.board = Patience(settings.max_stall, clock), Board()
        self.outputs = [
            StreamFiles(
                folder,
                settings.sync_interval,
                log,
                writing,
                self.ledger,
                self.telling,
                self.patience,
                self.board,
                published=self._read_back,
                left=self.recovery.take,
                healed=self.recovery.try_again,
                changed=changed,
                clock=clock,
            )
            for _ in range(MOST_OPEN)
        ]
        self.source = Source(settings, self.buffer, log, changed, clock)
        self.handoff = Handoff(
            self.buffer,
            self.telling,
            why=lambda: self.board.state.trouble or "a call to the disk does not return",
            max_stall=settings.max_stall,
            clock=clock,
        )
        framing = Pulse("framer", clock)
        self.framer = Framer(
            settings,
            self.buffer,
            self.handoff,
            self.ledger,
            upstream=self.source,
            log=log,
            pulse=framing,
            before=self._resume,
            clock=clock,
        )
        self.writer = Writer(
            self.handoff,
            self.outputs,
            self.board,
            Quarantine(root, disk),
            self.ledger,
            self.telling,
            log=log,
            pulse=writing,
            unread=lambda: self.framer.unread,
            after=published,
            clock=clock,
        )
        self.storage = StorageWatch(root, settings.min_free_bytes, log)
        self.pulses = self.source.pulse, framing, writing

    def _resume(self, recording: Recording) -> None:
        """Tell what earlier runs recorded, also in files that they left; what comes meanwhile is buffered."""
        recovery, memory = self.recovery, self.ledger.memory
        if not self._clock.wait(recovery.looked, LOOK_AGAIN):
            self._log.info("looking for the last numbers in files that were left")
        while not self._clock.wait(recovery.looked, LOOK_AGAIN):
            pass
        for written in self._unverified:
            if parse(written.path) is not None:
                self._read_back(written)
        if recovery.ahead is None:  # told to stop before that
            return
        for path, frame in recovery.ahead:
            memory.reach(path, frame.session_id, safe_stream_id(frame.stream_id or ""), frame.frame_num)
        recording.resume(_known(memory, self.telling), self._earlier, self._started)


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
