"""Each good frame of a damaged file is published, in order and once, whatever is damaged and wherever recovery ends."""

import logging
import os
import random
import re
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.properties import spt3g_loads
from tests.tools.long import size
from tests.tools.made_frames import entry, frame, header
from tests.tools.plain import Field, FieldKind, Seen, parse
from tests.unit.disk.test_folder import FailingDisk
from timestream_aggregator.core.naming import Base, FileId
from timestream_aggregator.disk.calls import Disk
from timestream_aggregator.disk.folder import DataFolder
from timestream_aggregator.disk.layout import OWN_FOLDER, staged_name
from timestream_aggregator.disk.pieces import PIECE
from timestream_aggregator.ledger.file import Ledger, lines
from timestream_aggregator.ledger.state import remember
from timestream_aggregator.ledger.telling import Telling
from timestream_aggregator.recovery.recovery import Outcome, Recovery
from timestream_aggregator.recovery.scan import scan
from timestream_api import ledger

LOG = logging.getLogger("damaged")
LOG.setLevel(logging.CRITICAL + 1)
SESSION = 1_700_000_000
WANTED = FileId(Base("17000", "2023-11-14-22-13-20"), 3)
LIMIT = 1 << 40
SIZES = (300, 0, 700, 300, 40, 2000, 300, 90)


@dataclass
class Place:
    """A data folder with staged files."""

    root: Path
    outcomes: list[Outcome] = field(default_factory=list[Outcome])

    def leave(self, data: bytes, wanted: FileId = WANTED) -> Path:
        """Put a file of `data` where a killed recorder leaves it, which began to write it."""
        staging = self.root / OWN_FOLDER / "staging"
        staging.mkdir(parents=True, exist_ok=True)
        self.tell(ledger.Opened(path=wanted.path))
        path = staging / staged_name(wanted, "0a1b")
        path.write_bytes(data)
        return path

    def tell(self, *facts: ledger.Fact) -> None:
        book = Ledger(self.root, "crate1", LOG)
        for fact in facts:
            book.note(fact)
        book.close()

    def recover(self, disk: Disk | None = None) -> list[Outcome]:
        """Recover as the command does."""
        folder, book = DataFolder(self.root, disk), Ledger(self.root, "recover", LOG)

        def tell(fact: ledger.Fact) -> None:
            book.note(fact)
            book.write(sync=True)

        try:
            earlier = remember(self.root, "recover", "", Disk(), LOG)
            return Recovery(folder, tell, LOG, earlier=earlier, losses=Telling(book, LOG)).run()
        finally:
            book.close()

    def published(self) -> dict[str, bytes]:
        paths = sorted(path for path in self.root.glob("1*/**/*") if path.is_file())
        return {str(path.relative_to(self.root)): path.read_bytes() for path in paths}

    def kept(self) -> list[bytes]:
        folder = self.root / OWN_FOLDER / "quarantine" / "recovered"
        return [path.read_bytes() for path in sorted(folder.glob("*"))]

    def facts(self) -> list[ledger.Fact]:
        return [line.fact for line in lines(self.root)]

    def lost(self) -> list[int]:
        """Return the numbers that the ledger tells are lost, each as often as it does."""
        told = [fact for fact in self.facts() if isinstance(fact, ledger.Loss)]
        return sorted(n for fact in told for n in range(fact.first or 0, (fact.last or -1) + 1))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def stream(sizes: Sequence[int] = SIZES) -> list[bytes]:
    chance = random.Random(7)
    return [
        frame("S", session=SESSION, num=number, data=chance.randbytes(size))
        for number, size in enumerate(sizes)
    ]


def assert_nothing_is_lost(place: Place, left: bytes, good: Sequence[bytes]) -> None:
    """AssertionError unless the frames `good`, all good ones in `left`, are published, and nothing else is."""
    files = place.published()
    assert b"".join(files.values()) == b"".join(good)
    for path, data in files.items():
        found = parse(data, LIMIT)
        assert (found.end, found.refused) == (len(data), False), path
        assert all(seen.good and spt3g_loads(data[seen.start : seen.end]) for seen in found.frames), path
    told = {fact.path: fact for fact in place.facts() if isinstance(fact, ledger.Recovered)}
    assert {path: fact.bytes for path, fact in told.items()} == {
        path: len(data) for path, data in files.items()
    }
    assert list((place.root / OWN_FOLDER / "staging").iterdir()) == []
    numbers = [seen.frame_num for data in files.values() for seen in parse(data, LIMIT).frames]
    assert place.lost() == [n for a, b in pairwise(numbers) for n in range((a or 0) + 1, b or 0)]
    assert all(left.endswith(kept) for kept in place.kept())


def fields_of(frames: Sequence[bytes]) -> list[tuple[int, Field]]:
    """Return each field, and the number of the frame that it is in."""
    return [
        (number, Field(each.kind, start + each.start, start + each.end))
        for number, start in enumerate(starts(frames))
        for each in parse(frames[number], LIMIT).fields
    ]


def starts(frames: Sequence[bytes]) -> Iterator[int]:
    at = 0
    for data in frames:
        yield at
        at += len(data)


LENGTHS = [FieldKind.NAME_LENGTH, FieldKind.BLOB_LENGTH, FieldKind.COUNT]


@pytest.mark.parametrize("kind", LENGTHS)
@pytest.mark.parametrize("bit", [0, 3, 6, 8, 9, 10, 12, 16, 20, 24, 30, 31, 40, 63])
@pytest.mark.parametrize("number", [0, 3, 6])
def test_a_damaged_length_costs_its_frame_and_no_other(
    place: Place, kind: FieldKind, bit: int, number: int
) -> None:
    frames = stream()
    if kind is FieldKind.COUNT and bit > 31:
        bit -= 32
    there = [each for owner, each in fields_of(frames) if owner == number and each.kind is kind]
    for spoilt in there:
        data = bytearray(b"".join(frames))
        data[spoilt.start + bit // 8] ^= 1 << bit % 8
        one = Place(place.root / str(spoilt.start))
        one.leave(bytes(data))
        one.recover()
        assert_nothing_is_lost(one, bytes(data), [*frames[:number], *frames[number + 1 :]])


DAMAGES: dict[str, Callable[[bytes, list[bytes]], tuple[bytes, list[int]]]] = {
    "mark": lambda data, f: (data[: len(f[0])] + b"\0" + data[len(f[0]) + 1 :], [1]),
    "version": lambda data, f: (data[: len(f[0]) + 1] + b"\2" + data[len(f[0]) + 2 :], [1]),
    "crc": lambda data, f: (
        data[: len(f[0]) - 1] + bytes([data[len(f[0]) - 1] ^ 1]) + data[len(f[0]) :],
        [0],
    ),
    "garbage": lambda data, f: (data[: len(f[0])] + os.urandom(5000) + data[len(f[0]) :], []),
    "zeros": lambda data, f: (data[: len(f[0])] + bytes(5000) + data[len(f[0]) :], []),
    "hole": lambda data, f: (
        data[: len(f[0]) + 13] + bytes(len(f[1]) + 80) + data[len(f[0] + f[1]) + 93 :],
        [1, 2],
    ),
    "cut out": lambda data, f: (data[: len(f[0]) - 50] + data[len(f[0]) + 50 :], [0, 1]),
    "in front": lambda data, _: (b"\1\1\0\0\0" + data, []),
    "no frame": lambda data, f: (data[:13] + bytes(len(data) - 13), list(range(len(f)))),
    "all": lambda data, f: (data[:-5], [len(f) - 1]),
}


@pytest.mark.parametrize("tail", [b"", bytes(9000), stream()[5][:700]], ids=["whole", "zeros", "torn"])
@pytest.mark.parametrize("what", DAMAGES)
def test_frames_behind_damage_of_any_kind_are_published(place: Place, what: str, tail: bytes) -> None:
    frames = stream()
    data, gone = DAMAGES[what](b"".join(frames), frames)
    place.leave(data + tail)

    place.recover()

    good = [frame for number, frame in enumerate(frames) if number not in gone]
    assert_nothing_is_lost(place, data + tail, good)
    for number in gone:
        piece = frames[number][-40:-4]
        assert what in {"hole", "no frame", "cut out", "all"} or any(piece in kept for kept in place.kept())


@dataclass(frozen=True)
class Damage:
    """What happens at a place of the file, a part of its length: bytes are changed, put in or taken out."""

    at: float
    how: str
    data: bytes

    def do(self, content: bytearray) -> None:
        start = int(self.at * len(content))
        if self.how == "flip":
            for place in range(start, min(start + 1, len(content))):
                content[place] ^= self.data[0] or 1
        elif self.how == "change":
            content[start : start + len(self.data)] = self.data
        elif self.how == "insert":
            content[start:start] = self.data
        else:
            del content[start : start + len(self.data)]


DAMAGE = st.builds(
    Damage,
    st.floats(0, 1, exclude_max=True),
    st.sampled_from(["flip", "flip", "change", "insert", "remove"]),
    st.binary(min_size=1, max_size=60) | st.integers(1, 3000).map(bytes) | st.just(header("S", 4000)),
)


def good_at_any_place(data: bytes, frames: Sequence[bytes]) -> list[bytes]:
    """Return which of `frames`, all different, still stand whole in `data`, in order; no crc covers their types."""
    found = list[tuple[int, bytes]]()
    for one in frames:
        for match in re.finditer(re.escape(one[:9]) + b"(....)" + re.escape(one[13:]), data, re.DOTALL):
            kind = match[1][::-1].lstrip(b"\0")
            if kind and all(0x20 < byte < 0x7F for byte in kind):
                found.append((match.start(), match[0]))
    return [one for _, one in sorted(found)]


@settings(max_examples=size(150, 3000), deadline=None)
@given(st.lists(st.sampled_from([0, 30, 300, 900]), min_size=1, max_size=9), st.lists(DAMAGE, max_size=5))
def test_every_frame_that_is_still_whole_is_published_however_often_the_file_is_damaged(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], damages: list[Damage]
) -> None:
    frames, place = stream(sizes), Place(tmp_path_factory.mktemp("damaged"))
    data = bytearray(b"".join(frames))
    for damage in damages:
        damage.do(data)
    place.leave(bytes(data))

    place.recover()
    place.recover()

    assert_nothing_is_lost(place, bytes(data), good_at_any_place(bytes(data), frames))


def test_a_length_that_reaches_far_beyond_the_end_does_not_take_the_frames_behind_it_with_it(
    place: Place,
) -> None:
    frames = stream([200_000] * 12)
    at = next(each for owner, each in fields_of(frames) if owner == 3 and each.kind is FieldKind.BLOB_LENGTH)
    data = bytearray(b"".join(frames))
    data[at.start + 3] |= 1  # 16 MiB more
    place.leave(bytes(data))

    place.recover()

    assert_nothing_is_lost(place, bytes(data), [*frames[:3], *frames[4:]])
    assert place.kept() == [bytes(data[3 * len(frames[0]) :])]


def test_a_torn_frame_that_is_larger_than_any_before_it_is_put_aside(place: Place) -> None:
    frames, torn = stream([300]), frame("S", data=random.Random(1).randbytes(3 * PIECE))[: 2 * PIECE]
    place.leave(frames[0] + torn)

    place.recover()

    assert (list(place.published().values()), place.kept()) == ([frames[0]], [torn])


def test_files_are_numbered_in_the_order_of_their_frames_behind_all_others(place: Place) -> None:
    frames = stream()
    (place.root / "17000").mkdir()
    (place.root / WANTED.path).write_bytes(b"somebody else's")
    place.leave(b"".join(frames[:2]) + b"?" + b"".join(frames[2:]))

    first, second = place.recover()

    assert (first.path, second.path) == (WANTED.base.path(4), WANTED.base.path(5))
    assert place.published()[WANTED.base.path(4)] == b"".join(frames[:2])
    assert place.published()[WANTED.base.path(5)] == b"".join(frames[2:])


def test_damage_that_is_gone_when_recovery_is_taken_up_again_leaves_nothing_twice(tmp_path: Path) -> None:
    frames, whole = stream(), b"".join(stream())
    data = bytearray(whole)
    data[len(frames[0])] ^= 4
    for at in range(1, 400):
        place = Place(tmp_path / str(at))
        path = place.leave(bytes(data))
        disk = FailingDisk(fails_at=at, times=1000)
        with suppress(OSError):
            place.recover(disk)
        if not path.exists():
            break
        if path.stat().st_size == len(whole):
            path.write_bytes(whole)
        place.recover()
        assert b"".join(place.published().values()) in {whole, frames[0] + b"".join(frames[2:])}


@pytest.mark.parametrize("spoilt", [0, 1])
def test_whichever_call_fails_each_good_frame_is_published_once_in_the_end(
    tmp_path: Path, spoilt: int
) -> None:
    frames = stream()
    data = bytearray(b"".join(frames))
    data[spoilt * len(frames[0])] ^= 4
    good = [*frames[:spoilt], *frames[spoilt + 1 :]]
    for at in range(1, 400):
        place = Place(tmp_path / str(at))
        place.leave(bytes(data))
        disk = FailingDisk(fails_at=at)
        try:
            place.recover(disk)
        except OSError:
            assert at < 3, "only looking into the folder may fail as a whole"
        place.recover()
        assert_nothing_is_lost(place, bytes(data), good)
        assert place.kept() == [bytes(data[spoilt * len(frames[0]) :])]
        if disk.calls < at:
            return
    pytest.fail("there is no end to the calls")


def test_what_should_be_in_a_file_is_compared_with_both_of_its_parts(place: Place) -> None:
    frames = stream()
    data = bytearray(b"".join(frames))
    data[len(frames[0]) + 60] ^= 4
    place.leave(bytes(data))
    place.tell(
        ledger.Left(
            path=WANTED.path, bytes=len(data), frames=len(frames), crc32c="00000000", session_id=SESSION,
            first_frame_num=0, last_frame_num=len(frames) - 1, why="it failed",
        )
    )  # fmt: skip

    place.recover()

    losses = [fact for fact in place.facts() if isinstance(fact, ledger.Loss)]
    assert [(fact.count, fact.first, fact.last, fact.why) for fact in losses] == [(1, 1, 1, "it failed")]


def test_a_stream_goes_on_after_what_stood_behind_damage_whoever_recovered_it(place: Place) -> None:
    frames = stream()
    place.leave(frames[0] + b"?" + b"".join(frames[1:]))

    place.recover()

    history = remember(place.root, "crate1", "", Disk(), LOG)
    assert (history.sessions[-1].session_id, history.sessions[-1].highest) == (SESSION, len(frames) - 1)
    assert history.unended == {}


def counted_reads(data: bytes, tmp_path: Path) -> tuple[int, int]:
    """Return how many bytes a scan of `data` reads, and how many good frames it finds."""

    class Counting(Disk):
        read_bytes = 0

        def read(self, fd: int, size: int, offset: int) -> bytes:
            piece = super().read(fd, size, offset)
            self.read_bytes += len(piece)
            return piece

    path, disk = tmp_path / "file", Counting()
    path.write_bytes(data)
    fd = disk.open(path)
    try:
        found = scan(disk, fd)
    finally:
        disk.close(fd)
    return disk.read_bytes, found.head.frames + found.behind.frames


def test_many_damaged_frames_are_searched_in_a_few_readings(tmp_path: Path) -> None:
    frames = stream([300] * 20_000)
    for number in range(1, len(frames), 3):
        frames[number] = frames[number][:80] + bytes([frames[number][80] ^ 1]) + frames[number][81:]
    data = b"".join(frames)

    read_bytes, found = counted_reads(data, tmp_path)

    assert found == len(frames) - len(range(1, len(frames), 3))
    assert read_bytes < 10 * len(data)


def test_headers_that_lie_are_given_up_after_a_bounded_number_of_readings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("timestream_aggregator.recovery.scan._AT_LEAST", 0)
    blob = header("S", 2) + entry(b"lie", b"")[:-8] + (2 << 20).to_bytes(8, "little")
    data = stream([300])[0] + blob * (4 * PIECE // len(blob))  # each reaches over half of them

    read_bytes, found = counted_reads(data, tmp_path)

    assert found == 1
    assert read_bytes < 80 * len(data)


def test_memory_does_not_depend_on_what_a_length_says(tmp_path: Path) -> None:
    frames = stream([300])
    data = frames[0] + header("S", 1) + entry(b"data", bytes(24 << 20)) + b"bad!" + frames[0]
    path = tmp_path / "file"
    path.write_bytes(data)
    del data
    disk = Disk()
    fd = disk.open(path)
    tracemalloc.start()
    try:
        found = scan(disk, fd)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        disk.close(fd)

    assert (found.head.frames, found.behind.frames) == (1, 1)
    assert most < 4 * PIECE


def test_the_plain_parser_sees_what_the_test_damages() -> None:
    seen: list[Seen] = parse(b"".join(stream()), LIMIT).frames
    assert [each.frame_num for each in seen] == list(range(len(SIZES)))


def looked(root: Path, disk: Disk | None = None) -> list[int]:
    """Return the numbers that are found in left files before any is recovered."""
    recovery = Recovery(DataFolder(root, disk), lambda _: None, LOG)
    recovery.look_ahead()
    assert recovery.ahead is not None
    return sorted(frame.frame_num or 0 for _, frame in recovery.ahead)


def test_the_last_number_of_a_left_file_is_known_before_it_is_recovered(place: Place) -> None:
    frames = stream()
    for tail in (b"", frames[0][:50], bytes(3_000_000), b"?" * 1000):
        path = place.leave(b"".join(frames) + tail)
        assert looked(place.root) == [len(frames) - 1]
        path.unlink()


def test_what_stood_behind_damage_is_known_before_it_is_recovered_too(place: Place) -> None:
    frames = stream()
    path = place.leave(frames[0])
    path.with_name(f"{path.name}-behind-{len(frames[0]):x}").write_bytes(b"".join(frames[1:]))

    assert looked(place.root) == [0, len(frames) - 1]


def test_little_of_a_left_file_is_read_to_know_its_last_number(place: Place) -> None:
    class Counting(Disk):
        read_bytes = 0

        def read(self, fd: int, size: int, offset: int) -> bytes:
            piece = super().read(fd, size, offset)
            self.read_bytes += len(piece)
            return piece

    disk = Counting()
    big = [frame("S", session=SESSION, num=number, data=b"x" * 1_000_000) for number in range(20)]
    place.leave(b"".join(big))

    assert looked(place.root, disk) == [19]
    assert disk.read_bytes < 6_000_000
