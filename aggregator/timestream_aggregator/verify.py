"""Read recorded files through spt3g, frame by frame, and say what is in them and what is wrong.

A file is good when spt3g, the library of its readers, loads each frame to the last byte, and no frame_num is
missing inside it. One file is open at a time, and one frame in memory. Of the contents only the keys of the
streamer are unpacked: spt3g alone does not know the instruments' own classes. The crc vouches for the rest.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Protocol, cast

from timestream_aggregator.files import OWN_FOLDER
from timestream_aggregator.naming import SUFFIX

_G3_UNITS: Final = 1e8  # of G3Time, in a second
_COLUMNS: Final = "{:<7} {:>7} {:>13}  {:<19}  {:<19}  {:<11} {:<13} {:<18} {}"


class G3Frame(Protocol):
    """A frame that was read."""

    type: int

    def get(self, name: str, default: None, /) -> object:
        """Return a value, or None; RuntimeError if spt3g cannot make an object of its bytes."""

    def __len__(self) -> int:
        """Return the number of values."""
        ...


class G3Reader(Protocol):
    """spt3g's reader of one file."""

    def Process(self, frame: None, /) -> Sequence[G3Frame]:  # noqa: N802 - spt3g's name
        """Return the next frame, or nothing at the end of the file."""
        ...

    def tell(self) -> int:
        """Return the offset in bytes of what is read next; -1 at the end of the file."""
        ...


@dataclass(slots=True)
class FileReport:
    """What one file holds. Times are ISO 8601, UTC; `missing` has the first and last of absent numbers."""

    path: str
    bytes: int = 0
    frames: int = 0
    types: dict[str, int] = field(default_factory=dict[str, int])
    sessions: list[int] = field(default_factory=list[int])
    first_time: str | None = None
    last_time: str | None = None
    first_frame_num: int | None = None
    last_frame_num: int | None = None
    missing: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    trouble: list[str] = field(default_factory=list[str])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `verify`."""
    parser.add_argument(
        "paths", nargs="+", type=Path, metavar="PATH", help="a file, or a folder of .g3 files"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line for each file, no table")


def run(args: argparse.Namespace) -> int:
    """Verify all files. Return 0 if all are good, 1 at any trouble, 2 if a path is not there."""
    absent = [path for path in args.paths if not path.exists()]
    for path in absent:
        sys.stderr.write(f"verify: {path} does not exist\n")
    if absent:
        return 2
    reports = (verify(path) for path in find(args.paths))
    return _write_json(reports) if args.json else _write_table(reports)


def find(paths: Sequence[Path]) -> Iterator[Path]:
    """Yield the files named, and those that end in .g3 in the folders named, in order of name."""
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        for folder, folders, names in os.walk(path):
            folders[:] = sorted(name for name in folders if name != OWN_FOLDER)
            yield from (Path(folder, name) for name in sorted(names) if name.endswith(SUFFIX))


def verify(path: Path) -> FileReport:
    """Return what spt3g finds in the file `path`; whatever is wrong with it stands in the report."""
    report = FileReport(str(path))
    try:
        report.bytes = path.stat().st_size
        if not path.is_file():
            report.trouble.append("not a file")
        elif path.suffix != SUFFIX:
            report.trouble.append(f"not read: spt3g opens only names that end in {SUFFIX}")
        elif not report.bytes:
            report.trouble.append("empty")
        else:
            _read(path, report)
    except OSError as error:
        report.trouble.append(f"cannot be read: {error.strerror}")
    report.trouble.extend(_say_missing(first, last) for first, last in report.missing)
    return report


def _read(path: Path, report: FileReport) -> None:
    """Read all frames; stop at the first that is not whole, since nothing marks where the next one begins."""
    with path.open("rb"):  # a better word about a file that may not be read than spt3g has
        reader = _open_reader(path)
    start = 0
    try:
        while frames := reader.Process(None):
            if not len(frames[0]):
                report.trouble.append(f"zeros from byte {start} on, {report.bytes - start} of them")
                return
            _note(frames[0], report)
            start = max(start, reader.tell())
    except (RuntimeError, ValueError, MemoryError) as error:
        report.trouble.append(_explain(str(error), start, report.bytes))
        return
    if start != report.bytes:
        report.trouble.append(f"spt3g stopped at byte {start} of {report.bytes}")


def _explain(words: str, start: int, size: int) -> str:
    """Return what spt3g's `words` mean for the frame at byte `start` of a file of `size` bytes."""
    if words.startswith("Failed to read"):
        return f"torn at byte {start}: the frame there goes beyond the end of the file at {size}"
    if words.startswith("Recorded CRC"):
        return f"bad crc: the frame at byte {start} has changed; {size - start} bytes not read"
    reason = words.partition("\n")[0].partition(" (in ")[0]
    what = "not a G3 file" if start == 0 else f"no frame at byte {start}"
    return f"{what}: spt3g says {reason!r}; {size - start} bytes not read"


def _note(frame: G3Frame, report: FileReport) -> None:
    """Add one frame to the report."""
    kind = _name(int(frame.type))
    report.frames += 1
    report.types[kind] = report.types.get(kind, 0) + 1
    session, number = _whole(frame, "session_id"), _whole(frame, "frame_num")
    if session is not None and session not in report.sessions:
        report.sessions.append(session)
        report.last_frame_num = None
    if number is not None:
        _note_number(kind, number, report)
    moment = _moment(frame)
    if moment:
        report.first_time = report.first_time or moment
        report.last_time = moment


def _note_number(kind: str, number: int, report: FileReport) -> None:
    """Compare a frame_num with the last one.

    Not before the first Scan: a file may begin with earlier metadata, repeated for its readers.
    """
    last = report.last_frame_num
    if last is not None and report.types.get("S", 0) > (kind == "S"):
        if number > last + 1:
            report.missing.append((last + 1, number - 1))
        elif number <= last and kind == "S":
            report.trouble.append(f"frame_num goes back from {last} to {number}")
    report.first_frame_num = number if report.first_frame_num is None else report.first_frame_num
    report.last_frame_num = number if last is None else max(last, number)


def _whole(frame: G3Frame, name: str) -> int | None:
    """Return an integer of the frame, None if there is none of that name."""
    value = _value(frame, name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _moment(frame: G3Frame) -> str | None:
    """Return the frame's own time."""
    ticks = getattr(_value(frame, "time"), "time", None)
    if not isinstance(ticks, int):
        return None
    return datetime.fromtimestamp(ticks / _G3_UNITS, UTC).isoformat(timespec="milliseconds")


def _value(frame: G3Frame, name: str) -> object:
    """Return a value of the frame; None if there is none, or one of a class that spt3g does not know."""
    try:
        return frame.get(name, None)
    except RuntimeError:
        return None


def _name(code: int) -> str:
    """Return the characters of a frame type."""
    return code.to_bytes(4, "big").lstrip(b"\0").decode("ascii", "backslashreplace")


def _open_reader(path: Path) -> G3Reader:
    """Return spt3g's reader, and keep spt3g from writing its own messages into the table."""
    from spt3g import core  # noqa: PLC0415 - 60 MB and half a second that the other commands do without

    door = cast("Any", core)
    door.G3Logger.global_logger = door.G3MultiLogger(door.G3LoggerVector())
    return cast("G3Reader", door.G3Reader(str(path)))


def _say_missing(first: int, last: int) -> str:
    """Return what a reader needs to know about a gap in the numbers."""
    return f"frame_num {first} is missing" if first == last else f"frame_num {first} to {last} are missing"


def _write_json(reports: Iterator[FileReport]) -> int:
    """Write a line of JSON for each file. Return the exit code."""
    bad = 0
    for report in reports:
        bad += bool(report.trouble)
        sys.stdout.write(json.dumps(asdict(report)) + "\n")
    return int(bad > 0)


def _write_table(reports: Iterator[FileReport]) -> int:
    """Write a line for each file as it is done, its troubles below, and a summary. Return the exit code."""
    head = ("", "FRAMES", "BYTES", "FIRST (UTC)", "LAST (UTC)", "SESSION", "FRAME_NUM", "TYPES", "FILE")
    sys.stdout.write(_COLUMNS.format(*head) + "\n")
    files = frames = size = bad = 0
    for report in reports:
        sys.stdout.write(_row(report))
        files, frames, size = files + 1, frames + report.frames, size + report.bytes
        bad += bool(report.trouble)
    outcome = f"trouble in {bad}" if bad else "all good" if files else "nothing to verify"
    sys.stdout.write(f"{files} files, {frames:,} frames, {size:,} bytes: {outcome}\n")
    return int(bad > 0 or not files)


def _row(report: FileReport) -> str:
    """Return the lines of one file."""
    numbers = (
        f"{report.first_frame_num}-{report.last_frame_num}" if report.first_frame_num is not None else "-"
    )
    line = _COLUMNS.format(
        "TROUBLE" if report.trouble else "ok",
        f"{report.frames:,}",
        f"{report.bytes:,}",
        _short(report.first_time),
        _short(report.last_time),
        ",".join(map(str, report.sessions)) or "-",
        numbers,
        " ".join(f"{kind}:{number}" for kind, number in sorted(report.types.items())) or "-",
        report.path,
    )
    return "".join(f"{text}\n" for text in (line, *(f"        {words}" for words in report.trouble)))


def _short(moment: str | None) -> str:
    """Return a time for the table, to the second."""
    return moment[:19] if moment else "-"
