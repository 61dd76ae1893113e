"""Carries out what the core says about files, and holds on while the disk fails.

Frames are gathered until a file gets them in one go. When a call fails the file is cut after its last whole
frame and published, and what was not written goes on in a new file of the same acquisition, as soon as that
works: until then the writer waits here, the buffer fills, and the sender is held back. Nothing is thrown
away.
"""

import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from timestream_aggregator.account import Acquired, Copy, Current, Kept, Last, OutputState, Recordable, Tally
from timestream_aggregator.clock import Pulse, utc
from timestream_aggregator.files import ChangedOnDiskError, DataFolder, StagedFile
from timestream_aggregator.ledger import Ledger
from timestream_aggregator.naming import FileId
from timestream_api.ledger import Loss, Opened, Trouble, TroubleOver
from timestream_api.report import CloseReason

GATHER: Final = 1 << 20  # bytes after which gathered frames are written even if more are at hand
RETRY_FIRST: Final = 0.25  # seconds
RETRY_AT_MOST: Final = 15.0


class DiskGaveNoWayError(Exception):
    """The recorder was told to stop, and the disk took no more: frames could not be written."""


class Output:
    """One stream's files, one open at a time. For the writer's thread, but for `state` and `stop()`."""

    def __init__(
        self,
        folder: DataFolder,
        sync_interval: float,
        log: logging.Logger,
        pulse: Pulse,
        *,
        ledger: Ledger,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        """Make one; `changed` is called when people wait for a change in `state`, and has to return at once."""
        self._folder = folder
        self._sync_interval = sync_interval
        self._log = log
        self._pulse = pulse
        self._ledger = ledger
        self._changed = changed
        self._stop = threading.Event()
        self._give_up_at = float("inf")
        self._wanted: FileId | None = None
        self._last: FileId | None = None  # the file published last
        self._acquired = Acquired(utc())
        self._file: StagedFile | None = None
        self._failed = False  # the file must be published and followed by another
        self._tally = Tally()
        self._arrived = 0.0  # Unix seconds, of the gathered frames
        self._synced = 0.0
        self._unsynced = False  # something was written since
        self._head: Copy | None = None  # the last Observation frame that this acquisition has in a file
        self._gathered: list[Recordable] = []
        self._gathered_size = 0
        self.state = OutputState()

    def arrived(self, at: float) -> None:
        """Take note that the frames that follow arrived `at` that Unix time. All before are written."""
        self._arrived = at

    def open(self, wanted: FileId, acquired: Acquired) -> None:
        """Let the next frames go to a new file, `wanted` or the next number that is free."""
        self._wanted, self._acquired, self._head = wanted, acquired, None

    def begin_with(self, head: bytes) -> None:
        """Begin the file with a frame that stands in an earlier one."""
        self._gather(Copy((memoryview(head),), len(head)))

    def write(self, frame: Recordable, *, observation: bool = False) -> None:
        """Add `frame` to the file. Its bytes have to stay as they are until `flush()` returns."""
        if observation:
            data = b"".join(frame.parts)
            frame = Kept((memoryview(data),), len(data), frame.frame_num)
        self._gather(frame)

    def flush(self) -> None:
        """Give the kernel everything that was gathered."""
        if self._gathered:
            self._insist(self._flush)

    def sync_if_due(self) -> None:
        """Bring the file to the disk if it has not been for the sync interval."""
        if time.monotonic() >= (self.sync_due() or float("inf")):
            self._insist(self._sync)

    def sync_due(self) -> float | None:
        """Return the monotonic second at which `sync_if_due` matters next; None while all is on the disk."""
        return self._synced + self._sync_interval if self._file is not None and self._unsynced else None

    def close(self, reason: CloseReason) -> None:
        """Publish the file."""
        self.flush()
        if self._file is not None:
            self._insist(lambda: self._publish(reason))
        self._wanted, self._failed = None, False

    def stop(self, patience: float) -> None:
        """Give up `patience` seconds from now if the disk still fails then. Any thread may call this."""
        self._give_up_at = time.monotonic() + patience
        self._stop.set()

    def abandon(self) -> int:
        """Leave the unfinished file where it is; return how many frames were gathered and are not in it."""
        if self._file is not None:
            self._file.close()
            self._log.error(
                "left unpublished", extra={"path": str(self._file.path), "frames": self._file.frames}
            )
        return sum(not isinstance(frame, Copy) for frame in self._gathered)

    def _flush(self) -> None:
        if self._failed:
            self._publish(CloseReason.DISK)
        file = self._file or self._new_file()
        before = file.frames
        try:
            file.append(self._gathered)
        except OSError:
            self._failed = True
            raise
        finally:
            self._count(file, file.frames - before)
            if file.frames and not before:
                self._tell_opened(file)

    def _tell_opened(self, file: StagedFile) -> None:
        self._log.info("file opened", extra={"path": file.wanted.path})
        self._ledger.note(Opened(path=file.wanted.path))
        self._changed()

    def _new_file(self) -> StagedFile:
        """Return the file that the gathered frames go to."""
        if self._wanted is None:
            raise RuntimeError("a frame to write and no file that it belongs to")
        file = self._file = self._folder.open(self._unused(self._wanted))
        self._tally, self._synced = Tally(), time.monotonic()
        if self._failed and self._head is not None and not isinstance(self._gathered[0], Copy | Kept):
            self._gathered.insert(0, self._head)
        self._failed = False
        return file

    def _unused(self, wanted: FileId) -> FileId:
        """Return `wanted` with a number after that of the last file, which somebody may have fetched already."""
        if self._last is None or self._last.base != wanted.base:
            return wanted
        return FileId(wanted.base, max(wanted.number, self._last.number + 1))

    def _sync(self) -> None:
        if self._failed:
            self._publish(CloseReason.DISK)
        elif self._file is not None:
            try:
                self._file.sync()
            except OSError:
                self._failed = True
                raise
            self._synced, self._unsynced = time.monotonic(), False

    def _publish(self, reason: CloseReason) -> None:
        """Publish the file, or remove it if no frame was recorded in it."""
        file = self._file
        if file is None:
            return
        if not self._tally.recorded:
            file.discard()
        else:
            self._publish_frames(file, reason)
        self._file = None
        self.state = replace(self.state, current=None)
        self._changed()

    def _publish_frames(self, file: StagedFile, reason: CloseReason) -> None:
        try:
            self._last = file.publish(lambda published: self._tell_published(file, published, reason))
        except ChangedOnDiskError as error:
            file.close()
            self.state = replace(self.state, lost=self.state.lost + self._tally.recorded)
            self._log.error(
                "the disk lost a file, what is left of it stays unpublished",
                extra={"path": str(file.path), "frames": file.frames, "why": str(error)},
            )
            self._ledger.note(Loss(count=self._tally.recorded, cause=str(error), path=file.wanted.path))

    def _tell_published(self, file: StagedFile, published: FileId, reason: CloseReason) -> None:
        """Tell of a file that has its final name on the disk."""
        last = Last(published.path, file.frames, file.size, file.crc, utc(), reason)
        self.state = replace(self.state, last=last, files=self.state.files + 1)
        fact = self._tally.fact(last, self._acquired)
        if fact is not None:
            self._ledger.note(fact)
        self._ledger.write(sync=True)
        self._log.info(
            "file published",
            extra={
                "path": last.path,
                "frames": last.frames,
                "bytes": last.size,
                "crc32c": f"{last.crc:08x}",
                "reason": reason.value,
            },
        )

    def _gather(self, frame: Recordable) -> None:
        self._gathered.append(frame)
        self._gathered_size += frame.size
        if self._gathered_size >= GATHER:
            self.flush()

    def _count(self, file: StagedFile, written: int) -> None:
        """Take note that the first `written` of the gathered frames are in the file."""
        for frame in self._gathered[:written]:
            if isinstance(frame, Copy | Kept):
                self._head = Copy(frame.parts, frame.size)
        done = [frame for frame in self._gathered[:written] if not isinstance(frame, Copy)]
        del self._gathered[:written]
        self._gathered_size = sum(frame.size for frame in self._gathered)
        self._tally.add(done, self._arrived)
        self._unsynced = True
        self.state = replace(
            self.state,
            current=Current(file.wanted.path, self._acquired.opened, file.frames, file.size),
            frames=self.state.frames + len(done),
            size=self.state.size + sum(frame.size for frame in done),
        )

    def _insist(self, step: Callable[[], None]) -> None:
        """Take `step` until it succeeds.

        Raises:
            DiskGaveNoWayError: the recorder was told to stop, and its time is up.
        """
        pause = RETRY_FIRST
        while True:
            try:
                with self._pulse.waiting_for("the disk"):
                    step()
            except OSError as error:
                self._note_trouble(error)
                if time.monotonic() >= self._give_up_at:
                    raise DiskGaveNoWayError(str(error)) from error
                self._wait(pause * random.uniform(0.8, 1.2))  # noqa: S311 - jitter
                pause = min(pause * 2, RETRY_AT_MOST)
            else:
                self._note_success()
                return

    def _wait(self, seconds: float) -> None:
        """Wait before the next attempt; a recorder that has to stop does not wait for long."""
        self._pulse.beat()
        if self._stop.wait(seconds):
            time.sleep(min(seconds, RETRY_FIRST))

    def _note_trouble(self, error: OSError) -> None:
        trouble = f"writing fails: {error.strerror or error}"
        if trouble != self.state.trouble:
            self._log.error("the disk fails, the sender is held back", extra={"why": str(error)})
            self._ledger.note(Trouble(why=str(error)))
        self._ledger.write()
        self.state = replace(self.state, trouble=trouble)
        self._changed()

    def _note_success(self) -> None:
        if self.state.trouble is not None:
            self._log.warning("the disk works again", extra={"after": self.state.trouble})
            self._ledger.note(TroubleOver(after=self.state.trouble))
            self.state = replace(self.state, trouble=None)
            self._changed()
