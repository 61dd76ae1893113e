"""Durable files: written out of sight, published whole, never in the place of another.

A file grows under `<data folder>/.timestream-aggregator/staging/`, locked, under a name that tells where it
is meant to go. It gets its final name only when its last frame is whole and on the disk. Whatever call fails,
the bytes stay where they are and the failure is raised: nothing here deletes recorded frames.
"""

import errno
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import quote, unquote

from crc32c import crc32c

from timestream_aggregator.core.naming import Base, FileId, next_number, parse
from timestream_aggregator.disk.calls import Disk
from timestream_aggregator.disk.pieces import WRITE_LIMIT, batches, rest

OWN_FOLDER: Final = ".timestream-aggregator"
PROBE: Final = "probe."
_MOST_BASES: Final = 10_000
_NO_LINKS: Final = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})


class UnusableFolderError(Exception):
    """The data folder cannot hold recordings; the message says why and what to do."""


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


class DataFolder:
    """The folder that recordings go to: gives out files to write and final names."""

    def __init__(self, root: Path, disk: Disk | None = None) -> None:
        self.root = root
        self.disk = disk or Disk()
        self.staging = root / OWN_FOLDER / "staging"
        self._links = True
        self._using = threading.Lock()  # the writer publishes here, and so does recovery
        self._used: dict[Base, int] = {}  # highest numbers that names were given or promised before

    def prepare(self) -> None:
        """Make the folder of unfinished files and try there what publishing needs.

        Raises:
            UnusableFolderError: it cannot be written to, or cannot rename without replacing.
        """
        if not self.disk.is_folder(self.root):
            raise UnusableFolderError(f"{self.root}: no such folder. Make it, or mount the volume there.")
        try:
            self.disk.make_folder(self.staging)
            self._look_at_mounts()
            self._try_publishing()
            for folder in (self.staging, self.staging.parent, self.root):
                self.disk.sync_folder(folder)
        except OSError as error:
            raise UnusableFolderError(
                f"{self.root}: cannot be written to: {error.strerror}. "
                f"Give user {os.getuid()}, group {os.getgid()} write access to it, or another folder."
            ) from error

    def open(self, wanted: FileId) -> "StagedFile":
        """Return a new file that is to become `wanted`, or the next number after those there."""
        self.disk.make_folder(self.root / wanted.base.folder)
        return StagedFile(self, FileId(wanted.base, self._free_number(wanted)))

    def reserve(self, path: str) -> None:
        """Give no number up to that of `path` to a new file: a file had that name, or is to get it."""
        file = parse(path)
        if file is not None:
            self._reserve(file)

    def _reserve(self, file: FileId) -> None:
        with self._using:
            number = max(file.number, self._used.pop(file.base, 0))
            if len(self._used) >= _MOST_BASES:
                del self._used[next(iter(self._used))]
            self._used[file.base] = number

    def create(self, name: Callable[[], str]) -> tuple[Path, int]:
        """Return a new staged file and its locked descriptor.

        Before it is locked, recovery may take it for one that was left, and remove it: then another is made.
        """
        while True:
            path = self.staging / name()
            fd = self.disk.create(path)
            try:
                if self.claim(path, fd):
                    return path, fd
            except OSError:
                self.disk.close(fd)
                self.disk.unlink(path)
                raise
            self.disk.close(fd)

    def claim(self, path: Path, fd: int) -> bool:
        """Return whether the staged file is ours now: locked, and still known by its staged name."""
        try:
            self.disk.lock(fd)
        except BlockingIOError:
            return False
        return self.disk.is_at(fd, path)

    def publish(self, staged: Path, wanted: FileId) -> FileId:
        """Give `staged` its final name, `wanted` or the next one that is free, and return that."""
        self.disk.make_folder(self.root / wanted.base.folder)
        while True:
            final = self.root / wanted.path
            try:
                self._move(staged, final)
            except FileExistsError:
                if self.disk.same(staged, final):  # an earlier attempt succeeded and was told it had not
                    return wanted
                later = FileId(wanted.base, wanted.number + 1)
                wanted = FileId(wanted.base, self._free_number(later))
            else:
                self._reserve(wanted)
                return wanted

    def settle(self, published: FileId) -> None:
        """Bring the final name and the folders that lead to it to the disk."""
        folder = self.root / published.base.folder
        while folder != self.root:
            self.disk.sync_folder(folder)
            folder = folder.parent
        self.disk.sync_folder(self.root)

    def forget(self, staged: Path) -> None:
        """Take away the name of a file that has another one by now, or no frames."""
        self.disk.unlink(staged)
        self.disk.sync_folder(self.staging)

    def _next_number(self, wanted: FileId) -> int:
        return next_number(wanted.base, self.disk.names(self.root / wanted.base.folder))

    def _free_number(self, wanted: FileId) -> int:
        """Return the least number for a new file."""
        with self._using:
            reserved = self._used.get(wanted.base, -1) + 1
        return max(wanted.number, reserved, self._next_number(wanted))

    def _move(self, staged: Path, final: Path) -> None:
        """Give `staged` the name `final`; a link leaves its old name too, until that is removed."""
        if self._links:
            self.disk.link(staged, final)
        else:
            self.disk.rename(staged, final)

    def _look_at_mounts(self) -> None:
        """Make sure that a file can get its final name without being copied."""
        if self.disk.file_system(self.staging) != self.disk.file_system(self.root):
            raise UnusableFolderError(
                f"{self.root}: {OWN_FOLDER} in it is on another file system, so that no file can go from there "
                f"to its final name in one step. Mount one volume at {self.root}, and nothing inside it."
            )

    def _try_publishing(self) -> None:
        """Find out, with a file of no name in the data folders, which call can publish without replacing."""
        probe, fd = self.create(lambda: f"{PROBE}{os.getpid()}.{self.disk.token()}")
        other = probe.with_name(probe.name + ".other")
        try:
            self._move(probe, other)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            self._links = False
            self._try_renaming(probe, other)
        finally:
            self.disk.unlink(probe)
            self.disk.unlink(other)
            self.disk.close(fd)

    def _try_renaming(self, probe: Path, other: Path) -> None:
        try:
            self._move(probe, other)
        except OSError as error:
            raise UnusableFolderError(
                f"{self.root}: its file system has neither hard links nor a rename that never replaces "
                f"({error.strerror}). Use a file system that has one of them: ext4, xfs, btrfs, NFS."
            ) from error


class StagedFile:
    """A file that is being written. It counts whole frames only; a torn one at its end is never published."""

    def __init__(self, folder: DataFolder, wanted: FileId) -> None:
        self._folder = folder
        self._disk = folder.disk
        self.wanted = wanted
        self.size = 0
        self.frames = 0
        self.crc = 0  # CRC-32C of the first `size` bytes, as they were received
        self._published: FileId | None = None
        self._settled = False
        self._doubtful = False
        self._named = False  # the staged name is on the disk: without it a loss of power takes the bytes too
        self.path, self._fd = folder.create(lambda: staged_name(wanted, self._disk.token()))

    def append(self, frames: Sequence[Bytes]) -> None:
        """Write `frames` after the last whole one; on OSError those of them that are whole count."""
        end = self.size
        try:
            for pieces in batches(part for frame in frames for part in frame.parts):
                for written in self._write(pieces, end):
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
            self._make_durable()
            self._published = self._folder.publish(self.path, self.wanted)
        if not self._settled:
            self._folder.settle(self._published)
            self._settled = True
            settled(self._published)
        self._folder.forget(self.path)
        self.close()
        return self._published

    def discard(self) -> None:
        """Remove the file. For one in which no frame was recorded: the caller knows."""
        self._disk.unlink(self.path)
        self.close()

    def close(self) -> None:
        """Stop writing and leave the bytes where they are. Safe to repeat."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            self._disk.close(fd)

    def _write(self, pieces: list[memoryview], offset: int) -> Iterator[int]:
        """Write all of `pieces`, however many calls it takes, and yield what each call took."""
        while pieces:
            written = self._disk.write(self._fd, pieces, offset)
            if not written:
                raise OSError(errno.EIO, "the disk takes no more bytes and does not say why", str(self.path))
            yield written
            offset += written
            pieces = rest(pieces, written)

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
        while offset < self.size:
            piece = self._disk.read(self._fd, min(WRITE_LIMIT, self.size - offset), offset)
            crc = crc32c(piece, crc)
            offset += sum(self._write([memoryview(piece)], offset)) if piece else self.size
        if crc != self.crc:
            raise ChangedOnDiskError(errno.EIO, "the disk lost what was written", str(self.path))


def staged_name(wanted: FileId, token: str) -> str:
    """Return the name of a file that is to become `wanted`; a new `token` makes it one that was never used."""
    return f"{quote(wanted.path, safe='')}.{os.getpid()}-{token}"


def wanted_path(staged: str) -> str:
    """Return the path, under the data folder, that the file with this staged name is to get."""
    return unquote(staged.rpartition(".")[0])
