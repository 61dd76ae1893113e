import gc
import struct
import tracemalloc
import weakref
from dataclasses import dataclass
from itertools import pairwise

import pytest
from crc32c import crc32c
from hypothesis import given
from hypothesis import strategies as st

from tests.tools.made_frames import entry, frame, g3_int, g3_string, header, raw_frame, raw_frames
from timestream_aggregator.g3.parser import NOT_AN_INT, Damaged, Frame, Parser, WireError

MIB = 1 << 20


@dataclass
class Fed:
    """What a parser made of a stream that arrived in pieces."""

    items: list[Frame | Damaged]
    error: WireError | None
    torn: bytes
    incomplete: int

    @property
    def whole(self) -> bytes:
        return b"".join(joined(item) for item in self.items) + self.torn


def kinds(fed: Fed) -> list[type[Frame | Damaged]]:
    return [type(item) for item in fed.items]


def joined(item: Frame | Damaged) -> bytes:
    return b"".join(item.parts)


def feed(data: bytes, cuts: list[int], *, apart: bool, limit: int = MIB, look_on: bool = False) -> Fed:
    """Feed `data` cut at `cuts`: as ranges of one segment, or each piece in a segment of its own."""
    parser, whole, items = Parser(limit, lambda _: look_on), memoryview(data), list[Frame | Damaged]()
    error = None
    for start, end in pairwise([0, *sorted(cuts), len(data)]):
        piece = (memoryview(data[start:end]), 0, end - start) if apart else (whole, start, end)
        try:
            items.extend(parser.feed(*piece))
        except WireError as refusal:
            error = refusal
    return Fed(items, error, b"".join(parser.torn()), parser.incomplete)


def reference(data: bytes) -> list[tuple[str, int, bool, dict[bytes, bytes]]]:
    """Return (type, size, good crc, entries) of each whole frame of a sane stream, as plainly as can be."""
    frames = list[tuple[str, int, bool, dict[bytes, bytes]]]()
    at = 0
    while len(data) - at >= 13:
        start, entries, crc = at, dict[bytes, bytes](), 0xFFFFFFFF
        count, code = struct.unpack_from("<iI", data, at + 5)
        at += 13
        for _ in range(count):
            name_size = int.from_bytes(data[at : at + 8], "little")
            name = data[at + 8 : at + 8 + name_size]
            at += 8 + name_size
            blob_size = int.from_bytes(data[at : at + 8], "little")
            blob = data[at + 8 : at + 8 + blob_size]
            at += 8 + blob_size
            entries[name], crc = blob, crc32c(blob, crc32c(name, crc))
        if at + 4 > len(data):
            break
        good = data[at : at + 4] == struct.pack("<I", crc ^ 0xFFFFFFFF)
        at += 4
        frames.append((code.to_bytes(4, "big").strip(b"\0").decode(), at - start, good, entries))
    return frames


def plain_int(entries: dict[bytes, bytes], name: bytes) -> int | None:
    blob = entries.get(name, b"")
    value = int.from_bytes(blob[-8:], "little", signed=True)
    return value if blob == g3_int(value) else None


def damaged(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


@st.composite
def streams(draw: st.DrawFn) -> tuple[bytes, list[int]]:
    """A stream of some shapes of frames that come again and again, some damaged, cut anywhere."""
    shapes = draw(st.lists(raw_frames(), min_size=1, max_size=3))
    picks = draw(st.lists(st.tuples(st.sampled_from(shapes), st.integers(0, 9)), max_size=12))
    data = b"".join(damaged(shape) if luck == 9 else shape for shape, luck in picks)
    end = draw(st.integers(0, len(data)))
    return data[: end if end % 3 == 0 else None], draw(st.lists(st.integers(0, end), max_size=30))


@given(stream=streams(), apart=st.booleans())
def test_any_cut_gives_the_frames_that_a_plain_parser_finds(
    *, stream: tuple[bytes, list[int]], apart: bool
) -> None:
    data, cuts = stream
    expected = reference(data)

    fed = feed(data, cuts, apart=apart)

    assert fed.error is None
    assert fed.whole == data
    assert fed.incomplete == len(fed.torn) == len(data) - sum(size for _, size, _, _ in expected)
    assert [(item.size, isinstance(item, Frame)) for item in fed.items] == [
        (size, good) for _, size, good, _ in expected
    ]
    for item, (kind, _, _, entries) in zip(fed.items, expected, strict=True):
        if isinstance(item, Frame):
            assert item.type == kind
            assert item.session_id == plain_int(entries, b"session_id")
            assert item.frame_num == plain_int(entries, b"frame_num")
            flow = plain_int(entries, b"sostream_flowcontrol")
            present = b"sostream_flowcontrol" in entries
            assert item.flow_control == (NOT_AN_INT if present and flow is None else flow)


@given(stream=streams(), draw=st.data(), apart=st.booleans())
def test_whatever_arrives_no_byte_is_lost_and_nothing_but_a_wire_error_is_raised(
    *, stream: tuple[bytes, list[int]], draw: st.DataObject, apart: bool
) -> None:
    data, cuts = bytearray(stream[0]), stream[1]
    for at, value in draw.draw(st.lists(st.tuples(st.integers(0, 1 << 14), st.integers(0, 255)), max_size=8)):
        if data:
            data[at % len(data)] = value

    fed = feed(bytes(data), cuts, apart=apart, limit=8192)

    assert fed.whole == data
    assert fed.incomplete == len(fed.torn)
    if fed.error is not None:
        assert fed.error.offset == len(data) - fed.incomplete


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=5))
def test_noise_is_refused_or_awaits_more(data: bytes, cuts: list[int]) -> None:
    fed = feed(data, [cut for cut in cuts if cut <= len(data)], apart=True)

    assert fed.whole == data


@given(stream=streams(), apart=st.booleans())
def test_the_same_bytes_are_refused_with_the_same_words_however_they_are_cut(
    *, stream: tuple[bytes, list[int]], apart: bool
) -> None:
    data = b"".join((stream[0], frame(), b"HTTP/1.1 400 Bad Request\r\n"))
    at_once, cut = feed(data, [], apart=False), feed(data, stream[1], apart=apart)

    assert (str(cut.error), len(cut.items)) == (str(at_once.error), len(at_once.items))


@pytest.mark.parametrize("apart", [False, True])
def test_single_bytes_make_frames(*, apart: bool) -> None:
    data = frame("O", session=7, num=0, stream="ufm", data=bytes(600)) + frame("S", session=7, num=1)

    fed = feed(data, list(range(1, len(data))), apart=apart)

    assert [
        (item.type, item.session_id, item.frame_num, item.stream_id)
        for item in fed.items
        if isinstance(item, Frame)
    ] == [
        ("O", 7, 0, "ufm"),
        ("S", 7, 1, None),
    ]
    assert fed.whole == data


def test_ranges_that_adjoin_in_one_segment_are_one_view_of_it_and_no_copy() -> None:
    segment = memoryview(bytearray(frame(data=bytes(5000)) * 2))
    parser = Parser(MIB)

    items = [
        item
        for at in range(0, len(segment), 100)
        for item in parser.feed(segment, at, min(at + 100, len(segment)))
    ]

    assert [len(item.parts) for item in items] == [1, 1]
    assert all(part.obj is segment.obj for item in items for part in item.parts)


def test_a_frame_over_three_segments_has_three_parts() -> None:
    data = frame(data=bytes(5000))

    fed = feed(data, [20, 4000], apart=True)

    assert [len(part) for part in fed.items[0].parts] == [20, 3980, len(data) - 4000]


def test_a_segment_may_be_used_again_once_the_incomplete_frame_lies_after_it() -> None:
    data = frame(num=1, data=bytes(1000)) + frame(num=2, data=bytes(1000))
    first, again = memoryview(bytearray(1500)), memoryview(bytearray(1500))
    parser, found = Parser(MIB), list[bytes]()
    for index, at in enumerate(range(0, len(data), 700)):
        segment = (first, again)[index % 2]
        piece = data[at : at + 700]
        segment[: len(piece)] = piece
        found += [joined(item) for item in parser.feed(segment, 0, len(piece))]
        assert parser.fed - parser.held == parser.offset

    assert b"".join(found) == data


def test_a_segment_filled_again_from_its_start_does_not_adjoin_its_end() -> None:
    one, two = frame(num=1), frame(num=2)
    assert len(one) == len(two)
    segment, parser = memoryview(bytearray(one)), Parser(MIB)
    assert len(list(parser.feed(segment))) == 1
    segment[:] = two

    (item,) = parser.feed(segment)

    assert isinstance(item, Frame)
    assert item.frame_num == 2


def test_a_frame_with_a_bad_crc_is_given_as_damaged_and_the_next_is_read() -> None:
    good, bad = frame(num=1), damaged(frame(num=2))

    fed = feed(good + bad + good, [], apart=False)

    assert [type(item) for item in fed.items] == [Frame, Damaged, Frame]
    broken = fed.items[1]
    assert isinstance(broken, Damaged)
    assert (joined(broken), broken.offset) == (bad, len(good))
    assert "crc" in broken.why


def test_names_that_change_while_all_lengths_stay_are_not_mistaken() -> None:
    known = raw_frame(
        "S", {b"session_id": g3_int(1), b"frame_num": g3_int(2), b"sostream_id": g3_string("abc")}
    )
    other = raw_frame(
        "S", {b"session_ix": g3_int(1), b"frame_nux": g3_int(2), b"sostream_ix": g3_string("abc")}
    )

    fed = feed(known * 3 + other + known, [], apart=False)

    assert [item.session_id for item in fed.items if isinstance(item, Frame)] == [1, 1, 1, None, 1]
    assert [item.stream_id for item in fed.items if isinstance(item, Frame)] == ["abc"] * 3 + [None, "abc"]


def test_a_stream_id_that_is_no_text_becomes_escapes() -> None:
    (item,) = Parser(MIB).feed(memoryview(raw_frame("S", {b"sostream_id": g3_string(b"a\xff")})))

    assert isinstance(item, Frame)
    assert item.stream_id == "a\\xff"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"HTTP/1.1 400 Bad Request", "HTTP"),
        (b"SSH-2.0-OpenSSH_9.6", "SSH"),
        (b"\x15\x03\x03\x00\x02\x02\x46" + bytes(10), "TLS"),
        (bytes(100), "zeros"),
        (struct.pack(">BIiI", 0, 1, 3, ord("S")), "big-endian"),
        (b"220 mail.example", "220 mail"),
        (struct.pack("<BIiI", 1, 256, 3, ord("S")), "01 00 01 00 00"),
        (header("S", -1), "-1 entries"),
        (header("S", (1 << 20) + 1), "1048577 entries"),
        (header("S", 1) + struct.pack("<Q", 2**64 - 1), "raise --max-frame-bytes"),
        (header("S", 1) + struct.pack("<Q1sQ", 1, b"x", 2**31), "raise --max-frame-bytes"),
        (header("S", 1) + struct.pack("<Q1sQ", 1, b"x", 2**64 - 1), "raise --max-frame-bytes"),
    ],
)
def test_what_is_no_stream_of_frames_is_refused_and_named(data: bytes, words: str) -> None:
    good = frame()

    fed = feed(good + data, [], apart=False)

    assert len(fed.items) == 1
    assert fed.error is not None
    assert words in str(fed.error)
    assert fed.error.offset == len(good)
    assert fed.torn == data


def test_a_frame_of_exactly_the_limit_is_taken_and_one_byte_more_is_put_aside() -> None:
    data = frame(data=bytes(2000))

    assert kinds(feed(data * 3, [], apart=False, limit=len(data))) == [Frame] * 3
    assert kinds(feed(data * 3, [], apart=False, limit=len(data) - 1)) == [Damaged] * 3


def test_the_limit_holds_also_where_the_entries_that_exceed_it_are_like_earlier_ones() -> None:
    small = {bytes([65 + index]): g3_int(index) for index in range(20)}
    fits, exceeds = (raw_frame("S", {b"data": bytes(size)} | small) for size in (600, 700))

    fed = feed(fits * 3 + exceeds, [], apart=False, limit=len(exceeds) - 1)

    assert kinds(fed) == [Frame, Frame, Frame, Damaged]


@pytest.mark.parametrize("apart", [False, True])
def test_a_key_whose_value_is_too_long_to_be_one_has_none_however_it_is_cut(*, apart: bool) -> None:
    data = raw_frame("S", {b"sostream_id": g3_string("x" * 600), b"session_id": g3_int(7) + bytes(600)})

    for cut in range(1, len(data)):
        (item,) = feed(data, [cut], apart=apart).items
        assert isinstance(item, Frame)
        assert (item.stream_id, item.session_id) == (None, None)


def test_a_refused_stream_stays_refused() -> None:
    parser = Parser(MIB)
    with pytest.raises(WireError):
        list(parser.feed(memoryview(bytes(100))))

    with pytest.raises(WireError):
        list(parser.feed(memoryview(frame())))

    assert parser.incomplete == 100 + len(frame())


def test_a_parser_that_refused_keeps_no_segment_in_memory_once_it_is_let_go() -> None:
    parser = Parser(1000)
    gone = weakref.ref(parser)
    gc.disable()  # months can pass until it has a look
    try:
        for _ in range(2):
            with pytest.raises(WireError):
                list(parser.feed(memoryview(b"HTTP/1.1 400 Bad Request")))
        del parser
        assert gone() is None
    finally:
        gc.enable()


def test_memory_grows_with_the_bytes_that_arrive_not_with_the_length_announced() -> None:
    parser, beginning = (
        Parser(1 << 30),
        header("S", 1) + entry(b"x", bytes(600))[:9] + struct.pack("<Q", 900 << 20),
    )
    tracemalloc.start()
    try:
        assert list(parser.feed(memoryview(beginning))) == []
        for _ in range(100):
            assert list(parser.feed(memoryview(bytes(16)))) == []
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_ever_new_shapes_of_frames_do_not_fill_the_memory() -> None:
    def strange(index: int) -> bytes:
        return raw_frame(f"{index:04}", {b"x": bytes(index % 400), b"y": b""}) * 2

    parser = Parser(MIB)
    tracemalloc.start()
    try:
        for index in range(2000):
            assert len(list(parser.feed(memoryview(strange(index))))) == 2
        assert tracemalloc.get_traced_memory()[0] < 500_000
    finally:
        tracemalloc.stop()
