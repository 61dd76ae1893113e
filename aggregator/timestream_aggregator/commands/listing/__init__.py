"""List the acquisitions and files of a data folder, and what is missing of them.

The ledger tells; for files that it does not know there are names, sizes and times of change. No file but the
ledger is opened, so that listing never gets into the way of recording, and ten thousand files take a moment.
`catalog` puts both together, `table` writes.
"""

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import Final

from timestream_aggregator.commands.inventory import SINCE, files, moment_or_age, note_unread, staged
from timestream_aggregator.commands.listing.catalog import catalog
from timestream_aggregator.commands.listing.table import objects, table
from timestream_aggregator.ledger.summary import summary_of

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
        result.narrow(args.since and args.since.timestamp(), args.last, args.session)
    except OSError as error:
        sys.stderr.write(f"ls: {error.filename}: {error.strerror}\n")
        return 2
    if args.json:
        lines = objects(result, waiting, with_files=args.files, everything=args.all)
    else:
        lines = table(args.path, result, waiting, with_files=args.files, everything=args.all)
    sys.stdout.writelines(lines)
    return int(not result.good)
