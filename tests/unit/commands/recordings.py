"""Recorded files and what the ledger tells of them, for the tests of what looks at both."""

import argparse
import logging
from pathlib import Path
from typing import Any, Final

from crc32c import crc32c

from tests.tools.frames import frame_bytes
from timestream_aggregator.commands import verify
from timestream_aggregator.commands.verify.checking import Checker
from timestream_aggregator.ledger.file import Ledger
from timestream_aggregator.readback.file_report import FileReport
from timestream_api import ledger
from timestream_api.report import CloseReason

SESSION: Final = 1_700_000_000


def frame(kind: str, number: int, session: int = SESSION) -> bytes:
    keys = {"session_id": session, "frame_num": number, "sostream_id": "ufm_test"}
    return frame_bytes(kind, keys, payload=500)


GOOD: Final = [frame("O", 0), frame("W", 1), *(frame("S", n) for n in range(2, 6))]


def written(folder: Path, data: bytes, name: str = "a.g3") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def told(folder: Path, *facts: ledger.Fact, stream: str = "ufm_test") -> None:
    """Let a recorder's ledger tell `facts`."""
    (folder / ".timestream-aggregator" / "staging").mkdir(parents=True, exist_ok=True)
    summary = Ledger(folder, stream, logging.getLogger("test"))
    for fact in facts:
        summary.note(fact)
    summary.write()
    summary.close()


def published(name: str, data: bytes, **other: Any) -> ledger.Published:
    """Return what the ledger tells of a file with the frames of GOOD."""
    known: dict[str, Any] = {
        "path": name, "bytes": len(data), "frames": 6, "crc32c": f"{crc32c(data):08x}",
        "session_id": SESSION, "first_frame_num": 0, "last_frame_num": 5, "reason": CloseReason.DISCONNECTED,
    }  # fmt: skip
    return ledger.Published(**(known | other))


def recorded(folder: Path, name: str = "17000/a_000.g3", data: bytes = b"".join(GOOD), **other: Any) -> Path:
    """A file with its line in the ledger."""
    told(folder, published(name, data, **other))
    return written(folder, data, name)


def run_verify(*paths: Path, options: tuple[str, ...] = ()) -> int:
    parser = argparse.ArgumentParser()
    verify.add_arguments(parser)
    return verify.run(parser.parse_args([*map(str, paths), *options]))


def verified(path: Path) -> FileReport:
    """Return what `verify` finds out of one file."""
    return Checker().verify(path)
