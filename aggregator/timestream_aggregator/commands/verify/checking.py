"""Checks files against the ledger of their data folder, and the folder against it."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from timestream_aggregator.commands.catalog import numbers_of
from timestream_aggregator.commands.inventory import Staged, staged, unpacked
from timestream_aggregator.commands.numbers import Finding, Sessions, say_missing
from timestream_aggregator.core.naming import PACKED, SUFFIX
from timestream_aggregator.ledger.summary import (
    FileEntry,
    FrameRange,
    LedgerSummary,
    data_folder_of,
    summary_of,
    without,
)
from timestream_aggregator.readback.file_report import Count, FileReport, LedgerVerdict
from timestream_aggregator.readback.reading import read


@dataclass(slots=True)
class Folder:
    """A folder that was named, and what its ledger tells: `absent` are numbers by acquisition."""

    path: Path
    summary: LedgerSummary
    is_data_folder: bool  # so that all that the ledger tells is about it
    unknown: list[str]
    absent: dict[str, list[tuple[int, int]]]
    absent_files: int
    staged: list[Staged]


@dataclass(slots=True)
class _DataFolder:
    """What is found out of the files in one data folder; those that are in none have no `summary`."""

    summary: LedgerSummary | None
    sessions: Sessions
    whole: set[str] = field(default_factory=set[str])  # files that were read to their end
    unknown: list[str] = field(default_factory=list[str])  # files that had no line when they were read


class Checker:
    """Verifies files one by one, then folders. OSError, at any time: a ledger cannot be read."""

    def __init__(self) -> None:
        self._data_folders: dict[Path | None, _DataFolder] = {}
        self._places: dict[Path, tuple[_DataFolder, Path]] = {}

    def verify(self, path: Path) -> FileReport:
        """Return what is in the file `path` and what is wrong with it."""
        place, name = self._place(path)
        summary = place.summary
        if summary is not None and name not in summary.files:
            summary.update()  # its line may be younger
        entry = None if summary is None else summary.files.get(name)
        repeated, hashing = (0, False) if entry is None else (entry.repeated, entry.sha256 is not None)
        count = read(path, repeated, hashing=hashing)
        if entry is not None:
            _compare(count, entry)
        elif summary is not None:
            count.report.ledger = LedgerVerdict.UNKNOWN
            count.report.notes.append("the ledger has no line of it")
            place.unknown.append(name)
        if not count.report.trouble:
            place.whole.add(name)
        _carry(count, entry, place.sessions, str(path) if summary is None else name)
        _tell_numbers(count, summary)
        return count.report

    @property
    def unreadable(self) -> int:
        """How many lines of the ledgers cannot be read."""
        return sum(place.summary.unreadable for place in self._data_folders.values() if place.summary)

    def findings(self) -> Iterator[Finding]:
        """Yield what is to be said of the numbers in all files together. After these, not before."""
        for place in self._data_folders.values():
            for name, entry in place.summary.files.items() if place.summary else ():
                if name not in place.whole:
                    numbers = entry.first_frame_num, entry.last_frame_num
                    place.sessions.tell(entry.session_id, entry.stream, *numbers)
            yield from place.sessions.findings()

    def folder(self, path: Path) -> Folder | None:
        """Return what its ledger tells of the folder `path`, None if it has none. After its files, not before."""
        place, name = self._place(path / "any")
        summary, below = place.summary, name.removesuffix("any")
        if summary is None:
            return None
        summary.update()
        # Not those whose line came a moment after they did.
        unknown = [name for name in place.unknown if name.startswith(below) and name not in summary.files]
        gone = [
            name for name in summary.files if name.startswith(below) and not _is_here(summary.root / name)
        ]
        waiting = [] if below else staged(summary.root)
        return Folder(path, summary, not below, unknown, numbers_of(gone), len(gone), waiting)

    def _place(self, path: Path) -> tuple[_DataFolder, str]:
        """Return the data folder that `path` lies in, and its path there."""
        if path.parent not in self._places:
            parent = path.parent.resolve()
            root = data_folder_of(parent)
            if root not in self._data_folders:
                summary = None if root is None else summary_of(root)
                self._data_folders[root] = _DataFolder(summary, Sessions(summary))
            below = Path() if root is None else parent.relative_to(root)
            self._places[path.parent] = self._data_folders[root], below
        place, below = self._places[path.parent]
        return place, (below / unpacked(path.name)).as_posix()


def _carry(count: Count, entry: FileEntry | None, sessions: Sessions, path: str) -> None:
    """Take the numbers of a file to those of the other files of its session."""
    data = {run.session for run in count.runs if run.data}
    for run in count.runs:
        session = sessions.session(run.session, entry and entry.stream, run.stream)
        session.add(run.first, run.last, path, begins=run.data or run.session not in data)
    for number, first, last in count.gaps:
        sessions.tell(number, None, first, last)


def _compare(count: Count, entry: FileEntry) -> None:
    """Say where the file is not what the ledger says it is."""
    report = count.report
    if report.crc32c is not None:  # it could be read
        differences = ", ".join(_differences(count, entry))
        report.ledger = LedgerVerdict.DIFFERS if differences else LedgerVerdict.AGREES
        if differences:
            report.trouble.append(f"not what was recorded: {differences}")
    if entry.recovered:
        report.notes.append(f"recovered on {entry.told:%Y-%m-%d %H:%M:%S} UTC")
    if entry.good is False:
        report.notes.append(f"the recorder's read-back of it failed: {entry.why}")


def _is_here(path: Path) -> bool:
    """Return whether a file is there, or what it became when it was compressed."""
    return any(os.path.lexists(f"{path}{suffix.removeprefix(SUFFIX)}") for suffix in (SUFFIX, *PACKED))


def _differences(count: Count, entry: FileEntry) -> Iterator[str]:
    report = count.report
    pairs = [
        ("bytes", report.bytes, entry.bytes),
        ("frames", report.frames, entry.frames),
        ("crc32c", report.crc32c, entry.crc32c),
        ("first frame_num", count.first_own, entry.first_frame_num),
        ("last frame_num", count.last_own, entry.last_frame_num),
    ]
    if entry.sha256 is not None:
        pairs.append(("sha256", report.sha256, entry.sha256))
    for what, found, told in pairs:
        if found != told:
            yield f"{what} {found}, in the ledger {told}"


def _tell_numbers(count: Count, summary: LedgerSummary | None) -> None:
    """Say which numbers are missing or went back: as trouble, or, if the ledger tells of it, as a note."""
    report = count.report
    for session, first, last in count.gaps:
        told = () if summary is None else summary.told_of(session)
        about = [one for one in told if (it := one.numbers) and it[0] <= last and it[1] >= first]
        unknown = without(first, last, (one.numbers for one in about if one.numbers))
        report.trouble.extend(say_missing(*gap) for gap in unknown)
        if unknown != [(first, last)]:
            report.known.append((first, last))
            report.notes.append(f"{say_missing(first, last)}: {_say_known(about[0])}")
    for session, last, number in count.backs:
        words = f"frame_num goes back from {last} to {number}"
        if summary is not None and (session, last, number) in summary.renumbered:
            report.notes.append(f"{words}: known, the streamer counted so")
        else:
            report.trouble.append(words)


def _say_known(loss: FrameRange) -> str:
    cause = f", {loss.cause}" if loss.cause else ""
    return f"known, noted on {loss.told:%Y-%m-%d %H:%M:%S} UTC{cause}"
