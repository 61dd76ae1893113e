"""Carries out what the core says about files, and holds on while the disk fails.

Frames are gathered until a file gets them in one go. When a call fails the file is cut after its last whole
frame and published, and what was not written goes on in a new file of the same acquisition at once. A file that
cannot be published is left to recovery and keeps its name: it is no reason to wait. Only while no new file takes
the frames either the writer waits here, the buffer fills, and the sender is held back.
"""

import errno
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from timestream_aggregator.clock import SYSTEM, Clock, Pulse, utc
from timestream_aggregator.core.actions import Open
from timestream_aggregator.core.file_facts import FileFacts
from timestream_aggregator.core.files import OBSERVATION
from timestream_aggregator.core.naming import FileId
from timestream_aggregator.disk.folder import DataFolder
from timestream_aggregator.disk.staged import ChangedOnDiskError, StagedFile
from timestream_aggregator.ledger.file import Ledger
from timestream_aggregator.ledger.telling import Discards, Telling
from timestream_aggregator.writing.patience import RETRY_FIRST, Patience
from timestream_aggregator.writing.tally import Board, Copy, Recordable, Tally
from timestream_api.ledger import Left, Opened, Trouble, TroubleOver
from timestream_api.report import CloseReason, CurrentFile, LastFile

GATHER: Final = 1 << 20  # bytes after which gathered frames are written even if more are at hand
ATTEMPTS: Final = 2  # at publishing a file, before it is left
HOPELESS: Final = frozenset(
    {
        errno.ESTALE,
        errno.EBADF,
        errno.ENOENT,
        errno.ENOTDIR,
        errno.EXDEV,
        errno.EACCES,
        errno.EPERM,
        errno.ENAMETOOLONG,
    }
)
"""What is wrong with one file or its folder, and waiting does not heal."""


class Slot(StrEnum):
    """What there is of the file that frames go to."""

    CLOSED = "closed"  # no frame may come
    WANTED = "wanted"  # the next frame makes one
    OPEN = "open"
    BROKEN = "broken"  # a call failed: it is let go, and another is wanted


class Happening(StrEnum):
    """What changes that."""

    ASKED = "asked"
    MADE = "made"
    FAILED = "failed"
    LET_GO = "let go"
    ENDED = "ended"


_NEXT: Final[Mapping[Slot, Mapping[Happening, Slot]]] = {
    Slot.CLOSED: {Happening.ASKED: Slot.WANTED, Happening.ENDED: Slot.CLOSED},
    Slot.WANTED: {Happening.MADE: Slot.OPEN, Happening.ENDED: Slot.CLOSED},
    Slot.OPEN: {Happening.FAILED: Slot.BROKEN, Happening.LET_GO: Slot.WANTED},
    Slot.BROKEN: {Happening.FAILED: Slot.BROKEN, Happening.LET_GO: Slot.WANTED},
}


def advance(slot: Slot, happening: Happening) -> Slot:
    """Return what follows. KeyError: that cannot happen."""
    return _NEXT[slot][happening]


@dataclass(eq=False)
class StreamFiles:
    """The files of one acquisition after another, one open at a time. For the writer's thread.

    The files of a stream share `board` and `patience`. No callback may block.
    """

    folder: DataFolder
    sync_interval: float
    log: logging.Logger
    pulse: Pulse
    ledger: Ledger
    telling: Telling
    patience: Patience
    board: Board
    published: Callable[[FileFacts], None] = lambda _: None
    left: Callable[[str, Left | None], None] = lambda _name, _left: None
    """A staged file could not be published, and this is what should be in it; None if only its name is too many."""
    healed: Callable[[], None] = lambda: None
    """The disk works again."""
    changed: Callable[[], None] = lambda: None
    """People wait for a change on the board."""
    clock: Clock = SYSTEM
    _asked: Open = field(init=False)

    def __post_init__(self) -> None:
        """Begin with no file."""
        self.discards = Discards(self.telling)
        self._file: StagedFile | None = None
        self._slot = Slot.CLOSED
        self._tally = Tally()
        self._arrived = 0.0  # Unix seconds, of the gathered frames
        self._synced = 0.0
        self._unsynced = False  # something was written since
        self._head: Copy | None = None  # the last Observation frame that this acquisition has in a file
        self._gathered: list[Recordable] = []
        self._gathered_size = 0

    def arrived(self, at: float) -> None:
        """Take note that the frames that follow arrived `at` that Unix time. All before are written."""
        self._arrived = at

    def open(self, asked: Open) -> None:
        """Let the next frames go to a new file, the one that is `asked` for or the next number that is free."""
        self._slot = advance(self._slot, Happening.ASKED)
        self._asked, self._head = asked, None

    def begin_with(self, head: bytes) -> None:
        """Begin the file with a frame that stands in an earlier one."""
        self.write(Copy((memoryview(head),), len(head)))

    def write(self, frame: Recordable) -> None:
        """Add `frame` to the file. Its bytes have to stay until `flush()` returns, those of an Observation for ever."""
        self._gathered.append(frame)
        self._gathered_size += frame.size
        if self._gathered_size >= GATHER:
            self.flush()

    def flush(self) -> None:
        """Give the kernel everything that was gathered."""
        if self._gathered and not self._retry(self._write):
            self._give_way()

    def sync_if_due(self) -> None:
        """Bring the file to the disk if it has not been for the sync interval; one that cannot be is let go."""
        if self.clock.monotonic() < (self.sync_due() or float("inf")):
            return
        try:
            with self.pulse.waiting_for("the disk"):
                self._sync()
        except OSError as error:
            self._break(error)
            self._let_go_broken()
        else:
            self._note_success()

    def sync_due(self) -> float | None:
        """Return the monotonic second at which `sync_if_due` matters next; None while all is on the disk."""
        return self._synced + self.sync_interval if self._slot is Slot.OPEN and self._unsynced else None

    def close(self, reason: CloseReason) -> None:
        """Publish the file. One that cannot be is left to recovery: it is one file, and not the disk."""
        self.flush()
        if self._file is not None:
            self._let_go(self._file, reason)
        self._slot = advance(self._slot, Happening.ENDED)

    def _give_way(self) -> None:
        """Discard the gathered frames: not even a new file takes them, and there is no time left."""
        self._let_go_broken()
        frames = [frame for frame in self._gathered if not isinstance(frame, Copy)]
        for frame in frames:
            self.discards.add(frame.frame_num, self._asked.session_id, self.patience.why)
        self.board.unwritten += len(frames)
        self._gathered.clear()
        self._gathered_size = 0

    def _write(self) -> None:
        """Take one attempt at writing what was gathered, to a new file where the one at hand fails.

        Raises:
            OSError: a new file takes not all of it.
        """
        self._let_go_broken()
        if self._file is not None:
            try:
                self._append(self._file)
            except OSError as error:
                self._break(error)
                self._let_go_broken()
        if self._gathered:
            try:
                self._append(self._new_file())
            except OSError as error:
                self._break(error)
                raise

    def _append(self, file: StagedFile) -> None:
        before, recorded = file.frames, self._tally.recorded
        self.ledger.write()  # what is lost before these frames: once they are in a file, nobody finds it again
        try:
            file.append(self._gathered)
        finally:
            self._count(file, file.frames - before)
            if self._tally.recorded and not recorded:  # not for each attempt on a full disk that takes a copy
                self._tell_opened(file)

    def _new_file(self) -> StagedFile:
        """Return the file that the gathered frames go to."""
        if self._slot is not Slot.WANTED:
            raise RuntimeError("a frame to write and no file that it belongs to")
        file = self._file = StagedFile(self.folder, self._asked.file)
        self._slot = advance(self._slot, Happening.MADE)
        self._tally, self._synced = Tally(), self.clock.monotonic()
        if self._head is not None and self._gathered[0].type != OBSERVATION:
            self._gathered.insert(0, self._head)
        return file

    def _sync(self) -> None:
        if self._file is None:
            return
        self.ledger.write(sync=True)
        self._file.sync()
        self._synced, self._unsynced = self.clock.monotonic(), False

    def _break(self, error: OSError) -> None:
        """Take note that a call failed of the file, if there is one."""
        self.patience.why = str(error)
        if self._file is not None:
            self._slot = advance(self._slot, Happening.FAILED)
            if self._tally.recorded:  # not for each new file that a full disk does not take
                extra = {"path": self._file.wanted.path, "why": str(error)}
                self.log.warning("a file fails, the next frames go to another", extra=extra)

    def _let_go_broken(self) -> None:
        if self._slot is Slot.BROKEN and self._file is not None:
            self._let_go(self._file, CloseReason.DISK)

    def _let_go(self, file: StagedFile, reason: CloseReason) -> None:
        """Publish the file, or remove it if no frame was recorded in it; what fails twice is left to recovery."""
        for attempt in range(ATTEMPTS):
            try:
                with self.pulse.waiting_for("the disk"):
                    self._publish(file, reason)
            except OSError as error:
                self.patience.why = str(error)
                if error.errno in HOPELESS or isinstance(error, ChangedOnDiskError):
                    break
                if attempt + 1 < ATTEMPTS:
                    self.clock.sleep(RETRY_FIRST)
            else:
                self._gone(file)
                return
        self._leave(file)

    def _publish(self, file: StagedFile, reason: CloseReason) -> None:
        if not self._tally.recorded:
            file.discard()
            return
        self.ledger.write(sync=True)
        file.publish(lambda published: self._tell_published(file, published, reason))

    def _leave(self, file: StagedFile) -> None:
        """Leave what the file holds in the staging folder, for recovery; nobody else gets its name."""
        self._gone(file)
        file.close()
        if file.settled:  # only its staged name is too many
            self.left(file.path.name, None)
            return
        if not self._tally.recorded:  # it is recovered like others, and found empty
            return
        self.log.error(
            "left unpublished",
            extra={"path": file.wanted.path, "frames": file.frames, "why": self.patience.why},
        )
        left = self._tally.left(self._facts(file, file.wanted), self.patience.why)
        self.ledger.note(left)
        self.left(file.path.name, left)

    def _gone(self, file: StagedFile) -> None:
        """Take note that there is no file any more; where one failed another is wanted."""
        self._file = None
        self._slot = advance(self._slot, Happening.LET_GO)
        if self.board.state.current is not None and self.board.state.current.path == file.wanted.path:
            self.board.state = replace(self.board.state, current=None)
        self.changed()

    def _tell_opened(self, file: StagedFile) -> None:
        self.log.info("file opened", extra={"path": file.wanted.path})
        self.ledger.note(Opened(path=file.wanted.path))
        self.changed()

    def _tell_published(self, file: StagedFile, published: FileId, reason: CloseReason) -> None:
        """Tell of a file that has its final name on the disk."""
        facts = self._facts(file, published)
        last = LastFile(
            path=facts.path,
            frames=facts.frames,
            bytes=facts.bytes,
            crc32c=facts.crc32c,
            closed=self.clock.utc(),
            reason=reason,
        )
        self.board.state = replace(self.board.state, last=last, files=self.board.state.files + 1)
        self.ledger.note(self._tally.published(facts, reason))
        self.ledger.write(sync=True)
        self.log.info("file published", extra=last.model_dump(mode="json", exclude={"closed", "verified"}))
        self.published(facts)

    def _facts(self, file: StagedFile, called: FileId) -> FileFacts:
        return self._tally.facts(called.path, file, self._asked)

    def _count(self, file: StagedFile, written: int) -> None:
        """Take note that the first `written` of the gathered frames are in the file."""
        for frame in self._gathered[:written]:
            if frame.type == OBSERVATION:
                self._head = Copy(frame.parts, frame.size)
        done = [frame for frame in self._gathered[:written] if not isinstance(frame, Copy)]
        del self._gathered[:written]
        self._gathered_size = sum(frame.size for frame in self._gathered)
        self._tally.add(done, self._arrived)
        self._unsynced = True
        self.board.state = replace(
            self.board.state,
            current=CurrentFile(
                path=file.wanted.path, opened=utc(self._asked.at.wall), frames=file.frames, bytes=file.size
            ),
            frames=self.board.state.frames + len(done),
            size=self.board.state.size + sum(frame.size for frame in done),
        )

    def _retry(self, step: Callable[[], None]) -> bool:
        """Take `step` until it succeeds; return False if it does not, and must not be waited for any longer."""
        while True:
            if self.patience.may_try():
                try:
                    with self.pulse.waiting_for("the disk"):
                        step()
                except OSError as error:
                    self._note_trouble(error)
                else:
                    self._note_success()
                    return True
            if self.patience.must_give_up():
                return False
            self.pulse.beat()
            self.patience.wait()

    def _note_trouble(self, error: OSError) -> None:
        trouble = f"writing fails: {error.strerror or error}"
        self.patience.failed(error)
        if trouble != self.board.state.trouble:
            self.log.error("the disk fails, the sender is held back", extra={"why": str(error)})
            self.ledger.note(Trouble(why=str(error)))
        self.ledger.write()
        self.board.state = replace(self.board.state, trouble=trouble)
        self.changed()

    def _note_success(self) -> None:
        self.patience.over()
        if self.board.state.trouble is not None:
            self.healed()
            self.log.warning("the disk works again", extra={"after": self.board.state.trouble})
            self.ledger.note(TroubleOver(after=self.board.state.trouble))
            self.board.state = replace(self.board.state, trouble=None)
            self.changed()
