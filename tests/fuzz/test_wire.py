import random
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from spt3g import core as untyped_core

from tests.fuzz.mutations import CORPUS, LARGEST, cuts, limits, streams
from tests.fuzz.properties import Fed, check, memory, spt3g_loads
from tests.tools.long import size

core: Final[Any] = untyped_core
FILES: Final = sorted(CORPUS.glob("*.bin"))
EXAMPLES: Final = size(210, 7000)
pytestmark = pytest.mark.timeout(size(240, 3600))
SMALL: Final = 700  # bytes; a limit that frames of the corpus exceed
fuzzed = settings(
    max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)

# What a file of the corpus holds: good frames, damaged ones, bytes of what follows, words of the refusal.
HOLDS: Final = {
    "bad-crc": (2, 1, 0, None),
    "big-endian": (0, 0, 80, "big-endian"),
    "blob-length-2-31": (1, 0, 73, "raise --max-frame-bytes"),
    "blob-length-most": (0, 0, 33, "raise --max-frame-bytes"),
    "empty": (0, 0, 0, None),
    "entries-0": (2, 0, 0, None),
    "entries-2-31": (0, 0, 31, "2147483647 entries"),
    "entries-4097": (0, 0, 31, None),
    "entry-twice": (1, 0, 0, None),
    "http": (0, 0, 47, "HTTP"),
    "longest-name": (1, 0, 0, None),
    "name-1025": (1, 0, 1059, None),
    "name-length-most": (0, 0, 21, "raise --max-frame-bytes"),
    "odd-name": (2, 1, 0, None),
    "odd-name-then-absurd": (1, 0, 1087, "raise --max-frame-bytes"),
    "odd-type": (2, 1, 0, None),
    "odd-version": (2, 2, 0, None),
    "same-shape": (6, 0, 0, None),
    "smurf": (11, 0, 0, None),
    "ssh": (0, 0, 21, "SSH"),
    "tls": (0, 0, 7, None),
    "tls-hello": (0, 0, 46, "TLS"),
    "torn-header": (1, 0, 7, None),
    "torn-large-blob": (0, 0, 2000, None),
    "type-justified-left": (0, 0, 31, None),
    "version-2": (0, 0, 31, None),
    "version-256": (0, 0, 31, "01 00 01 00 00"),
    "zero-filled-tail": (2, 0, 500, "zeros"),
    "zeros": (0, 0, 100, "zeros"),
}


def some_cuts(data: bytes) -> list[list[int]]:
    """Return places to cut a file of the corpus at: everywhere at once, at each place alone, at random."""
    chance = random.Random(len(data))
    every = list(range(1, len(data)))
    alone = every if len(every) <= 60 else chance.sample(every, 60)
    return [
        [],
        every,
        *([cut] for cut in alone),
        *(sorted(chance.choices(every or [0], k=7)) for _ in range(10)),
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_each_file_of_the_corpus_keeps_every_property_wherever_it_is_cut(path: Path) -> None:
    data = path.read_bytes()

    for where in some_cuts(data):
        check(data, where, LARGEST)
    for where in some_cuts(data)[:10]:
        check(data, where, SMALL)


@pytest.mark.parametrize("name", HOLDS)
def test_a_file_of_the_corpus_is_what_it_is_called(name: str) -> None:
    good, damaged, torn, words = HOLDS[name]

    fed: Fed = check((CORPUS / f"{name}.bin").read_bytes(), [], LARGEST)

    assert [seen.good for seen in fed.seen].count(True) == good
    assert [seen.good for seen in fed.seen].count(False) == damaged
    assert len(fed.torn) == torn
    assert (words or "") in (fed.refusal or "")
    assert (words is None) == (fed.refusal is None)


def test_the_corpus_is_small() -> None:
    assert FILES
    assert max(path.stat().st_size for path in FILES) <= 64 << 10


@fuzzed
@given(data=streams(), draw=st.data())
def test_every_property_holds_for_streams_damaged_by_one_who_knows_the_format(
    data: bytes, draw: st.DataObject
) -> None:
    check(data, draw.draw(cuts(len(data))), draw.draw(limits(data)))


@settings(
    max_examples=EXAMPLES // 7, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(data=streams(), draw=st.data())
def test_memory_grows_with_the_bytes_that_arrive_whatever_lengths_they_announce(
    data: bytes, draw: st.DataObject
) -> None:
    taken, allowed = memory(data, draw.draw(cuts(len(data))), 1 << 40)

    assert taken <= allowed


VALUES: Final = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.booleans(),
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20),
    st.lists(st.floats(), max_size=100).map(core.G3VectorDouble),
    st.lists(st.text("abc", max_size=5), max_size=5).map(core.G3VectorString),
    st.integers(0, 2**62).map(core.G3Time),
)
NAMES: Final = st.sampled_from(
    ["session_id", "frame_num", "sostream_id", "sostream_flowcontrol", "data", "time"]
) | st.text("xyz", min_size=1, max_size=40)
KINDS: Final = st.sampled_from(
    ["Scan", "Observation", "Wiring", "none", "PipelineInfo", "Timepoint", "Housekeeping"]
)


@settings(
    max_examples=EXAMPLES // 7, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(
    st.lists(
        st.tuples(KINDS, st.dictionaries(NAMES, VALUES, min_size=1, max_size=8)), min_size=1, max_size=5
    ),
    st.data(),
)
def test_what_the_librarys_own_writer_made_is_cut_into_the_same_frames(
    plans: list[tuple[str, dict[str, object]]], draw: st.DataObject
) -> None:
    made = [
        library_frame(kind, values) for kind, values in plans for _ in range(draw.draw(st.integers(1, 3)))
    ]
    data = b"".join(made)

    fed = check(data, draw.draw(cuts(len(data))), LARGEST)

    assert fed.data == made
    assert all(seen.good for seen in fed.seen)


def library_frame(kind: str, values: dict[str, object]) -> bytes:
    """Return the bytes of a frame of spt3g, which sender and writer give out."""
    frame = core.G3Frame(getattr(core.G3FrameType, kind))
    for name, value in values.items():
        frame[name] = value
    return frame.__getstate__()[1]


def test_the_bytes_of_a_librarys_frame_are_those_that_its_writer_writes(tmp_path: Path) -> None:
    frame = core.G3Frame(core.G3FrameType.Scan)
    frame["session_id"], frame["data"] = 7, core.G3VectorDouble([1.0, 2.0])
    writer = core.G3Writer(str(tmp_path / "file.g3"))
    writer(frame)
    del writer  # flushes

    assert (tmp_path / "file.g3").read_bytes() == frame.__getstate__()[1]


def test_the_library_is_asked_in_earnest() -> None:
    good = library_frame("Scan", {"a": 1})

    assert spt3g_loads(good)
    assert not spt3g_loads(good[:-1] + bytes([good[-1] ^ 1]))
