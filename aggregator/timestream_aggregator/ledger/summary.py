"""What the ledger of a data folder tells, gathered for people: each file, and what is in no file."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from timestream_aggregator.core.file_facts import FileFacts
from timestream_aggregator.disk.calls import Disk
from timestream_aggregator.ledger.reading import Place, files, read_on
from timestream_api.ledger import (
    Duplicate,
    Line,
    Loss,
    Published,
    Quarantined,
    Recovered,
    Removed,
    Renumbered,
    Verified,
    decode,
)

MOST_PIECES: Final = 1000
"""Quarantined pieces that are kept one by one; of others only count and bytes."""
_WANTED: Final = tuple(
    f'"{word}"'
    for word in (
        *("published", "recovered", "verified", "removed", "loss", "duplicate", "quarantined", "renumbered"),
        "dropped",  # a key of any kind of line
    )
)


@dataclass(slots=True)
class FileEntry:
    """A published file; of its numbers those of `repeated` frames at its beginning are left out."""

    file: FileFacts
    told: datetime
    stream: str
    repeated: int = 0
    first_time: datetime | None = None
    last_time: datetime | None = None
    reason: str | None = None
    recovered: bool = False
    good: bool | None = None  # what the recorder's read-back said; None before it
    sha256: str | None = None
    why: str | None = None  # it said so


@dataclass(slots=True)
class FrameRange:
    """Frames that are in no file, or that came again: first and last frame_num, how many, when, why."""

    what: str
    told: datetime
    stream: str
    count: int
    session_id: int | None = None
    first: int | None = None
    last: int | None = None
    cause: str | None = None
    path: str | None = None


@dataclass(slots=True)
class Piece:
    """Bytes that were put aside; `path` is the file that they were cut from, if it was one."""

    told: datetime
    stream: str
    bytes: int
    why: str
    kept: str | None = None
    path: str | None = None


@dataclass(slots=True)
class LedgerSummary:
    """The ledger of the data folder `root`, as far as it has been read."""

    root: Path
    files: dict[str, FileEntry] = field(default_factory=dict[str, FileEntry])
    removed: set[str] = field(default_factory=set[str])
    losses: list[FrameRange] = field(default_factory=list[FrameRange])
    duplicates: list[FrameRange] = field(default_factory=list[FrameRange])
    renumbered: set[tuple[int | None, int, int]] = field(default_factory=set[tuple[int | None, int, int]])
    pieces: list[Piece] = field(default_factory=list[Piece])
    quarantined: int = 0  # pieces
    quarantined_bytes: int = 0
    dropped: int = 0  # lines that could not be kept
    _read: Place = field(default_factory=Place)
    _by_session: dict[int | None, list[FrameRange]] = field(
        default_factory=dict[int | None, list[FrameRange]]
    )

    def update(self) -> None:
        """Read what has been added. OSError: it cannot be read."""
        for text in read_on(self.root, self._read, Disk()):
            line = decode(text) if any(word in text for word in _WANTED) else None
            if line is not None:
                self.dropped += line.dropped
                self._take(line)

    def known(
        self, session: int | None, first: int, last: int
    ) -> tuple[list[FrameRange], list[tuple[int, int]]]:
        """Return which losses tell of the missing numbers `first` to `last`, and the numbers none tells of."""
        tell = [
            loss
            for loss in self._by_session.get(session, ())
            if loss.first is not None and loss.last is not None and loss.first <= last and loss.last >= first
        ]
        told = ((loss.first, loss.last) for loss in tell if loss.first is not None and loss.last is not None)
        return tell, without(first, last, told)

    def _take(self, line: Line) -> None:
        """Add what a line tells."""
        fact = line.fact
        match fact:
            case Published() | Recovered():
                self._take_file(line, fact)
            case Verified():
                self._take_verified(fact)
            case Removed():
                self.removed.add(fact.path)
                self._take_piece(line, fact.quarantined, "recovery found it damaged", fact.kept, fact.path)
            case Loss():
                self._take_loss(line, fact)
            case Renumbered():
                self.renumbered.add((fact.session_id, fact.last, fact.first))
            case Duplicate():
                self._take_duplicate(line, fact)
            case Quarantined():
                self._take_piece(line, fact.bytes, fact.why, fact.kept)
                self.quarantined += (fact.times or 1) - 1
            case _:
                pass

    def _take_file(self, line: Line, fact: Published | Recovered) -> None:
        """Take a file's line; the second one of two is of a crash between the file's name and its first."""
        before = self.files.get(fact.path)
        if isinstance(fact, Recovered):
            self._take_piece(line, fact.quarantined, "recovery found it damaged", fact.kept, fact.path)
            if before is not None and (before.file.bytes, before.file.crc32c) == (fact.bytes, fact.crc32c):
                before.recovered = True
                return
        entry = FileEntry(
            FileFacts(
                path=fact.path,
                bytes=fact.bytes,
                frames=fact.frames,
                crc=int(fact.crc32c, 16),
                session_id=fact.session_id,
                first_frame_num=fact.first_frame_num,
                last_frame_num=fact.last_frame_num,
            ),
            line.time,
            line.stream,
            recovered=isinstance(fact, Recovered),
        )
        if isinstance(fact, Published):
            entry.repeated, entry.reason = fact.repeated, fact.reason.value
            entry.first_time, entry.last_time = fact.first_frame_time, fact.last_frame_time
        self.files[fact.path] = entry

    def _take_verified(self, fact: Verified) -> None:
        entry = self.files.get(fact.path)
        if entry is not None:
            entry.good, entry.sha256, entry.why = fact.good, fact.sha256, fact.why

    def _take_loss(self, line: Line, fact: Loss) -> None:
        loss = FrameRange(
            "lost",
            line.time,
            line.stream,
            fact.count,
            fact.session_id,
            fact.first,
            fact.last,
            ": ".join(word for word in (fact.cause, fact.why) if word) or None,
            fact.path,
        )
        self.losses.append(loss)
        self._by_session.setdefault(fact.session_id, []).append(loss)

    def _take_duplicate(self, line: Line, fact: Duplicate) -> None:
        """Take a frame that came again; those that follow one another are one entry."""
        last = self.duplicates[-1] if self.duplicates else None
        number, times = fact.frame_num, fact.times or 1
        end = number if fact.last is None else fact.last
        what = f"duplicate {fact.type}"
        if (
            last is not None
            and (last.what, last.stream, last.session_id) == (what, line.stream, fact.session_id)
            and (last.last is None) == (number is None)
            and (last.last is None or number == last.last + 1)
        ):
            last.count, last.last = last.count + times, end
            return
        found = FrameRange(what, line.time, line.stream, times, fact.session_id, number, end, "sent again")
        self.duplicates.append(found)

    def _take_piece(self, line: Line, size: int, why: str, kept: str | None, path: str | None = None) -> None:
        if not size:
            return
        self.quarantined += 1
        self.quarantined_bytes += size
        if len(self.pieces) < MOST_PIECES:
            self.pieces.append(Piece(line.time, line.stream, size, why, kept, path))


def summary_of(root: Path) -> LedgerSummary | None:
    """Return what the ledger of the data folder `root` tells, None if it has none. OSError: it cannot be read."""
    if not files(root, Disk()):
        return None
    summary = LedgerSummary(root)
    summary.update()
    return summary


def data_folder_of(folder: Path) -> Path | None:
    """Return the folder with a ledger that `folder`, an absolute path, is or lies in."""
    candidates = (folder, *folder.parents)
    return next((path for path in candidates if files(path, Disk())), None)


def without(first: int, last: int, told: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the ranges of `first` to `last` (included) that none of the ranges `told` covers."""
    left = list[tuple[int, int]]()
    for begin, end in sorted(told):
        if begin > first:
            left.append((first, min(last, begin - 1)))
        first = max(first, end + 1)
        if first > last:
            return left
    return [*left, (first, last)]


def ranges(numbers: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Yield the first and last of numbers, in rising order, that follow one another."""
    first = last = None
    for number in numbers:
        if first is None or last is None:
            first = last = number
        elif number == last + 1:
            last = number
        else:
            yield first, last
            first = last = number
    if first is not None and last is not None:
        yield first, last
