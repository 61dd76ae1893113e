"""Recover what a killed recorder left in a data folder, as the next one does when it starts.

Safe at any time and any number of times: files that are being written are left alone, and so is what is no file of a
recorder. Exit codes: 0 all is recovered, also when there was nothing; 1 a file could not be; 2 the folder cannot be
used.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from timestream_aggregator import logs
from timestream_aggregator.core.naming import parse
from timestream_aggregator.disk.folder import DataFolder, UnusableFolderError
from timestream_aggregator.disk.layout import wanted_path
from timestream_aggregator.ledger.file import Ledger
from timestream_aggregator.ledger.losses import Losses
from timestream_aggregator.ledger.memory import Memory
from timestream_aggregator.ledger.state import learn
from timestream_aggregator.recovery.recovery import Outcome, Recovery, shown
from timestream_api.ledger import Fact

STREAM: Final = "recover"
_COLUMNS: Final = "{:<10} {:>8} {:>15} {:>12} {:>12}  {}\n"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `recover`."""
    parser.epilog = (__doc__ or "").split("\n\n", 1)[1]
    parser.add_argument("path", nargs="?", type=Path, default=Path("/data"), help="the data folder (/data)")


def run(args: argparse.Namespace) -> int:
    """Recover and write the table; return the exit code."""
    try:
        with logs.to_standard_error("critical"):
            outcomes = recover(args.path)
    except (UnusableFolderError, OSError) as error:
        sys.stderr.write(f"recover: {error}\n")
        return 2
    sys.stdout.writelines(_table(outcomes))
    return int(any(outcome.trouble for outcome in outcomes))


def recover(root: Path) -> list[Outcome]:
    """Return what became of each file that was left in the data folder `root`.

    Raises:
        UnusableFolderError: the folder cannot be written to, or does not exist.
    """
    folder = DataFolder(root)
    if root.is_dir() and not folder.staging.is_dir():
        return []
    folder.prepare()
    log = logs.for_stream(STREAM)
    ledger = Ledger(root, STREAM, log)

    def tell(fact: Fact) -> None:
        ledger.note(fact)
        ledger.write(sync=True)

    try:
        earlier = Memory(STREAM)
        learn(earlier, root, folder.disk)
        return Recovery(folder, tell, log, earlier=earlier, losses=Losses(ledger, log)).run()
    finally:
        ledger.close()


def _table(outcomes: Iterable[Outcome]) -> Iterator[str]:
    done = list(outcomes)
    if not done:
        yield "nothing to recover\n"
        return
    yield _COLUMNS.format("", "FRAMES", "BYTES", "CUT", "QUARANTINED", "FILE")
    for outcome in done:
        why = outcome.trouble or outcome.stranger
        yield _COLUMNS.format(
            _word(outcome),
            f"{outcome.frames:,}",
            f"{outcome.bytes:,}",
            f"{outcome.cut:,}",
            f"{outcome.quarantined:,}",
            f"{_name(outcome)}: {why}" if why else _name(outcome),
        )
    count = Counter(map(_word, done))
    yield (
        f"{count['recovered']} recovered, {count['removed']} without frames removed, {count['FAILED']} failed\n"
    )


def _word(outcome: Outcome) -> str:
    if outcome.trouble:
        return "FAILED"
    if outcome.stranger:
        return "left alone"
    return "recovered" if outcome.path else "removed"


def _name(outcome: Outcome) -> str:
    """Return the name that a file got, or was to get, or that it has."""
    wanted = wanted_path(outcome.staged)
    return outcome.path or (wanted if parse(wanted) else shown(outcome.staged))
