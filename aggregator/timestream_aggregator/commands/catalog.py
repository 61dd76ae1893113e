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


@dataclass(slots=True)
class File:
    """A file of an acquisition, here, in the ledger, or both; what is not known is None. Times are UTC.

    Of `bytes` there are none if it is not here; `published` are those that the ledger tells of. `frames` are those
    that are in no earlier file.
    """

    file: str
    number: int
    state: FileState
    bytes: int | None
    published: int | None = None
    session: int | None = None
    frames: int | None = None
    first_frame_num: int | None = None
    last_frame_num: int | None = None
    crc32c: str | None = None
    sha256: str | None = None
    recovered: bool | None = None
    reason: str | None = None
    first: str | None = None  # when its first frame arrived
    last: str | None = None  # when its last frame arrived, or else it was changed


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
        kept = self.acquisitions
        if session is not None:
            kept = [one for one in kept if one.session == session]
        if since is not None:
            begin = moment(since) or ""
            kept = [one for one in kept if (one.last or "") >= begin]
            self.strangers = [file for file in self.strangers if file.changed >= since.timestamp()]
        if last is not None:
            latest = sorted(kept, key=lambda one: one.first or "")[max(0, len(kept) - last) :]
            names = {one.acquisition for one in latest}
            kept = [one for one in kept if one.acquisition in names]
        if session is not None or last is not None:
            self.strangers = []
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
            files[acquisition_of(given)].append(_file(given, here.get(path), entries.get(path)))
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


def _file(given: FileId, found: Found | None, entry: FileEntry | None) -> File:
    size, changed = (None, None) if found is None else (found.bytes, moment(found.changed))
    if entry is None:
        return File(given.path, given.number, FileState.UNKNOWN, size, last=changed)
    facts = entry.file
    return File(
        file=given.path,
        number=given.number,
        state=_state(found, entry),
        bytes=size,
        published=facts.bytes,
        session=facts.session_id,
        frames=facts.frames - entry.repeated,
        first_frame_num=facts.first_frame_num,
        last_frame_num=facts.last_frame_num,
        crc32c=facts.crc32c,
        sha256=entry.sha256,
        recovered=entry.recovered,
        reason=entry.reason,
        first=moment(entry.first_time),
        last=moment(entry.last_time) or changed,
    )


def _state(found: Found | None, entry: FileEntry) -> FileState:
    if found is None:
        return FileState.ABSENT
    if entry.file.bytes != found.bytes and found.path == entry.file.path:  # else it is compressed
        return FileState.SIZE
    if entry.good is None:
        return FileState.PUBLISHED
    return FileState.VERIFIED if entry.good else FileState.DAMAGED


def _acquisition(name: str, files: list[File], removed: Iterable[tuple[int, int]]) -> Acquisition:
    """Put the files in order, and sum them up; numbers that were removed are not absent."""
    files.sort(key=lambda file: file.number)
    here = [file for file in files if file.state is not FileState.ABSENT]
    stem, newest = name.rpartition("/")[2], files[-1].number
    known = [(file.number, file.number) for file in here]
    frames = [file.frames for file in here if file.frames is not None]
    sessions = (file.session for file in files if file.session is not None)
    return Acquisition(
        acquisition=name,
        session=next(sessions, int(stem) if stem.isdecimal() else None),
        files=len(here),
        numbers=(files[0].number, newest),
        absent=without(0, newest, [*known, *removed]),
        bytes=sum(file.bytes or 0 for file in files),
        frames=sum(frames) if frames else None,
        recovered=sum(file.recovered or False for file in files),
        states=dict(Counter(file.state for file in files)),
        first=files[0].first or _begun(stem),
        last=max((file.last for file in files if file.last), default=None),
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
    files = defaultdict[int, list[tuple[int, str, str]]](
        list
    )  # by session: last frame_num, acquisition, stream
    for path, entry in summary.files.items():
        if (given := parse(path)) is not None and entry.file.session_id is not None:
            last = entry.file.last_frame_num or 0
            files[entry.file.session_id].append((last, acquisition_of(given), entry.stream))

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
