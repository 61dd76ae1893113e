"""Reads one file through the recorder's own parser and, frame by frame behind it, through spt3g.

The own parser goes first: spt3g believes any length that it finds. It is given a frame only when that is known
to be whole and to have a good crc. One frame and one piece of the file are in memory. `verify`
and the recorder's read-back both read with it.
"""

import bz2
import gzip
import hashlib
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from crc32c import crc32c

from timestream_aggregator.core.naming import PACKED, SUFFIX
from timestream_aggregator.g3.parser import Damaged, Frame, Parser, WireError
from timestream_aggregator.readback.file_report import Count, FileReport
from timestream_aggregator.readback.g3reader import (
    REFUSALS,
    in_short,
    moment_of,
    open_reader,
    type_of,
    whole_number,
)
from timestream_api.settings import LARGEST_FRAME

_PIECE: Final = 1 << 20  # bytes
_FOUND: Final = "Expected a G3 frame and found "
_BROKEN: Final = (OSError, EOFError, zlib.error)


def read(path: Path, repeated: int = 0, *, hashing: bool) -> Count:
    """Return what is in the file `path`; whatever is wrong with its bytes stands in the report's troubles.

    Of a compressed one, bytes and checksums are those of what is in it. The first `repeated` frames stand in an
    earlier file; `hashing` asks for the SHA-256.
    """
    report = FileReport(str(path))
    count = Count(report, repeated)
    try:
        report.bytes = path.stat().st_size
        if not path.is_file():
            report.trouble.append("not a file")
        elif not path.name.endswith((SUFFIX, *PACKED)):
            report.trouble.append(
                f"not read: its name does not end in {SUFFIX}; unpack it if it is compressed"
            )
        elif not report.bytes:
            report.crc32c = f"{0:08x}"
            report.trouble.append("empty")
        else:
            _Reading(path, count, Parser(LARGEST_FRAME)).run(hashing=hashing)
    except _BROKEN as error:
        report.trouble.append(f"cannot be read: {getattr(error, 'strerror', None) or error}")
    return count


def _pieces(path: Path) -> Iterator[bytes]:
    """Yield the bytes of a file, unpacked."""
    unpack = {".gz": gzip.open, ".bz2": bz2.open}.get(path.suffix, partial(open, buffering=0))
    with unpack(path, "rb") as file:
        while piece := file.read(_PIECE):
            yield piece


@dataclass(slots=True)
class _Reading:
    """One file on its way through both readers."""

    path: Path
    count: Count
    parser: Parser
    trouble: str | None = None  # the first one of the bytes; spt3g reads up to there
    refused: WireError | None = None
    zeros: bool = True  # what was refused, and all after it
    good: int = 0  # frames after the first trouble
    bad: int = 0
    at: int = 0  # where the next frame begins
    reader: Any = None  # spt3g's, once it is needed

    def run(self, *, hashing: bool) -> None:
        """Read all of the file, for its checksums also what follows the first trouble."""
        report = self.count.report
        crc, size, digest = 0, 0, hashlib.sha256() if hashing else None
        for piece in _pieces(self.path):
            crc, size = crc32c(piece, crc), size + len(piece)
            if digest is not None:
                digest.update(piece)
            self._parse(piece)
        report.crc32c = f"{crc:08x}"
        report.sha256 = None if digest is None else digest.hexdigest()
        self._end(size)
        if self.trouble is not None:
            report.trouble.append(self.trouble)

    def _parse(self, piece: bytes) -> None:
        """Take the frames that `piece` completes."""
        if self.refused is not None:
            self.zeros = self.zeros and not piece.strip(b"\0")
            return
        try:
            for item in self.parser.feed(memoryview(piece)):
                self._take(item)
                self.at += item.size
        except WireError as error:
            self.refused = error
            self.zeros = not any(bytes(part).strip(b"\0") for part in self.parser.torn())

    def _take(self, item: Frame | Damaged) -> None:
        """Take one frame: count it if both readers find the same. Of one that is odd spt3g is the judge."""
        if isinstance(item, Damaged) and not (item.odd and self.trouble is None):
            self.bad += self.trouble is not None
            self.trouble = self.trouble or f"bad crc: the frame at byte {item.offset} has changed: {item.why}"
        elif self.trouble is not None:
            self.good += 1
        else:
            self.trouble = self._compare(item)

    def _compare(self, own: Frame | Damaged) -> str | None:
        """Count the frame that follows for spt3g as well; return what is wrong if that is another one."""
        try:
            self.reader = self.reader or open_reader(self.path)
            found = self.reader.Process(None)
            end = (
                self.reader.tell() if self.path.name.endswith(SUFFIX) else -1
            )  # no reading on after it, if compressed
        except REFUSALS as error:
            what = f"is odd, {own.why}" if isinstance(own, Damaged) else "is whole"
            return f"spt3g does not load the frame at byte {self.at}, which {what}: {in_short(error)!r}"
        if not found:
            return f"the frame at byte {self.at} is whole, but spt3g takes the file to end there"
        theirs = found[0]
        kind = type_of(theirs)
        if end not in {self.at + own.size, -1} or (isinstance(own, Frame) and kind != own.type):
            return f"spt3g finds another frame at byte {self.at}: of type {kind}, up to byte {end}"
        return self._count(own, theirs)

    def _count(self, own: Frame | Damaged, theirs: Any) -> str | None:
        """Count a frame, with its own numbers where they are known; return what is wrong if spt3g reads others."""
        numbers = {name: whole_number(theirs, name) for name in ("session_id", "frame_num")}
        stream = own.stream_id if isinstance(own, Frame) else None
        if isinstance(own, Frame):
            known = {"session_id": own.session_id, "frame_num": own.frame_num}
            for name, value in known.items():
                if value is not None and numbers[name] != value:
                    return f"the frame at byte {self.at} has {name} {value}, but spt3g reads {numbers[name]}"
            numbers = known
        session, number = numbers["session_id"], numbers["frame_num"]
        self.count.add(type_of(theirs), session, number, moment_of(theirs), stream)
        return None

    def _end(self, size: int) -> None:
        """Look at what is left when the file has ended at byte `size`."""
        report = self.count.report
        if not self.path.name.endswith(SUFFIX):
            report.bytes = size
        elif size != report.bytes:
            report.notes.append(f"it was changed while it was read: {report.bytes} bytes, then {size}")
            report.bytes = size
        if self.trouble is None:
            self.trouble = self._explain_rest(size) or self._explain_end()
        elif self.good or self.bad or self.at < size:
            rest = f"{self.good} good and {self.bad} bad frames follow, which spt3g cannot reach"
            self.trouble = f"{self.trouble}; {rest}"

    def _explain_rest(self, size: int) -> str | None:
        """Return what the bytes after the last whole frame are."""
        start, rest = self.at, size - self.at
        if self.refused is not None:
            if self.zeros:
                return f"zeros from byte {start} on, {rest} of them"
            what = "not a G3 file" if not start else f"no frame at byte {start}"
            reason = self.refused.what.removeprefix(_FOUND)
            return f"{what}: found {reason}, but {self.refused.why}; {rest} bytes not read"
        odd = f", {self.parser.odd}," if self.parser.odd else ""
        torn = f"torn at byte {start}: the frame there{odd} goes beyond the end of the file at {size}"
        return torn if rest else None

    def _explain_end(self) -> str | None:
        """Return what is wrong if spt3g finds more than there is."""
        try:
            more = self.reader.Process(None) if self.reader is not None else ()
        except REFUSALS as error:
            return f"after the last frame spt3g says {in_short(error)!r}"
        return "spt3g finds more frames than there are" if more else None
