"""Streams for the parser: whole ones, and such that were damaged by somebody who knows the format.

Random bytes are refused at the first of them. What finds faults is a stream that is right but for one field, and
one whose crc was mended after that, so that the damage is read as if it were meant.
"""

import struct
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Final

from crc32c import crc32c
from hypothesis import strategies as st

from tests.tools.made_frames import frame, raw_frames
from tests.tools.plain import Field, FieldKind, parse

CORPUS: Final = Path(__file__).with_name("corpus")
LARGEST: Final = 1 << 20
LONGEST: Final = 64 << 10  # bytes of a stream; mutations that repeat do not go beyond it
_LENGTHS: Final = (0, 1, 8, 512, 513, 1024, 1025, 2**31 - 1, 2**31, 2**32, 2**63, 2**64 - 1)
_COUNTS: Final = (0, 1, -1, 2, 4096, 4097, -(2**31), 2**31 - 1)
_TYPES: Final = (b"\0\0\0\0", b"S\0\0\0", b"DCBA", b"\0\0\0S", b"\xa9\xc3\0\0", b"   S", b"\x7fS\0\0")
_STRANGERS: Final = (b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x16\x03\x01\x02\x00", bytes(40), b"\xff" * 13)

Mutation = Callable[[st.DrawFn, bytes], bytes]


@cache
def corpus() -> tuple[bytes, ...]:
    """Return what the files of the corpus hold."""
    return tuple(path.read_bytes() for path in sorted(CORPUS.glob("*.bin")))


def mend(data: bytes) -> bytes:
    """Return `data` with a good crc in each frame that can be read to its end."""
    mended, crc = bytearray(data), 0xFFFFFFFF
    for part in parse(data, LARGEST).fields:
        if part.kind is FieldKind.MARK:
            crc = 0xFFFFFFFF
        elif part.kind in {FieldKind.NAME, FieldKind.BLOB}:
            crc = crc32c(data[part.start : part.end], crc)
        elif part.kind is FieldKind.CRC:
            mended[part.start : part.end] = struct.pack("<I", crc ^ 0xFFFFFFFF)
    return bytes(mended)


def _draw_field(draw: st.DrawFn, data: bytes, kinds: Iterable[FieldKind] = FieldKind) -> Field | None:
    """Return a field: first its kind is drawn, for most fields are names and blobs."""
    fields = parse(data, LARGEST).fields
    there = [kind for kind in kinds if any(part.kind is kind for part in fields)]
    if not there:
        return None
    kind = draw(st.sampled_from(there))
    return draw(st.sampled_from([part for part in fields if part.kind is kind]))


def _resize(draw: st.DrawFn, data: bytes) -> bytes:
    """Give a name or a blob another size, and say so in its length."""
    found = _draw_field(draw, data, (FieldKind.NAME, FieldKind.BLOB))
    if found is None or len(data) > LONGEST:
        return data
    size = draw(st.sampled_from([0, 1, 38, 512, 513, 1024, 1025]))
    text = (data[found.start : found.end] + b"x" * size)[:size]
    return data[: found.start - 8] + struct.pack("<Q", size) + text + data[found.end :]


def _change_field(draw: st.DrawFn, data: bytes) -> bytes:
    """Give one field another value: one at the edge of what is allowed, or one more or less than it had."""
    found = _draw_field(draw, data)
    if found is None:
        return data
    old = data[found.start : found.end]
    return data[: found.start] + draw(_values(found.kind, old)) + data[found.end :]


def _values(kind: FieldKind, old: bytes) -> st.SearchStrategy[bytes]:
    number = int.from_bytes(old, "little")
    near = st.sampled_from([number + 1, max(0, number - 1), number * 2])
    match kind:
        case FieldKind.NAME_LENGTH | FieldKind.BLOB_LENGTH:
            return (near | st.sampled_from(_LENGTHS)).map(lambda value: struct.pack("<Q", value % 2**64))
        case FieldKind.COUNT:
            return (near | st.sampled_from(_COUNTS)).map(lambda value: struct.pack("<I", value % 2**32))
        case FieldKind.TYPE:
            return st.sampled_from(_TYPES)
        case FieldKind.MARK | FieldKind.VERSION | FieldKind.CRC:
            return st.binary(min_size=len(old), max_size=len(old))
        case FieldKind.NAME | FieldKind.BLOB:  # of the same length: the frame stays whole
            flips = st.tuples(st.integers(0, max(0, len(old) - 1)), st.integers(1, 255))
            return flips.map(lambda flip: _flip(old, *flip))


def _flip(data: bytes, at: int, mask: int) -> bytes:
    return data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :] if data else data


def _flip_a_byte(draw: st.DrawFn, data: bytes) -> bytes:
    return _flip(data, draw(st.integers(0, max(0, len(data) - 1))), draw(st.integers(1, 255)))


def _cut_short(draw: st.DrawFn, data: bytes) -> bytes:
    return data[: draw(st.integers(0, len(data)))]


def _span(draw: st.DrawFn, data: bytes) -> tuple[int, int]:
    """Return where a span begins and ends: any, or from one field's edge to another's."""
    edges = [0, *(part.end for part in parse(data, LARGEST).fields), len(data)]
    places = st.sampled_from(edges) | st.integers(0, len(data))
    start, end = sorted((draw(places), draw(places)))
    return start, end


def _take_out(draw: st.DrawFn, data: bytes) -> bytes:
    start, end = _span(draw, data)
    return data[:start] + data[end:]


def _repeat(draw: st.DrawFn, data: bytes) -> bytes:
    """Repeat a span, as often as a sender repeats the shape of its frames."""
    start, end = _span(draw, data)
    times = draw(st.integers(1, 4))
    return data[:end] + data[start:end] * min(times, LONGEST // (len(data) + 1)) + data[end:]


def _splice(draw: st.DrawFn, data: bytes) -> bytes:
    """Put a span of another stream in, or something that is no stream at all."""
    other = draw(st.sampled_from([*corpus(), *_STRANGERS]))
    start, end = _span(draw, other)
    at = _span(draw, data)[0]
    return data[:at] + other[start:end] + data[at:] if len(data) + end - start <= LONGEST else data


def _double_an_entry(draw: st.DrawFn, data: bytes) -> bytes:
    """Give a frame an entry twice, and count it or not."""
    fields = parse(data, LARGEST).fields
    names = [index for index, part in enumerate(fields) if part.kind is FieldKind.NAME_LENGTH]
    names = [index for index in names if index + 3 < len(fields)]
    if not names:
        return data
    index = draw(st.sampled_from(names))
    start, end = fields[index].start, fields[index + 3].end
    count = next(part for part in reversed(fields[:index]) if part.kind is FieldKind.COUNT)
    number = int.from_bytes(data[count.start : count.end], "little") + draw(st.integers(0, 1))
    counted = data[: count.start] + struct.pack("<I", number) + data[count.end : end]
    return counted + data[start:end] + data[end:]


MUTATIONS: Final[tuple[Mutation, ...]] = (
    _change_field,
    _resize,
    _flip_a_byte,
    _cut_short,
    _take_out,
    _repeat,
    _splice,
    _double_an_entry,
)


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """A stream out of the corpus or of frames made up, damaged up to six times and perhaps mended between."""
    made = st.lists(raw_frames(), max_size=4).map(b"".join)
    smurf = st.integers(1, 5).map(lambda n: b"".join(frame(session=7, num=i, stream="ufm") for i in range(n)))
    data = draw(st.one_of(st.sampled_from(corpus()), made, smurf))
    for mutate in draw(st.lists(st.sampled_from(MUTATIONS), max_size=6)):
        data = mutate(draw, data)
        if draw(st.booleans()):
            data = mend(data)
    return data[:LONGEST]


def cuts(size: int) -> st.SearchStrategy[list[int]]:
    """Places at which a stream of `size` bytes is cut: few, as of segments."""
    return st.lists(st.integers(0, size), max_size=12).map(sorted)


def limits(data: bytes) -> st.SearchStrategy[int]:
    """Limits on the size of a frame: ample, small, or that of a frame of `data`, or a byte less."""
    sizes = {frame.end - frame.start for frame in parse(data, LARGEST).frames}
    return st.sampled_from([LARGEST, 700, 64, *sorted(sizes | {size - 1 for size in sizes})])
