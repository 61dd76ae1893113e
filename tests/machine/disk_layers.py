"""The two layers of the simulated disk: what processes see, and what is left without power."""

import random
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(eq=False)
class File:
    """An inode: what is seen of it, what is on the disk, and the changes that are not: (offset, bytes) or a size."""

    cached: bytearray = field(default_factory=bytearray)
    durable: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes] | int] = field(default_factory=list[tuple[int, bytes] | int])

    def change(self, what: tuple[int, bytes] | int) -> None:
        apply(self.cached, what)
        self.pending.append(what)

    def flip(self, place: int, bit: int) -> None:
        """Let a bit change by itself, wherever the byte is."""

        def flipped(offset: int, data: bytes) -> bytes:
            at = place - offset
            return (
                data if not 0 <= at < len(data) else data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]
            )

        self.cached[:] = flipped(0, bytes(self.cached))
        self.durable[:] = flipped(0, bytes(self.durable))
        self.pending[:] = [
            what if isinstance(what, int) else (what[0], flipped(*what)) for what in self.pending
        ]

    def tear(self, chance: random.Random) -> None:
        """Let each write be as many as the blocks of a disk may make of it: any part of it may be all that is done."""
        torn: list[tuple[int, bytes] | int] = []
        for what in self.pending:
            if isinstance(what, int) or chance.random() < 0.5:
                torn.append(what)
            else:
                offset, data = what
                cut = chance.randint(0, len(data))
                torn += [(offset, data[:cut]), (offset + cut, data[cut:])]
        self.pending[:] = torn

    def settle(self, survivors: Collection[int]) -> None:
        """Bring those of the pending changes to the disk, the others never."""
        for index, what in enumerate(self.pending):
            if index in survivors:
                apply(self.durable, what)
        self.pending.clear()


@dataclass(eq=False)
class Folder:
    """What a path of a folder stands for; names are kept in one place for all."""


Node = File | Folder


def apply(content: bytearray, what: tuple[int, bytes] | int) -> None:
    """Write, or cut; what lies between the end and what is written is zeros."""
    if isinstance(what, int):
        del content[what:]
        content.extend(bytes(what - len(content)))
    else:
        offset, data = what
        content.extend(bytes(max(0, offset - len(content))))
        content[offset : offset + len(data)] = data


class Layers:
    """Names and files as they are seen, and as they are on the disk; `chance` decides what a crash leaves."""

    def __init__(self, root: Path, chance: random.Random) -> None:
        self.chance = chance
        self.names_seen: dict[Path, Node] = {path: Folder() for path in (root, *root.parents)}
        self.names_durable = dict(self.names_seen)
        self.names_pending: list[dict[Path, Node | None]] = []

    def files(self) -> dict[Path, File]:
        """Return all files that can be seen, by name."""
        return {path: node for path, node in sorted(self.names_seen.items()) if isinstance(node, File)}

    def has_lasting_name(self, file: File) -> bool:
        """Return whether a loss of power leaves a name of the file."""
        names = [path for path, node in self.names_durable.items() if node is file]
        return any(self._is_reachable(path) for path in names)

    def lose_power(self) -> None:
        for change in self.names_pending:
            if self.chance.random() < 0.5:
                self._apply_names(self.names_durable, change)
        self.names_pending.clear()
        reachable = {path: node for path, node in self.names_durable.items() if self._is_reachable(path)}
        self.names_durable, self.names_seen = reachable, dict(reachable)
        for file in dict.fromkeys(self.files().values()):
            file.tear(self.chance)
            file.settle(self._survivors(len(file.pending)))
            file.cached[:] = file.durable

    def _is_reachable(self, path: Path) -> bool:
        return all(isinstance(self.names_durable.get(above), Folder) for above in path.parents)

    def _survivors(self, count: int) -> Collection[int]:
        """Return which of `count` changes reach the disk: none, all, the first ones, or any."""
        how = self.chance.randrange(4)
        if how == 0:
            return ()
        if how == 1:
            return range(count)
        if how == 2:
            return range(self.chance.randint(0, count))
        return {index for index in range(count) if self.chance.random() < 0.5}

    def lose_dirty(self, file: File) -> None:
        """Take what is not on the disk for written; the page cache keeps it, or drops it sooner or later."""
        file.tear(self.chance)
        file.settle(self._survivors(len(file.pending)))
        if self.chance.random() < 0.5:
            file.cached[:] = file.durable

    def _change(self, file: File, what: tuple[int, bytes] | int) -> None:
        file.change(what)

    def _name(self, change: dict[Path, Node | None]) -> None:
        self._apply_names(self.names_seen, change)
        self.names_pending.append(change)

    @staticmethod
    def _apply_names(names: dict[Path, Node], change: dict[Path, Node | None]) -> None:
        for path, node in change.items():
            if node is None:
                names.pop(path, None)
            else:
                names[path] = node
