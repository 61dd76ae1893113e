"""What of the G3 format the recorder knows: sizes, the blobs of small values, and what is no frame at all.

A stream or file is frames one after another. A frame, all integers little endian: u8 1, u32 class version 1,
i32 n, u32 type, then n times {u64 length, name, u64 length, blob}, then u32 CRC-32C over names and blobs in
order, with initial value 0 and no final xor. A small value's blob is a fixed prefix, then the value.
"""

import struct
from functools import lru_cache
from typing import Final, NoReturn

MAX_ENTRIES: Final = 4096
MAX_NAME_BYTES: Final = 1024
MOST_ENTRIES: Final = 1 << 20
"""More than that are no odd frame's: its lengths are not followed."""
NEWEST_VERSION: Final = 255
"""A class version beyond it is no version."""
HEADER: Final = struct.Struct("<BIiI")
BEGINNING: Final = b"\x01\x01\0\0\0"
U64: Final = struct.Struct("<Q")
U32: Final = struct.Struct("<I")
CRC_START: Final = 0xFFFFFFFF
"""With a CRC-32C that xors at both ends: start with this, and xor the result with it."""

_OBJECT: Final = b"\x01\x01\x00\x00\x80"
_SCALAR: Final = b"\x01\x00\x00\x80\x01\x00\x00\x00\x01\x00\x00\x00"
INT_PREFIX: Final = _OBJECT + U64.pack(5) + b"G3Int" + _SCALAR
STRING_PREFIX: Final = _OBJECT + U64.pack(8) + b"G3String" + _SCALAR
_INT: Final = struct.Struct(f"<{len(INT_PREFIX)}sq")
_STRING: Final = struct.Struct(f"<{len(STRING_PREFIX)}sQ")

_EXPECTED: Final = "a frame begins with 01 01 00 00 00"
_OTHERS: Final = {
    b"\0\0\0\0\1": "frames of a big-endian machine",
    b"HTTP/": "an HTTP server's answer",
    b"SSH-": "an SSH server's greeting",
    b"\x15\x03": "a TLS record",
    b"\x16\x03": "a TLS record",
}
_LARGER: Final = (
    "if its frames are that large, raise --max-frame-bytes (in a pod: TIMESTREAM_MAX_FRAME_BYTES in spec.env)"
)


class WireError(Exception):
    """What arrives is no G3 stream, or a frame's end cannot be known: the connection is of no further use.

    `what`, `why` and `fix` are for people; `offset` is where in the stream the refused frame begins, `foreign`
    whether it is known as something that no sender of frames says.
    """

    def __init__(self, what: str, *, why: str, fix: str, foreign: bool = False) -> None:
        super().__init__(f"{what}: {why}. {fix}.")
        self.what, self.why, self.fix, self.foreign, self.offset = what, why, fix, foreign, 0

    def anew(self) -> "WireError":
        """Return the same, never raised yet: an error that is kept keeps all that it passed through."""
        again = WireError(self.what, why=self.why, fix=self.fix, foreign=self.foreign)
        again.offset = self.offset
        return again


def int_value(blob: bytes | None) -> int | None:
    """Return the value of a G3Int, None if `blob` is none."""
    if blob is None or len(blob) != _INT.size:
        return None
    prefix, value = _INT.unpack(blob)
    return value if prefix == INT_PREFIX else None


def string_value(blob: bytes | None) -> str | None:
    """Return the value of a G3String, None if `blob` is none. What is no UTF-8 becomes escapes."""
    if blob is None or len(blob) < _STRING.size:
        return None
    prefix, length = _STRING.unpack_from(blob)
    if prefix != STRING_PREFIX or length != len(blob) - _STRING.size:
        return None
    return blob[_STRING.size :].decode(errors="backslashreplace")


@lru_cache(maxsize=256)
def frame_type(code: int) -> str:
    """Return a frame's type: up to four printable ASCII characters, justified to the right in `code`; or ""."""
    text = code.to_bytes(4, "big").lstrip(b"\0")
    return text.decode("ascii") if all(0x20 < byte < 0x7F for byte in text) else ""


def oddity_of(head: bytes) -> str:
    """Return what is odd about `head`, HEADER.size bytes that begin no good frame.

    Raises:
        WireError: it begins no frame at all, or one whose end cannot be known.
    """
    mark, version, entries, code = HEADER.unpack(head)
    if mark != 1 or version > NEWEST_VERSION or not 0 <= entries <= MOST_ENTRIES:
        _refuse_header(head)
    if version != 1:
        return f"a frame of class version {version}: this recorder knows version 1"
    if entries > MAX_ENTRIES:
        return (
            f"a frame of type {frame_type(code)!r} with {entries} entries: a frame has at most {MAX_ENTRIES}"
        )
    return f"a frame of type {code:#010x}: a type is one to four printable ASCII characters"


def odd_name(kind: str, length: int) -> str:
    """Return what is odd about a frame of type `kind` that has a name of `length` bytes."""
    return f"a frame of type {kind!r} with a name of {length} bytes: a name has at most {MAX_NAME_BYTES}"


def odd_size(kind: str, size: int, limit: int) -> str:
    """Return what is odd about a frame of type `kind` that announces at least `size` bytes."""
    return f"a frame of type {kind!r} of at least {size} bytes: the limit is {limit}; {_LARGER}"


def refuse_size(kind: str, size: int, most: int) -> NoReturn:
    """Raise the WireError about an odd frame of at least `size` bytes, where no more than `most` are passed over."""
    raise WireError(
        f"Expected a G3 frame and found one of type {kind!r} of at least {size} bytes",
        why=f"more than {most} are not skipped",
        fix=f"Check the sender; {_LARGER}",
    )


def _refuse_header(head: bytes) -> NoReturn:
    """Raise the WireError that says what `head` looks like."""
    mark, version, entries, _ = HEADER.unpack(head)
    if mark == 1 and version == 1:
        _refuse(f"a frame with {entries} entries", f"a frame has at most {MAX_ENTRIES}")
    for beginning, guess in _OTHERS.items():
        if head.startswith(beginning):
            _refuse(f"{guess} ({head.hex(' ')})", _EXPECTED, foreign=True)
    text = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in head)
    _refuse(f"zeros ({head.hex(' ')})" if not any(head[:5]) else f"{head.hex(' ')} ({text})", _EXPECTED)


def _refuse(found: str, why: str, *, foreign: bool = False) -> NoReturn:
    raise WireError(
        f"Expected a G3 frame and found {found}",
        why=why,
        fix="Check that address and port are those of a G3NetworkSender",
        foreign=foreign,
    )
