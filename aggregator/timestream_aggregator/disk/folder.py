"""Durable files: written out of sight, published whole, never in the place of another.

A file grows under `<data folder>/.timestream-aggregator/staging/`, locked, under a name that tells where it
is meant to go. It gets its final name only when its last frame is whole and on the disk. Whatever call fails,
the bytes stay where they are and the failure is raised: nothing here deletes recorded frames.
"""

import errno
import os
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from timestream_aggregator.core.naming import Base, FileId, next_number
from timestream_aggregator.disk.calls import Disk
from timestream_aggregator.disk.layout import OWN_FOLDER, PROBE, own
from timestream_aggregator.disk.pieces import copy_to

_MOST_BASES: Final = 10_000
_NO_RENAMING: Final = frozenset({errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS})
"""What a file system says that cannot rename without replacing."""
_NO_LOCKS: Final = frozenset({errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP})
_OF_ONE_FOLDER: Final = frozenset(
    {errno.EACCES, errno.EPERM, errno.EEXIST, errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE}
)
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO})


class UnusableFolderError(Exception):
    """The data folder cannot hold recordings; the message says why and what to do."""


@contextmanager
def passing_over_one_folder() -> Generator[None]:
    """Pass over what is wrong with the folder of final names alone: it is no reason not to write files."""
    try:
        yield
    except OSError as error:
        if error.errno not in _OF_ONE_FOLDER:
            raise


class DataFolder:
    """The folder that recordings go to: gives out files to write and final names."""

    def __init__(self, root: Path, disk: Disk | None = None) -> None:
        self.root = root
        self.disk = disk or Disk()
        self.staging = own(root, "staging")
        self._links = False
        self._using = threading.Lock()  # the writer publishes here, and so does recovery
        self._used: dict[Base, int] = {}  # highest numbers that names were given or promised before
        self._listed: dict[Base, None] = {}  # those whose folder has been looked at, too

    def prepare(self) -> None:
        """Make the folder of unfinished files and try there what publishing needs.

        A disk that is full or fails now may be well in an hour: that is no reason not to receive.

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
            if error.errno in _FULL:
                return
            if error.errno in _NO_LOCKS:
                raise UnusableFolderError(
                    f"{self.root}: its file system has no locks ({error.strerror}), so that two recorders could take "
                    "one file for theirs. Mount it with them: NFS with lockd or version 4, Lustre with -o flock."
                ) from error
            raise UnusableFolderError(
                f"{self.root}: cannot be written to: {error.strerror}. "
                f"Give user {os.getuid()}, group {os.getgid()} write access to it, or another folder."
            ) from error

    def name_for_new(self, wanted: FileId) -> FileId:
        """Return `wanted`, or the next number after those there and those promised, and promise it."""
        file = FileId(wanted.base, self._free_number(wanted))
        self.reserve(file)
        return file

    def release(self, file: FileId) -> None:
        """Take back the promise of `file`, if no later one was made: it was removed, and had no frames."""
        with self._using:
            if self._used.get(file.base) == file.number:
                self._used[file.base] -= 1

    def reserve(self, file: FileId) -> None:
        """Give no number up to that of `file` to a new one: a file had that name, or is to get it."""
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
            try:
                fd = self.disk.create(path)
            except FileNotFoundError:  # somebody swept the folder away
                self.disk.make_folder(self.staging)
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

    def publish(self, staged: Path, wanted: FileId, *, copying: bool = False) -> FileId:
        """Give `staged` its final name, `wanted` or the next one that is free, and return that.

        Where that is on another file system, behind a link say, only a copy can have the name: with `copying` one
        is made there, which takes a while and leaves `staged` as it is.
        """
        self.disk.make_folder(self.root / wanted.base.folder)
        # A loss of power takes what is renamed into a folder that is not on the disk itself.
        self.settle(wanted)
        while True:
            final = self.root / wanted.path
            try:
                self._move(staged, final)
            except FileExistsError:
                if self.disk.is_there(staged) and self.disk.same(
                    staged, final
                ):  # it was done, and told as failed
                    return wanted
                self._listed.pop(wanted.base, None)  # somebody else writes there, too
                wanted = FileId(wanted.base, self._free_number(FileId(wanted.base, wanted.number + 1)))
            except OSError as error:
                if error.errno != errno.EXDEV or not copying:
                    raise
                staged = self._copy(staged, final)
            else:
                self.reserve(wanted)
                return wanted

    def settle(self, published: FileId) -> None:
        """Bring the final name and the folders that lead to it to the disk."""
        folder = self.root / published.base.folder
        for each in (folder, *folder.parents):
            with suppress(FileNotFoundError):  # an archiver took the file and its folder: the name was given
                self.disk.sync_folder(each)
            if each == self.root:
                return

    def _copy(self, staged: Path, final: Path) -> Path:
        """Return a copy of `staged`, hidden beside `final` and on the disk."""
        hidden = final.with_name(f".{final.name}.part")
        source = self.disk.open(staged)
        try:
            copy_to(self.disk, source, hidden, [(0, self.disk.size(source))])
        finally:
            self.disk.close(source)
        return hidden

    def forget(self, staged: Path) -> None:
        """Take away the name of a file that has another one by now, or no frames."""
        self.disk.unlink(staged)
        self.disk.sync_folder(self.staging)

    def _free_number(self, wanted: FileId) -> int:
        """Return the least number for a new file. A folder is listed once: later names in it are known, or collide."""
        base = wanted.base
        if base not in self._listed:
            with passing_over_one_folder():
                there = next_number(base, self.disk.names(self.root / base.folder)) - 1
                if there >= 0:
                    self.reserve(FileId(base, there))
                if len(self._listed) >= _MOST_BASES:
                    self._listed.clear()
                self._listed[base] = None
        with self._using:
            return max(wanted.number, self._used.get(base, -1) + 1)

    def _move(self, staged: Path, final: Path) -> None:
        """Give `staged` the name `final`; a link leaves its old name too, until that is removed.

        Whoever watches the folder hears of a rename, and not that a linked file is whole.
        """
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
            if error.errno not in _NO_RENAMING:
                raise
            self._links = True
            self._try_linking(probe, other)
        finally:
            self.disk.unlink(probe)
            self.disk.unlink(other)
            self.disk.close(fd)

    def _try_linking(self, probe: Path, other: Path) -> None:
        try:
            self._move(probe, other)
        except OSError as error:
            raise UnusableFolderError(
                f"{self.root}: its file system has neither a rename that never replaces nor hard links "
                f"({error.strerror}). Use a file system that has one of them: ext4, xfs, btrfs, NFS."
            ) from error
