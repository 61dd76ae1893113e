"""What a recorder that starts has to know: sessions, names, files, totals. Each fact that is told adds to it.

All of it is bounded: of what there is too much the oldest is forgotten.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, TypeVar

from timestream_aggregator.core.file_facts import FileFacts
from timestream_aggregator.core.naming import FileId, parse
from timestream_aggregator.ledger.reading import Place
from timestream_aggregator.ledger.summary import without
from timestream_api import ledger as facts
from timestream_api.report import Totals

MOST_SESSIONS: Final = 16
MOST_TOLD: Final = 100
MOST: Final = 1000  # names and files
_COUNTED: Final = {"gap": "gaps", "duplicate": "duplicates", "quarantined": "quarantined"}
Value = TypeVar("Value")


@dataclass(slots=True)
class Session:
    """A session of one streamer, and up to where each of its numbers is in a file or told as lost."""

    session_id: int
    stream_id: str | None = None
    highest: int | None = None  # in a file, or in one that was left
    told: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    """First and last number of what was told as lost beyond that."""

    @property
    def accounted(self) -> int | None:
        """The highest number that is in a file or told as lost."""
        return max((last for _, last in self.told), default=self.highest)

    @property
    def unwritten(self) -> list[tuple[int, int]]:
        """Numbers below what was told as lost that are in no file: they came, and were not written in time."""
        if self.highest is None or not self.told:
            return []
        return without(self.highest + 1, max(last for _, last in self.told), self.told)

    def reach(self, number: int | None) -> None:
        """Take note that a file holds `number`."""
        if number is not None:
            highest = self.highest = number if self.highest is None else max(number, self.highest)
            self.told = [(first, last) for first, last in self.told if last > highest]

    def lose(self, first: int, last: int) -> None:
        """Take note that these numbers were told as lost."""
        if self.told and self.told[-1][1] + 1 == first:
            first, _ = self.told.pop()
        self.told.append((first, last))
        self.reach(self.told[0][1] if len(self.told) > MOST_TOLD else self.highest)


@dataclass(slots=True)
class Memory:
    """What is known of the `stream` from `source`; where it says so, of all that record into the folder."""

    stream: str
    source: str = ""
    place: Place = field(default_factory=Place)
    started: datetime | None = None
    """When the latest run did."""
    stopped: datetime | None = None
    """When that ended as it was told to; None if it did not."""
    totals: Totals = field(default_factory=Totals)
    sessions: list[Session] = field(default_factory=list[Session])
    """The last one is the one that was heard of last."""
    names: dict[str, str] = field(default_factory=dict[str, str])
    """Of all: the highest name of each acquisition that a file got or was to get, by the first one."""
    opened: dict[str, None] = field(default_factory=dict[str, None])
    """The names that files of this stream were to get."""
    unended: dict[str, None] = field(default_factory=dict[str, None])
    """Of all: files that were opened, and what became of them nobody has told."""
    left: dict[str, facts.Left] = field(default_factory=dict[str, facts.Left])
    """Of all: what should be in files that could not be published and were not yet recovered, by the name to get."""
    lost: dict[str, list[int | None]] = field(default_factory=dict[str, list[int | None]])
    """Of all: first frame_num of what was told as lost from files, by the name these were to get."""
    unverified: dict[str, FileFacts] = field(default_factory=dict[str, FileFacts])
    bad: list[str] = field(default_factory=list[str])
    """Files that do not hold what was received."""
    strangers: dict[str, None] = field(default_factory=dict[str, None])
    """Runs of recorders that call their stream the same and have another source."""

    def take(self, line: facts.Line) -> None:
        """Add what a line of the ledger tells, whoever wrote it."""
        same, fact = line.stream == self.stream, line.fact
        if same and isinstance(fact, facts.Started) and fact.source != self.source:
            _keep(self.strangers, line.run, None)
        self.add(fact, line.time, mine=same and line.run not in self.strangers)

    def add(self, fact: facts.Fact, at: datetime, *, mine: bool) -> None:
        """Add a fact, which this stream's recorder tells or another. Names that lead elsewhere are passed over."""
        path: str | None = getattr(fact, "path", None)
        file = None if path is None else parse(path)
        if isinstance(fact, facts.Acknowledged) and path in self.bad:
            self.bad = [bad for bad in self.bad if bad != path]
            self._count(bad_files=-1)
        if file is not None:
            mine = self._add_file(fact, file, getattr(fact, "wanted", None) or file.path, mine=mine)
        if mine and (file is not None or path is None):
            self._add_own(fact, at)

    def session(self, session_id: int | None, stream_id: str | None) -> Session | None:
        """Return what is known of a session, the last one from now on; where no stream is told any will do."""
        if session_id is None:
            return None
        found = Session(session_id)
        for one in self.sessions:
            if one.session_id == session_id and (
                one.stream_id == stream_id or None in {one.stream_id, stream_id}
            ):
                found = one
        found.stream_id = found.stream_id or stream_id
        self.sessions = [*(one for one in self.sessions if one is not found), found][-MOST_SESSIONS:]
        return found

    def reach(self, path: str, session_id: int | None, stream_id: str | None, number: int | None) -> None:
        """Take note that a number is in the file that is to be called `path`, if it is one of this stream."""
        if self._owns(path, path, mine=True):
            (self.session(session_id, stream_id or None) or Session(0)).reach(number)

    def _owns(self, path: str, wanted: str, *, mine: bool) -> bool:
        return wanted in self.opened or path in self.opened or (mine and wanted not in self.unended)

    def _add_file(self, fact: facts.Fact, file: FileId, wanted: str, *, mine: bool) -> bool:
        """Add what is of interest to all about a file; return whether it is one of this stream."""
        path = file.path
        mine = self._owns(path, wanted, mine=mine)
        if isinstance(fact, facts.Opened | facts.Left | facts.Published | facts.Recovered):
            first, known = file.base.path(0), parse(self.names.get(file.base.path(0), path))
            _keep(self.names, first, path if known is None or known.number < file.number else known.path)
        match fact:
            case facts.Opened() | facts.Left():
                _keep(self.unended, path, None)
                if mine:
                    _keep(self.opened, path, None)
                if isinstance(fact, facts.Left):
                    _keep(self.left, path, fact)
            case facts.Published() | facts.Recovered() | facts.Removed():
                for name in (path, wanted):
                    self.unended.pop(name, None)
                    self.left.pop(name, None)
            case facts.Loss():
                self.left.pop(path, None)  # what was not in it has been noted
                _keep(self.lost, path, [*self.lost.get(path, []), fact.first])
            case _:
                pass
        return mine

    def _add_own(self, fact: facts.Fact, at: datetime) -> None:
        """Add what is of interest to this stream alone."""
        match fact:
            case facts.Started():
                self.started, self.stopped = at, None
            case facts.Stopped():
                self.stopped = at
            case facts.Verified():
                self.unverified.pop(fact.path, None)
                self._count(verified=int(fact.good), bad_files=int(not fact.good))
                if not fact.good:
                    self.bad = [*self.bad[1 - MOST :], fact.path]
            case facts.Joined():
                self._count(missed=fact.count)
            case facts.Left() | facts.Published() | facts.Recovered() | facts.Loss() | facts.Renumbered():
                self._add_frames(fact)
            case _ if fact.kind in _COUNTED:
                self._count(**{_COUNTED[fact.kind]: getattr(fact, "times", None) or 1})
            case _:
                pass

    def _add_frames(
        self, fact: facts.Left | facts.Published | facts.Recovered | facts.Loss | facts.Renumbered
    ) -> None:
        """Add where frames are, and their numbers; those of a file that was left count when it is recovered."""
        session = self.session(fact.session_id, getattr(fact, "stream_id", None)) or Session(0)
        match fact:
            case facts.Loss():
                self._count(lost=fact.count)
                if fact.first is not None and fact.last is not None:
                    session.lose(fact.first, fact.last)
                return
            case facts.Renumbered():
                session.highest, session.told = fact.first, []
                return
            case facts.Published():
                self._count(files=1, frames=fact.frames - fact.repeated, bytes=fact.bytes)
            case facts.Recovered():
                self._count(recovered=1, frames=fact.frames, bytes=fact.bytes)
            case facts.Left():
                pass
        session.reach(fact.last_frame_num)
        if not isinstance(fact, facts.Left):
            written = FileFacts(fact.path, fact.bytes, fact.frames, int(fact.crc32c, 16))
            _keep(self.unverified, fact.path, written)

    def _count(self, **more: int) -> None:
        values = {name: getattr(self.totals, name) + count for name, count in more.items()}
        self.totals = self.totals.model_copy(update=values)


def _keep(kept: dict[str, Value], name: str, value: Value) -> None:
    """Put a value behind all others."""
    kept.pop(name, None)
    kept[name] = value
    if len(kept) > MOST:
        del kept[next(iter(kept))]
