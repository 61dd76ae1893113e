"""Recover what a killed recorder left in a data folder, as the next one does when it starts.

Safe at any time and any number of times: files that are being written are left alone, and so is what is no file of a
recorder. Exit codes: 0 all is recovered, also when there was nothing; 1 a file could not be; 2 the folder cannot be
used.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

from timestream_aggregator import logs
from timestream_aggregator.commands.telling import Table, Told, write
from timestream_aggregator.core.naming import parse
from timestream_aggregator.disk.folder import DataFolder, UnusableFolderError
from timestream_aggregator.disk.layout import wanted_path
from timestream_aggregator.ledger.file import Ledger
from timestream_aggregator.ledger.memory import Memory
from timestream_aggregator.ledger.state import learn
from timestream_aggregator.ledger.telling import Telling
from timestream_aggregator.recovery.recovery import Outcome, Recovery, shown
from timestream_api.ledger import Fact

STREAM: Final = "recover"
_FILES: Final = Table("verdict<10 frames>8 bytes>15 cut>12 quarantined>12 file<")


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
    write(_table(outcomes), as_json=False)
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
        return Recovery(folder, tell, log, earlier=earlier, losses=Telling(ledger, log)).run()
    finally:
        ledger.close()


def _table(outcomes: Sequence[Outcome]) -> Iterator[Told]:
    if not outcomes:
        yield Told(None, "nothing to recover\n")
        return
    yield _FILES.head
    for outcome in outcomes:
        why = outcome.trouble or outcome.stranger
        name = f"{_name(outcome)}: {why}" if why else _name(outcome)
        yield Told(None, _FILES.row(asdict(outcome), verdict=_word(outcome), file=name))
    count = Counter(map(_word, outcomes))
    done = f"{count['recovered']} recovered, {count['removed']} without frames removed"
    yield Told(None, f"{done}, {count['FAILED']} failed\n")


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
