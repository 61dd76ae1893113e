"""Looks at the files of a data folder from outside: names, sizes, times; none of them is opened.

What is being written is told from what is left over by the kernel's table of locks, which has nothing of
other machines and containers: there, what was changed a moment ago counts as neither. Trying the lock would
tell, and take it from a recorder that starts in this moment.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from timestream_aggregator.commands.telling import Told, counted, moment
from timestream_aggregator.core.naming import PACKED, SUFFIX, parse
from timestream_aggregator.disk.layout import own, wanted_path

LOCKS: Final = Path("/proc/locks")
_FRESH: Final = 60.0  # seconds; a file that is being written grows, or is published after `frameGap`


@dataclass(frozen=True, slots=True)
class Found:
    """A file in the data folder; `path` is relative to that, `changed` is Unix seconds."""

    path: str
    bytes: int
    changed: float
    inode: int


class StagedState(StrEnum):
    """What a file without a final name is."""

    WRITING = "being written"
    LEFT = "left over"
    UNFINISHED = "unfinished"  # one of the two


@dataclass(frozen=True, slots=True)
class Staged:
    """A file that is to become `path`, under the data folder."""

    path: str
    state: StagedState
    bytes: int
    changed: float

    def told(self, root: Path) -> Told:
        """Return what there is to know of it, and for a person what to do."""
        changed = moment(self.changed)
        text = f"{self.state}: {self.path}, {counted(self.bytes, 'byte')}, last written {changed or '-'} UTC"
        if self.state is not StagedState.WRITING:
            text += f": `timestream-aggregator recover {root}`, or the recorder's next start, publishes it"
        return Told({"staged": self.path, **asdict(self), "changed": changed}, f"{text}\n")


def files(folder: Path, refused: Callable[[OSError], None] | None = None) -> Iterator[Found]:
    """Yield the files in `folder`, in order of name; what is hidden is passed over, links to folders are followed.

    `refused` is told of a folder in it that cannot be read. OSError: `folder` itself cannot be, or nobody is told.
    """
    about = folder.stat()
    seen = {(about.st_dev, about.st_ino)}
    waiting = _entries(folder)
    while waiting:
        entry = waiting.pop()
        try:
            about = entry.stat(follow_symlinks=entry.is_dir())
            if not entry.is_dir():
                path = Path(entry.path).relative_to(folder).as_posix()
                yield Found(path, about.st_size, about.st_mtime, about.st_ino)
            elif (about.st_dev, about.st_ino) not in seen:  # else a link led here before
                seen.add((about.st_dev, about.st_ino))
                waiting += _entries(entry.path)
        except FileNotFoundError:  # published in this moment, and no longer where it was written
            continue
        except OSError as error:
            if refused is None:
                raise
            refused(error)


def _entries(folder: Path | str) -> list[os.DirEntry[str]]:
    """Return what is in a folder and not hidden, the last name first."""
    with os.scandir(folder) as entries:
        shown = (entry for entry in entries if not entry.name.startswith("."))
        return sorted(shown, key=lambda entry: entry.name, reverse=True)


def note_unread(command: str, error: OSError) -> None:
    """Say that a folder is left out."""
    sys.stderr.write(f"{command}: not looked at: {error.filename}: {error.strerror}\n")


def staged(root: Path) -> list[Staged]:
    """Return the files of the data folder `root` without a final name. OSError: they cannot be looked at."""
    staging = own(root, "staging")
    if not staging.is_dir():
        return []
    locked = _locked_inodes()
    return [
        Staged(path, _state(file, locked), file.bytes, file.changed)
        for file in files(staging)
        if parse(path := wanted_path(file.path)) is not None  # of others only `recover` speaks
    ]


def unpacked(path: str) -> str:
    """Return what a compressed file of ours was called before, and any other `path` as it is."""
    suffix = next((suffix for suffix in PACKED if path.endswith(suffix)), SUFFIX)
    return path.removesuffix(suffix.removeprefix(SUFFIX))


def _state(file: Found, locked: set[int] | None) -> StagedState:
    if locked is not None and file.inode in locked:
        return StagedState.WRITING
    uncertain = locked is None or time.time() - file.changed < _FRESH
    return StagedState.UNFINISHED if uncertain else StagedState.LEFT


def _locked_inodes() -> set[int] | None:
    """Return the inodes of the files that are locked; None where the kernel does not tell."""
    try:
        lines = LOCKS.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    # "1: FLOCK  ADVISORY  WRITE 4711 08:01:1234 0 EOF"; the device is not always the one that stat() tells.
    return {int(line.split()[5].rpartition(":")[2]) for line in lines if line.split()[1] == "FLOCK"}
