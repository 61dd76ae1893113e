"""The night's account: what each stream sent, and what became of it, as the ledger of its data folder tells.

No recording is opened: `verify` compares the files with the ledger. What was sent is told by the numbers of the
frames. LEDGER is the SHA-256 of the lines that a row rests on, in their order: those of the stream that tell of files
and frames. Exit codes: 0 each frame is accounted for; 1 one is not, a file is damaged, or a line of the ledger cannot
be read; 2 there is no ledger, or it cannot be read.
"""

import argparse
import errno
import hashlib
import sys
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from timestream_aggregator.commands.numbers import Kind, from_ledger
from timestream_aggregator.commands.telling import SINCE, Table, Told, counted, moment_or_age, write
from timestream_aggregator.ledger.summary import LedgerSummary

_STREAMS: Final = Table(
    "stream<20 sessions>8 sent>12 recorded>12 lost>8 missed>8 files>8 verified>8 bytes>18 sha256<"
)


@dataclass(slots=True)
class Account:
    """What became of the frames of a stream: `lost` by cause, `missed` before joining, `unexplained` in no line."""

    folder: str
    stream: str
    sha256: str
    sessions: int = 0
    sent: int = 0
    recorded: int = 0
    lost: dict[str, int] = field(default_factory=dict[str, int])
    missed: int = 0
    unexplained: int = 0
    files: int = 0
    verified: int = 0
    damaged: int = 0
    bytes: int = 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `account`."""
    parser.epilog = (__doc__ or "").split("\n\n", 1)[1]
    add = parser.add_argument
    add("folders", nargs="+", type=Path, metavar="DIR", help="a data folder")
    add("--since", type=moment_or_age, metavar="TIME", help=SINCE)
    add("--json", action="store_true", help="one JSON object a line, no table")


def run(args: argparse.Namespace) -> int:
    """Write the account of each folder; return the exit code."""
    good = True
    write([_STREAMS.head], as_json=args.json)
    for folder in args.folders:
        try:
            summary, accounts = _account(folder, args.since)
        except OSError as error:
            sys.stderr.write(f"account: {error.filename}: {error.strerror}\n")
            return 2
        wrong = [one.told for one in from_ledger(summary) if one.what is Kind.IN_BOTH]
        write([*map(_told, accounts), *wrong], as_json=args.json)
        if summary.unreadable:
            lines = counted(summary.unreadable, "line")
            sys.stderr.write(f"account: {folder}: {lines} of the ledger cannot be read\n")
        bad = any(one.unexplained or one.damaged for one in accounts)
        good = good and not (bad or wrong or summary.unreadable)
    return int(not good)


def _account(folder: Path, since: datetime | None) -> tuple[LedgerSummary, list[Account]]:
    """Return what the ledger tells, and of each stream. OSError: it cannot be read, or there is none."""
    digests = {"": hashlib.sha256()}
    digests.clear()

    def count(stream: str, text: bytes) -> None:
        digests.setdefault(stream, hashlib.sha256()).update(text)

    summary = LedgerSummary(folder, since, count)
    summary.update()
    if not summary.found:
        raise FileNotFoundError(errno.ENOENT, "no ledger is there: name a data folder", folder)
    accounts = [Account(str(folder), name, digest.hexdigest()) for name, digest in sorted(digests.items())]
    _fill({one.stream: one for one in accounts}, summary)
    return summary, accounts


def _fill(accounts: dict[str, Account], summary: LedgerSummary) -> None:
    """Count what the ledger tells of files and frames to the accounts of their streams."""
    frames, numbers = Counter[tuple[str, int | None]](), defaultdict[tuple[str, int | None], list[int]](list)
    for entry in summary.files.values():
        one, session = accounts[entry.stream], (entry.stream, entry.session_id)
        one.files += 1
        one.bytes += entry.bytes
        one.recorded += entry.new
        one.verified += entry.good is True
        one.damaged += entry.good is False
        frames[session] += entry.new
        numbers[session] += (n for n in (entry.first_frame_num, entry.last_frame_num) if n is not None)
    for told in (*summary.losses, *summary.joined):
        one, session = accounts[told.stream], (told.stream, told.session_id)
        if told.what == "lost":
            cause = (told.cause or "unknown").partition(":")[0]
            one.lost[cause] = one.lost.get(cause, 0) + told.count
        else:
            one.missed += told.count
        frames[session] += told.count
        numbers[session] += told.numbers or ()
    for (stream, session), count in frames.items():
        known = numbers[stream, session]
        span = max(known) - min(known) + 1 if known else 0
        accounts[stream].sessions += session is not None
        again = any(session == of for of, _, _ in summary.renumbered)
        accounts[stream].sent += span if known and not again else count
        accounts[stream].unexplained += max(span - count, 0)


def _told(one: Account) -> Told:
    values = asdict(one)
    notes = (
        (f"lost: {', '.join(f'{count:,} {cause}' for cause, count in one.lost.items())}", one.lost),
        (f"missed: {counted(one.missed, 'frame')} that had been sent before the recorder joined", one.missed),
        (f"TROUBLE: of {counted(one.unexplained, 'frame')} that were sent nothing tells", one.unexplained),
        (f"TROUBLE: {counted(one.damaged, 'file')} damaged, the read-back found (see verify)", one.damaged),
    )
    lines = (f"  {text}\n" for text, holds in notes if holds)
    return Told(values, _STREAMS.row(values, lost=sum(one.lost.values())) + "".join(lines))
