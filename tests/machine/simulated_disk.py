"""A disk in memory that forgets what a real one may forget: the tests' own `Disk`, with two layers.

What processes see is the page cache. What a power loss leaves is less: of a file what was synced and any of the
changes since, of a folder the names that were synced and any of the changes since. A sync that fails takes
its changes for written, as Linux does: a later one succeeds and means nothing. Each call can be made to fail,
to do a part only, or to be the last one before the process is killed.
"""

import errno
import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from itertools import count
from pathlib import Path
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from tests.machine.disk_layers import File, Folder, Layers
from timestream_aggregator.disk.calls import Disk

P = ParamSpec("P")
R = TypeVar("R")


class KilledError(BaseException):
    """The process is dead: nothing may catch this."""


@dataclass(eq=False)
class Descriptor:
    """An open file."""

    file: File
    appends: bool = False
    lock: str = ""


@dataclass
class Fault:
    """What happens to the next calls: `skip` of them pass, then `times` fail, and so on for calls in `only`.

    `number` is the errno; 0 is a short write, or nothing for other calls. A `late` fault is told after the call
    has done its work. `kills` ends the process there.
    """

    skip: int = 0
    times: int = 1
    number: int = errno.EIO
    late: bool = False
    kills: bool = False
    only: frozenset[str] = frozenset()

    def strikes(self, call: str) -> bool:
        """Count a call; return whether it is one that fails."""
        if self.times <= 0 or (self.only and call not in self.only):
            return False
        self.skip -= 1
        if self.skip >= 0:
            return False
        self.times -= 1
        return True


def call(
    method: Callable[Concatenate["SimulatedDisk", P], R],
) -> Callable[Concatenate["SimulatedDisk", P], R]:
    """Let a method of the disk be struck by faults."""

    @wraps(method)
    def made(self: "SimulatedDisk", *args: P.args, **kwargs: P.kwargs) -> R:
        if self.dead:
            raise KilledError
        self.calls += 1
        fault = next((fault for fault in self.faults if fault.strikes(method.__name__)), None)
        if method.__name__ == "close" and not (fault and fault.kills):
            fault = None  # its errors are of no interest to anybody
        if fault is None:
            return method(self, *args, **kwargs)
        self.struck(args)
        if fault.kills:
            return self.kill(lambda: method(self, *args, **kwargs), late=fault.late)
        if not fault.number:
            self.short = True
            try:
                return method(self, *args, **kwargs)
            finally:
                self.short = False
        if fault.late and method.__name__ in LATE:
            method(self, *args, **kwargs)
        else:
            self.fail(method.__name__, *args)
        raise OSError(fault.number, os.strerror(fault.number))

    return made


LATE: Final = frozenset({"link", "rename", "replace", "unlink", "truncate", "sync_folder", "make_folder"})


class SimulatedDisk(Layers, Disk):
    """A file system with one data folder, `root`; `chance` decides what a crash leaves."""

    def __init__(self, root: Path, chance: random.Random) -> None:
        super().__init__(root, chance)
        self.faults: list[Fault] = []
        self.calls = 0
        self.dead = False
        self.short = False
        self._open: dict[int, Descriptor] = {}
        self._next = 1000
        self._tokens = count()

    def token(self) -> str:
        return f"{next(self._tokens):08x}"

    # --- what happens to it

    def struck(self, args: Sequence[Any]) -> None:
        """Take note that a fault strikes a call. For those who want to know."""

    def opened(self, fd: int) -> File | None:
        """Return the file that is open as `fd`."""
        return self._open[fd].file if fd in self._open else None

    def is_open(self, file: File) -> bool:
        """Return whether a process has the file open."""
        return any(descriptor.file is file for descriptor in self._open.values())

    def kill(self, work: Callable[[], object], *, late: bool) -> Any:
        """Let the process die before or after `work`."""
        if late:
            work()
        self.dead = True
        raise KilledError

    def fail(self, name: str, *args: Any) -> None:
        """Do what a failing call does nevertheless."""
        if name in {"sync", "sync_data"}:
            self.lose_dirty(self._file(args[0]))

    def restart(self, *, power_lost: bool) -> None:
        """Let all processes be gone: their locks and descriptors are; with the power, so is the page cache."""
        self._open.clear()
        self.dead = False
        self.faults.clear()
        if power_lost:
            self.lose_power()

    # --- files

    @call
    def create(self, path: Path) -> int:
        self._must_be_free(path)
        return self._opened(self._new_file(path))

    @call
    def open(self, path: Path) -> int:
        return self._opened(self._at(path))

    @call
    def open_end(self, path: Path) -> int:
        file = self._at(path) if path in self.names_seen else self._new_file(path)
        return self._opened(file, appends=True)

    @call
    def open_anew(self, path: Path) -> int:
        file = self._at(path) if path in self.names_seen else self._new_file(path)
        self._change(file, 0)
        return self._opened(file)

    @call
    def lock(self, fd: int) -> None:
        self._lock(fd, "alone")

    @call
    def lock_shared(self, fd: int) -> None:
        self._lock(fd, "shared")

    @call
    def is_at(self, fd: int, path: Path) -> bool:
        return path in self.names_seen and self.names_seen[path] is self._file(fd)

    @call
    def links(self, fd: int) -> int:
        return sum(node is self._file(fd) for node in self.names_seen.values())

    @call
    def size(self, fd: int) -> int:
        return len(self._file(fd).cached)

    @call
    def is_folder(self, path: Path) -> bool:
        return isinstance(self.names_seen.get(path), Folder)

    @call
    def is_file(self, path: Path) -> bool:
        if path not in self.names_seen:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        return isinstance(self.names_seen[path], File)

    @call
    def size_at(self, path: Path) -> int:
        return 0 if isinstance(self.names_seen.get(path), Folder) else len(self._at(path).cached)

    @call
    def open_to_read(self, path: Path) -> int:
        return self._opened(self._at(path))

    @call
    def append(self, fd: int, data: bytes) -> int:
        file = self._file(fd)
        return self._write(file, data, len(file.cached))

    @call
    def write(self, fd: int, pieces: Sequence[memoryview | bytes], offset: int) -> int:
        opened = self._descriptor(fd)
        return self._write(
            opened.file, b"".join(pieces), len(opened.file.cached) if opened.appends else offset
        )

    @call
    def read(self, fd: int, size: int, offset: int) -> bytes:
        return bytes(self._file(fd).cached[offset : offset + size])

    @call
    def sync_data(self, fd: int) -> None:
        file = self._file(fd)
        file.settle(range(len(file.pending)))

    @call
    def sync(self, fd: int) -> None:
        file = self._file(fd)
        file.settle(range(len(file.pending)))

    @call
    def truncate(self, fd: int, size: int) -> None:
        self._change(self._file(fd), size)

    @call
    def close(self, fd: int) -> None:
        if self._open.pop(fd, None) is None:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))

    # --- names

    @call
    def link(self, old: Path, new: Path) -> None:
        file = self._at(old)
        self._must_be_free(new)
        self._name({new: file})

    @call
    def rename(self, old: Path, new: Path) -> None:
        file = self._at(old)
        self._must_be_free(new)
        self._name({old: None, new: file})

    @call
    def replace(self, old: Path, new: Path) -> None:
        file = self._at(old)
        if new not in self.names_seen:
            self._must_be_free(new)
        elif self._at(new) is file:  # as rename(2) has it
            return
        self._name({old: None, new: file})

    @call
    def is_there(self, path: Path) -> bool:
        return path in self.names_seen

    @call
    def same(self, one: Path, other: Path) -> bool:
        return self._at(one) is self._at(other)

    @call
    def file_system(self, path: Path) -> int:
        if path not in self.names_seen:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        return 1

    @call
    def unlink(self, path: Path) -> None:
        if path in self.names_seen:
            self._at(path)
            self._name({path: None})

    @call
    def make_folder(self, path: Path) -> None:
        for folder in (*reversed(path.parents), path):
            if isinstance(self.names_seen.get(folder), File):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(folder))
            if folder not in self.names_seen:
                self._name({folder: Folder()})

    @call
    def names(self, folder: Path) -> list[str]:
        return [path.name for path in self.names_seen if path.parent == folder and path != folder]

    @call
    def sync_folder(self, path: Path) -> None:
        if not isinstance(self.names_seen.get(path), Folder):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        changes = [change for change in self.names_pending if any(name.parent == path for name in change)]
        for change in changes:
            self._apply_names(self.names_durable, change)
            self.names_pending.remove(change)

    # --- how

    def _file(self, fd: int) -> File:
        return self._descriptor(fd).file

    def _descriptor(self, fd: int) -> Descriptor:
        try:
            return self._open[fd]
        except KeyError:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF)) from None

    def _at(self, path: Path) -> File:
        node = self.names_seen.get(path)
        if isinstance(node, Folder):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if node is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        return node

    def _must_be_free(self, path: Path) -> None:
        if path in self.names_seen:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        if not isinstance(self.names_seen.get(path.parent), Folder):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))

    def _new_file(self, path: Path) -> File:
        self._must_be_free(path)
        file = File()
        self._name({path: file})
        return file

    def _opened(self, file: File, *, appends: bool = False) -> int:
        self._next += 1
        self._open[self._next] = Descriptor(file, appends)
        return self._next

    def _lock(self, fd: int, how: str) -> None:
        mine = self._descriptor(fd)
        others = {
            other.lock for other in self._open.values() if other.file is mine.file and other is not mine
        }
        if "alone" in others or (how == "alone" and "shared" in others):
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        mine.lock = how

    def _write(self, file: File, data: bytes, offset: int) -> int:
        taken = data[: self.chance.randint(0, len(data))] if self.short else data
        if taken:
            self._change(file, (offset, taken))
        return len(taken)
