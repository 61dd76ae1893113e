"""The ledger on a real disk, on a full one, after a crash, and shared by several."""

import errno
import json
import logging
import os
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tools.recorder import ledger_of
from timestream_aggregator.disk.calls import Disk
from timestream_aggregator.disk.layout import OWN_FOLDER
from timestream_aggregator.ledger import file as ledger
from timestream_aggregator.ledger.file import ClosedLedgerError, Ledger, lines
from timestream_aggregator.ledger.memory import Memory
from timestream_api import ledger as facts

LOG = logging.getLogger("test")
TEXTS = st.text(max_size=1000)
OPENED = list[Ledger]()


class FullDisk(Disk):
    """Takes `room` bytes at ends of files and no more; counts how often it was asked."""

    def __init__(self, room: int = 0) -> None:
        self.room = room
        self.asked = 0

    def append(self, fd: int, data: bytes) -> int:
        self.asked += 1
        if not self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = os.write(fd, data[: self.room])
        self.room -= written
        return written


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(ledger, "RETRY_AFTER", 0.0)
    yield
    while OPENED:
        OPENED.pop().close()


def opened(root: Path, stream: str = "crate1", disk: Disk | None = None) -> Ledger:
    (root / OWN_FOLDER).mkdir(exist_ok=True)
    OPENED.append(Ledger(root, stream, LOG, disk))
    return OPENED[-1]


def descriptors() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


def tell(book: Ledger, *whats: str) -> None:
    for what in whats:
        book.note(facts.TroubleOver(after=what))
    book.write()


def told(root: Path) -> list[str]:
    return [
        line.fact.after if isinstance(line.fact, facts.TroubleOver) else line.fact.kind
        for line in lines(root)
    ]


def test_a_line_says_who_tells_what_and_when(tmp_path: Path) -> None:
    book = opened(tmp_path)
    book.note(facts.Loss(count=3, session_id=7, first=4, last=6), datetime(2026, 1, 2, tzinfo=UTC))
    book.write()

    assert json.loads(book.path.read_text()) == {
        "v": 1,
        "time": "2026-01-02T00:00:00Z",
        "stream": "crate1",
        "run": book.run,
        "kind": "loss",
        "count": 3,
        "sessionId": 7,
        "first": 4,
        "last": 6,
    }


@given(TEXTS, TEXTS, TEXTS, TEXTS)
def test_no_line_is_longer_than_what_one_write_keeps_together_and_each_is_read_back(
    one: str, two: str, stream: str, run: str
) -> None:
    for fact in (
        facts.Verified(path=one, good=False, sha256="0" * 64, why=two),
        facts.Started(version=one, source=two, pod=one),
        facts.Removed(path=one * 100, kept=two * 100),
        facts.Quarantined(bytes=1, why=one * 100, kept=two),
    ):
        line = facts.Line(time=datetime.now(UTC), stream=stream, run=run, fact=fact)
        encoded = line.encode()
        assert len(encoded) <= facts.LINE_LIMIT
        assert encoded.count(b"\n") == 1
        assert facts.decode(encoded.decode()) == line


def test_what_a_later_version_says_is_passed_over() -> None:
    known = '{"v":1,"time":"2026-01-02T00:00:00Z","stream":"a","run":"b","kind":"connected","endpoint":"x"'
    assert facts.decode(known + "}") == facts.decode(known + ',"colour":"red"}') is not None
    assert facts.decode(known.replace("connected", "painted") + "}") is None
    assert facts.decode(known.replace('"v":1', '"v":2') + "}") is None


def test_while_the_disk_is_full_lines_wait_and_come_in_order_when_it_is_not(tmp_path: Path) -> None:
    disk = FullDisk()
    book = opened(tmp_path, disk=disk)
    tell(book, "one", "two")
    assert told(tmp_path) == []

    disk.room = 10_000
    tell(book, "three")

    assert told(tmp_path) == ["one", "two", "three"]


def test_a_line_that_the_disk_took_a_piece_of_is_written_again_on_a_line_of_its_own(tmp_path: Path) -> None:
    disk = FullDisk(room=40)
    book = opened(tmp_path, disk=disk)
    tell(book, "one")
    other = opened(tmp_path, "other")
    tell(other, "between")
    disk.room = 10_000
    tell(book, "two")

    assert told(tmp_path) == ["between", "one", "two"]


def test_a_piece_of_a_line_is_ended_before_the_next_one(tmp_path: Path) -> None:
    disk = FullDisk(room=40)
    book = opened(tmp_path, disk=disk)
    tell(book, "one")
    disk.room = 10_000
    tell(book, "two")

    piece, *rows = book.path.read_bytes().splitlines()
    assert len(piece) == 40
    assert [json.loads(row)["after"] for row in rows] == ["one", "two"]


def test_what_found_no_room_in_the_queue_is_counted_in_the_next_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "MOST_WAITING", 2)
    disk = FullDisk()
    book = opened(tmp_path, disk=disk)
    tell(book, "one", "two", "three", "four")
    disk.room = 10_000
    book.write()
    tell(book, "five", "six")

    assert told(tmp_path) == ["one", "two", "five", "six"]
    assert [line.dropped for line in lines(tmp_path)] == [0, 0, 2, 0]


def test_a_full_disk_is_not_asked_for_every_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "RETRY_AFTER", 60.0)
    disk = FullDisk()
    book = opened(tmp_path, disk=disk)
    for number in range(50):
        tell(book, str(number))

    assert disk.asked == 1
    assert not book.pending


@pytest.mark.parametrize(
    "tail", [b'{"v":1,"time":"20', bytes(200_000), b"x" * 70_000], ids=["a piece", "zeros", "long"]
)
def test_a_torn_last_line_is_cut_off_and_noted_and_nothing_else_is_touched(
    tmp_path: Path, tail: bytes
) -> None:
    first = opened(tmp_path)
    tell(first, "one", "two")
    first.close()
    whole = first.path.read_bytes()
    first.path.write_bytes(whole + tail)

    tell(opened(tmp_path), "three")

    assert first.path.read_bytes().startswith(whole)
    assert told(tmp_path) == ["one", "two", "torn", "three"]
    assert [line.fact.bytes for line in lines(tmp_path) if isinstance(line.fact, facts.Torn)] == [len(tail)]


def test_a_torn_line_is_not_cut_off_while_another_recorder_writes(tmp_path: Path) -> None:
    first = opened(tmp_path)
    tell(first, "one")
    with first.path.open("ab") as file:
        file.write(b'{"v":1,"ti')

    tell(opened(tmp_path, "other"), "two")
    tell(first, "three")

    assert told(tmp_path) == ["one", "two", "three"]


def test_several_recorders_share_one_ledger(tmp_path: Path) -> None:
    books = [opened(tmp_path, f"crate{number}") for number in range(3)]
    for number in range(100):
        tell(books[number % 3], str(number))

    assert told(tmp_path) == [str(number) for number in range(100)]
    assert {(line.stream, line.run) for line in lines(tmp_path)} == {
        (f"crate{number}", book.run) for number, book in enumerate(books)
    }


def test_a_folder_without_a_ledger_has_no_lines(tmp_path: Path) -> None:
    assert list(lines(tmp_path)) == []


def test_a_ledger_that_cannot_be_opened_loses_its_lines_loudly(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    book = opened(tmp_path)
    ledger_of(tmp_path).mkdir()
    tell(book, "one", "two")
    book.close()

    assert "lines of the ledger are lost" in caplog.messages


def test_a_closed_ledger_takes_no_fact_and_never_opens_its_file_again(tmp_path: Path) -> None:
    book = opened(tmp_path)
    tell(book, "one")
    book.close()
    before = descriptors()

    with pytest.raises(ClosedLedgerError):
        tell(book, "late")
    book.write(sync=True)

    assert told(tmp_path) == ["one"]
    assert descriptors() == before


def test_what_a_full_disk_did_not_take_before_the_end_is_not_written_after_it(tmp_path: Path) -> None:
    disk = FullDisk()
    book = opened(tmp_path, disk=disk)
    tell(book, "one")
    book.close()
    disk.room = 1000
    before = descriptors()

    book.write(sync=True)

    assert told(tmp_path) == []
    assert descriptors() == before


class SlowToRead(Disk):
    """Does not answer who reads, until it is told to."""

    def __init__(self) -> None:
        self.asked, self.answers = threading.Event(), threading.Event()

    def read(self, fd: int, size: int, offset: int) -> bytes:
        self.asked.set()
        assert self.answers.wait(30)
        return super().read(fd, size, offset)


def test_nobody_who_tells_something_waits_for_a_disk_that_does_not_answer(tmp_path: Path) -> None:
    disk = SlowToRead()
    (tmp_path / OWN_FOLDER).mkdir()
    book = Ledger(tmp_path, "crate1", LOG, disk, memory=Memory("crate1"))
    tell(book, "one")
    tell(opened(tmp_path, stream="crate2"), "of another recorder")
    book.note(facts.TroubleOver(after="two"))
    writing = threading.Thread(target=book.write)
    telling = threading.Thread(target=book.note, args=(facts.TroubleOver(after="three"),))
    writing.start()
    assert disk.asked.wait(10), "it reads what others wrote"
    telling.start()
    telling.join(10)
    waits = telling.is_alive()
    disk.answers.set()
    writing.join(10)
    telling.join(10)

    assert not waits
    book.close()


def test_a_loss_is_not_dropped_before_what_tells_of_no_frame(tmp_path: Path) -> None:
    disk = FullDisk()
    book = opened(tmp_path, disk=disk)
    for number in range(1200):
        book.note(facts.TroubleOver(after=str(number)))
    for number in range(1200):
        book.note(facts.Loss(count=1, first=number, last=number))
    book.write()
    assert book.state.pending <= ledger.MOST_WAITING + 201
    assert book.state.trouble is not None
    disk.room = 1 << 20
    book.write()

    lost = [line.fact.first for line in lines(tmp_path) if isinstance(line.fact, facts.Loss)]
    others = sum(isinstance(line.fact, facts.TroubleOver) for line in lines(tmp_path))
    assert lost == list(range(1200))
    assert others + book.state.dropped == 1200
    assert sum(line.dropped for line in lines(tmp_path)) == book.state.dropped
    assert (book.state.pending, book.state.trouble) == (0, None)


class SomeLines(Disk):
    """Takes `room` lines and no more."""

    room = 0

    def append(self, fd: int, data: bytes) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.room -= 1
        return super().append(fd, data)


def test_lines_that_were_dropped_before_a_dropped_line_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "MOST_WAITING", 4)
    disk = SomeLines()
    book = opened(tmp_path, disk=disk)
    tell(book, *"abcdef")  # two find no room
    disk.room = 1
    tell(book)
    tell(book, "g")
    for number in range(4):
        book.note(facts.Loss(count=1, first=number, last=number))
    disk.room = 100
    tell(book)

    assert told(tmp_path) == ["a", "b", "loss", "loss", "loss", "loss"]
    assert [line.dropped for line in lines(tmp_path)] == [0, 0, 1, 1, 3, 0]
    assert book.state.dropped == 5


def test_a_ledger_that_is_taken_away_is_begun_anew(tmp_path: Path) -> None:
    book = opened(tmp_path)
    tell(book, "one")
    book.path.unlink()

    tell(book, "two")

    assert told(tmp_path) == ["two"]


class Forgetful(Disk):
    """A disk whose next sync fails, and takes the last `lost` bytes of the file with it."""

    def __init__(self, lost: int) -> None:
        self.lost, self.failing, self.synced = lost, False, list[int]()

    def sync_data(self, fd: int) -> None:
        if self.failing:
            self.failing = False
            os.truncate(f"/proc/self/fd/{fd}", self.size(fd) - self.lost)
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self.synced.append(self.size(fd))
        super().sync_data(fd)

    def write(self, fd: int, pieces: Sequence[memoryview | bytes], offset: int) -> int:
        self.rewritten = offset, sum(map(len, pieces))
        return super().write(fd, pieces, offset)


@pytest.mark.parametrize("lost", [0, 10, 150, 100_000])
def test_lines_that_a_failed_sync_lost_are_written_again(tmp_path: Path, lost: int) -> None:
    disk = Forgetful(lost)
    (tmp_path / OWN_FOLDER).mkdir()
    memory = Memory("crate1", "here:1")
    book = Ledger(tmp_path, "crate1", LOG, disk, memory=memory)
    OPENED.append(book)
    tell(book, "one")
    book.write(sync=True)
    before = book.path.stat().st_size
    tell(book, "two", "three")
    disk.lost, disk.failing = min(lost, book.path.stat().st_size - before), True
    book.write(sync=True)
    assert book.state.trouble is not None

    book.write(sync=True)

    assert sorted(told(tmp_path)) == ["one", "three", "two"]
    assert disk.synced[-1] == book.path.stat().st_size
    assert book.state.trouble is None
    assert memory.place.at == book.path.stat().st_size
