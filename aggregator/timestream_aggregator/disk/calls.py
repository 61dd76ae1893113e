"""The system calls that files are made with, one method each.

Nothing is decided here. Each method is one call (or one that has to be taken with its partner), so that a
test can make the first, the second, the third of them fail.
"""

import ctypes
import errno
import fcntl
import os
import secrets
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final

_RENAME_NOREPLACE: Final = 1
_AT_FDCWD: Final = -100


class Disk:
    """The real disk. Every method raises OSError as the kernel says it."""

    def create(self, path: Path) -> int:
        """Return a descriptor of the new file `path`; FileExistsError if there is one."""
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)

    def token(self) -> str:
        """Return eight random hexadecimal digits, for a name that nobody has used."""
        return secrets.token_hex(4)

    def open(self, path: Path) -> int:
        """Return a descriptor of the file `path`, to read and to cut it."""
        return open_file(path, os.O_RDWR | os.O_NOFOLLOW)

    def open_end(self, path: Path) -> int:
        """Return a descriptor with which bytes are added at the end of `path`, which is made if need be."""
        return open_file(path, os.O_RDWR | os.O_APPEND | os.O_CREAT)

    def open_anew(self, path: Path) -> int:
        """Return a descriptor of the empty file `path`, whatever it held before."""
        return open_file(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW)

    def lock(self, fd: int) -> None:
        """Mark the file as being written; BlockingIOError if somebody else did."""
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def lock_shared(self, fd: int) -> None:
        """Mark the file as in use by several; BlockingIOError if somebody has it alone."""
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)

    def is_at(self, fd: int, path: Path) -> bool:
        """Return whether `path` is a name of the open file."""
        try:
            there = path.lstat()
        except FileNotFoundError:
            return False
        return os.path.samestat(there, os.fstat(fd))

    def is_folder(self, path: Path) -> bool:
        """Return whether there is a folder `path`."""
        return path.is_dir()

    def links(self, fd: int) -> int:
        """Return how many names the file has."""
        return os.fstat(fd).st_nlink

    def size(self, fd: int) -> int:
        """Return the file's size in bytes."""
        return os.fstat(fd).st_size

    def size_at(self, path: Path) -> int:
        """Return the size in bytes of what is called `path`."""
        return path.stat().st_size

    def tail(self, path: Path, size: int) -> bytes:
        """Return the last `size` bytes of the file `path`, all if it has no more."""
        with os.fdopen(open_file(path, os.O_RDONLY), "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - size))
            return file.read(size)

    def append(self, fd: int, data: bytes) -> int:
        """Write `data` at the file's end, wherever that is now, and return how many bytes were taken."""
        return os.write(fd, data)

    def write(self, fd: int, pieces: Sequence[memoryview | bytes], offset: int) -> int:
        """Write `pieces` at `offset` and return how many bytes were taken."""
        return os.pwritev(fd, pieces, offset)

    def read(self, fd: int, size: int, offset: int) -> bytes:
        """Return up to `size` bytes at `offset`."""
        return os.pread(fd, size, offset)

    def sync_data(self, fd: int) -> None:
        """Bring the file's bytes to the disk."""
        os.fdatasync(fd)

    def sync(self, fd: int) -> None:
        """Bring the file's bytes and its attributes to the disk."""
        os.fsync(fd)

    def truncate(self, fd: int, size: int) -> None:
        """Cut the file to `size` bytes."""
        os.ftruncate(fd, size)

    def close(self, fd: int) -> None:
        """Close the descriptor, and with it the lock.

        What a file system tells only now, as NFS may, is of no interest: what matters was synced before.
        """
        try:
            os.close(fd)
        except OSError as error:
            if error.errno == errno.EBADF:
                raise

    def link(self, old: Path, new: Path) -> None:
        """Give `old` the further name `new`; FileExistsError if that is taken."""
        os.link(old, new, follow_symlinks=False)

    def rename(self, old: Path, new: Path) -> None:
        """Rename `old` to `new`; FileExistsError if that is taken. For file systems without hard links."""
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.renameat2(_AT_FDCWD, os.fsencode(old), _AT_FDCWD, os.fsencode(new), _RENAME_NOREPLACE):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(new))

    def is_there(self, path: Path) -> bool:
        """Return whether there is something called `path`."""
        return os.path.lexists(path)

    def same(self, one: Path, other: Path) -> bool:
        """Return whether two names, both there, are names of one file."""
        return one.samefile(other)

    def file_system(self, path: Path) -> int:
        """Return the number of the file system that `path` is on."""
        return path.stat().st_dev

    def unlink(self, path: Path) -> None:
        """Take the name `path` away; nothing happens if it is gone already."""
        path.unlink(missing_ok=True)

    def make_folder(self, path: Path) -> None:
        """Make the folder `path` and those above it, where they are missing."""
        path.mkdir(parents=True, exist_ok=True)

    def names(self, folder: Path) -> list[str]:
        """Return the names in `folder`; none if it is not there."""
        try:
            return os.listdir(folder)  # noqa: PTH208 - names are all that is wanted
        except FileNotFoundError:
            return []

    def sync_folder(self, path: Path) -> None:
        """Bring the names in the folder `path` to the disk."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        except OSError as error:
            # 9p, some FUSE: names need no sync, or have none
            if error.errno not in {errno.EINVAL, errno.EOPNOTSUPP}:
                raise
        finally:
            os.close(fd)

    def is_file(self, path: Path) -> bool:
        """Return whether `path` is a file itself: no folder, link, pipe, socket or device."""
        return stat.S_ISREG(path.lstat().st_mode)


def open_file(path: str | Path, flags: int) -> int:
    """Return a descriptor of the file `path`; OSError, at once, if something else stands in its place.

    To open a pipe, and to write into one, may else take for ever.
    """
    fd = os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK, 0o644)
    mode = os.fstat(fd).st_mode
    if stat.S_ISREG(mode):
        return fd
    os.close(fd)
    number = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
    raise OSError(number, os.strerror(number), str(path))
