"""Read recorded files back, frame by frame, and say what is in them and what is wrong.

A file is good when spt3g, the library of its readers, and the recorder's own parser both load each frame to
the last byte and find the same, no frame_num is missing inside it that the ledger does not tell of, and it is
what the ledger of its data folder says: size, frames, numbers, CRC-32C, and sha256 where it was read back
before. One file is open at a time, and one frame in memory. Of the contents only the keys of the streamer are
unpacked: spt3g alone does not know the instruments' own classes. The crc vouches for the rest.

The reader is that of the recorder's read-back; `checking` compares with the ledger, `text` writes.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from timestream_aggregator.commands.inventory import files, note_unread
from timestream_aggregator.commands.telling import Told, write
from timestream_aggregator.commands.verify import text
from timestream_aggregator.commands.verify.checking import Checker
from timestream_aggregator.commands.verify.text import VerifyTotals
from timestream_aggregator.core.naming import PACKED, SUFFIX

_EPILOG: Final = """
Files are compared with the ledger of the data folder that they lie in, as far up as that may be. If a folder
is named, files that were published there and are gone are trouble too: at a site that fetches files away, say
--moved-is-fine. So are files that a killed recorder has left: `timestream-aggregator recover` publishes them.
Losses that the ledger tells of are listed and are no trouble: what is there is what was received.
Exit codes: 0 all is good, 1 there is trouble, or nothing to verify, 2 a path is not there, or a ledger cannot
be read.
"""


class UnreadableError(Exception):
    """What is needed to verify cannot be read. No OSError: those of the output are others."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `verify`."""
    parser.epilog = _EPILOG
    add = parser.add_argument
    add("paths", nargs="+", type=Path, metavar="PATH", help="a file, or a folder of .g3 files")
    add("--json", action="store_true", help="one JSON object a line for each file, folder, and all; no table")
    add("--moved-is-fine", action="store_true", help="files may be fetched away after they were published")


def run(args: argparse.Namespace) -> int:
    """Verify all files. Return 0 if all are good, 1 at any trouble, 2 if a path is not there."""
    absent = [path for path in args.paths if not path.exists()]
    for path in absent:
        sys.stderr.write(f"verify: {path} does not exist\n")
    if absent:
        return 2
    totals = VerifyTotals(args.moved_is_fine)
    try:
        write(_things(args.paths, Checker(), totals), as_json=args.json)
    except UnreadableError as error:
        sys.stderr.write(f"verify: {error}\n")
        return 2
    return int(not totals.good)


def find(paths: Sequence[Path]) -> Iterator[Path]:
    """Yield the files named, and those that end in .g3, compressed or not, in the folders named, in order of name."""
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        found = files(path, partial(note_unread, "verify"))
        yield from (path / file.path for file in found if file.path.endswith((SUFFIX, *PACKED)))


def _things(paths: Sequence[Path], checker: Checker, totals: VerifyTotals) -> Iterator[Told]:
    """Verify, and yield what is found as soon as it is.

    Raises:
        UnreadableError: a folder or a ledger cannot be read.
    """
    try:
        yield text.FILES.head
        for path in find(paths):
            report = checker.verify(path)
            totals.add(report)
            yield text.file(report)
        folders = [checker.folder(path) for path in dict.fromkeys(paths) if path.is_dir()]
        totals.add_numbers(findings := list(checker.findings()), checker.unreadable)
        yield from text.numbers(findings)
        for folder in filter(None, folders):
            totals.add_folder(folder)
            yield text.folder(folder, moved_is_fine=totals.moved_is_fine)
        yield totals.told
    except OSError as error:
        raise UnreadableError(f"{error.filename}: {error.strerror}") from error
