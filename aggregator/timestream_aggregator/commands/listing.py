"""List the acquisitions and files of a data folder, and what is missing of them.

The ledger tells; for files that it does not know there are names, sizes and times of change. No file but the
ledger is opened, so that listing never gets into the way of recording, and ten thousand files take a moment.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Final

from timestream_aggregator.commands.catalog import Acquisition, Catalog, File, FileState, catalog
from timestream_aggregator.commands.inventory import Found, files, note_unread, staged
from timestream_aggregator.commands.telling import (
    SINCE,
    Table,
    Told,
    counted,
    moment,
    moment_or_age,
    numbered,
    span,
    write,
)
from timestream_aggregator.ledger.summary import summary_of

_ACQUISITIONS: Final = Table(
    "session<11 files>6 numbers<9 bytes>17 frames>10 lost>8 first<19 last<19 acquisition<"
)
_FILES: Final = Table(
    "state<17 bytes>17 frames>10 frame_num<15 first<19 last<19 crc32c<8 file<", indent="    "
)
_TOLD: Final = ("first_frame_num", "last_frame_num", "crc32c", "sha256", "recovered", "reason")
_EPILOG: Final = """
FRAMES and LOST are what the ledger of the data folder tells: frames that are there, those repeated at the
beginning of a file left out, and frames that the sender counted and that are in no file. `absent` are numbers
of files that are not here (any more). Below the table stands what has no final name yet, and what the numbers of
the frames tell from file to file. `verify` reads what is in the files. Exit codes: 0 the account is whole, 1 it is
not: a line of the ledger cannot be read, numbers are missing between two files and nobody tells why, or one is told
as lost and stands in a file; 2 the folder or the ledger cannot be read.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `ls`."""
    parser.epilog = _EPILOG
    add = parser.add_argument
    add("path", nargs="?", type=Path, default=Path("/data"), help="the data folder (/data)")
    add("--files", action="store_true", help="list each file, too")
    add("--all", action="store_true", help="list acquisitions whose files are all gone, too")
    add("--since", type=moment_or_age, metavar="TIME", help=SINCE)
    add("--last", type=int, metavar="N", help="only the N acquisitions that began last")
    add("--session", type=int, metavar="ID", help="only acquisitions with this session_id")
    add("--json", action="store_true", help="one JSON object a line, no table")


def run(args: argparse.Namespace) -> int:
    """Write the table. Return 0, 1 if the account is not whole, 2 if there is no such folder or it cannot be read."""
    try:
        # First: what is published in the meantime is then listed twice, not never.
        waiting = staged(args.path)
        found = list(files(args.path, partial(note_unread, "ls")))
        result = catalog(found, summary_of(args.path))
        result.narrow(args.since, args.last, args.session)
    except OSError as error:
        sys.stderr.write(f"ls: {error.filename}: {error.strerror}\n")
        return 2
    listed = [one for one in result.acquisitions if one.files or args.all]
    write(_things(result, listed, [one.told(args.path) for one in waiting], args), as_json=args.json)
    return int(not result.good)


def _things(
    found: Catalog, listed: Sequence[Acquisition], waiting: Sequence[Told], args: argparse.Namespace
) -> Iterator[Told]:
    """Yield what is told, in order: rows, their sum, what is not listed, and what has no final name yet."""
    yield _ACQUISITIONS.head
    for one in listed:
        yield _acquisition(one, found)
        if args.files:
            yield _FILES.head
            yield from map(_file, found.files[one.acquisition])
    yield from map(_stranger, found.strangers)
    gone = [one for one in found.acquisitions if not one.files]
    totals = _totals(found, listed) | {"gone": len(gone)}
    yield Told(None, _sum(found, totals))
    if gone and not args.all:
        count = counted(sum(len(found.files[one.acquisition]) for one in gone), "file")
        text = f"published and gone: {counted(len(gone), 'acquisition')}, {count} (--all lists them)\n"
        yield Told(None, text)
    if found.lost_elsewhere:
        text = f"lost outside of these acquisitions: {counted(found.lost_elsewhere, 'frame')}\n"
        yield Told(None, text)
    summary = found.summary
    if summary is not None and summary.quarantined:
        size = counted(summary.quarantined_bytes, "byte")
        pieces = counted(summary.quarantined, "damaged piece")
        yield Told(None, f"put aside: {pieces}, {size} (verify lists them)\n")
    if summary is not None and summary.unreadable:
        lines = counted(summary.unreadable, "line")
        yield Told(None, f"TROUBLE: damaged, or of a later version: {lines} of the ledger\n")
    yield from (one.told for one in found.findings)
    yield from waiting
    yield Told({"summary": totals})


def _acquisition(one: Acquisition, found: Catalog) -> Told:
    values = asdict(one)
    first, last = one.numbers
    row = _ACQUISITIONS.row(
        values, numbers=f"{first:03}-{last:03}", lost=None if found.summary is None else one.lost
    )
    remarks = ", ".join(_remarks(one, found))
    return Told(values, f"{row[:-1]}  ({remarks})\n" if remarks else row)


def _remarks(one: Acquisition, found: Catalog) -> Iterator[str]:
    """Yield what is not as it should be, and what has been checked."""
    if one.absent:
        yield f"absent: {numbered(one.absent)}"
    if one.duplicates:
        yield counted(one.duplicates, "duplicate")
    if one.recovered:
        yield f"{one.recovered} recovered"
    for state in (FileState.DAMAGED, FileState.SIZE, FileState.UNKNOWN):
        if state in one.states and (state is not FileState.UNKNOWN or found.summary is not None):
            yield f"{one.states[state]} {state}"
    verified = one.states.get(FileState.VERIFIED)
    if verified:
        yield "verified" if verified == one.files else f"{verified} verified"


def _file(file: File) -> Told:
    entry, found, state = file.entry, file.found, file.state
    values = {name: getattr(entry, name, None) for name in _TOLD} | {
        "file": file.path,
        "state": state,
        "bytes": found and found.bytes,
        "frames": entry and entry.new,
        "first": file.first,
        "last": file.last,
    }
    text = _FILES.row(
        values,
        state="recovered" if entry and entry.recovered and state is FileState.PUBLISHED else state,
        bytes=found.bytes if found else entry and entry.bytes,
        frame_num=entry and span(entry.first_frame_num, entry.last_frame_num),
    )
    return Told(values, text)


def _stranger(file: Found) -> Told:
    values = {"stranger": file.path, "bytes": file.bytes, "changed": moment(file.changed)}
    row = _ACQUISITIONS.row(values, session="?", files=1, last=values["changed"], acquisition=file.path)
    return Told(values, row)


def _totals(found: Catalog, listed: Sequence[Acquisition]) -> dict[str, int]:
    summary = found.summary
    return {
        "acquisitions": len(listed),
        "files": sum(one.files for one in listed),
        "bytes": sum(one.bytes for one in listed),
        "frames": sum(one.frames or 0 for one in listed),
        "lost": sum(one.lost for one in listed),
        "not_read_back": sum(one.states.get(FileState.PUBLISHED, 0) for one in listed),
        "lost_elsewhere": found.lost_elsewhere,
        "quarantined_pieces": summary.quarantined if summary else 0,
        "ledger": summary is not None,
        "unreadable_lines": summary.unreadable if summary else 0,
        "good": found.good,
    }


def _sum(found: Catalog, totals: dict[str, int]) -> str:
    parts = [counted(totals[f"{what}s"], what) for what in ("acquisition", "file", "byte")]
    if found.summary is not None:
        parts += [counted(totals["frames"], "frame"), f"{totals['lost']:,} lost"]
        unread = totals["not_read_back"]
        parts += [f"{unread:,} not read back (run verify)"] if unread else []
    if found.strangers:
        parts.append(f"{counted(len(found.strangers), 'other file')} (?)")
    return ", ".join(parts) + "\n"
