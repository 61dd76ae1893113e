"""Say that somebody has seen to files that do not hold what was received: `DataIntact` is then about others.

The ledger keeps that. A recorder that runs learns of it when it has something to write there itself, at the latest
when it publishes its next file. Exit codes: 0 noted; 2 no such file is known as damaged, or the ledger is no good.
"""

import argparse
import sys
from pathlib import Path

from timestream_aggregator import logs
from timestream_aggregator.ledger.file import Ledger
from timestream_aggregator.ledger.summary import summary_of
from timestream_api.ledger import Acknowledged

STREAM = "acknowledge"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `acknowledge`."""
    parser.epilog = (__doc__ or "").split("\n\n", 1)[1]
    add = parser.add_argument
    add(
        "files",
        nargs="*",
        metavar="FILE",
        help="path under the data folder, as the ledger has it (all damaged ones)",
    )
    add("--data-dir", type=Path, default=Path("/data"), help="the data folder (/data)")


def run(args: argparse.Namespace) -> int:
    """Note it and say so; return the exit code."""
    try:
        told = summary_of(args.data_dir)
    except OSError as error:
        sys.stderr.write(f"acknowledge: {error}\n")
        return 2
    damaged = [path for path, entry in told.files.items() if entry.good is False] if told else []
    unknown = [path for path in args.files if path not in damaged]
    if unknown or not damaged:
        what = unknown[0] if unknown else args.data_dir
        sys.stderr.write(
            f"acknowledge: {what}: the ledger knows no such damaged file. Known: {', '.join(damaged) or 'none'}\n"
        )
        return 2
    with logs.to_standard_error("critical"):
        ledger = Ledger(args.data_dir, STREAM, logs.for_stream(STREAM))
        for path in args.files or damaged:
            ledger.note(Acknowledged(path=path))
        ledger.close()
    sys.stdout.writelines(f"acknowledged {path}\n" for path in args.files or damaged)
    return 2 if ledger.state.dropped else 0
