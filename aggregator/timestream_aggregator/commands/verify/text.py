"""What `verify` says of files and folders, and of all of them together."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from typing import Final

from timestream_aggregator.commands.inventory import StagedState
from timestream_aggregator.commands.numbers import Finding, Kind, frames
from timestream_aggregator.commands.telling import Table, Told, counted, numbered, section, span
from timestream_aggregator.commands.verify.checking import Folder
from timestream_aggregator.ledger.summary import FrameRange, LedgerSummary, Piece
from timestream_aggregator.readback.file_report import FileReport

FILES: Final = Table(
    "verdict<7 frames>7 bytes>13 first<19.19 last<19.19 session<11 frame_num<13 types<18 file<"
)
_LOST: Final = Table("what<16 session<11 frame_num<17 count>8 told<19.19 cause<")
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
        self.unknown += len(folder.unknown)
        self.absent += folder.absent_files
        self.left += sum(file.state is StagedState.LEFT for file in folder.staged)

    def add_numbers(self, findings: Sequence[Finding], unreadable: int) -> None:
        """Count what the numbers of all files together tell, and lines of the ledgers that tell nothing."""
        self.missing, self.in_both = frames(findings, Kind.MISSING), frames(findings, Kind.IN_BOTH)
        self.unreadable = unreadable

    @property
    def good(self) -> bool:
        """Whether there was something to verify and no trouble."""
        troubles = self.bad, self.left, self.absent and not self.moved_is_fine
        return bool(self.files) and not any((*troubles, self.missing, self.in_both, self.unreadable))

    @property
    def told(self) -> Told:
        """The last line."""
        size = (self.files, "file"), (self.frames, "frame"), (self.bytes, "byte")
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
        outcome = ", ".join(text for text, holds in words if holds)
        text = f"{', '.join(counted(*one) for one in size)}: {outcome}\n"
        return Told({"summary": asdict(self) | {"good": self.good}}, text)


def file(report: FileReport) -> Told:
    """Return what is said of a file: its line, its troubles below."""
    types = " ".join(f"{kind}:{number}" for kind, number in sorted(report.types.items()))
    row = FILES.row(
        values := asdict(report),
        verdict="TROUBLE" if report.trouble else "ok",
        first=report.first_time,
        last=report.last_time,
        session=",".join(map(str, report.sessions)) or None,
        frame_num=span(report.first_frame_num, report.last_frame_num),
        types=types or None,
        file=report.path,
    )
    below = (f"{_INDENT}{words}\n" for words in chain(report.trouble, (f"({note})" for note in report.notes)))
    return Told(values, row + "".join(below))


def numbers(findings: Sequence[Finding]) -> Iterator[Told]:
    """Yield what the numbers of all files together tell, to people trouble first."""
    yield from (Told(one.told.values) for one in findings)
    lines = [one.told.text for one in sorted(findings, key=lambda one: not one.trouble)]
    yield Told(None, section("From file to file:", lines))


def folder(about: Folder, *, moved_is_fine: bool) -> Told:
    """Return what its ledger tells of a folder."""
    values: dict[str, object] = {"folder": str(about.path), "absent": about.absent, "unknown": about.unknown}
    hint = "" if moved_is_fine else " (with --moved-is-fine that is no trouble)"
    absent, unknown = counted(about.absent_files, "file"), counted(len(about.unknown), "file")
    text = (
        section(
            f"Published and not here any more: {absent}{hint}",
            [f"{name}: {numbered(numbers)}\n" for name, numbers in about.absent.items()],
        )
        + section(
            f"Here and without a line in the ledger: {unknown} (put here by others, or before it began)",
            [f"{name}\n" for name in about.unknown],
        )
        + section("Without their final names:", [one.told(about.path).text for one in about.staged])
    )
    if not about.is_data_folder:
        return Told(values, text)
    summary = about.summary
    values |= {
        "staged": [asdict(file) for file in about.staged],
        "losses": [asdict(loss) for loss in summary.losses],
        "duplicates": [asdict(again) for again in summary.duplicates],
        "quarantined": [asdict(piece) for piece in summary.pieces],
        "quarantined_pieces": summary.quarantined,
        "quarantined_bytes": summary.quarantined_bytes,
        "dropped_lines": summary.dropped,
        "unreadable_lines": summary.unreadable,
    }
    return Told(values, text + _told(summary))


def _told(summary: LedgerSummary) -> str:
    """Return what the ledger tells of frames that are in no file, and what it cannot tell."""
    words = (
        (sum(loss.count for loss in summary.losses), "frame", "lost"),
        (sum(again.count for again in summary.duplicates), "duplicate", "not written again"),
        (summary.quarantined, "piece", f"quarantined ({counted(summary.quarantined_bytes, 'byte')})"),
    )
    counts = ", ".join(f"{counted(number, what)} {fate}" for number, what, fate in words if number)
    text = section(
        f"In no file, as the ledger tells: {counts}\n  {_LOST.head.text.rstrip()}",
        [_missing(loss) for loss in summary.losses],
        [_missing(again) for again in summary.duplicates],
        [_piece(piece) for piece in summary.pieces],
    )
    if summary.dropped:
        lines = counted(summary.dropped, "line")
        text += f"\nThe disk did not take {lines} of the ledger: it does not tell all.\n"
    if summary.unreadable:
        lines = counted(summary.unreadable, "line")
        text += f"\nDamaged, or of a later version: {lines} of the ledger. What they told is not known.\n"
    return text


def _missing(missing: FrameRange) -> str:
    cause = "; ".join(word for word in (missing.cause, missing.path) if word) or None
    numbers = span(missing.first, missing.last)
    return _LOST.row(asdict(missing), session=missing.session_id, frame_num=numbers, cause=cause)


def _piece(piece: Piece) -> str:
    cause = "; ".join(word for word in (piece.why, piece.path, piece.kept) if word)
    size = counted(piece.bytes, "byte")
    return _LOST.row(asdict(piece), what="quarantined", frame_num=size, count=1, cause=cause)
