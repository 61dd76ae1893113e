"""The ledger: what happened, one line each, in a file a month that only grows and that several recorders may share.

Any thread may tell it something, and write; the writer's does so all the time. A disk that takes nothing
never holds recording up: lines wait in a bounded queue, and those that found no room there are counted in the
next line. Each line is one write at the end of the file, which the kernel never mixes with another's.
What a start has to know of all that is kept in a memory, whose own file follows the lines: it never tells more.
"""

import errno
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Final

from timestream_aggregator.clock import SYSTEM, Clock
from timestream_aggregator.disk.calls import Disk
from timestream_aggregator.disk.layout import own
from timestream_aggregator.ledger.folding import Folding, Many
from timestream_aggregator.ledger.memory import Memory
from timestream_aggregator.ledger.reading import Place, files, month, name_at, read_on, understood
from timestream_aggregator.ledger.state import encode, replace, state_path, unread
from timestream_api.ledger import Fact, Line, Torn, Trouble, TroubleOver
from timestream_api.report import LedgerReport

MOST_WAITING: Final = 1000  # lines, and ten times as many of those that none is dropped of before others
ATTEMPTS: Final = 2  # in the end
RETRY_AFTER: Final = 1.0  # seconds
_BLOCK: Final = 1 << 16
_FIRST_DROPPED: Final = (Many, Trouble, TroubleOver)


class ClosedLedgerError(OSError):
    """The ledger takes no more facts: whoever has to tell one does so at the next start."""


class Ledger:
    """The lines of one run of a recorder."""

    def __init__(
        self,
        root: Path,
        stream_id: str,
        log: logging.Logger,
        disk: Disk | None = None,
        clock: Clock = SYSTEM,
        *,
        memory: Memory | None = None,
    ) -> None:
        """Make one; a `memory` learns what is told, and is kept for the next start."""
        self._root = root
        self._kept = memory is not None
        self.memory = memory or Memory(stream_id)
        self.path = own(root, "ledger")  # no file is open yet
        self._stream_id = stream_id
        self._log = log
        self._disk = disk or Disk()
        self._clock = clock
        self.run = self._disk.token()
        self._queue: deque[Line] = deque()
        self._folding = Folding()
        self._queueing = threading.Lock()
        self._writing = threading.Lock()
        self._dropped = 0  # lines since the one queued last
        self._lost = 0  # lines that could not be kept, all together
        self._fd = -1
        self._closed = False
        self._begun = False  # the file ends in a piece of a line
        self._doubtful: list[bytes] = []  # lines that are not known to be on the disk
        self._synced = 0  # where in the file the first of them is, or an earlier byte
        self._failed = False  # a sync did: the kernel takes them for written
        self._state = state_path(root, stream_id, self.memory.source)
        self._unsaved = False  # the memory's file is behind the lines
        self._floating = False  # it was not synced
        self._save_after = 0.0
        self._state_told: str | None = None
        self._not_before = 0.0
        self._told: str | None = None  # the failure that the log has heard of

    def note(self, fact: Fact, at: datetime | None = None) -> None:
        """Keep `fact`, which became known `at` that time or now, for the next write.

        Raises:
            ClosedLedgerError: there is no next write.
        """
        with self._queueing:
            if self._closed:
                raise ClosedLedgerError(errno.EBADF, "the ledger is closed", str(self.path))
            when, now = at or self._clock.utc(), self._clock.monotonic()
            self.memory.add(fact, when, mine=True)
            self._unfold(now)
            if not (isinstance(fact, Many) and self._folding.takes(fact, now)):
                self._enqueue(fact, when)

    @property
    def crowded(self) -> bool:
        """Whether it is time to write, if more is to be told at once."""
        return len(self._queue) >= MOST_WAITING // 2 and self.pending

    @property
    def state(self) -> LedgerReport:
        """How the ledger fares."""
        return LedgerReport(
            pending=len(self._queue), dropped=self._lost, trouble=self._told or self._state_told
        )

    def _unfold(self, now: float) -> None:
        for fact in self._folding.due(now):
            self._enqueue(fact, self._clock.utc())

    def _enqueue(self, fact: Fact, when: datetime) -> None:
        if len(self._queue) >= MOST_WAITING and not self._make_room(fact):
            self._drop(1)
            return
        line = Line(time=when, stream=self._stream_id, run=self.run, dropped=self._dropped, fact=fact)
        self._queue.append(line)
        self._dropped = 0

    def _make_room(self, fact: Fact) -> bool:
        """Return whether there is room for one more line; others are dropped for what no file tells."""
        if isinstance(fact, _FIRST_DROPPED):
            return False
        for at, line in enumerate(self._queue):
            if at and isinstance(line.fact, _FIRST_DROPPED):  # the first one is being written
                del self._queue[at]
                self._drop(1 + line.dropped)
                return True
        return len(self._queue) < 10 * MOST_WAITING

    def _drop(self, lines: int) -> None:
        self._dropped += lines
        self._lost += 1

    @property
    def pending(self) -> bool:
        """Whether there is something to write, and a reason to think that the disk takes it."""
        now = self._clock.monotonic()
        return (bool(self._queue) or self._folding.is_due(now)) and now >= self._not_before

    def write(self, *, sync: bool = False) -> None:
        """Write what waits, as far as the disk takes it; with `sync`, bring it there. Never raises OSError."""
        with self._writing:
            try:
                if self.pending:
                    self._write()
                if (sync or len(self._doubtful) > MOST_WAITING) and self._doubtful and self._fd >= 0:
                    self._sync()
                if not (self._queue or self._failed):
                    self._told = None
            except OSError as error:
                self._note_failure(error)
            if self._kept and (self._unsaved or (sync and self._floating)):
                self._save(sync=sync)

    def close(self) -> None:
        """Write what waits, and end. What the disk does not take now is lost, and the log says so."""
        with self._queueing:
            self._closed = True
            self._unfold(float("inf"))
        for _attempt in range(ATTEMPTS):
            self._not_before = self._save_after = 0.0
            self.write(sync=True)
        with self._writing:
            self._lost += len(self._queue)
            self._queue.clear()
            self._doubtful.clear()
            self._let_go()
        if self._lost:
            self._log.error("lines of the ledger are lost", extra={"lines": self._lost, "why": self._told})

    def _write(self) -> None:
        if self._fd >= 0 and not self._disk.is_at(self._fd, self.path):
            self._log.warning("the ledger was taken away, another is begun", extra={"path": str(self.path)})
            self._let_go()
        if self._fd >= 0 and month(self.path.name) < month(name_at(self._clock.utc())):
            with suppress(OSError):  # the file of the new month may do better
                self._sync()
                self._learn()
            self._let_go()
        if self._fd < 0:
            self._fd = self._open()
        with self._queueing:
            self._unfold(self._clock.monotonic())
        end = self.memory.place.at
        while self._queue:
            end += self._append(self._queue[0].encode())
            with self._queueing:
                self._queue.popleft()
        if self._disk.size(self._fd) == end:
            self.memory.place.at = end
        else:  # others write here, too
            self._learn()

    def _learn(self) -> None:
        for line in unread(self.memory, self._root, self._disk, self.run):
            with self._queueing:  # not while the disk reads: whoever tells something must not wait for it
                self.memory.take(line)

    def _sync(self) -> None:
        """Bring the lines to the disk; those that it lost in a sync before are written again."""
        if self._failed:
            self._write_again()
        self._failed = True
        self._disk.sync_data(self._fd)
        self._failed, self._synced = False, self._disk.size(self._fd)
        self._doubtful.clear()

    def _write_again(self) -> None:
        """Write the end of the file over itself, and the lines that are not there any more behind it."""
        if not self._disk.is_at(self._fd, self.path):  # nobody will read it
            return
        size = self._disk.size(self._fd)
        there = self._disk.read(self._fd, max(0, size - self._synced), self._synced)
        fd = self._disk.open(self.path)  # one at whose end nothing is added
        try:
            self._disk.write(fd, [there], self._synced)
        finally:
            self._disk.close(fd)
        for line in [line for line in self._doubtful if line not in there]:
            self._doubtful.remove(line)
            self._append(line)
        self.memory.place.at = min(self.memory.place.at, size)
        self._learn()

    def _save(self, *, sync: bool) -> None:
        """Bring the memory's file up to the lines, once all of what it would tell is in those."""
        with self._queueing:
            if self._queue or self._clock.monotonic() < self._save_after:
                return
            data = encode(self.memory)
        try:
            replace(self._disk, self._state, data, sync=sync)
            self._unsaved, self._floating, self._state_told = False, not sync, None
        except OSError as error:  # of no concern to the lines
            self._save_after = self._clock.monotonic() + RETRY_AFTER
            if str(error) != self._state_told:
                self._state_told = str(error)
                extra = {"path": self._state.name, "why": str(error)}
                self._log.error("the state cannot be kept, a start reads more of the ledger", extra=extra)

    def _let_go(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            self._disk.close(fd)

    def _append(self, line: bytes) -> int:
        """Write one line, in one call, and return its length; one that began and was not ended gets an end first."""
        data = b"\n" + line if self._begun else line
        written = self._disk.append(self._fd, data)
        self._unsaved = True
        if written < len(data):
            self._begun = self._begun or written > 0
            raise OSError(errno.ENOSPC, "the disk took a piece of a line", str(self.path))
        self._begun = False
        self._doubtful.append(line)
        return written

    def _open(self) -> int:
        """Return a descriptor of the file, which ends in a whole line or is known not to."""
        self._disk.make_folder(own(self._root))
        names = [*files(self._root, self._disk), name_at(self._clock.utc())]
        self.path = own(self._root, max(names, key=month))  # a clock that goes back makes no earlier one
        fd = self._disk.open_end(self.path)
        try:
            self._disk.sync_folder(self.path.parent)
            self._mend(fd)
            self._disk.lock_shared(fd)
            size, place = self._disk.size(fd), self.memory.place
            known = min(place.at, size) if place.name == self.path.name else 0
            place.name, place.at = self.path.name, known if self._kept else size
            self._synced, self._failed = size, False
            self._doubtful.clear()
        except OSError:
            self._disk.close(fd)
            raise
        return fd

    def _mend(self, fd: int) -> None:
        """Cut a torn last line off. While another recorder writes here, that is left to the next one alone."""
        size = self._disk.size(fd)
        end = self._last_end(fd, size)
        if end == size:
            return
        if not self._is_alone(fd):
            self._begun = True
            return
        size = self._disk.size(fd)
        end = self._last_end(fd, size)
        if end < size:
            text = self._disk.read(fd, _BLOCK, end).decode(errors="replace")
            self._disk.truncate(fd, end)
            self._log.warning("cut a torn line off the ledger", extra={"bytes": size - end})
            torn = Torn(bytes=size - end, text=text)
            with self._queueing:
                self._queue.appendleft(
                    Line(time=self._clock.utc(), stream=self._stream_id, run=self.run, fact=torn)
                )

    def _is_alone(self, fd: int) -> bool:
        """Return whether no other recorder has the ledger open, and keep others from opening it if so."""
        try:
            self._disk.lock(fd)
        except BlockingIOError:
            return False
        return True

    def _last_end(self, fd: int, size: int) -> int:
        """Return where the last whole line ends."""
        stop = size
        while stop:
            start = max(0, stop - _BLOCK)
            at = self._disk.read(fd, stop - start, start).rfind(b"\n")
            if at >= 0:
                return start + at + 1
            stop = start
        return 0

    def _note_failure(self, error: OSError) -> None:
        self._not_before = self._clock.monotonic() + RETRY_AFTER
        if error.errno in {errno.ESTALE, errno.EBADF}:  # the descriptor is of no use any more
            self._let_go()
        if str(error) != self._told:
            self._told = str(error)
            self._log.error("the ledger cannot be written, its lines wait", extra={"why": str(error)})


def lines(root: Path, unreadable: Callable[[], None] = lambda: None) -> Iterator[Line]:
    """Yield the lines of the ledger of a data folder, none if it has no ledger; `unreadable` is called for each other.

    Raises:
        OSError: there is one, and it cannot be read.
    """
    for _, line in understood(read_on(root, Place(), Disk()), unreadable):
        yield line
