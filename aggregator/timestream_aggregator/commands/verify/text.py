"""What `verify` writes: a table for people, or lines of JSON for programs."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import chain, islice
from typing import Final

from timestream_aggregator.commands.inventory import counted, numbered
from timestream_aggregator.commands.numbers import Finding, Kind, frames
from timestream_aggregator.commands.verify.checking import Folder
from timestream_aggregator.ledger.summary import FrameRange, LedgerSummary, Piece
from timestream_aggregator.readback.file_report import FileReport

_COLUMNS: Final = "{:<7} {:>7} {:>13}  {:<19}  {:<19}  {:<11} {:<13} {:<18} {}\n"
_LOST: Final = "  {:<16} {:<11} {:<17} {:>8}  {:<19}  {}\n"
_MOST_LINES: Final = 20  # of a section of the table
_INDENT: Final = " " * 8


@dataclass(slots=True)
class VerifyTotals:
    """What was found in all files and folders. `absent` counts as trouble unless `moved_is_fine`."""

    moved_is_fine: bool = False
    files: int = 0
    frames: int = 0
    bytes: int = 0
    bad: int = 0
    known: int = 0  # missing frames that the ledger tells of
    unknown: int = 0  # files without a line in their data folder's ledger
    absent: int = 0
    left: int = 0
    missing: int = 0  # frames, between files
    in_both: int = 0  # frames that are in a file and told as lost
    unreadable: int = 0  # lines of the ledgers

    def add(self, report: FileReport) -> None:
        """Count a file."""
        self.files += 1
        self.frames += report.frames
        self.bytes += report.bytes
        self.bad += bool(report.trouble)
        self.known += sum(last - first + 1 for first, last in report.known)

    def add_folder(self, folder: Folder) -> None:
        """Count what its ledger tells of a folder."""
        self.unknown += len(folder.unknown) + folder.more_unknown
        self.absent += folder.absent_files
        self.left += folder.left

    def add_numbers(self, findings: Sequence[Finding], unreadable: int) -> None:
        """Count what the numbers of all files together tell, and lines of the ledgers that tell nothing."""
        self.missing, self.in_both = frames(findings, Kind.MISSING), frames(findings, Kind.IN_BOTH)
        self.unreadable = unreadable

    @property
    def good(self) -> bool:
        """Whether there was something to verify and no trouble."""
        troubles = self.bad, self.left, self.absent and not self.moved_is_fine
        return bool(self.files) and not any((*troubles, self.missing, self.in_both, self.unreadable))

    def outcome(self) -> str:
        """Return the result in a few words."""
        words = [
            ("all good", self.good),
            ("nothing to verify", not self.files),
            (f"trouble in {self.bad}", self.bad),
            (f"{self.absent:,} published and not here", self.absent),
            (f"{self.left} left over", self.left),
            (f"{counted(self.missing, 'frame')} missing between files", self.missing),
            (f"{counted(self.in_both, 'frame')} told as lost and in a file", self.in_both),
            (f"{counted(self.unreadable, 'line')} of the ledger cannot be read", self.unreadable),
        ]
        return ", ".join(text for text, holds in words if holds)


class Json:
    """A line with an object for each file; then lines with the keys `folder` and, the last one, `summary`."""

    head: Final = ""

    def file(self, report: FileReport) -> str:
        """Return the line of a file."""
        return json.dumps(asdict(report)) + "\n"

    def numbers(self, findings: Sequence[Finding]) -> str:
        """Return the lines of what the numbers of all files together tell."""
        return "".join(json.dumps(one.values) + "\n" for one in findings)

    def folder(self, folder: Folder) -> str:
        """Return the line of a folder."""
        summary = folder.summary
        values: dict[str, object] = {
            "folder": str(folder.path),
            "absent": folder.absent,
            "unknown": folder.unknown,
            "more_unknown": folder.more_unknown,
        }
        if folder.is_data_folder:
            values |= {
                "staged": [asdict(file) for file in folder.staged],
                "losses": [asdict(loss) for loss in summary.losses],
                "duplicates": [asdict(again) for again in summary.duplicates],
                "quarantined": [asdict(piece) for piece in summary.pieces],
                "quarantined_pieces": summary.quarantined,
                "quarantined_bytes": summary.quarantined_bytes,
                "dropped_lines": summary.dropped,
                "unreadable_lines": summary.unreadable,
            }
        return json.dumps(values, default=datetime.isoformat) + "\n"

    def end(self, totals: VerifyTotals) -> str:
        """Return the last line."""
        return json.dumps({"summary": asdict(totals) | {"good": totals.good}}) + "\n"


class Table:
    """A line for each file, its troubles below; then what the ledger tells of the folder, and a summary."""

    head: Final = _COLUMNS.format(
        "", "FRAMES", "BYTES", "FIRST (UTC)", "LAST (UTC)", "SESSION", "FRAME_NUM", "TYPES", "FILE"
    )

    def __init__(self, *, moved_is_fine: bool) -> None:
        self._moved_is_fine = moved_is_fine

    def file(self, report: FileReport) -> str:
        """Return the lines of one file."""
        first, last = report.first_frame_num, report.last_frame_num
        types = " ".join(f"{kind}:{number}" for kind, number in sorted(report.types.items()))
        line = _COLUMNS.format(
            "TROUBLE" if report.trouble else "ok",
            f"{report.frames:,}",
            f"{report.bytes:,}",
            _short(report.first_time),
            _short(report.last_time),
            ",".join(map(str, report.sessions)) or "-",
            "-" if first is None else f"{first}-{last}",
            types or "-",
            report.path,
        )
        notes = (f"{_INDENT}({words})\n" for words in report.notes)
        return line + "".join(chain((f"{_INDENT}{words}\n" for words in report.trouble), notes))

    def numbers(self, findings: Sequence[Finding]) -> str:
        """Return what the numbers of all files together tell, trouble first."""
        lines = [f"  {one.line}" for one in sorted(findings, key=lambda one: not one.trouble)]
        return "".join(chain(["\nFrom file to file:\n"] if lines else [], _some(lines)))

    def folder(self, folder: Folder) -> str:
        """Return what its ledger tells of a folder."""
        return "".join(chain(self._absent(folder), _unknown(folder), _staged(folder), _told(folder)))

    def end(self, totals: VerifyTotals) -> str:
        """Return the summary."""
        size = (totals.files, "file"), (totals.frames, "frame"), (totals.bytes, "byte")
        return f"{', '.join(counted(*one) for one in size)}: {totals.outcome()}\n"

    def _absent(self, folder: Folder) -> Iterator[str]:
        if not folder.absent:
            return
        hint = "" if self._moved_is_fine else " (with --moved-is-fine that is no trouble)"
        yield f"\nPublished and not here any more: {counted(folder.absent_files, 'file')}{hint}\n"
        yield from _some([f"  {name}: {numbered(numbers)}\n" for name, numbers in folder.absent.items()])


def _unknown(folder: Folder) -> Iterator[str]:
    if folder.unknown:
        count = len(folder.unknown) + folder.more_unknown
        files = counted(count, "file")
        yield f"\nHere and without a line in the ledger: {files} (put here by others, or before it began)\n"
        yield from _some([f"  {name}\n" for name in folder.unknown], count)


def _staged(folder: Folder) -> Iterator[str]:
    if folder.staged:
        yield "\nWithout their final names:\n"
        yield from (f"  {file.say(folder.path)}\n" for file in folder.staged)


def _told(folder: Folder) -> Iterator[str]:
    summary = folder.summary
    if not folder.is_data_folder:
        return
    if summary.losses or summary.duplicates or summary.pieces:
        yield f"\nIn no file, as the ledger tells: {_count(summary)}\n"
        yield _LOST.format("WHAT", "SESSION", "FRAME_NUM", "COUNT", "NOTED (UTC)", "CAUSE")
        yield from _some([_missing(loss) for loss in summary.losses])
        yield from _some([_missing(again) for again in summary.duplicates])
        yield from _some([_piece(piece) for piece in summary.pieces], summary.quarantined)
    if summary.dropped:
        lines = counted(summary.dropped, "line")
        yield f"\nThe disk did not take {lines} of the ledger: it does not tell all.\n"
    if summary.unreadable:
        lines = counted(summary.unreadable, "line")
        yield f"\nDamaged, or of a later version: {lines} of the ledger. What they told is not known.\n"


def _count(summary: LedgerSummary) -> str:
    words = (
        (sum(loss.count for loss in summary.losses), "frame", "lost"),
        (sum(again.count for again in summary.duplicates), "duplicate", "not written again"),
        (summary.quarantined, "piece", f"quarantined ({counted(summary.quarantined_bytes, 'byte')})"),
    )
    return ", ".join(f"{counted(number, what)} {fate}" for number, what, fate in words if number)


def _missing(missing: FrameRange) -> str:
    if missing.first is None:
        numbers = "-"
    else:
        numbers = f"{missing.first}" if missing.first == missing.last else f"{missing.first}-{missing.last}"
    session = "-" if missing.session_id is None else str(missing.session_id)
    cause = "; ".join(word for word in (missing.cause, missing.path) if word) or "-"
    return _LOST.format(missing.what, session, numbers, f"{missing.count:,}", _moment(missing.told), cause)


def _piece(piece: Piece) -> str:
    cause = "; ".join(word for word in (piece.why, piece.path, piece.kept) if word)
    return _LOST.format("quarantined", "-", counted(piece.bytes, "byte"), "1", _moment(piece.told), cause)


def _some(lines: Sequence[str], count: int | None = None) -> Iterator[str]:
    """Yield the first of `lines`, and how many more there are of `count`, or of them."""
    yield from islice(lines, _MOST_LINES)
    more = (len(lines) if count is None else count) - _MOST_LINES
    if more > 0:
        yield f"  and {more:,} more; --json has more of them\n"


def _short(moment: str | None) -> str:
    """Return a time for the table, to the second."""
    return moment[:19] if moment else "-"


def _moment(moment: datetime) -> str:
    return _short(moment.isoformat())
