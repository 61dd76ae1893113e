"""Checks files against the ledger of their data folder, and the folder against it."""

import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from timestream_aggregator.commands.inventory import Staged, StagedState, staged, unpacked
from timestream_aggregator.commands.numbers import Finding, Session, say_missing
from timestream_aggregator.core.naming import PACKED, SUFFIX, parse
from timestream_aggregator.ledger.summary import (
    FileEntry,
    FrameRange,
    LedgerSummary,
    data_folder_of,
    merged,
    summary_of,
)
from timestream_aggregator.readback.file_report import Count, FileReport, LedgerVerdict
from timestream_aggregator.readback.reading import read
from timestream_api.settings import LARGEST_FRAME

MOST_NAMES: Final = 1000
"""Files without a line in the ledger that are named; of others only the count."""


@dataclass(slots=True)
class Folder:
    """A folder that was named, and what its ledger tells: `absent` are numbers by acquisition."""

    path: Path
    summary: LedgerSummary
    below: str  # its path under the data folder, with a slash at the end; empty for the data folder itself
    unknown: list[str] = field(default_factory=list[str])
    more_unknown: int = 0
    absent: dict[str, list[tuple[int, int]]] = field(default_factory=dict[str, list[tuple[int, int]]])
    absent_files: int = 0
    staged: list[Staged] = field(default_factory=list[Staged])

    @property
    def is_data_folder(self) -> bool:
        """Whether all that the ledger tells is about it."""
        return not self.below

    @property
    def left(self) -> int:
        """How many files a killed recorder has left."""
        return sum(file.state is StagedState.LEFT for file in self.staged)


class Checker:
    """Verifies files one by one, then folders. OSError, at any time: a ledger cannot be read."""

    def __init__(self, largest_frame: int = LARGEST_FRAME) -> None:
        self._largest_frame = largest_frame
        self._journals: dict[Path, LedgerSummary | None] = {}
        self._places: dict[Path, tuple[LedgerSummary | None, Path]] = {}
        self._sessions = defaultdict[tuple[Path | None, int | None], dict[str | None, Session]](dict)
        self._whole: set[tuple[Path, str]] = set()  # files that were read to their end
        self._unknown: dict[Path, list[str]] = defaultdict(list)
        self._more_unknown: dict[Path, int] = defaultdict(int)

    def verify(self, path: Path) -> FileReport:
        """Return what is in the file `path` and what is wrong with it."""
        summary, name = self._place(path)
        if summary is not None and name not in summary.files:
            summary.update()  # its line may be younger
        entry = None if summary is None else summary.files.get(name)
        repeated, hashing = (0, False) if entry is None else (entry.repeated, entry.sha256 is not None)
        count = read(path, self._largest_frame, repeated, hashing=hashing)
        if summary is not None:
            self._compare(count, entry, summary, name)
        self._carry(count, entry, summary, name)
        _tell_numbers(count, summary)
        return count.report

    @property
    def unreadable(self) -> int:
        """How many lines of the ledgers cannot be read."""
        return sum(summary.unreadable for summary in self._journals.values() if summary)

    def findings(self) -> Iterator[Finding]:
        """Yield what is to be said of the numbers in all files together. After these, not before."""
        unread = defaultdict[tuple[Path | None, int | None], list[tuple[str, tuple[int, int]]]](list)
        for root, summary in self._journals.items():
            for name, entry in summary.files.items() if summary else ():
                first, last = entry.file.first_frame_num, entry.file.last_frame_num
                if first is not None and last is not None and (root, name) not in self._whole:
                    unread[root, entry.file.session_id].append((entry.stream, (first, last)))
        for (root, number), streams in self._sessions.items():
            nameless = streams.pop(None) if len(streams) > 1 and None in streams else None
            for one in streams.values():
                one.held += nameless.held if nameless else []
                one.shared = any(
                    one is not other and one.recorders & other.recorders for other in streams.values()
                )
                one.told += (told for recorder, told in unread[root, number] if one.is_ours(recorder))
                yield from one.findings(self._journals[root] if root else None)

    def folder(self, path: Path) -> Folder | None:
        """Return what its ledger tells of the folder `path`, None if it has none. After its files, not before."""
        summary, name = self._place(path / "any")
        if summary is None:
            return None
        summary.update()
        below = name.removesuffix("any")
        folder = Folder(path, summary, below, *self._unknown_below(summary, below))
        numbers: dict[str, list[int]] = defaultdict(list)
        for gone in summary.files:
            if gone.startswith(below) and not _is_here(summary.root / gone):
                file = parse(gone)
                acquisition = gone if file is None else f"{file.base.folder}/{file.base.stem}"
                numbers[acquisition].append(0 if file is None else file.number)
                folder.absent_files += 1
        folder.absent = {
            name: list(merged((number, number) for number in found))
            for name, found in sorted(numbers.items())
        }
        if folder.is_data_folder:
            folder.staged = staged(summary.root)
        return folder

    def _place(self, path: Path) -> tuple[LedgerSummary | None, str]:
        """Return the summary of the data folder that `path` lies in, and its path there."""
        if path.parent not in self._places:
            parent = path.parent.resolve()
            root = data_folder_of(parent)
            if root is not None and root not in self._journals:
                self._journals[root] = summary_of(root)
            below = Path() if root is None else parent.relative_to(root)
            self._places[path.parent] = (None if root is None else self._journals[root], below)
        summary, below = self._places[path.parent]
        return summary, (below / unpacked(path.name)).as_posix()

    def _carry(self, count: Count, entry: FileEntry | None, summary: LedgerSummary | None, name: str) -> None:
        """Take the numbers of a file to those of the other files of its session."""
        root, path = (None, count.report.path) if summary is None else (summary.root, name)
        if root is not None and not count.report.trouble:
            self._whole.add((root, name))
        data = {run.session for run in count.runs if run.data}
        for run in count.runs:
            session = self._sessions[root, run.session].setdefault(run.stream, Session(run.session))
            session.add(run.first, run.last, path, begins=run.data or run.session not in data)
            session.recorders |= {entry.stream} if entry else set()
        for number, first, last in count.gaps:
            for session in self._sessions[root, number].values():
                session.told.append((first, last))

    def _compare(self, count: Count, entry: FileEntry | None, summary: LedgerSummary, name: str) -> None:
        """Say where the file is not what the ledger says it is."""
        report = count.report
        if entry is None:
            report.ledger = LedgerVerdict.UNKNOWN
            report.notes.append("the ledger has no line of it")
            self._note_unknown(summary.root, name)
            return
        if report.crc32c is not None:  # it could be read
            differences = ", ".join(_differences(count, entry))
            report.ledger = LedgerVerdict.DIFFERS if differences else LedgerVerdict.AGREES
            if differences:
                report.trouble.append(f"not what was recorded: {differences}")
        if entry.recovered:
            report.notes.append(f"recovered on {entry.told:%Y-%m-%d %H:%M:%S} UTC")
        if entry.good is False:
            report.notes.append(f"the recorder's read-back of it failed: {entry.why}")

    def _note_unknown(self, root: Path, name: str) -> None:
        if len(self._unknown[root]) < MOST_NAMES:
            self._unknown[root].append(name)
        else:
            self._more_unknown[root] += 1

    def _unknown_below(self, summary: LedgerSummary, below: str) -> tuple[list[str], int]:
        """Return the files without a line there; not those whose line came a moment after they did."""
        names = [name for name in self._unknown[summary.root] if name.startswith(below)]
        return [name for name in names if name not in summary.files], self._more_unknown[summary.root]


def _is_here(path: Path) -> bool:
    """Return whether a file is there, or what it became when it was compressed."""
    return any(os.path.lexists(f"{path}{suffix.removeprefix(SUFFIX)}") for suffix in (SUFFIX, *PACKED))


def _differences(count: Count, entry: FileEntry) -> Iterator[str]:
    report = count.report
    pairs = [
        ("bytes", report.bytes, entry.file.bytes),
        ("frames", report.frames, entry.file.frames),
        ("crc32c", report.crc32c, entry.file.crc32c),
        ("first frame_num", count.first_own, entry.file.first_frame_num),
        ("last frame_num", count.last_own, entry.file.last_frame_num),
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
        tell, unknown = ([], [(first, last)]) if summary is None else summary.known(session, first, last)
        report.trouble.extend(say_missing(*gap) for gap in unknown)
        if tell and unknown != [(first, last)]:
            report.known.append((first, last))
            report.notes.append(f"{say_missing(first, last)}: {_say_known(tell)}")
    for session, last, number in count.backs:
        words = f"frame_num goes back from {last} to {number}"
        if summary is not None and (session, last, number) in summary.renumbered:
            report.notes.append(f"{words}: known, the streamer counted so")
        else:
            report.trouble.append(words)


def _say_known(losses: list[FrameRange]) -> str:
    loss = losses[0]
    cause = f", {loss.cause}" if loss.cause else ""
    return f"known, noted on {loss.told:%Y-%m-%d %H:%M:%S} UTC{cause}"
