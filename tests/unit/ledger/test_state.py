"""What a recorder that starts knows: from its state, and from the ledger's lines since that, or from all of them."""

import errno
import logging
import os
import random
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import pytest

from tests.machine.simulated_disk import Fault, KilledError, SimulatedDisk
from tests.tools.recorder import ledger_of
from timestream_aggregator.clock import Clock
from timestream_aggregator.core.file_facts import FileFacts
from timestream_aggregator.disk.calls import Disk
from timestream_aggregator.disk.layout import OWN_FOLDER
from timestream_aggregator.ledger.file import Ledger, lines
from timestream_aggregator.ledger.memory import MOST_SESSIONS, Memory, Session
from timestream_aggregator.ledger.state import encode, learn, remember, state_path
from timestream_api import ledger
from timestream_api.report import CloseReason

LOG = logging.getLogger(__name__)


def published(path: str, session: int | None = None, last: int | None = None) -> ledger.Published:
    return ledger.Published(
        path=path, bytes=10, frames=2, crc32c="0000000a", session_id=session, last_frame_num=last,
        reason=CloseReason.END,
    )  # fmt: skip


def recovered(path: str, session: int | None = None, last: int | None = None) -> ledger.Recovered:
    return ledger.Recovered(
        path=path, bytes=10, frames=2, crc32c="0000000a", session_id=session, last_frame_num=last
    )


def tell(root: Path, stream: str, *facts: ledger.Fact) -> None:
    (root / OWN_FOLDER).mkdir(exist_ok=True)
    book = Ledger(root, stream, LOG)
    for fact in facts:
        book.note(fact)
    book.close()


def read(root: Path, stream: str = "crate1", source: str = "here:1") -> Memory:
    return remember(root, stream, source, Disk(), LOG)


def test_without_a_ledger_nothing_is_known(tmp_path: Path) -> None:
    assert read(tmp_path) == Memory("crate1", "here:1")


def test_all_names_count_also_of_other_streams_and_of_files_that_were_never_published(tmp_path: Path) -> None:
    tell(tmp_path, "crate1", ledger.Opened(path="17000/a_000.g3"), published("17000/a_000.g3"))
    tell(tmp_path, "crate2", ledger.Opened(path="17000/b_000.g3"))

    assert set(read(tmp_path).names.values()) == {"17000/a_000.g3", "17000/b_000.g3"}


def test_the_session_is_the_last_one_of_the_stream_with_its_highest_number(tmp_path: Path) -> None:
    tell(
        tmp_path,
        "crate1",
        published("17000/a_000.g3", 7, 99),
        published("17000/b_000.g3", 8, 20),
        published("17000/c_000.g3", 8, 10),
    )
    tell(tmp_path, "crate2", published("17000/d_000.g3", 9, 500))

    assert read(tmp_path).sessions == [Session(7, None, 99), Session(8, None, 20)]


def test_what_somebody_else_recovered_counts_if_the_stream_had_opened_it(tmp_path: Path) -> None:
    tell(tmp_path, "crate1", published("17000/a_000.g3", 7, 9), ledger.Opened(path="17000/b_000.g3"))
    tell(tmp_path, "recover", recovered("17000/b_000.g3", 7, 15), recovered("17000/c_000.g3", 7, 80))

    assert read(tmp_path).sessions == [Session(7, None, 15)]


def test_files_that_were_not_read_back_are_known_with_what_was_received(tmp_path: Path) -> None:
    tell(
        tmp_path, "crate1", published("17000/a_000.g3"), published("17000/b_000.g3"),
        ledger.Verified(path="17000/a_000.g3", good=True), recovered("17000/c_000.g3"),
    )  # fmt: skip

    assert list(read(tmp_path).unverified.values()) == [
        FileFacts("17000/b_000.g3", 10, 2, 10), FileFacts("17000/c_000.g3", 10, 2, 10),
    ]  # fmt: skip


def test_files_of_which_nobody_tells_what_became_of_them_are_known(tmp_path: Path) -> None:
    opened = [ledger.Opened(path=name) for name in ("17000/a_000.g3", "17000/b_000.g3", "17000/c_000.g3")]
    tell(tmp_path, "crate1", *opened, published("17000/b_000.g3"))
    tell(tmp_path, "recover", recovered("17000/c_000.g3"))

    assert list(read(tmp_path).unended) == ["17000/a_000.g3"]


def test_what_became_of_a_file_that_was_left_is_not_told_yet(tmp_path: Path) -> None:
    left = ledger.Left(path="17000/a_000.g3", bytes=1, frames=1, crc32c="00000000", why="it failed")
    tell(tmp_path, "crate1", ledger.Opened(path="17000/a_000.g3"), left)

    assert list(read(tmp_path).unended) == ["17000/a_000.g3"]
    assert read(tmp_path).left == {"17000/a_000.g3": left}
    tell(tmp_path, "recover", recovered("17000/a_000.g3"))
    assert read(tmp_path).left == {}


def test_of_the_names_of_an_acquisition_the_highest_is_known(tmp_path: Path) -> None:
    for number in (1, 3, 2):
        tell(tmp_path, "crate1", ledger.Opened(path=f"17000/a_{number:03}.g3"))

    assert read(tmp_path).names == {"17000/a_000.g3": "17000/a_003.g3"}


def test_numbers_that_went_back_count_from_there(tmp_path: Path) -> None:
    lost = ledger.Loss(count=1, session_id=7, first=120, last=120)
    renumbered = ledger.Renumbered(session_id=7, last=99, first=3)
    tell(tmp_path, "crate1", published("17000/a_000.g3", 7, 99), lost, renumbered)
    assert [session.accounted for session in read(tmp_path).sessions] == [3]

    tell(tmp_path, "crate1", published("17000/a_001.g3", 7, 5))
    assert read(tmp_path).sessions == [Session(7, None, 5)]


def test_frames_that_an_earlier_file_holds_too_count_once(tmp_path: Path) -> None:
    tell(tmp_path, "crate1", published("17000/a_000.g3").model_copy(update={"repeated": 1}))

    assert read(tmp_path).totals.frames == 1


def test_a_line_behind_a_torn_one_of_no_interest_counts(tmp_path: Path) -> None:
    tell(tmp_path, "crate1", ledger.Connected(endpoint="here"))
    path = ledger_of(tmp_path)
    path.write_bytes(path.read_bytes()[:-3])
    with path.open("ab") as file:  # another recorder writes, which does not know of the torn line
        line = ledger.Line(time=datetime.now(UTC), stream="crate1", run="b", fact=published("17000/a_000.g3"))
        file.write(line.encode())

    assert list(read(tmp_path).unverified) == ["17000/a_000.g3"]


def test_lines_that_are_torn_or_no_objects_are_passed_over(tmp_path: Path) -> None:
    tell(tmp_path, "crate1", published("17000/a_000.g3"))
    with ledger_of(tmp_path).open("a") as file:
        file.write('5\n"text"\n{"v":1}\n[]\n{"v":1,"stream":"crate1","kind":[],"path":{}}\n{"v":1,"ti')

    assert read(tmp_path).names == {"17000/a_000.g3": "17000/a_000.g3"}


@pytest.mark.parametrize(
    "value",
    [
        '{"kind":"opened","path":"../a_000.g3"}',
        '{"kind":"opened","path":"/tmp/a_000.g3"}',
        '{"kind":"published","path":"17000/../../a_000.g3","bytes":1,"frames":1,"crc32c":"00000000"}',
        '{"kind":"published","path":"17000/b_000.g3","bytes":1e999,"frames":1,"crc32c":"00000000"}',
        '{"kind":"published","path":"17000/b_000.g3","bytes":1,"frames":1,"crc32c":"' + "f" * 9000 + '"}',
        '{"kind":"recovered","path":"17000/b_000.g3","wanted":["x"],"bytes":1,"frames":1,"crc32c":"00000000"}',
        '{"kind":"left","path":"17000/b_000.g3","bytes":-1}',
        '{"kind":"published","path":"17000/b_000.g3","bytes":1,"frames":1,"crc32c":"00000000","sessionId":1,'
        '"lastFrameNum":' + "9" * 4000 + "}",
        "[" * 200_000,
        "9" * 10_000,
        "\0" * 5000,
        "\ufeff{}",
        "NaN",
    ],
    ids=lambda value: value[:60],
)
def test_no_line_leads_out_of_the_data_folder_or_ends_the_start(tmp_path: Path, value: str) -> None:
    tell(tmp_path, "crate1", ledger.Opened(path="17000/a_000.g3"))
    path = ledger_of(tmp_path)
    line = value.replace("{", '{"v":1,"stream":"crate1","time":"0001-01-01T00:00:00+23:59",', 1)
    path.write_bytes(line.encode() + b"\n" + path.read_bytes())

    history = read(tmp_path)

    assert {name for name in history.names.values() if not name.startswith("17000/")} == set()
    assert "17000/a_000.g3" in history.unended
    assert [session.highest for session in history.sessions] in ([], [None])
    assert len(list(lines(tmp_path))) == 1


def test_a_binary_file_is_no_history(tmp_path: Path) -> None:
    (tmp_path / OWN_FOLDER).mkdir()
    ledger_of(tmp_path).write_bytes(bytes(range(256)) * 4000)

    assert read(tmp_path).names == {}


def pipe(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize("make", [pipe, Path.mkdir])
def test_what_is_no_file_in_the_place_of_the_ledger_is_an_error_at_once(
    tmp_path: Path, make: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / OWN_FOLDER).mkdir()
    make(ledger_of(tmp_path))
    book = Ledger(tmp_path, "crate1", LOG)
    book.note(ledger.Opened(path="17000/a_000.g3"))

    book.write()

    assert book.pending or book._not_before
    assert read(tmp_path).names == {}
    assert "the ledger cannot be read" in caplog.messages
    with pytest.raises(OSError, match=r"Invalid argument|directory"):
        list(lines(tmp_path))
    book.close()


def kept(root: Path, *told: ledger.Fact, source: str = "here:1", disk: Disk | None = None) -> None:
    """Run a recorder's ledger, from what is remembered to its end."""
    disk = disk or Disk()
    book = Ledger(root, "crate1", LOG, disk, memory=remember(root, "crate1", source, disk, LOG))
    book.note(ledger.Started(version="1", source=source))
    for fact in told:
        book.note(fact)
        book.write()
    book.close()


def without_state(root: Path, disk: Disk | None = None) -> Memory:
    """Return what the ledger alone tells."""
    memory = Memory("crate1", "here:1")
    learn(memory, root, disk or Disk())
    return memory


STORY = [
    ledger.Opened(path="17000/a_000.g3"),
    ledger.Loss(count=3, session_id=7, first=4, last=6),
    ledger.Quarantined(bytes=5, why="odd"),
    published("17000/a_000.g3", 7, 9),
    ledger.Verified(path="17000/a_000.g3", good=False, why="its CRC-32C is another"),
    ledger.Opened(path="17000/b_000.g3"),
    ledger.Left(path="17000/b_000.g3", bytes=1, frames=2, crc32c="0" * 8, session_id=7, last_frame_num=11, why="EIO"),
    ledger.Loss(count=1, session_id=7, first=11, last=11, path="17000/b_000.g3"),
    ledger.Opened(path="17000/c_000.g3"),
]  # fmt: skip


def test_what_is_remembered_is_what_the_ledger_tells(tmp_path: Path) -> None:
    kept(tmp_path, *STORY)

    memory = read(tmp_path)

    assert memory == without_state(tmp_path)
    assert memory.sessions == [Session(7, None, 11)]
    assert (memory.totals.files, memory.totals.frames, memory.totals.lost, memory.totals.bad_files) == (
        1,
        2,
        4,
        1,
    )
    assert memory.bad == ["17000/a_000.g3"]
    assert list(memory.unended) == ["17000/b_000.g3", "17000/c_000.g3"]
    assert memory.started is not None


class Reading(Disk):
    """Counts the bytes that are read."""

    count = 0

    def read(self, fd: int, size: int, offset: int) -> bytes:
        data = super().read(fd, size, offset)
        self.count += len(data)
        return data


def test_a_start_does_not_depend_on_the_length_of_the_ledger(tmp_path: Path) -> None:
    read_bytes = list[int]()
    for _ in range(2):
        kept(tmp_path, *STORY, *[ledger.Renamed(base="17000/a_000.g3")] * 5000)
        disk = Reading()
        memory = remember(tmp_path, "crate1", "here:1", disk, LOG)
        assert memory == without_state(tmp_path)
        read_bytes.append(disk.count)

    assert ledger_of(tmp_path).stat().st_size > 1_000_000
    assert max(read_bytes) < 5000


@pytest.mark.parametrize("power_lost", [False, True])
def test_wherever_a_recorder_is_killed_its_state_never_tells_more_or_less_than_its_ledger(
    *, power_lost: bool
) -> None:
    root = Path("/data")
    for step in count():
        disk = SimulatedDisk(root, random.Random(step))
        kept(root, *STORY[:3], disk=disk)
        disk.faults.append(Fault(skip=step, kills=True))
        try:
            kept(root, *STORY[3:], disk=disk)
        except KilledError:
            killed = True
        else:
            killed = False
        disk.restart(power_lost=power_lost)

        memory, told = remember(root, "crate1", "here:1", disk, LOG), without_state(root, disk)

        if not power_lost:
            assert memory == told, f"killed at call {step}"
        assert set(told.names) <= set(memory.names)
        if not killed:
            assert step > 50
            return


class SomeLines(Disk):
    """Takes so many lines of the ledger and no more."""

    def __init__(self, room: int) -> None:
        self.room = room

    def append(self, fd: int, data: bytes) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.room -= 1
        return super().append(fd, data)


def test_the_state_tells_of_no_line_that_the_disk_has_not_taken(tmp_path: Path) -> None:
    book = Ledger(tmp_path, "crate1", LOG, SomeLines(1), memory=Memory("crate1", "here:1"))
    for number in range(2):
        book.note(published(f"17000/{number}_000.g3"))
    book.write(sync=True)
    known = read(tmp_path)  # as after a kill
    book.close()

    assert known == without_state(tmp_path)
    assert known.totals.files == 1


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: data[:0],
    "torn": lambda data: data[:-40],
    "of a later version": lambda data: data.replace(b'"v":1', b'"v":9', 1),
    "changed": lambda data: data.replace(b"17000/a", b"17000/x", 1),
    "brackets": lambda data: b"[" * 20 * len(data),
    "zeros": lambda data: bytes(len(data)),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_state_that_is_no_good_is_made_anew_from_the_ledger_and_that_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[bytes], bytes]
) -> None:
    kept(tmp_path, *STORY)
    path = state_path(tmp_path, "crate1", "here:1")
    path.write_bytes(damage(path.read_bytes()))

    memory = read(tmp_path)

    assert memory == without_state(tmp_path)
    assert "no state of earlier runs, it is made anew from the ledger" in caplog.messages


def test_a_ledger_that_was_moved_away_takes_nothing_from_what_is_known(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept(tmp_path, *STORY)
    before = read(tmp_path)
    ledger_of(tmp_path).unlink()

    assert read(tmp_path) == before
    assert "the ledger lacks lines that were written" in caplog.messages
    kept(tmp_path, ledger.Opened(path="17000/d_000.g3"))
    after = read(tmp_path)
    assert after.totals == before.totals
    assert "17000/d_000.g3" in after.unended


def test_two_recorders_that_call_their_stream_the_same_do_not_speak_for_each_other(tmp_path: Path) -> None:
    kept(tmp_path, published("17000/a_000.g3", 7, 10), source="here:1")
    kept(tmp_path, published("17000/b_000.g3", 7, 60), source="here:2")

    for memory in (read(tmp_path), read(tmp_path, source="here:1"), without_state(tmp_path)):
        assert memory.sessions == [Session(7, None, 10)]
        assert memory.totals.files == 1
        assert set(memory.names) == {"17000/a_000.g3", "17000/b_000.g3"}
    assert read(tmp_path, source="here:2").sessions == [Session(7, None, 60)]


def test_a_stream_whose_sender_has_a_new_address_goes_on_with_its_account(tmp_path: Path) -> None:
    kept(tmp_path, *STORY, ledger.Stopped())
    before = read(tmp_path)
    kept(tmp_path, ledger.Opened(path="17000/d_000.g3"), source="there:1")
    after = read(tmp_path, source="there:1")

    assert before.totals.files
    assert (after.totals, after.bad, after.unverified) == (before.totals, before.bad, before.unverified)
    assert after.sessions == [], "another sender may count from anywhere"
    assert not state_path(tmp_path, "crate1", "here:1").exists()


def test_numbers_that_came_and_were_not_written_before_a_loss_was_told_are_known() -> None:
    session = Session(7, None, 8)
    session.lose(10, 14)
    session.lose(15, 19)
    session.lose(30, 31)

    assert (session.unwritten, session.accounted) == ([(9, 9), (20, 29)], 31)
    session.reach(20)
    assert (session.unwritten, session.told) == ([(21, 29)], [(30, 31)])


def test_sessions_of_two_streamers_with_one_number_are_two(tmp_path: Path) -> None:
    one, other = published("17000/a_000.g3", 7, 5), published("17000/b_000.g3", 7, 90)
    kept(
        tmp_path,
        one.model_copy(update={"stream_id": "ufm_a"}),
        other.model_copy(update={"stream_id": "ufm_b"}),
    )

    assert read(tmp_path).sessions == [Session(7, "ufm_a", 5), Session(7, "ufm_b", 90)]


def test_of_too_much_the_oldest_is_forgotten() -> None:
    memory = Memory("crate1")
    for number in range(3000):
        for fact in (
            ledger.Opened(path=f"17000/{number}_000.g3"),
            published(f"17000/{number}_000.g3", number, 1),
            ledger.Loss(
                count=1, session_id=1, first=2 * number, last=2 * number, path=f"17000/{number}_000.g3"
            ),
        ):
            memory.add(fact, datetime.now(UTC), mine=True)

    assert len(memory.sessions) == MOST_SESSIONS
    assert all(len(kept) == 1000 for kept in (memory.names, memory.opened, memory.unverified, memory.lost))
    assert len(encode(memory)) < 1 << 19


class Calendar(Clock):
    """A clock that says what the test wants."""

    def __init__(self, *months: int) -> None:
        self.months = list(months)

    def utc(self) -> datetime:
        return datetime(2026, self.months[0], 1, tzinfo=UTC)


def test_each_month_has_a_file_and_they_are_read_in_order(tmp_path: Path) -> None:
    clock = Calendar(1, 2, 3, 2)  # in the end it is put back
    (tmp_path / OWN_FOLDER).mkdir()
    book = Ledger(tmp_path, "crate1", LOG, clock=clock, memory=Memory("crate1", "here:1"))
    tell(tmp_path, "old", ledger.Connected(endpoint="the first"))
    ledger_of(tmp_path).rename(tmp_path / OWN_FOLDER / "ledger.jsonl")
    for number in range(4):
        book.note(published(f"17000/a_{number:03}.g3", 7, number))
        book.write()
        clock.months.pop(0) if len(clock.months) > 1 else None
    book.close()

    told = [line.fact.kind for line in lines(tmp_path)]
    assert told == ["connected", *["published"] * 4]
    names = sorted(path.name for path in (tmp_path / OWN_FOLDER).glob("ledger*"))
    assert names == ["ledger-2026-01.jsonl", "ledger-2026-02.jsonl", "ledger-2026-03.jsonl", "ledger.jsonl"]
    assert read(tmp_path) == without_state(tmp_path)
    assert read(tmp_path).totals.files == 4


def test_what_others_write_while_a_recorder_runs_is_known_to_its_next_run(tmp_path: Path) -> None:
    (tmp_path / OWN_FOLDER).mkdir()
    book = Ledger(tmp_path, "crate1", LOG, memory=Memory("crate1", "here:1"))
    other = Ledger(tmp_path, "crate2", LOG, memory=Memory("crate2", "here:2"))
    for number in range(6):
        writer = (book, other)[number % 2]
        writer.note(ledger.Opened(path=f"17000/{number}_000.g3"))
        writer.note(published(f"17000/{number}_000.g3"))
        writer.write()
    book.close()
    other.close()

    assert read(tmp_path) == without_state(tmp_path)
    assert len(read(tmp_path).names) == 6
    assert len(read(tmp_path).opened) == 3
    assert read(tmp_path).totals.files == 3


def test_unreadable_lines_are_told_to_whoever_asks(tmp_path: Path) -> None:
    tell(tmp_path, "crate1", ledger.Connected(endpoint="x"))
    with ledger_of(tmp_path).open("ab") as file:
        file.write(b'{"v":1,"ti\n' + bytes(100) + b"\n")
    unreadable = list[None]()

    assert len(list(lines(tmp_path, lambda: unreadable.append(None)))) == 1
    assert len(unreadable) == 2


def test_a_state_that_cannot_be_kept_holds_no_line_up_and_is_told(tmp_path: Path) -> None:
    state_path(tmp_path, "crate1", "here:1").mkdir(parents=True)
    book = Ledger(tmp_path, "crate1", LOG, memory=Memory("crate1", "here:1"))
    for number in range(3):
        book.note(ledger.Opened(path=f"17000/{number}_000.g3"))
        book.write(sync=True)

        assert len(list(lines(tmp_path))) == number + 1
    assert "directory" in (book.state.trouble or "")
    assert (book.state.pending, book.state.dropped) == (0, 0)
    book.close()
