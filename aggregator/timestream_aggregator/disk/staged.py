"""A file that is being written, out of sight, and gets its final name only when it is whole and on the disk."""

import errno
from collections.abc import Callable, Sequence
from typing import Protocol

from crc32c import crc32c

from timestream_aggregator.core.naming import FileId
from timestream_aggregator.disk.folder import DataFolder, passing_over_one_folder
from timestream_aggregator.disk.layout import staged_name
from timestream_aggregator.disk.pieces import batches, copy, read, write


class ChangedOnDiskError(OSError):
    """A file does not hold what was received, so that it must not be published."""


class Bytes(Protocol):
    """A frame as far as files care: its bytes, in pieces, and how many they are."""

    @property
    def parts(self) -> Sequence[memoryview]:
        """The bytes in order."""
        ...

    @property
    def size(self) -> int:
        """How many bytes the parts have together."""
        ...


class StagedFile:
    """A file that is being written. It counts whole frames only; a torn one at its end is never published."""

    def __init__(self, folder: DataFolder, wanted: FileId) -> None:
        self._folder = folder
        self._disk = folder.disk
        self.wanted = folder.name_for_new(wanted)
        self.size = 0
        self.frames = 0
        self.crc = 0  # CRC-32C of the first `size` bytes, as they were received
        self._published: FileId | None = None
        self.settled = False  # the final name is on the disk
        self._doubtful = False
        self._named = False  # the staged name is on the disk: without it a loss of power takes the bytes too
        try:
            with passing_over_one_folder():  # for who watches it; publishing makes it, too
                folder.disk.make_folder(folder.root / wanted.base.folder)
            self.path, self._fd = folder.create(self._name)
        except OSError:
            folder.release(self.wanted)
            raise

    def append(self, frames: Sequence[Bytes]) -> None:
        """Write `frames` after the last whole one; on OSError those of them that are whole count."""
        end = self.size
        try:
            for pieces in batches(part for frame in frames for part in frame.parts):
                for written in write(self._disk, self._fd, pieces, end):
                    end += written
        finally:
            self._count(frames, end)

    def sync(self) -> None:
        """Bring what was written to the disk, and the first time the file's name."""
        self._doubtful, doubtful = True, self._doubtful
        self._disk.sync_data(self._fd)
        self._doubtful = doubtful
        self._make_name_durable()

    def publish(self, settled: Callable[[FileId], None] = lambda _: None) -> FileId:
        """Make the file durable, then visible under its final name, and return that.

        Safe to call again after a failure: it goes on with the step that failed. `settled` is called once, when
        the final name is on the disk and the staged one still stands: whatever a crash prevents, recovery then
        makes up for.

        Raises:
            ChangedOnDiskError: the disk lost or changed what was written. The bytes stay in the staged file.
            OSError: any other failure. Trying again later is safe.
        """
        if self._published is None:
            self._published = self._give_name()
        if not self.settled:
            self._folder.settle(self._published)
            self.settled = True
            settled(self._published)
        self._folder.forget(self.path)
        self.close()
        return self._published

    def _give_name(self) -> FileId:
        """Return the final name, once the file has it."""
        if self._disk.is_at(self._fd, self._folder.root / self.wanted.path):  # that was told as failed
            return self.wanted
        if not self._disk.is_at(self._fd, self.path):
            self._come_back()
        self._make_durable()
        try:
            return self._folder.publish(self.path, self.wanted)
        except FileNotFoundError as error:
            if self._disk.is_at(self._fd, self.path):
                raise
            raise OSError(
                errno.EIO, "its staged name is gone", str(self.path)
            ) from error  # the next attempt copies

    def discard(self) -> None:
        """Remove the file. For one in which no frame was recorded: the caller knows."""
        self._disk.unlink(self.path)
        self._folder.release(self.wanted)
        self.close()

    def close(self) -> None:
        """Stop writing and leave the bytes where they are. Safe to repeat."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            self._disk.close(fd)

    def _name(self) -> str:
        return staged_name(self.wanted, self._disk.token())

    def _come_back(self) -> None:
        """Copy the file to a new one: somebody has taken its name away, and only the descriptor leads to its bytes."""
        path, fd = self._folder.create(self._name)
        try:
            copy(self._disk, self._fd, fd, [(0, self.size)])
        except OSError:
            self._disk.close(fd)
            self._disk.unlink(path)
            raise
        self.close()
        self.path, self._fd = path, fd
        self._named = False

    def _count(self, frames: Sequence[Bytes], end: int) -> None:
        for frame in frames:
            if self.size + frame.size > end:
                return
            for part in frame.parts:
                self.crc = crc32c(part, self.crc)
            self.size += frame.size
            self.frames += 1

    def _make_durable(self) -> None:
        """Cut a torn frame off and bring the rest to the disk."""
        self._disk.truncate(self._fd, self.size)
        if self._doubtful:
            self._write_again()
        self._doubtful = True
        self._disk.sync(self._fd)
        self._doubtful = False
        self._make_name_durable()

    def _make_name_durable(self) -> None:
        """Bring the staged name to the disk: after a crash it is what tells recovery of the file."""
        if not self._named:
            self._disk.sync_folder(self._folder.staging)
            self._named = True

    def _write_again(self) -> None:
        """Write the file over itself, if it still is what was received.

        After a failed sync the kernel takes the bytes for written: a second sync would succeed and mean
        nothing.
        """
        crc, offset = 0, 0
        for piece in read(self._disk, self._fd, 0, self.size):
            crc = crc32c(piece, crc)
            offset += sum(write(self._disk, self._fd, [memoryview(piece)], offset))
        if crc != self.crc:
            raise ChangedOnDiskError(errno.EIO, "the disk lost what was written", str(self.path))
