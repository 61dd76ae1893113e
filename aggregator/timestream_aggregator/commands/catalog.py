"""Puts together what stands in a data folder and what its ledger tells, by acquisition."""

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache
from operator import itemgetter
from typing import Final

from timestream_aggregator.commands.inventory import Found, unpacked
from timestream_aggregator.commands.numbers import BY_HAND, Finding, from_ledger
from timestream_aggregator.commands.telling import moment
from timestream_aggregator.core.naming import FileId, parse
from timestream_aggregator.ledger.summary import FileEntry, LedgerSummary, merged, without

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
        if entry.bytes != found.bytes and found.path == entry.path:  # else it is compressed
            return FileState.SIZE
        if entry.good is None:
            return FileState.PUBLISHED
        return FileState.VERIFIED if entry.good else FileState.DAMAGED

    @property
    def first(self) -> str | None:
        """When its first frame arrived, if the ledger tells."""
        return moment(self.entry and self.entry.first_time)

    @property
    def last(self) -> str | None:
        """When its last frame arrived, or else it was changed."""
        return moment(self.entry and self.entry.last_time) or moment(self.found and self.found.changed)


@dataclass(slots=True)
class Acquisition:
    """The files of one acquisition, those that are here counted; `lost` and `duplicates` are frames."""

    acquisition: str
    session: int | None
    files: int
    numbers: tuple[int, int]  # of its first and last file, here or not
    absent: list[tuple[int, int]]  # numbers that have no file here
    bytes: int
    frames: int | None  # None if the ledger tells of none
    recovered: int
    states: dict[FileState, int]
    first: str | None
    last: str | None
    lost: int = 0
    duplicates: int = 0


@dataclass(slots=True)
class Catalog:
    """All acquisitions in order of name, and the files of each in order of number.

    `strangers` bear no name of ours; `lost_elsewhere` belongs to no acquisition.
    """

    acquisitions: list[Acquisition]
    files: Mapping[str, list[File]]
    strangers: list[Found]
    summary: LedgerSummary | None
    lost_elsewhere: int = 0
    findings: list[Finding] = field(default_factory=list[Finding])

    @property
    def good(self) -> bool:
        """Whether the ledger can be read, and contradicts neither itself nor the count of the frames."""
        unreadable = 0 if self.summary is None else self.summary.unreadable
        return not unreadable and not any(one.trouble for one in self.findings)

    def narrow(self, since: datetime | None, last: int | None, session: int | None) -> None:
        """Keep what is of that session, still went on at `since`, and of the rest the `last` begun."""
        begin = moment(since) or ""
        kept = [
            one for one in self.acquisitions if session in {None, one.session} and (one.last or "") >= begin
        ]
        if last is not None:
            latest = sorted(kept, key=lambda one: one.first or "")[max(0, len(kept) - last) :]
            kept = sorted(latest, key=lambda one: one.acquisition)
        if session is not None or last is not None:
            self.strangers = []
        self.strangers = [file for file in self.strangers if (moment(file.changed) or "") >= begin]
        if len(kept) < len(self.acquisitions):
            sessions = {one.session for one in kept}
            self.findings = [one for one in self.findings if one.session in sessions]
        self.acquisitions = kept


def catalog(found: Iterable[Found], summary: LedgerSummary | None) -> Catalog:
    """Return the catalog of the files `found` and those that the ledger tells of."""
    here, strangers = dict[str, Found](), list[Found]()
    for file in found:
        path = unpacked(file.path)
        if parse(path) is None or path in here:  # files come in order of name: the plain one first
            strangers.append(file)
        else:
            here[path] = file
    entries = {} if summary is None else summary.files
    files = defaultdict[str, list[File]](list)
    for path in here | entries:
        if (given := parse(path)) is not None:
            files[acquisition_of(given)].append(File(path, given.number, here.get(path), entries.get(path)))
    removed = numbers_of(() if summary is None else summary.removed - summary.files.keys())
    acquisitions = [_acquisition(name, files[name], removed.get(name, [])) for name in sorted(files)]
    result = Catalog(acquisitions, files, strangers, summary)
    if summary is not None:
        _count_missing(result, summary)
        result.findings = list(from_ledger(summary))
    return result


def acquisition_of(file: FileId) -> str:
    """Return the name of the acquisition that a file belongs to."""
    return f"{file.base.folder}/{file.base.stem}"


def numbers_of(paths: Iterable[str]) -> dict[str, list[tuple[int, int]]]:
    """Return the numbers of files by acquisition, in order of both; a name of another kind stands for itself."""
    numbers = defaultdict[str, list[tuple[int, int]]](list)
    for path in sorted(paths):
        file = parse(path)
        number = 0 if file is None else file.number
        numbers[path if file is None else acquisition_of(file)].append((number, number))
    return {name: merged(found) for name, found in numbers.items()}


def _acquisition(name: str, files: list[File], removed: Iterable[tuple[int, int]]) -> Acquisition:
    """Put the files in order, and sum them up; numbers that were removed are not absent."""
    files.sort(key=lambda file: file.number)
    found = [file.found for file in files if file.found]
    told = [file.entry for file in files if file.entry]
    frames = [file.entry.new for file in files if file.found and file.entry]
    stem, newest = name.rpartition("/")[2], files[-1].number
    here = [(file.number, file.number) for file in files if file.found]
    sessions = (entry.session_id for entry in told if entry.session_id is not None)
    return Acquisition(
        acquisition=name,
        session=next(sessions, int(stem) if stem.isdecimal() else None),
        files=len(found),
        numbers=(files[0].number, newest),
        absent=without(0, newest, [*here, *removed]),
        bytes=sum(file.bytes for file in found),
        frames=sum(frames) if frames else None,
        recovered=sum(entry.recovered for entry in told),
        states=dict(Counter(file.state for file in files)),
        first=files[0].first or _begun(stem),
        last=max(filter(None, (file.last for file in files)), default=None),
    )


def _begun(stem: str) -> str | None:
    """Return when an acquisition began, as its name tells."""
    if stem.isdecimal():
        return moment(float(stem))
    try:
        return moment(datetime.strptime(stem, STEM_TIME).replace(tzinfo=UTC))
    except ValueError:
        return None


def _count_missing(result: Catalog, summary: LedgerSummary) -> None:
    """Count losses and duplicates to the acquisitions that they happened in.

    A session may have several, after a pause or a reconnect: it is the one with the frame after those that are missing,
    or else the one before them.
    """
    acquisitions = {one.acquisition: one for one in result.acquisitions}
    # By session: last frame_num, acquisition and stream of each file.
    files = defaultdict[int, list[tuple[int, str, str]]](list)
    for path, entry in summary.files.items():
        if (given := parse(path)) is not None and entry.session_id is not None:
            last = entry.last_frame_num or 0
            files[entry.session_id].append((last, acquisition_of(given), entry.stream))

    @cache
    def ends(session: int, stream: str) -> list[tuple[int, str]]:
        """Return the last frame_num of each file of a session, in order; by hand recovered ones are anyone's."""
        found = files.get(session, [])
        return sorted((last, name) for last, name, of in found if stream == of or BY_HAND in {stream, of})

    for missing in (*summary.losses, *summary.duplicates):
        given = parse(missing.path) if missing.path else None
        known = [] if missing.session_id is None else ends(missing.session_id, missing.stream)
        after = 0 if missing.last is None else bisect_right(known, missing.last, key=itemgetter(0))
        name = acquisition_of(given) if given else known[min(after, len(known) - 1)][1] if known else ""
        owner = acquisitions.get(name)
        if owner is None:
            result.lost_elsewhere += missing.count if missing.what == "lost" else 0
        elif missing.what == "lost":
            owner.lost += missing.count
        else:
            owner.duplicates += missing.count
