"""What has to hold for the parser, whatever arrives, and however it is cut."""

import tracemalloc
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final, cast

from spt3g import core as untyped_core

from tests.tools.plain import Seen, Stream, parse
from timestream_aggregator.g3.parser import Damaged, Frame, Parser, WireError

core: Final[Any] = untyped_core
ROOM: Final = 128 << 10  # bytes of memory that do not depend on what arrives
VIEW: Final = 512  # bytes that one segment, or one frame, may cost beside its own bytes


@dataclass
class Fed:
    """What the parser made of a stream."""

    seen: list[Seen] = field(default_factory=list[Seen])
    data: list[bytes] = field(default_factory=list[bytes])  # of each frame
    refusal: str | None = None
    refused_at: int = -1
    torn: bytes = b""


def check(data: bytes, cuts: Sequence[int], limit: int) -> Fed:
    """Return what the parser makes of `data`; AssertionError if any property does not hold.

    Anything but a WireError that it raises goes through to the caller.
    """
    at_once = feed(data, [], limit, max(1, len(data)))
    segment_bytes = max([64, *(after - before for before, after in pairwise(cuts))])
    for size in (max(1, len(data)), segment_bytes, 0):
        assert feed(data, cuts, limit, size) == at_once, f"another result when cut at {cuts}, in {size}"
    assert b"".join(at_once.data) + at_once.torn == data, "bytes are lost, or come twice"
    agree(at_once, parse(data, limit), len(data))
    for seen, frame in zip(at_once.seen, at_once.data, strict=True):
        assert not seen.good or spt3g_loads(frame), "spt3g does not load a frame taken for good"
    return at_once


def agree(fed: Fed, plain: Stream, size: int) -> None:
    """AssertionError unless the parser saw what the plain one sees in the same `size` bytes."""
    assert fed.seen == plain.frames
    assert (fed.refusal is not None) == plain.refused
    assert fed.refused_at == (plain.end if plain.refused else -1)
    assert size - len(fed.torn) == plain.end


def feed(data: bytes, cuts: Sequence[int], limit: int, segment_bytes: int) -> Fed:
    """Feed `data` in ranges, cut at `cuts`, of segments of some size; 0 is one for each range.

    What lies wholly before the bytes that the parser holds is overwritten, as segments are that go round.
    """
    refusals = set[str]()
    parser, fed, offset, used = Parser(limit), Fed(), 0, deque[tuple[int, bytearray]]()
    for memory, start, end in pieces(data, cuts, segment_bytes):
        try:
            for item in parser.feed(memory, start, end):
                add(fed, item, offset)
                offset += item.size
        except WireError as error:
            refusals.add(str(error))
            fed.refusal, fed.refused_at = str(error), error.offset
        assert (parser.offset, parser.incomplete) == (offset, parser.fed - offset)
        used.append((parser.fed - end + len(memory), cast("bytearray", memory.obj)))
        while used and used[0][0] <= parser.fed - parser.held:
            spent = used.popleft()[1]
            spent[:] = b"\xaa" * len(spent)
    assert len(refusals) <= 1, "a refusal changed"
    fed.torn = b"".join(parser.torn())
    assert len(fed.torn) == parser.incomplete
    return fed


def pieces(data: bytes, cuts: Sequence[int], segment_bytes: int) -> Iterator[tuple[memoryview, int, int]]:
    """Yield segments and the ranges of them that have been filled, in order."""
    edges = sorted({0, *cuts, *(range(0, len(data), segment_bytes) if segment_bytes else ()), len(data)})
    memory, base = memoryview(bytearray()), 0
    for start, end in pairwise(edges):
        if start - base == len(memory):
            base = start
            memory = memoryview(bytearray(min(segment_bytes, len(data) - start) or end - start))
        memory[start - base : end - base] = data[start:end]
        yield memory, start - base, end - base


def add(fed: Fed, item: Frame | Damaged, offset: int) -> None:
    """Take note of an item that begins at `offset`."""
    data = b"".join(item.parts)
    assert len(data) == item.size
    fed.data.append(data)
    if isinstance(item, Damaged):
        assert item.offset == offset
        fed.seen.append(Seen(offset, offset + item.size, good=False))
        return
    values = (item.type, item.flow_control, item.session_id, item.frame_num, item.stream_id)
    fed.seen.append(Seen(offset, offset + item.size, True, *values))


def spt3g_loads(frame: bytes) -> bool:
    """Return whether spt3g loads these bytes as one frame, and checks its crc on the way."""
    loaded = core.G3Frame.__new__(core.G3Frame)
    try:
        loaded.__setstate__(({}, frame))
    except RuntimeError:
        return False
    return len(loaded) > 0 or _has_no_entries(frame)


def _has_no_entries(frame: bytes) -> bool:
    return frame[5:9] == bytes(4)


def memory(data: bytes, cuts: Sequence[int], limit: int) -> tuple[int, int]:
    """Return the most bytes of memory that feeding `data` took, and how many it may take."""
    segments, count = list(pieces(data, cuts, 0)), 0
    parser = Parser(limit)
    tracemalloc.start()
    try:
        for segment, start, end in segments:
            with suppress(WireError):
                for _ in parser.feed(segment, start, end):
                    count += 1
        return tracemalloc.get_traced_memory()[1], len(data) + ROOM + VIEW * (len(segments) + count)
    finally:
        tracemalloc.stop()
