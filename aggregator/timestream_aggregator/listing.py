"""List the acquisitions and files of a data folder.

Names, sizes and times of change are all that is looked at: no file is opened, so that listing never gets into
the way of recording, and ten thousand files take a moment.
"""

import argparse
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from timestream_aggregator.files import OWN_FOLDER, wanted_path
from timestream_aggregator.naming import FileId, parse

LOCKS: Final = Path("/proc/locks")
STEM_TIME: Final = "%Y-%m-%d-%H-%M-%S"
_COLUMNS: Final = "{:<11} {:>6}  {:<9} {:>17}  {:<19}  {:<19}  {}"


@dataclass(slots=True)
class Acquisition:
    """The published files of one acquisition. Times are Unix seconds, `bytes` is the sum."""

    name: str
    stem: str
    bytes: int = 0
    last: float = 0.0
    numbers: list[int] = field(default_factory=list[int])

    @property
    def session(self) -> int | None:
        """The session_id, where the files are named after it."""
        return int(self.stem) if self.stem.isdecimal() else None

    @property
    def first(self) -> float | None:
        """When the acquisition began, by its name."""
        if self.session is not None:
            return float(self.session)
        try:
            return datetime.strptime(self.stem, STEM_TIME).replace(tzinfo=UTC).timestamp()
        except ValueError:
            return None

    @property
    def absent(self) -> int:
        """How many numbers below the highest have no file."""
        return max(self.numbers) + 1 - len(self.numbers)


@dataclass(frozen=True, slots=True)
class Found:
    """A file in the data folder; `path` is relative to that, `changed` is Unix seconds."""

    path: str
    bytes: int
    changed: float
    inode: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `ls`."""
    parser.add_argument("path", nargs="?", type=Path, default=Path("/data"), help="the data folder (/data)")


def run(args: argparse.Namespace) -> int:
    """Write the table. Return 0, or 2 if there is no such folder or it cannot be read."""
    try:
        found = list(files(args.path))
        staging = args.path / OWN_FOLDER / "staging"
        staged = list(files(staging)) if staging.is_dir() else []
    except OSError as error:
        sys.stderr.write(f"ls: {error.filename}: {error.strerror}\n")
        return 2
    known, unknown = group(found)
    sys.stdout.writelines(_table(known, unknown))
    sys.stdout.writelines(_staging(staged, locked_inodes()))
    return 0


def files(folder: Path, below: str = "") -> Iterator[Found]:
    """Yield the files in `folder` but the recorder's own, in order of name. OSError: it cannot be read."""
    with os.scandir(folder) as entries:
        ordered = sorted(entries, key=lambda entry: entry.name)
    for entry in ordered:
        if entry.is_dir(follow_symlinks=False):
            if entry.name != OWN_FOLDER:
                yield from files(Path(entry.path), f"{below}{entry.name}/")
            continue
        try:
            about = entry.stat(follow_symlinks=False)
        except FileNotFoundError:  # published in this moment, and no longer where it was written
            continue
        yield Found(below + entry.name, about.st_size, about.st_mtime, about.st_ino)


def group(found: list[Found]) -> tuple[list[Acquisition], list[Found]]:
    """Return the acquisitions, by name, and the files that bear no name of ours."""
    known: dict[str, Acquisition] = {}
    unknown: list[Found] = []
    for file in found:
        given = parse(file.path)
        if given is None:
            unknown.append(file)
        else:
            _add(known, given, file)
    return [known[name] for name in sorted(known)], unknown


def _add(known: dict[str, Acquisition], given: FileId, file: Found) -> None:
    """Count `file` to its acquisition."""
    name = f"{given.base.folder}/{given.base.stem}"
    acquisition = known.setdefault(name, Acquisition(name, given.base.stem))
    acquisition.numbers.append(given.number)
    acquisition.bytes += file.bytes
    acquisition.last = max(acquisition.last, file.changed)


def locked_inodes() -> set[int] | None:
    """Return the inodes of the files that are being written; None where the kernel does not tell.

    Trying the lock would tell as well, and take it from a recorder that starts in this moment.
    """
    try:
        lines = LOCKS.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    # "1: FLOCK  ADVISORY  WRITE 4711 08:01:1234 0 EOF"; the device is not always the one that stat() tells.
    return {int(line.split()[5].rpartition(":")[2]) for line in lines if line.split()[1] == "FLOCK"}


def _table(known: list[Acquisition], unknown: list[Found]) -> Iterator[str]:
    """Yield the lines about what is published."""
    heads = ("SESSION", "FILES", "NUMBERS", "BYTES", "FIRST (UTC)", "LAST (UTC)", "ACQUISITION")
    yield _COLUMNS.format(*heads) + "\n"
    for acquisition in known:
        yield _row(acquisition)
    for file in unknown:
        yield _COLUMNS.format("?", 1, "-", f"{file.bytes:,}", "-", _moment(file.changed), file.path) + "\n"
    count = sum(len(acquisition.numbers) for acquisition in known)
    size = sum(acquisition.bytes for acquisition in known)
    others = f", {len(unknown)} that are no recordings (?)" if unknown else ""
    yield f"{len(known)} acquisitions, {count:,} files, {size:,} bytes{others}\n"


def _row(acquisition: Acquisition) -> str:
    """Return the line of one acquisition."""
    absent = f"  ({acquisition.absent} absent)" if acquisition.absent else ""
    line = _COLUMNS.format(
        "-" if acquisition.session is None else acquisition.session,
        f"{len(acquisition.numbers):,}",
        f"{min(acquisition.numbers):03}-{max(acquisition.numbers):03}",
        f"{acquisition.bytes:,}",
        "-" if acquisition.first is None else _moment(acquisition.first),
        _moment(acquisition.last),
        acquisition.name,
    )
    return f"{line}{absent}\n"


def _staging(staged: list[Found], locked: set[int] | None) -> Iterator[str]:
    """Yield the lines about files that have no final name yet."""
    for file in staged:
        state = "unfinished" if locked is None else "being written" if file.inode in locked else "left over"
        name = wanted_path(file.path) or file.path
        yield f"{state}: {name}, {file.bytes:,} bytes, last written {_moment(file.changed)} UTC\n"


def _moment(unix_seconds: float) -> str:
    """Return a time, UTC, to the second."""
    return datetime.fromtimestamp(unix_seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
