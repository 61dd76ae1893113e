"""Frames that are odd and whose end is known, and what is no frame: what they cost others, and in memory."""

import struct
import tracemalloc
from itertools import pairwise
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tools.made_frames import entry, frame, header, raw_frame
from timestream_aggregator.g3.parser import KEPT_BYTES, Damaged, Frame, Parser, WireError

MIB: Final = 1 << 20
LIMIT: Final = 5000
GOOD: Final = [frame(session=7, num=number, stream="ufm", data=bytes(number)) for number in range(8)]
ODD: Final = {
    "too many entries": (raw_frame("C", {b"%d" % n: b"" for n in range(4097)}), "'C' with 4097 entries"),
    "a long name": (raw_frame("C", {b"a": b"b", b"n" * 1025: b"v", b"c": b"d"}), "'C' with a name of 1025"),
    "too large": (raw_frame("W", {b"a": b"b", b"x": bytes(LIMIT), b"c": b"d"}), "raise --max-frame-bytes"),
    "another version": (struct.pack("<BIiI", 1, 2, 1, 67) + entry(b"a", b"b") + bytes(4), "class version 2"),
    "another version, empty": (struct.pack("<BIiI", 1, 0, 0, 67) + bytes(4), "class version 0"),
    "no type": (struct.pack("<BIiI", 1, 1, 1, 0) + entry(b"a", b"b") + bytes(4), "type 0x00000000"),
    "a strange type": (struct.pack("<BIiI", 1, 1, 1, 0xC3A9) + entry(b"", b"") + bytes(4), "type 0x0000c3a9"),
}
REFUSED: Final = {
    "zeros": bytes(100),
    "ones": b"\xff" * 50,
    "absurd length": header("W", 1) + struct.pack("<Q4sQ", 4, b"data", 2**40) + bytes(20),
    "negative count": header("W", -1) + b"12345",
    "text": b"220 mail.example ESMTP ready\r\n",
}
Items = list[Frame | Damaged]


def feed(parser: Parser, data: bytes, cuts: list[int], items: Items) -> None:
    """Feed `data` cut at `cuts`, each piece in memory of its own that is overwritten once it may be."""
    segments = list[tuple[int, bytearray]]()
    for start, end in pairwise([0, *sorted(cuts), len(data)]):
        segment = bytearray(data[start:end])
        segments.append((end, segment))
        items += [
            item if isinstance(item, Damaged) else Frame(item.type, (memoryview(joined(item)),), item.size, 0)
            for item in parser.feed(memoryview(segment))
        ]
        for place, spent in segments:
            if place <= parser.fed - parser.held:
                spent[:] = b"\xaa" * len(spent)


def joined(item: Frame | Damaged) -> bytes:
    return b"".join(item.parts)


def cut_at(places: list[int], size: int) -> list[int]:
    return [place % (size + 1) for place in places]


CUTS: Final = st.lists(st.integers(0, 1 << 20), max_size=30)


@pytest.mark.parametrize("name", ODD)
@given(places=CUTS)
def test_an_odd_frame_costs_itself_and_says_what_is_odd(name: str, places: list[int]) -> None:
    odd, words = ODD[name]
    data, items = GOOD[0] + odd + GOOD[1], Items()

    feed(Parser(LIMIT), data, cut_at(places, len(data)), items)

    assert [joined(item) for item in items] == [GOOD[0], odd, GOOD[1]]
    found = items[1]
    assert isinstance(found, Damaged)
    assert (found.size, found.offset, found.odd) == (len(odd), len(GOOD[0]), True)
    assert words in found.why
    assert len(found.why) <= 256, "the ledger cuts it"


@given(
    st.lists(st.sampled_from([*GOOD, *(odd for odd, _ in ODD.values())]), max_size=12), st.booleans(), CUTS
)
def test_of_any_stream_of_good_and_odd_frames_every_good_one_comes_out(
    frames: list[bytes],
    look_on: bool,  # noqa: FBT001
    places: list[int],
) -> None:
    data, items = b"".join(frames), Items()

    feed(Parser(LIMIT, lambda _: look_on), data, cut_at(places, len(data)), items)

    assert [joined(item) for item in items] == frames
    assert [isinstance(item, Frame) for item in items] == [each in GOOD for each in frames]


@given(
    st.lists(st.sampled_from([*GOOD, *(o for o, _ in ODD.values()), *REFUSED.values()]), max_size=12), CUTS
)
def test_whoever_looks_on_finds_every_good_frame_behind_what_is_refused(
    pieces: list[bytes], places: list[int]
) -> None:
    data, items = b"".join(pieces), Items()
    parser = Parser(LIMIT, lambda _: True)

    feed(parser, data, cut_at(places, len(data)), items)

    assert [joined(item) for item in items if isinstance(item, Frame)] == [p for p in pieces if p in GOOD]
    assert b"".join([*map(joined, items), *map(bytes, parser.torn())]) == data


@pytest.mark.parametrize("kind", ["S", "C", "N", "ABCD"])
def test_a_frame_without_entries_is_a_frame(kind: str) -> None:
    (item,) = Parser(MIB).feed(memoryview(raw_frame(kind, {})))

    assert isinstance(item, Frame)
    assert (item.type, item.size, item.crc) == (kind, 17, 0)


def test_a_frame_without_entries_that_has_a_crc_is_damaged() -> None:
    (item,) = Parser(MIB).feed(memoryview(header("C", 0) + b"\1\0\0\0"))

    assert isinstance(item, Damaged)
    assert not item.odd


def pieces_of_an_odd_frame(size: int) -> list[bytes]:
    beginning = header("W", 2) + struct.pack("<Q1sQ", 1, b"x", size)
    ending = entry(b"y", b"z") + bytes(4)
    return [beginning, *[bytes(MIB)] * (size // MIB), bytes(size % MIB), ending]


def refusal_of(parser: Parser, pieces: list[bytes]) -> str:
    try:
        for piece in pieces:
            list(parser.feed(memoryview(piece)))
    except WireError as error:
        return str(error)
    return ""


def test_of_a_large_odd_frame_no_more_than_the_beginning_is_in_memory() -> None:
    size, parser, items = 40 * MIB, Parser(MIB), Items()
    pieces = pieces_of_an_odd_frame(size)
    tracemalloc.start()
    try:
        for piece in [*pieces, GOOD[1]]:
            items += parser.feed(memoryview(piece))
            assert parser.held <= len(GOOD[1])
        assert tracemalloc.get_traced_memory()[1] < 4 * KEPT_BYTES
    finally:
        tracemalloc.stop()

    odd, good = items
    assert odd.size == sum(map(len, pieces))
    assert joined(odd) == b"".join(pieces)[:KEPT_BYTES]
    assert joined(good) == GOOD[1]


def test_what_an_odd_frame_may_cost_is_limited() -> None:
    largest, limit = 64 * MIB, 32 * MIB
    fixed = sum(map(len, pieces_of_an_odd_frame(0)))
    assert not refusal_of(Parser(limit), pieces_of_an_odd_frame(largest - fixed))
    assert "one of type 'W' of at least 67108865 bytes" in refusal_of(
        Parser(limit), pieces_of_an_odd_frame(largest - fixed + 1)
    )


def test_a_search_for_good_frames_ends_when_it_has_cost_enough() -> None:
    parser = Parser(MIB, lambda _: True)

    assert refusal_of(parser, [bytes(MIB)] * 66).startswith("Expected a G3 frame and found zeros")
    assert parser.fed > 64 * MIB
    assert len(b"".join(parser.torn())) == KEPT_BYTES


def test_a_search_is_not_held_up_by_headers_of_frames_that_never_end() -> None:
    fake = header("S", 1) + struct.pack("<Q1sQ", 1, b"x", MIB - 100)
    parser = Parser(MIB, lambda _: True)

    assert "found zeros" in refusal_of(parser, [bytes(100) + fake * 1000] * 2000)
    assert parser.fed < 70 * MIB


def test_a_search_keeps_no_more_than_the_largest_frame() -> None:
    parser, largest = Parser(2 * MIB, lambda _: True), frame(data=bytes(MIB))
    tracemalloc.start()
    try:
        items = Items()
        for piece in [bytes(100), *[bytes(MIB)] * 30, largest[:1000], largest[1000:]]:
            items += parser.feed(memoryview(piece))
        assert tracemalloc.get_traced_memory()[1] < 8 * MIB
    finally:
        tracemalloc.stop()

    assert [item.size for item in items] == [30 * MIB + 100, len(largest)]
