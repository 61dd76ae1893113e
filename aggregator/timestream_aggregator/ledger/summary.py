"""What the ledger of a data folder tells, gathered for people: each file, and what is in no file."""

import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from timestream_aggregator.disk.calls import Disk
from timestream_aggregator.ledger.reading import Place, files, read_on, understood
from timestream_api.ledger import (
    Duplicate,
    Joined,
    Line,
    Loss,
    Opened,
    Published,
    Quarantined,
    Recovered,
    Removed,
    Renumbered,
    Verified,
)

MOST_PIECES: Final = 1000
"""Quarantined pieces that are kept one by one; of others only count and bytes."""
_UNTOLD: Final = re.compile(
    rb'\{"v":1,"time":"[^"\0]*","stream":"[^"\0]*","run":"[^"\0]*","kind":"'
    rb"(?:(?:dis)?connected|started|stopped|gap|renamed|unknownFlowControl|left|trouble|troubleOver|torn)"
    rb'"[^\0]*\}\n'
)
"""Lines that a summary has nothing of."""
_DAMAGED: Final = "recovery found it damaged"


@dataclass(slots=True)
class FileEntry:
    """A published file; of its numbers those of `repeated` frames at its beginning are left out."""

    path: str
    bytes: int
    frames: int
    crc32c: str
    session_id: int | None
    first_frame_num: int | None
    last_frame_num: int | None
    told: datetime
    stream: str
    stream_id: str | None = None  # as the streamer calls it
    repeated: int = 0
    first_time: datetime | None = None
    last_time: datetime | None = None
    reason: str | None = None
    recovered: bool = False
    good: bool | None = None  # what the recorder's read-back said; None before it
    sha256: str | None = None
    why: str | None = None  # it said so

    @property
    def new(self) -> int:
        """How many of its frames are in no earlier file."""
        return self.frames - self.repeated


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

    @property
    def numbers(self) -> tuple[int, int] | None:
        """The first and the last frame_num, if they are known."""
        return None if self.first is None or self.last is None else (self.first, self.last)


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
    """The ledger of the data folder `root`, as far as it has been read; lines before `since` do not count."""

    root: Path
    since: datetime | None = None
    on_counted: Callable[[str, bytes], None] = lambda _stream, _text: None  # for each line that counts
    files: dict[str, FileEntry] = field(default_factory=dict[str, FileEntry])
    removed: set[str] = field(default_factory=set[str])
    losses: list[FrameRange] = field(default_factory=list[FrameRange])
    joined: list[FrameRange] = field(default_factory=list[FrameRange])  # what had been sent before that
    duplicates: list[FrameRange] = field(default_factory=list[FrameRange])
    renumbered: set[tuple[int | None, int, int]] = field(default_factory=set[tuple[int | None, int, int]])
    pieces: list[Piece] = field(default_factory=list[Piece])
    quarantined: int = 0  # pieces
    quarantined_bytes: int = 0
    dropped: int = 0  # lines that could not be kept
    unreadable: int = 0  # lines
    _read: Place = field(default_factory=Place)
    _opened: dict[str, str] = field(default_factory=dict[str, str])  # by whom, until it is published
    _by_session: dict[int | None, list[FrameRange]] = field(
        default_factory=dict[int | None, list[FrameRange]]
    )

    @property
    def found(self) -> bool:
        """Whether there is a ledger."""
        return bool(self._read.name)

    def update(self) -> None:
        """Read what has been added. OSError: it cannot be read."""
        for text, line in understood(
            read_on(self.root, self._read, Disk()),
            self._note_unreadable,
            lambda text: _UNTOLD.fullmatch(text) is not None,
        ):
            fact = line.fact
            if isinstance(fact, Opened):
                self._opened[fact.path] = sys.intern(line.stream)
            elif self.since is None or line.time >= self.since:
                self.dropped += line.dropped
                stream = self._stream(line)
                self.on_counted(stream, text)
                self._take(line, stream)

    def told_of(self, session: int | None) -> list[FrameRange]:
        """Return what is told of numbers of a session that are in no file: lost, or missed before joining."""
        return self._by_session.get(session, [])

    def _stream(self, line: Line) -> str:
        """Return whose a line is: what recovery tells of a file is of the stream that it was opened for."""
        path: str | None = getattr(line.fact, "wanted", None) or getattr(line.fact, "path", None)
        if path is None or isinstance(line.fact, Published):
            return sys.intern(line.stream)
        entry = self.files.get(path)
        return self._opened.get(path) or (entry.stream if entry else line.stream)

    def _note_unreadable(self) -> None:
        self.unreadable += 1

    def _take(self, line: Line, stream: str) -> None:
        """Add what a line tells."""
        fact = line.fact
        match fact:
            case Published() | Recovered():
                self._take_file(line, stream, fact)
            case Verified() if (entry := self.files.get(fact.path)) is not None:
                entry.good, entry.sha256, entry.why = fact.good, fact.sha256, fact.why
            case Removed():
                self.removed.add(fact.path)
                self._take_piece(Piece(line.time, stream, fact.quarantined, _DAMAGED, fact.kept, fact.path))
            case Loss() | Joined():
                self._take_range(line, stream, fact)
            case Renumbered():
                self.renumbered.add((fact.session_id, fact.last, fact.first))
            case Duplicate():
                self._take_duplicate(line, stream, fact)
            case Quarantined():
                self._take_piece(Piece(line.time, stream, fact.bytes, fact.why, fact.kept))
                self.quarantined += (fact.times or 1) - 1
            case _:
                pass

    def _take_file(self, line: Line, stream: str, fact: Published | Recovered) -> None:
        """Take a file's line; the second one of two is of a crash between the file's name and its first."""
        before = self.files.get(fact.path)
        if isinstance(fact, Recovered):
            self._take_piece(Piece(line.time, stream, fact.quarantined, _DAMAGED, fact.kept, fact.path))
            if before is not None and (before.bytes, before.crc32c) == (fact.bytes, fact.crc32c):
                before.recovered = True
                return
        size, numbers = (fact.bytes, fact.frames), (fact.first_frame_num, fact.last_frame_num)
        about = *size, fact.crc32c, fact.session_id, *numbers, line.time, stream
        entry = FileEntry(fact.path, *about, recovered=isinstance(fact, Recovered))
        if isinstance(fact, Published):
            entry.repeated, entry.reason = fact.repeated, fact.reason.value
            entry.first_time, entry.last_time = fact.first_frame_time, fact.last_frame_time
            entry.stream_id = fact.stream_id and sys.intern(fact.stream_id)
            self._opened.pop(fact.path, None)
        self.files[fact.path] = entry

    def _take_range(self, line: Line, stream: str, fact: Loss | Joined) -> None:
        """Take what was lost, or was missed before a recorder joined."""
        if isinstance(fact, Joined):
            about = fact.count, fact.session_id, fact.first - fact.count, fact.first - 1
            found = FrameRange("missed", line.time, stream, *about)
            self.joined.append(found)
        else:
            cause = sys.intern(": ".join(word for word in (fact.cause, fact.why) if word)) or None
            about = fact.count, fact.session_id, fact.first, fact.last, cause, fact.path
            found = FrameRange("lost", line.time, stream, *about)
            self.losses.append(found)
        self._by_session.setdefault(found.session_id, []).append(found)

    def _take_duplicate(self, line: Line, stream: str, fact: Duplicate) -> None:
        """Take a frame that came again; those that follow one another are one entry."""
        last = self.duplicates[-1] if self.duplicates else None
        number, times = fact.frame_num, fact.times or 1
        end = number if fact.last is None else fact.last
        what = f"duplicate {fact.type}"
        if (
            last is not None
            and (last.what, last.stream, last.session_id) == (what, stream, fact.session_id)
            and number == (None if last.last is None else last.last + 1)
        ):
            last.count, last.last = last.count + times, end
            return
        found = FrameRange(what, line.time, stream, times, fact.session_id, number, end, "sent again")
        self.duplicates.append(found)

    def _take_piece(self, piece: Piece) -> None:
        self.quarantined += bool(piece.bytes)
        self.quarantined_bytes += piece.bytes
        if piece.bytes and len(self.pieces) < MOST_PIECES:
            self.pieces.append(piece)


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


def merged(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return `ranges` in rising order, those that overlap or adjoin as one."""
    found = list[tuple[int, int]]()
    for first, last in sorted(ranges):
        if found and first <= found[-1][1] + 1:
            found[-1] = found[-1][0], max(found[-1][1], last)
        else:
            found.append((first, last))
    return found
