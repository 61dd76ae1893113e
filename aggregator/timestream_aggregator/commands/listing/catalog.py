"""Puts together what stands in a data folder and what its ledger tells, by acquisition."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from operator import itemgetter
from typing import Final

from timestream_aggregator.commands.inventory import Found, unpacked
from timestream_aggregator.commands.numbers import BY_HAND, Finding, from_ledger
from timestream_aggregator.core.naming import FileId, parse
from timestream_aggregator.ledger.summary import FileEntry, FrameRange, LedgerSummary, merged, without

STEM_TIME: Final = "%Y-%m-%d-%H-%M-%S"


class FileState(StrEnum):
    """What there is to know of a file at a glance: the worst that is true."""

    ABSENT = "absent"  # published, and not here
    SIZE = "OTHER SIZE"  # than was published
    DAMAGED = "DAMAGED"  # says the read-back
    VERIFIED = "verified"
    PUBLISHED = "published"  # not read back, or not yet
    UNKNOWN = "not in the ledger"


@dataclass(frozen=True, slots=True)
class File:
    """A file of an acquisition, here (`found`), in the ledger (`entry`), or both."""

    path: str
    number: int
    found: Found | None
    entry: FileEntry | None

    @property
    def state(self) -> FileState:
        """What there is to know of it."""
        entry, found = self.entry, self.found
        if found is None:
            return FileState.ABSENT
        if entry is None:
            return FileState.UNKNOWN
        if entry.file.bytes != found.bytes and found.path == entry.file.path:
            return FileState.SIZE
        if entry.good is None:
            return FileState.PUBLISHED
        return FileState.VERIFIED if entry.good else FileState.DAMAGED

    @property
    def frames(self) -> int:
        """Frames in it that are in no earlier file."""
        return self.entry.file.frames - self.entry.repeated if self.entry else 0

    @property
    def first(self) -> float | None:
        """When its first frame arrived, Unix seconds, if the ledger tells."""
        return self.entry.first_time.timestamp() if self.entry and self.entry.first_time else None

    @property
    def last(self) -> float | None:
        """When its last frame arrived, or else it was changed, Unix seconds."""
        if self.entry and self.entry.last_time:
            return self.entry.last_time.timestamp()
        return self.found.changed if self.found else None


@dataclass(slots=True)
class Acquisition:
    """The files of one acquisition. Times are Unix seconds, `lost` and `duplicates` are frames."""

    name: str
    stem: str
    files: list[File] = field(default_factory=list[File])
    holes: list[tuple[int, int]] = field(
        default_factory=list[tuple[int, int]]
    )  # numbers that nobody knows of
    lost: int = 0
    duplicates: int = 0

    @property
    def here(self) -> list[File]:
        """The files that are not absent."""
        return [file for file in self.files if file.found is not None]

    @property
    def absent(self) -> list[tuple[int, int]]:
        """The numbers that have no file here."""
        gone = [(file.number, file.number) for file in self.files if file.found is None]
        return list(merged([*gone, *self.holes]))

    @property
    def session(self) -> int | None:
        """The session_id, from the ledger, or else from the name."""
        told = (file.entry.file.session_id for file in self.files if file.entry)
        by_name = int(self.stem) if self.stem.isdecimal() else None
        return next((session for session in told if session is not None), by_name)

    @property
    def first(self) -> float | None:
        """When the acquisition began, from the ledger, or else from the name."""
        begun = self.files[0].first
        if begun is not None:
            return begun
        if self.stem.isdecimal():
            return float(self.stem)
        try:
            return datetime.strptime(self.stem, STEM_TIME).replace(tzinfo=UTC).timestamp()
        except ValueError:
            return None

    @property
    def last(self) -> float | None:
        """When its last frame arrived, or else its last file was changed."""
        return max((file.last for file in self.files if file.last is not None), default=None)

    @property
    def bytes(self) -> int:
        """How many are here."""
        return sum(file.found.bytes for file in self.files if file.found)

    @property
    def frames(self) -> int | None:
        """How many the ledger tells of in the files that are here; None if it tells of none."""
        told = [file.frames for file in self.here if file.entry]
        return sum(told) if told else None

    @property
    def recovered(self) -> int:
        """How many files were completed after a crash."""
        return sum(file.entry is not None and file.entry.recovered for file in self.files)

    def count(self, state: FileState) -> int:
        """Return how many files are in `state`."""
        return sum(file.state is state for file in self.files)


@dataclass(slots=True)
class Catalog:
    """All acquisitions by name; `strangers` bear no name of ours; `lost_elsewhere` belongs to no acquisition."""

    acquisitions: list[Acquisition]
    strangers: list[Found]
    summary: LedgerSummary | None
    lost_elsewhere: int = 0
    findings: list[Finding] = field(default_factory=list[Finding])

    @property
    def good(self) -> bool:
        """Whether the ledger can be read, and contradicts neither itself nor the count of the frames."""
        unreadable = 0 if self.summary is None else self.summary.unreadable
        return not unreadable and not any(one.trouble for one in self.findings)

    def narrow(self, since: float | None, last: int | None, session: int | None) -> None:
        """Keep what is of that session, still went on at `since` (Unix seconds), and of the rest the `last` begun."""
        kept = self.acquisitions
        if session is not None:
            kept = [one for one in kept if one.session == session]
        if since is not None:
            kept = [one for one in kept if (one.last or 0) >= since]
            self.strangers = [file for file in self.strangers if file.changed >= since]
        if last is not None:
            latest = sorted(kept, key=lambda one: one.first or 0)[max(0, len(kept) - last) :]
            names = {one.name for one in latest}
            kept = [one for one in kept if one.name in names]
        if session is not None or last is not None:
            self.strangers = []
        if len(kept) < len(self.acquisitions):
            sessions = {one.session for one in kept}
            self.findings = [one for one in self.findings if one.session in sessions]
        self.acquisitions = kept

    def listed(self, *, everything: bool) -> list[Acquisition]:
        """Return the acquisitions with files here, or all."""
        return [one for one in self.acquisitions if everything or one.here]


def catalog(found: Iterable[Found], summary: LedgerSummary | None) -> Catalog:
    """Return the catalog of the files `found` and those that the ledger tells of."""
    here, strangers = dict[str, tuple[FileId, Found]](), list[Found]()
    for file in found:
        path = unpacked(file.path)
        given = parse(path)
        if given is None or path in here:  # files come in order of name: the plain one first
            strangers.append(file)
        else:
            here[path] = given, file
    acquisitions: dict[str, Acquisition] = {}
    for given, file in _files(here, summary):
        name = f"{given.base.folder}/{given.base.stem}"
        acquisitions.setdefault(name, Acquisition(name, given.base.stem)).files.append(file)
    removed = defaultdict[str, list[int]](list)
    for given in map(parse, () if summary is None else summary.removed):
        if given is not None:
            removed[f"{given.base.folder}/{given.base.stem}"].append(given.number)
    for acquisition in acquisitions.values():
        _finish(acquisition, removed[acquisition.name])
    result = Catalog([acquisitions[name] for name in sorted(acquisitions)], strangers, summary)
    if summary is not None:
        _count_missing(result, summary)
        result.findings = list(from_ledger(summary))
    return result


def _files(
    here: dict[str, tuple[FileId, Found]], summary: LedgerSummary | None
) -> Iterator[tuple[FileId, File]]:
    """Yield the files that are here, and those that only the ledger knows."""
    entries = {} if summary is None else summary.files
    for path, (given, found) in here.items():
        yield given, File(path, given.number, found, entries.get(path))
    for path, entry in entries.items():
        given = parse(path)
        if path not in here and given is not None:
            yield given, File(path, given.number, None, entry)


def _finish(acquisition: Acquisition, removed: Iterable[int]) -> None:
    """Put the files in order, and find the numbers between them that have none."""
    acquisition.files.sort(key=lambda file: file.number)
    known = {*removed, *(file.number for file in acquisition.files)}
    acquisition.holes = without(0, acquisition.files[-1].number, ((number, number) for number in known))


def _count_missing(result: Catalog, summary: LedgerSummary) -> None:
    """Count losses and duplicates to the acquisitions that they happened in."""
    finder = _Finder(result.acquisitions)
    for loss in summary.losses:
        owner = finder.find(loss)
        if owner is None:
            result.lost_elsewhere += loss.count
        else:
            owner.lost += loss.count
    for again in summary.duplicates:
        owner = finder.find(again)
        if owner is not None:
            owner.duplicates += again.count


class _Finder:
    """Finds the acquisition that a loss belongs to: a session may have several, after a pause or a reconnect."""

    def __init__(self, acquisitions: Iterable[Acquisition]) -> None:
        self._by_name: dict[str, Acquisition] = {}
        self._by_session: dict[int, list[tuple[FileEntry, Acquisition]]] = defaultdict(list)
        self._by_stream: dict[tuple[int, str], list[tuple[int, Acquisition]]] = {}
        for acquisition in acquisitions:
            self._by_name[acquisition.name] = acquisition
            for file in acquisition.files:
                if file.entry is not None and file.entry.file.session_id is not None:
                    self._by_session[file.entry.file.session_id].append((file.entry, acquisition))

    def find(self, missing: FrameRange) -> Acquisition | None:
        """Return the acquisition with the frame after those that are missing, or else the one before them."""
        given = parse(missing.path) if missing.path else None
        if given is not None:
            return self._by_name.get(f"{given.base.folder}/{given.base.stem}")
        if missing.session_id is None:
            return None
        known = self._ends_of(missing.session_id, missing.stream)
        after = 0 if missing.last is None else bisect_right(known, missing.last, key=itemgetter(0))
        return known[min(after, len(known) - 1)][1] if known else None

    def _ends_of(self, session: int, stream: str) -> list[tuple[int, Acquisition]]:
        """Return the last frame_num of each file of a session, in order; by hand recovered ones are anyone's."""
        key = session, stream
        if key not in self._by_stream:
            ends = [
                (entry.file.last_frame_num or 0, acquisition)
                for entry, acquisition in self._by_session.get(session, ())
                if stream == entry.stream or BY_HAND in {stream, entry.stream}
            ]
            self._by_stream[key] = sorted(ends, key=itemgetter(0))
        return self._by_stream[key]
