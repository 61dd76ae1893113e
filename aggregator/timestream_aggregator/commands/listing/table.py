"""What `ls` writes: a table for people, or lines of JSON for programs."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Final

from timestream_aggregator.commands.inventory import Found, Staged, counted, moment, numbered
from timestream_aggregator.commands.listing.catalog import Acquisition, Catalog, File, FileState

_COLUMNS: Final = "{:<11} {:>6}  {:<9} {:>17} {:>10} {:>8}  {:<19}  {:<19}  {}"
_FILES: Final = "    {:<17} {:>17} {:>10}  {:<15}  {:<19}  {:<19}  {:<8}  {}\n"


def table(
    root: Path, found: Catalog, staged: Sequence[Staged], *, with_files: bool, everything: bool
) -> Iterator[str]:
    """Yield the lines for people."""
    listed = found.listed(everything=everything)
    yield _COLUMNS.format(
        "SESSION", "FILES", "NUMBERS", "BYTES", "FRAMES", "LOST", "FIRST (UTC)", "LAST (UTC)", "ACQUISITION"
    ) + "\n"  # fmt: skip
    for acquisition in listed:
        yield _row(acquisition, found)
        if with_files:
            yield from _files(acquisition)
    yield from (_stranger(file) for file in found.strangers)
    yield _summary(listed, found)
    yield from _rest(found, everything=everything)
    yield from (f"{file.say(root)}\n" for file in staged)


def objects(found: Catalog, staged: Sequence[Staged], *, with_files: bool, everything: bool) -> Iterator[str]:
    """Yield the lines for programs: an object each, told apart by its first key."""
    listed = found.listed(everything=everything)
    values: chain[dict[str, object]] = chain(
        *((_acquisition(one), *(map(_file, one.files) if with_files else ())) for one in listed),
        (
            {"stranger": file.path, "bytes": file.bytes, "changed": moment(file.changed)}
            for file in found.strangers
        ),
        (one.values for one in found.findings),
        ({"staged": file.path, **asdict(file), "changed": moment(file.changed)} for file in staged),
        [{"summary": _totals(listed, found)}],
    )
    yield from (json.dumps(value) + "\n" for value in values)


def _row(acquisition: Acquisition, found: Catalog) -> str:
    numbers = [file.number for file in acquisition.files]
    line = _COLUMNS.format(
        "-" if acquisition.session is None else acquisition.session,
        f"{len(acquisition.here):,}",
        f"{min(numbers):03}-{max(numbers):03}",
        f"{acquisition.bytes:,}",
        "-" if acquisition.frames is None else f"{acquisition.frames:,}",
        "-" if found.summary is None else f"{acquisition.lost:,}",
        _moment(acquisition.first),
        _moment(acquisition.last),
        acquisition.name,
    )
    remarks = ", ".join(_remarks(acquisition, found))
    return f"{line}  ({remarks})\n" if remarks else f"{line}\n"


def _remarks(acquisition: Acquisition, found: Catalog) -> Iterator[str]:
    """Yield what is not as it should be, and what has been checked."""
    if acquisition.absent:
        yield f"absent: {numbered(acquisition.absent)}"
    if acquisition.duplicates:
        yield counted(acquisition.duplicates, "duplicate")
    if acquisition.recovered:
        yield f"{acquisition.recovered} recovered"
    for state in (FileState.DAMAGED, FileState.SIZE, FileState.UNKNOWN):
        count = acquisition.count(state)
        if count and (state is not FileState.UNKNOWN or found.summary is not None):
            yield f"{count} {state}"
    verified = acquisition.count(FileState.VERIFIED)
    if verified:
        yield "verified" if verified == len(acquisition.here) else f"{verified} verified"


def _files(acquisition: Acquisition) -> Iterator[str]:
    yield _FILES.format(
        "STATE", "BYTES", "FRAMES", "FRAME_NUM", "FIRST (UTC)", "LAST (UTC)", "CRC32C", "FILE"
    )
    for file in acquisition.files:
        entry = file.entry
        size = file.found.bytes if file.found else entry.file.bytes if entry else 0
        yield _FILES.format(
            "recovered" if entry and entry.recovered and file.state is FileState.PUBLISHED else file.state,
            f"{size:,}",
            f"{file.frames:,}" if entry else "-",
            "-"
            if entry is None or entry.file.first_frame_num is None
            else f"{entry.file.first_frame_num}-{entry.file.last_frame_num}",
            _moment(file.first),
            _moment(file.last),
            entry.file.crc32c if entry else "-",
            file.path,
        )


def _stranger(file: Found) -> str:
    return (
        _COLUMNS.format("?", 1, "-", f"{file.bytes:,}", "-", "-", "-", moment(file.changed), file.path) + "\n"
    )


def _summary(listed: Sequence[Acquisition], found: Catalog) -> str:
    parts = [
        counted(len(listed), "acquisition"),
        counted(sum(len(one.here) for one in listed), "file"),
        counted(sum(one.bytes for one in listed), "byte"),
    ]
    if found.summary is not None:
        parts.append(counted(sum(one.frames or 0 for one in listed), "frame"))
        parts.append(f"{sum(one.lost for one in listed):,} lost")
        unread = sum(one.count(FileState.PUBLISHED) for one in listed)
        parts.extend([f"{unread:,} not read back (run verify)"] if unread else [])
    if found.strangers:
        parts.append(f"{counted(len(found.strangers), 'other file')} (?)")
    return ", ".join(parts) + "\n"


def _rest(found: Catalog, *, everything: bool) -> Iterator[str]:
    """Yield what there is to know of what is not listed."""
    gone = [] if everything else [one for one in found.acquisitions if not one.here]
    if gone:
        files = counted(sum(len(one.files) for one in gone), "file")
        yield f"published and gone: {counted(len(gone), 'acquisition')}, {files} (--all lists them)\n"
    if found.lost_elsewhere:
        yield f"lost outside of these acquisitions: {counted(found.lost_elsewhere, 'frame')}\n"
    summary = found.summary
    if summary is not None and summary.quarantined:
        pieces = counted(summary.quarantined, "damaged piece")
        size = counted(summary.quarantined_bytes, "byte")
        yield f"put aside: {pieces}, {size} (verify lists them)\n"
    if summary is not None and summary.unreadable:
        lines = counted(summary.unreadable, "line")
        yield f"TROUBLE: damaged, or of a later version: {lines} of the ledger\n"
    yield from (f"{'TROUBLE: ' if one.trouble else ''}{one.line}" for one in found.findings)


def _acquisition(one: Acquisition) -> dict[str, object]:
    return {
        "acquisition": one.name,
        "session": one.session,
        "files": len(one.here),
        **{
            name: getattr(one, name)
            for name in ("absent", "bytes", "frames", "lost", "duplicates", "recovered")
        },
        "states": {str(state): count for state in FileState if (count := one.count(state))},
        "first": None if one.first is None else moment(one.first),
        "last": None if one.last is None else moment(one.last),
    }


def _file(file: File) -> dict[str, object]:
    entry = file.entry
    return {
        "file": file.path,
        "state": file.state,
        "bytes": file.found.bytes if file.found else None,
        "frames": file.frames if entry else None,
        "first_frame_num": entry.file.first_frame_num if entry else None,
        "last_frame_num": entry.file.last_frame_num if entry else None,
        "crc32c": entry.file.crc32c if entry else None,
        "sha256": entry.sha256 if entry else None,
        "recovered": entry.recovered if entry else None,
        "reason": entry.reason if entry else None,
        "first": None if file.first is None else moment(file.first),
        "last": None if file.last is None else moment(file.last),
    }


def _totals(listed: Sequence[Acquisition], found: Catalog) -> dict[str, object]:
    summary = found.summary
    return {
        "acquisitions": len(listed),
        "gone": len([one for one in found.acquisitions if not one.here]),
        "files": sum(len(one.here) for one in listed),
        "bytes": sum(one.bytes for one in listed),
        "frames": sum(one.frames or 0 for one in listed),
        "lost": sum(one.lost for one in listed),
        "lost_elsewhere": found.lost_elsewhere,
        "quarantined_pieces": summary.quarantined if summary else 0,
        "ledger": summary is not None,
        "unreadable_lines": summary.unreadable if summary else 0,
        "good": found.good,
    }


def _moment(unix_seconds: float | None) -> str:
    return "-" if unix_seconds is None else moment(unix_seconds)
