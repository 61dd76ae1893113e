"""The simulated disk, watched: what is published is whole, durable, never changes and never shares its name."""

import random
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from tests.fuzz.properties import spt3g_loads
from tests.machine.disk_layers import File
from tests.machine.run import EPOCH, ROOT, STAGING, TurnedClock
from tests.machine.simulated_disk import SimulatedDisk
from tests.tools.plain import parse
from timestream_aggregator.clock import utc
from timestream_aggregator.disk.layout import OWN_FOLDER
from timestream_aggregator.ledger.reading import name_at

OWN: Final = ROOT / OWN_FOLDER
LEDGER: Final = OWN / name_at(utc(EPOCH))
LIMIT: Final = 1 << 20


def is_published(path: Path) -> bool:
    return OWN not in path.parents


@lru_cache(maxsize=4096)
def frames_of(content: bytes) -> tuple[tuple[bytes, ...], bool]:
    """Return the good frames a file begins with, and whether it holds nothing else."""
    stream, found = parse(content, LIMIT), list[bytes]()
    for seen in stream.frames:
        if not seen.good or not any(content[seen.start + 13 : seen.end]):  # a header and zeros
            break
        found.append(content[seen.start : seen.end])
    return tuple(found), sum(map(len, found)) == len(content)


@lru_cache(maxsize=4096)
def loads(data: bytes) -> bool:
    return spt3g_loads(data)


def is_observation(data: bytes) -> bool:
    return data[9:13] == b"O\0\0\0"


class GuardedDisk(SimulatedDisk):
    """Sees to it that what is published is whole and durable, never changes, and has a name of its own."""

    def __init__(self, chance: random.Random, clock: TurnedClock) -> None:
        super().__init__(ROOT, chance)
        self.clock = clock
        self.dirty_since: dict[File, float] = {}
        self.named: dict[Path, File] = {}
        self.ledger_doubtful = False

    def struck(self, args: Sequence[Any]) -> None:
        ledger = self.names_seen.get(LEDGER)
        if args[0] in {LEDGER, OWN} or (isinstance(args[0], int) and self.opened(args[0]) is ledger):
            self.ledger_doubtful = True

    def _name(self, change: dict[Path, Any]) -> None:
        for path, node in change.items():
            if isinstance(node, File) and is_published(path):
                assert self.named.setdefault(path, node) is node, f"{path} is used again"
                assert node.durable == node.cached, f"{path} is published before it is on the disk"
                assert frames_of(bytes(node.cached))[1], f"{path} is published and not whole"
            assert node is not None or not is_published(path), f"{path} is taken away"
        super()._name(change)

    def _change(self, file: File, what: tuple[int, bytes] | int) -> None:
        if not file.pending:
            self.dirty_since[file] = self.clock.now
        before = bytes(file.cached)
        super()._change(file, what)
        names = [path for path, node in self.names_seen.items() if node is file and is_published(path)]
        assert not names or file.cached == before, f"{names} changed after it was published"

    def is_staged(self, file: File) -> bool:
        """Return whether the file is being written."""
        names = [path for path, node in self.names_seen.items() if node is file]
        return self.is_open(file) and any(path.parent == STAGING for path in names)

    def forget_names(self, known: set[Path]) -> None:
        """Let names be used again that no file has and that no ledger tells of."""
        self.named = {
            path: file for path, file in self.named.items() if path in self.names_seen or path in known
        }

    def fetch(self, path: Path) -> None:
        """Let somebody move a published file elsewhere."""
        for names in (self.names_seen, self.names_durable):
            names.pop(path, None)
        for change in self.names_pending:
            change.pop(path, None)
