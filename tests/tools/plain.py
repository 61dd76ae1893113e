"""A parser of G3 streams as plain as can be: what the recorder's is compared with. No code of that is in it.

It has all bytes at hand, so it needs none of what makes the other one hard: nothing is cut, nothing is
remembered from one frame to the next. Besides frames it tells where each field is, for those who damage them.
"""

import struct
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from crc32c import crc32c

from tests.tools.made_frames import g3_int, g3_string

_LONGEST_VALUE: Final = 512  # of a key that the recorder reads
NOT_AN_INT: Final = -1


class FieldKind(StrEnum):
    """What a field of a frame is."""

    MARK = "mark"
    VERSION = "version"
    COUNT = "count"
    TYPE = "type"
    NAME_LENGTH = "name length"
    NAME = "name"
    BLOB_LENGTH = "blob length"
    BLOB = "blob"
    CRC = "crc"


@dataclass(frozen=True)
class Field:
    """Bytes `start` to `end` of the stream."""

    kind: FieldKind
    start: int
    end: int


@dataclass(frozen=True)
class Seen:
    """A whole frame, as the recorder should see it; of a damaged or odd one only where it is counts."""

    start: int
    end: int
    good: bool
    type: str = ""
    flow_control: int | None = None
    session_id: int | None = None
    frame_num: int | None = None
    stream_id: str | None = None


@dataclass
class Stream:
    """What a stream consists of: whole frames, then `end`, after which all is torn, or refused."""

    frames: list[Seen] = field(default_factory=list[Seen])
    fields: list[Field] = field(default_factory=list[Field])
    end: int = 0
    refused: bool = False


class _NotAllThereError(Exception):
    """The stream ends inside a frame."""


class _RefusedError(Exception):
    """What is there cannot be a frame."""


class _Cursor:
    """Reads fields one after another and takes note of them."""

    def __init__(self, data: bytes, fields: list[Field]) -> None:
        self.data, self.fields, self.at = data, fields, 0

    def take(self, kind: FieldKind, size: int) -> bytes:
        start, self.at = self.at, self.at + size
        if self.at > len(self.data):
            raise _NotAllThereError
        self.fields.append(Field(kind, start, self.at))
        return self.data[start : self.at]

    def number(self, kind: FieldKind, code: str) -> int:
        return struct.unpack("<" + code, self.take(kind, struct.calcsize(code)))[0]


def parse(data: bytes, limit: int) -> Stream:
    """Return what `data` consists of, where no frame may be larger than `limit`."""
    stream = Stream()
    cursor = _Cursor(data, stream.fields)
    try:
        while cursor.at < len(data):
            stream.frames.append(_frame(cursor, limit))
            stream.end = cursor.at
    except _NotAllThereError:
        pass
    except _RefusedError:
        stream.refused = True
    return stream


def _frame(cursor: _Cursor, limit: int) -> Seen:
    start = cursor.at
    if len(cursor.data) - start < 13:
        raise _NotAllThereError
    mark, version = cursor.number(FieldKind.MARK, "B"), cursor.number(FieldKind.VERSION, "I")
    entries = cursor.number(FieldKind.COUNT, "i")
    code = cursor.take(FieldKind.TYPE, 4)[::-1].lstrip(b"\0")
    if mark != 1 or version > 255 or not 0 <= entries <= 1 << 20:
        raise _RefusedError
    odd = version != 1 or entries > 4096 or not code or not all(0x20 < c < 0x7F for c in code)
    values, crc = dict[bytes, bytes](), 0xFFFFFFFF
    for left in range(entries, 0, -1):
        odd = odd or _is_odd(cursor, start, limit)
        name, blob = _entry(cursor, start, limit, odd=odd, last=left == 1)
        values[name], crc = blob, crc32c(blob, crc32c(name, crc))
    if cursor.number(FieldKind.CRC, "I") != crc ^ 0xFFFFFFFF or odd:
        return Seen(start, cursor.at, good=False)
    flow = _int(values, b"sostream_flowcontrol")
    if flow is None and b"sostream_flowcontrol" in values:
        flow = NOT_AN_INT
    session_id, frame_num = _int(values, b"session_id"), _int(values, b"frame_num")
    return Seen(start, cursor.at, True, code.decode(), flow, session_id, frame_num, _stream_id(values))


def _is_odd(cursor: _Cursor, start: int, limit: int) -> bool:
    """Return whether the next entry has too long a name, or makes the frame too large."""
    at, data = cursor.at, cursor.data
    if at + 8 > len(data):
        raise _NotAllThereError
    name_length = int.from_bytes(data[at : at + 8], "little")
    if name_length > 1024:
        return True
    blob = at + 16 + name_length
    if blob > len(data):
        raise _NotAllThereError
    return blob + int.from_bytes(data[blob - 8 : blob], "little") + 4 - start > limit


def _entry(cursor: _Cursor, start: int, limit: int, *, odd: bool, last: bool) -> tuple[bytes, bytes]:
    """Return name and blob of an entry. What an odd frame announces has a limit, too."""
    most = max(2 * limit, 64 << 20) if odd else limit
    name_length = cursor.number(FieldKind.NAME_LENGTH, "Q")
    if cursor.at + name_length - start > most:
        raise _RefusedError
    name = cursor.take(FieldKind.NAME, name_length)
    blob_length = cursor.number(FieldKind.BLOB_LENGTH, "Q")
    if cursor.at + blob_length + 4 * last - start > most:
        raise _RefusedError
    return name, cursor.take(FieldKind.BLOB, blob_length)


def _int(values: dict[bytes, bytes], name: bytes) -> int | None:
    blob = values.get(name, b"")
    value = int.from_bytes(blob[-8:], "little", signed=True)
    return value if blob == g3_int(value) else None


def _stream_id(values: dict[bytes, bytes]) -> str | None:
    blob = values.get(b"sostream_id", b"")
    start = len(g3_string(""))
    text = blob[start:]
    good = len(blob) <= _LONGEST_VALUE and blob == g3_string(text) and len(blob) >= start
    return text.decode(errors="backslashreplace") if good else None
