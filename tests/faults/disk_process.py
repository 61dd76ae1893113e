"""A disk with a mind of its own, a FUSE file system in memory: it stalls, fails, writes short, and loses its power.

What was not brought to the disk (fsync of the file, fsync of the folder for its name) may be gone after a loss of
power, wholly or in part, or be zeros. Obeys lines of JSON on stdin: `tests.faults.disk` is its other end.
"""

# ruff: noqa: ARG002 - FUSE gives more than this disk needs

import errno
import json
import random
import stat
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import Any, Final

from mfusepy import FUSE, FuseOSError, Operations

_FOLDER: Final = stat.S_IFDIR | 0o755
_FILE: Final = stat.S_IFREG | 0o644
_CAPACITY: Final = 1 << 40


@dataclass(slots=True, eq=False)
class Node:
    """A file or folder: what it holds, and what of that is on the disk."""

    number: int
    folder: bool = False
    data: bytearray = field(default_factory=bytearray)
    durable: bytes = b""


@dataclass(slots=True)
class Temper:
    """What the disk does just now."""

    stalled_until: float = 0.0
    longest_write: int = 1 << 30
    failing: dict[str, str] = field(default_factory=dict[str, str])  # operation: name of the error


class Disk(Operations):
    """The file system."""

    use_ns = True

    def __init__(self) -> None:
        self.temper = Temper()
        self._count = 1
        self._root = Node(1, folder=True)
        self._names: dict[str, Node] = {"/": self._root}
        self._durable: dict[str, Node] = {"/": self._root}
        self._open: dict[int, Node] = {}

    def lose_power(self, seed: int) -> None:
        """Go back to what is on the disk, and to whatever else may have got there."""
        chance = random.Random(seed)
        names = dict(self._durable)
        for path in sorted(self._names.keys() ^ self._durable.keys()):
            if chance.random() < 0.5:  # this name, or its removal, was on the disk already
                names.pop(path, None)
                names |= {path: self._names[path]} if path in self._names else {}
        self._names = {path: node for path, node in names.items() if all(up in names for up in _above(path))}
        self._durable = dict(self._names)
        for node in set(self._names.values()):
            node.data = bytearray(node.durable) + _rest(chance, bytes(node.data[len(node.durable) :]))
            node.durable = bytes(node.data)

    def forget(self) -> None:
        """Turn all bytes that were not synced into zeros: the disk failed to write them, and told so once."""
        for node in self._names.values():
            node.data[len(node.durable) :] = bytes(len(node.data) - len(node.durable))

    # --- what the kernel asks for

    def init(self, path: str) -> None:
        print("mounted", flush=True)

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        node = self._node(path, fh)
        links = sum(other is node for other in self._names.values())
        size = {"st_mode": _FOLDER if node.folder else _FILE, "st_size": len(node.data)}
        return size | {
            "st_ino": node.number,
            "st_nlink": 2 if node.folder else links,
            "st_uid": 0,
            "st_gid": 0,
        }

    def readdir(self, path: str, fh: int) -> list[tuple[str, dict[str, int], int]]:
        node = self._node(path)
        found = {".": node, "..": node} | {
            name.rpartition("/")[2]: self._names[name] for name in self._inside(path)
        }
        return [
            (name, {"st_mode": _FOLDER if node.folder else _FILE, "st_ino": node.number}, 0)
            for name, node in found.items()
        ]

    def statfs(self, path: str) -> dict[str, int]:
        blocks = _CAPACITY >> 12
        return {"f_bsize": 4096, "f_frsize": 4096, "f_blocks": blocks, "f_bfree": blocks, "f_bavail": blocks}

    def mkdir(self, path: str, mode: int) -> int:
        self._obey("mkdir")
        if path in self._names:
            raise FuseOSError(errno.EEXIST)
        self._names[path] = self._new(folder=True)
        return 0

    def create(self, path: str, mode: int, fi: object = None) -> int:
        self._obey("create")
        self._names[path] = self._new()
        return self.open(path, 0)

    def open(self, path: str, flags: int) -> int:
        handle = max(self._open, default=0) + 1
        self._open[handle] = self._node(path)
        return handle

    def release(self, path: str, fh: int) -> int:
        del self._open[fh]
        return 0

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        self._obey("read")
        return bytes(self._open[fh].data[offset : offset + size])

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        self._obey("write")
        taken = data[: self.temper.longest_write]
        held = self._open[fh].data
        held.extend(bytes(max(0, offset - len(held))))
        held[offset : offset + len(taken)] = taken
        return len(taken)

    def truncate(self, path: str, length: int, fh: int | None = None) -> int:
        self._obey("truncate")
        node = self._node(path, fh)
        node.data = node.data[:length] + bytes(max(0, length - len(node.data)))
        return 0

    def fsync(self, path: str, datasync: int, fh: int) -> int:
        self._obey("fsync")
        node = self._open[fh]
        node.durable = bytes(node.data)
        return 0

    def fsyncdir(self, path: str, datasync: int, fh: int) -> int:
        self._obey("fsyncdir")
        for name in self._inside(path):
            self._durable[name] = self._names[name]
        for name in [name for name in self._durable if _parent(name) == path and name not in self._names]:
            del self._durable[name]
        return 0

    def flush(self, path: str, fh: int) -> int:
        self._obey("flush")
        return 0

    def link(self, target: str, source: str) -> int:
        self._obey("link")
        if target in self._names:
            raise FuseOSError(errno.EEXIST)
        self._names[target] = self._node(source)
        return 0

    def rename(self, old: str, new: str) -> int:
        self._obey("rename")
        if "/state/" not in new:  # it cannot be told not to replace: files are published by links here
            raise FuseOSError(errno.EINVAL)
        self._names[new] = self._names.pop(old)
        return 0

    def unlink(self, path: str) -> int:
        self._obey("unlink")
        self._node(path)
        del self._names[path]
        return 0

    def _obey(self, operation: str) -> None:
        """Do to an operation what the disk is told to."""
        while (left := self.temper.stalled_until - time.monotonic()) > 0:
            time.sleep(min(left, 0.05))
        if operation in self.temper.failing:
            raise FuseOSError(getattr(errno, self.temper.failing[operation]))

    def _node(self, path: str, handle: int | None = None) -> Node:
        node = self._open.get(handle or 0) or self._names.get(path)
        if node is None:
            raise FuseOSError(errno.ENOENT)
        return node

    def _new(self, *, folder: bool = False) -> Node:
        self._count += 1
        return Node(self._count, folder)

    def _inside(self, path: str) -> list[str]:
        return [name for name in self._names if name != "/" and _parent(name) == path]


def _parent(path: str) -> str:
    return path.rpartition("/")[0] or "/"


def _above(path: str) -> list[str]:
    """Return the folders that lead to a path."""
    parts = path.strip("/").split("/")[:-1]
    return ["/", *("/" + "/".join(parts[: n + 1]) for n in range(len(parts)))]


def _rest(chance: random.Random, unsynced: bytes) -> bytes:
    """Return what a loss of power leaves of bytes that were not synced."""
    kept = unsynced[: chance.randint(0, len(unsynced))]
    return chance.choice((b"", kept, bytes(len(kept)), unsynced))


def _obey_lines(disk: Disk) -> None:
    for line in sys.stdin:
        order = json.loads(line)
        task = order.pop("do")
        if task == "lose power":
            disk.lose_power(order["seed"])
        elif task == "forget":
            disk.forget()
        else:
            disk.temper = Temper(time.monotonic() + order.pop("stall"), **order)
        print("done", flush=True)


def main() -> None:
    disk = Disk()
    threading.Thread(target=_obey_lines, args=(disk,), daemon=True).start()
    FUSE(
        disk, sys.argv[1], foreground=True, nothreads=True, use_ino=True, direct_io=True, hard_remove=True,
        attr_timeout=0, entry_timeout=0, negative_timeout=0,
    )  # fmt: skip


if __name__ == "__main__":
    main()
