"""The ledger: what happened, one line each, in a file that only grows and that several recorders may share.

Any thread may tell it something, and write; the writer's does so all the time. A disk that takes nothing
never holds recording up: lines wait in a bounded queue, and those that found no room there are counted in the
next line. Each line is one write at the end of the file, which the kernel never mixes with another's.
"""

import errno
import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Final

from timestream_aggregator.clock import SYSTEM, Clock
from timestream_aggregator.disk.calls import Disk, open_file
from timestream_aggregator.disk.layout import own
from timestream_api.ledger import BEGINNING, Fact, Line, Torn, decode, is_of_another_kind

NAME: Final = "ledger.jsonl"
MOST_WAITING: Final = 1000  # lines
RETRY_AFTER: Final = 1.0  # seconds
_BLOCK: Final = 1 << 16
_MOST_TORN: Final = 100  # pieces of lines that may be written again


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
    ) -> None:
        self.path = own(root, NAME)
        self._stream_id = stream_id
        self._log = log
        self._disk = disk or Disk()
        self._clock = clock
        self.run = self._disk.token()
        self._queue: deque[Line] = deque()
        self._queueing = threading.Lock()
        self._writing = threading.Lock()
        self._dropped = 0  # lines since the one queued last
        self._fd = -1
        self._closed = False
        self._begun = False  # the file ends in a piece of a line
        self._unsynced = False
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
            if len(self._queue) >= MOST_WAITING:
                self._dropped += 1
                return
            line = Line(
                time=at or self._clock.utc(),
                stream=self._stream_id,
                run=self.run,
                dropped=self._dropped,
                fact=fact,
            )
            self._queue.append(line)
            self._dropped = 0

    @property
    def pending(self) -> bool:
        """Whether there is something to write, and a reason to think that the disk takes it."""
        return bool(self._queue) and self._clock.monotonic() >= self._not_before

    def write(self, *, sync: bool = False) -> None:
        """Write what waits, as far as the disk takes it; with `sync`, bring it there. Never raises OSError."""
        with self._writing:
            try:
                if self.pending:
                    self._write()
                if sync and self._unsynced:
                    self._unsynced = False
                    self._disk.sync_data(self._fd)
            except OSError as error:
                self._note_failure(error)

    def close(self) -> None:
        """Write what waits, and end. What the disk does not take now is lost, and the log says so."""
        with self._queueing:
            self._closed = True
        self._not_before = 0.0
        self.write(sync=True)
        with self._writing:
            lost = len(self._queue) + self._dropped
            self._queue.clear()
            self._dropped, self._unsynced = 0, False
            self._let_go()
        if lost:
            self._log.error("lines of the ledger are lost", extra={"lines": lost, "why": self._told})

    def _write(self) -> None:
        if self._fd >= 0 and not self._disk.is_at(self._fd, self.path):
            self._log.warning("the ledger was taken away, another is begun", extra={"path": str(self.path)})
            self._let_go()
        if self._fd < 0:
            self._fd = self._open()
        while self._queue:
            self._append(self._queue[0].encode())
            self._queue.popleft()
        self._told = None

    def _let_go(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            self._disk.close(fd)

    def _append(self, line: bytes) -> None:
        """Write one line, in one call; one that began and was not ended gets an end first."""
        data = b"\n" + line if self._begun else line
        written = self._disk.append(self._fd, data)
        self._unsynced = True
        if written < len(data):
            self._begun = self._begun or written > 0
            raise OSError(errno.ENOSPC, "the disk took a piece of a line", str(self.path))
        self._begun = False

    def _open(self) -> int:
        """Return a descriptor of the file, which ends in a whole line or is known not to."""
        self._disk.make_folder(self.path.parent)
        fd = self._disk.open_end(self.path)
        try:
            self._disk.sync_folder(self.path.parent)
            self._mend(fd)
            self._disk.lock_shared(fd)
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


def lines(root: Path, unreadable: Callable[[], None] | None = None) -> Iterator[Line]:
    """Yield the lines of the ledger of a data folder that can be read, none if it has no ledger.

    `unreadable` is called for each of the others.

    Raises:
        OSError: there is one, and it cannot be read.
    """
    for _, line in understood(texts(root), unreadable or (lambda: None)):
        yield line


def texts(root: Path, read: dict[int, int] | None = None) -> Iterator[bytes]:
    """Yield the lines of the ledger as they stand there; one whose end is not written yet is left out.

    `read` holds how many bytes of each file were read, by its inode: what is added to them comes the next time. Of
    what is longer than a line can be only the end is kept. OSError: as for `lines`.
    """
    done = {} if read is None else read
    try:
        fd = open_file(own(root, NAME), os.O_RDONLY)
    except FileNotFoundError:
        return
    with os.fdopen(fd, "rb") as file:
        inode = os.fstat(fd).st_ino
        at, text = file.seek(done.setdefault(inode, 0)), b""
        while piece := file.readline(_BLOCK):
            at += len(piece)
            text = text[-_BLOCK:] + piece
            if piece.endswith(b"\n"):
                done[inode] = at
                yield text
                text = b""


def understood(
    found: Iterable[bytes], unreadable: Callable[[], None], passed: Callable[[bytes], bool] = lambda _: False
) -> Iterator[tuple[bytes, Line]]:
    """Yield what lines of the ledger say, but for those that are `passed` over and kinds of a later version.

    `unreadable` is called for each that says nothing, also if it stands in front of one that does. A piece of a line
    that was written again, since the disk had no room for the rest, is none of them.
    """
    torn = list[bytes]()
    for text in found:
        begin = max(0, text.rfind(BEGINNING))
        piece, whole = text[:begin], text[begin:]
        torn = [earlier for earlier in torn if not whole.startswith(earlier)]
        if not passed(whole):
            line = decode(words := whole.decode(errors="replace"))
            if line is not None:
                yield whole, line
            elif not is_of_another_kind(words):
                piece = text.rstrip(b"\n")
        if piece.strip():
            torn.append(piece)
        if len(torn) > _MOST_TORN:
            del torn[0]
            unreadable()
    for _ in torn:
        unreadable()
