"""What the ledger's last lines tell a recorder that starts: names used, the session, files not yet read back."""

import json
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from timestream_aggregator.core.file_facts import FileFacts
from timestream_aggregator.core.naming import parse
from timestream_aggregator.core.sessions import EarlierRun
from timestream_aggregator.disk.calls import Disk
from timestream_aggregator.disk.layout import own
from timestream_aggregator.ledger.file import NAME
from timestream_api.ledger import Left

_RECENT: Final = 1 << 20  # bytes of the ledger: thousands of files
_FILES: Final = frozenset({"opened", "published", "recovered", "left"})
_UNREADABLE: Final = (ValueError, TypeError, LookupError, OverflowError, RecursionError, struct.error)
"""What is raised for bytes that make no line, or one of another shape."""


@dataclass(slots=True)
class History:
    """What happened last in a data folder, to one stream where that matters."""

    paths: list[str] = field(default_factory=list[str])
    """Names that files got or were to get, of all streams."""
    session_id: int | None = None
    highest: int | None = None
    """The highest frame_num of that session that is in a file."""
    run: EarlierRun | None = None
    """The last run of the stream's recorder."""
    unended: dict[str, None] = field(default_factory=dict[str, None])
    """Files of all streams that were opened; what became of them, no line tells."""
    left: dict[str, Left] = field(default_factory=dict[str, Left])
    """What should be in files that could not be published and were not yet recovered, by the name they are to get."""
    lost: set[tuple[str, int | None]] = field(default_factory=set[tuple[str, int | None]])
    """What was noted as lost from files: the name these were to get, and the first frame_num."""
    unverified: dict[str, FileFacts] = field(default_factory=dict[str, FileFacts])

    def add(self, line: dict[str, Any], *, own: bool) -> None:
        """Take in a line of the ledger.

        Raises:
            ValueError, TypeError, LookupError, OverflowError, struct.error: the line is not one about a file.
        """
        kind, path = line["kind"], line["path"]
        if parse(path) is None:
            raise ValueError(path)
        if kind in _FILES:
            self.paths.append(path)
            self._end(path)
            self._end(line.get("wanted", path))
        if kind in {"opened", "left"}:  # what is left may have got its name before a call failed
            self.unended[path] = None
        if kind == "left":
            self.left[path] = Left.model_validate(line)
        elif kind == "removed":
            self.left.pop(path, None)
        elif kind == "loss":  # what was not in it has been noted
            self.left.pop(path, None)
            self.lost.add((path, line.get("first")))
        if own:
            self._add_file(kind, path, line)

    def add_run(self, line: dict[str, Any]) -> None:
        """Take in a line of the stream's recorder, if it tells of its start or end. Raises as `add` does."""
        if line["kind"] == "started":
            self.run = EarlierRun(datetime.fromisoformat(line["time"]).timestamp(), None)
        elif line["kind"] == "stopped":
            at = datetime.fromisoformat(line["time"]).timestamp()
            self.run = replace(self.run or EarlierRun(0.0, None), stopped=at)

    def _end(self, path: str) -> None:
        """Take note that there is a line of what became of the file that was to be called `path`."""
        self.unended.pop(path, None)
        self.left.pop(path, None)

    def _add_file(self, kind: str, path: str, line: dict[str, Any]) -> None:
        """Take in a line about a file of the stream."""
        if kind == "verified":
            self.unverified.pop(path, None)
        elif kind in {"published", "recovered"}:
            (crc,) = struct.unpack(">I", bytes.fromhex(line["crc32c"]))
            self.unverified[path] = FileFacts(path, int(line["bytes"]), int(line["frames"]), crc)
            self._add_numbers(line.get("sessionId"), line.get("lastFrameNum"))

    def _add_numbers(self, session_id: object, last: object) -> None:
        if not isinstance(session_id, int) or not isinstance(last, int):
            return
        struct.pack("<qq", session_id, last)  # as frames hold them: others are nobody's
        if session_id == self.session_id and self.highest is not None:
            last = max(last, self.highest)
        self.session_id, self.highest = session_id, last


def read(root: Path, stream_id: str, disk: Disk) -> History:
    """Return what the ledger of the data folder `root` tells of its recent past, and that of one stream.

    Raises:
        OSError: there is a ledger, and it cannot be read.
    """
    history = History()
    opened = set[object]()  # by the stream: whoever recovered them
    for line in _lines(root, disk):
        with suppress(*_UNREADABLE):  # what is not about a file
            mine = line["stream"] == stream_id
            if mine:
                history.add_run(line)
            if mine or (line["kind"] == "recovered" and line.get("wanted") in opened):
                opened.add(line["path"])
            history.add(
                line, own=mine or (line["kind"] in {"recovered", "verified"} and line["path"] in opened)
            )
    return history


def _lines(root: Path, disk: Disk) -> Iterator[dict[str, Any]]:
    """Yield the last lines, as far as they are JSON objects."""
    try:
        tail = disk.tail(own(root, NAME), _RECENT)
    except FileNotFoundError:
        return
    for text in tail.splitlines():
        with suppress(*_UNREADABLE):  # torn
            line = json.loads(text)
            if isinstance(line, dict):
                yield line
