"""What a killed recorder left is completed: each frame that was whole, under the name it was meant to get."""

import errno
import logging
import os
import threading
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.tools.made_frames import entry, frame, header, raw_frame
from tests.unit.disk.test_folder import FailingDisk
from timestream_aggregator.core.naming import Base, FileId
from timestream_aggregator.disk.calls import Disk
from timestream_aggregator.disk.folder import DataFolder
from timestream_aggregator.disk.layout import OWN_FOLDER, staged_name
from timestream_aggregator.disk.staged import StagedFile
from timestream_aggregator.ledger.file import Ledger, lines
from timestream_aggregator.ledger.memory import Memory
from timestream_aggregator.ledger.state import remember
from timestream_aggregator.ledger.telling import Telling
from timestream_aggregator.recovery.recovery import NICENESS, Outcome, Recovery
from timestream_api import ledger

WANTED = FileId(Base("17000", "2023-11-14-22-13-20"), 3)
FRAMES = [frame("S", session=1_700_000_000, num=number, data=b"x" * 300) for number in range(5)]
WHOLE = b"".join(FRAMES)
LOG = logging.getLogger(__name__)


@dataclass
class Place:
    """A data folder in which a recorder was killed."""

    root: Path
    told: list[ledger.Fact] = field(default_factory=list[ledger.Fact])

    def leave(self, data: bytes, wanted: FileId = WANTED) -> Path:
        """Put a file of `data` where a killed recorder leaves it."""
        staging = self.root / OWN_FOLDER / "staging"
        staging.mkdir(parents=True, exist_ok=True)
        path = staging / staged_name(wanted, Disk().token())
        path.write_bytes(data)
        return path

    def recover(self, disk: Disk | None = None) -> list[Outcome]:
        folder = DataFolder(self.root, disk)
        return Recovery(folder, self.told.append, LOG).run()

    def files(self) -> dict[str, bytes]:
        """Return every file under the data folder but those of the ledger."""
        found = (path for path in self.root.rglob("*") if path.is_file())
        return {str(path.relative_to(self.root)): path.read_bytes() for path in sorted(found)}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def recovered(place: Place) -> ledger.Recovered:
    (told,) = [fact for fact in place.told if not isinstance(fact, ledger.Opened)]
    assert isinstance(told, ledger.Recovered)
    return told


@pytest.mark.parametrize("torn", [b"", FRAMES[0][:-1], FRAMES[0][:7], bytes(100_000)])
def test_a_left_file_is_published_up_to_its_last_whole_frame(place: Place, torn: bytes) -> None:
    place.leave(WHOLE + torn)

    place.recover()

    assert place.files() == {WANTED.path: WHOLE}
    told = recovered(place)
    assert (told.path, told.bytes, told.frames, told.cut) == (WANTED.path, len(WHOLE), 5, len(torn))
    assert (told.first_frame_num, told.last_frame_num, told.quarantined) == (0, 4, 0)


def test_what_follows_a_damaged_frame_is_kept_aside_whole_and_the_good_frames_in_it_are_published(
    place: Place,
) -> None:
    damaged = bytearray(FRAMES[1])
    damaged[-20] ^= 1
    path = place.leave(FRAMES[0] + bytes(damaged) + FRAMES[2])

    place.recover()

    kept, behind = f"{OWN_FOLDER}/quarantine/recovered/{path.name}.g3part", WANTED.base.path(4)
    assert place.files() == {
        WANTED.path: FRAMES[0],
        behind: FRAMES[2],
        kept: bytes(damaged) + FRAMES[2],
    }
    _, first, opened, second = place.told
    assert isinstance(first, ledger.Recovered)
    assert isinstance(second, ledger.Recovered)
    assert opened == ledger.Opened(path=behind)
    assert (first.path, first.quarantined) == (WANTED.path, len(damaged) + len(FRAMES[2]))
    assert first.kept == f"recovered/{path.name}.g3part"
    assert (second.path, second.wanted, second.first_frame_num) == (behind, WANTED.path, 2)
    assert (second.frames, second.bytes, second.quarantined) == (1, len(FRAMES[2]), 0)


def test_a_frame_without_entries_in_a_left_file_is_a_frame(place: Place) -> None:
    data = WHOLE + raw_frame("C", {}) + FRAMES[0] + raw_frame("N", {})
    place.leave(data)

    place.recover()

    assert place.files() == {WANTED.path: data}
    assert (recovered(place).frames, recovered(place).quarantined) == (8, 0)


def test_what_an_odd_frame_that_goes_beyond_the_end_may_have_swallowed_is_kept_aside(place: Place) -> None:
    odd = header("W", 5000) + entry(b"a", b"b")
    path = place.leave(WHOLE + odd)

    place.recover()

    kept = f"{OWN_FOLDER}/quarantine/recovered/{path.name}.g3part"
    assert place.files() == {WANTED.path: WHOLE, kept: odd}


@pytest.mark.parametrize("data", [b"", FRAMES[0][:50], bytes(5000)])
def test_a_left_file_without_a_whole_frame_is_removed_and_that_is_told(place: Place, data: bytes) -> None:
    place.leave(data)

    place.recover()

    assert place.files() == {}
    assert [type(fact) for fact in place.told] == ([ledger.Removed] if data else [])


def test_a_file_that_is_being_written_is_left_alone(place: Place) -> None:
    folder = DataFolder(place.root)
    folder.prepare()
    file = StagedFile(folder, WANTED)

    assert place.recover() == []
    assert file.path.exists()
    file.close()


def test_a_name_that_is_taken_is_never_reused(place: Place) -> None:
    (place.root / "17000").mkdir()
    (place.root / WANTED.path).write_bytes(b"somebody else's")
    place.leave(WHOLE)

    place.recover()

    assert place.files() == {WANTED.path: b"somebody else's", WANTED.base.path(4): WHOLE}
    assert recovered(place).path == WANTED.base.path(4)
    assert ledger.Opened(path=WANTED.base.path(4)) in place.told, (
        "killed here, a start would not look for the file"
    )


def test_a_new_file_does_not_take_the_name_that_a_left_one_is_to_get(place: Place) -> None:
    place.leave(WHOLE)
    folder = DataFolder(place.root)
    recovery = Recovery(folder, place.told.append, LOG)

    file = StagedFile(folder, FileId(WANTED.base, 0))
    recovery.run()

    assert file.wanted.number == 4
    assert recovered(place).path == WANTED.path
    file.close()


def test_a_file_that_has_its_final_name_already_only_loses_the_other_one(place: Place) -> None:
    path = place.leave(WHOLE)
    (place.root / "17000").mkdir()
    os.link(path, place.root / WANTED.path)

    place.recover()

    assert place.files() == {WANTED.path: WHOLE}
    assert recovered(place).path == WANTED.path


def test_a_file_that_got_its_name_in_the_moment_before_the_crash_gets_its_line(place: Place) -> None:
    (place.root / "17000").mkdir()
    (place.root / WANTED.path).write_bytes(WHOLE)
    folder = DataFolder(place.root)

    Recovery(
        folder,
        place.told.append,
        LOG,
        earlier=Memory("crate1", unended={WANTED.path: None, WANTED.base.path(4): None}),
    ).run()

    assert (recovered(place).path, recovered(place).frames) == (WANTED.path, 5)
    assert place.files() == {WANTED.path: WHOLE}


class Written(Disk):
    """Keeps what is written."""

    def __init__(self) -> None:
        self.written = list[bytes]()

    def write(self, fd: int, pieces: Sequence[memoryview | bytes], offset: int) -> int:
        written = super().write(fd, pieces, offset)
        self.written.append(b"".join(pieces)[:written])
        return written


def test_a_file_that_is_given_to_it_later_is_recovered_and_what_is_not_in_it_is_lost(place: Place) -> None:
    (place.root / OWN_FOLDER / "staging").mkdir(parents=True)
    book = Ledger(place.root, "crate1", LOG)
    losses = Telling(book, LOG)
    disk = Written()
    recovery = Recovery(DataFolder(place.root, disk), place.told.append, LOG, losses=losses)
    thread = threading.Thread(target=recovery.run_beside)
    thread.start()
    assert recovery.looked.wait(10)
    niceness = os.getpriority(os.PRIO_PROCESS, thread.native_id or 0)

    should_be = ledger.Left(
        path=WANTED.path,
        bytes=1,
        frames=7,
        crc32c="00000000",
        first_frame_num=0,
        last_frame_num=6,
        why="it failed",
    )
    recovery.take(place.leave(WHOLE + FRAMES[0][:9]).name, should_be)
    deadline = time.monotonic() + 10
    while len(place.told) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    recovery.stop()
    thread.join(10)
    book.close()

    assert (recovered(place).frames, recovered(place).cut) == (5, 9)
    assert niceness >= NICENESS, "recording comes first"
    assert b"".join(disk.written) == WHOLE, "after a failed sync the kernel takes the bytes for written"
    assert losses.lost.latest is not None
    assert (
        losses.lost.count,
        losses.lost.latest.cause,
        losses.lost.latest.first,
        losses.lost.latest.last,
    ) == (2, "Disk", 5, 6)


@pytest.mark.parametrize("entries", [1, 3])
def test_a_header_with_nothing_but_zeros_behind_it_is_no_frame(place: Place, entries: int) -> None:
    place.leave(WHOLE + header("S", entries) + bytes(500))

    (outcome,) = place.recover()

    assert (outcome.frames, outcome.quarantined) == (5, 513)
    assert place.files()[WANTED.path] == WHOLE


def test_what_a_run_before_could_not_publish_is_compared_with_what_the_ledger_says_of_it(
    place: Place,
) -> None:
    book = Ledger(place.root, "crate1", LOG)
    place.leave(WHOLE)
    should_be = ledger.Left(path=WANTED.path, bytes=1, frames=8, crc32c="00000000", why="it failed")
    book.note(ledger.Opened(path=WANTED.path))
    book.note(should_be)
    book.write()
    losses = Telling(book, LOG)

    for _start in range(2):  # the second time it has been noted
        book.write()
        earlier = remember(place.root, "crate1", "", Disk(), LOG)
        Recovery(DataFolder(place.root), book.note, LOG, earlier=earlier, losses=losses).run()
        place.leave(WHOLE)
    book.close()

    assert losses.lost.count == 3


def test_frames_of_a_left_file_that_an_earlier_one_holds_too_are_not_lost_with_it(place: Place) -> None:
    place.leave(FRAMES[0][:9])
    should_be = ledger.Left(
        path=WANTED.path,
        bytes=1,
        frames=3,
        repeated=1,
        crc32c="00000000",
        session_id=1_700_000_000,
        first_frame_num=1,
        last_frame_num=2,
        why="it failed",
    )
    book = Ledger(place.root, "crate1", LOG)
    losses, earlier = Telling(book, LOG), Memory("crate1", left={WANTED.path: should_be})

    Recovery(DataFolder(place.root), place.told.append, LOG, earlier=earlier, losses=losses).run()
    book.close()

    lost = losses.lost.latest
    assert lost is not None
    assert (lost.count, lost.first, lost.last) == (2, 1, 2)


class Observed(Disk):
    """Takes down what the ledger has told when the file is cut, and in which order it is synced and named."""

    def __init__(self, root: Path) -> None:
        self.root, self.calls, self.told = root, list[str](), list[ledger.Fact]()

    def truncate(self, fd: int, size: int) -> None:
        self.told = [line.fact for line in lines(self.root)]
        self.calls.append("cut")
        super().truncate(fd, size)

    def sync(self, fd: int) -> None:
        self.calls.append("sync")
        super().sync(fd)

    def rename(self, old: Path, new: Path) -> None:
        self.calls.append("rename")
        super().rename(old, new)


def test_a_loss_is_told_before_the_file_is_cut_and_the_file_is_on_the_disk_before_it_has_its_name(
    place: Place,
) -> None:
    place.leave(WHOLE + FRAMES[0][:9])
    should_be = ledger.Left(path=WANTED.path, bytes=1, frames=8, crc32c="00000000", why="it failed")
    disk, book = Observed(place.root), Ledger(place.root, "crate1", LOG)
    losses, earlier = Telling(book, LOG), Memory("crate1", left={WANTED.path: should_be})

    Recovery(DataFolder(place.root, disk), place.told.append, LOG, earlier=earlier, losses=losses).run()
    book.close()

    assert [fact.count for fact in disk.told if isinstance(fact, ledger.Loss)] == [3]
    assert disk.calls == ["cut", "sync", "rename"]


def test_no_name_that_a_state_holds_leads_out_of_the_data_folder(place: Place) -> None:
    outside = place.root.parent / f"{place.root.name}-outside_000.g3"
    outside.write_bytes(WHOLE)
    name = f"../{outside.name}"
    recovery = Recovery(
        DataFolder(place.root), place.told.append, LOG, earlier=Memory("crate1", unended={name: None})
    )
    recovery.look_ahead()
    recovery.run()

    assert recovery.ahead == []
    assert place.told == []
    assert outside.read_bytes() == WHOLE


def test_a_name_is_given_once_also_when_its_file_was_fetched_away(place: Place) -> None:
    folder = DataFolder(place.root)
    folder.prepare()
    (place.root / "17000").mkdir()
    (place.root / WANTED.path).write_bytes(b"taken")
    file = StagedFile(folder, WANTED)
    published = file.publish()
    (place.root / published.path).unlink()
    (place.root / WANTED.path).unlink()

    again = StagedFile(folder, WANTED)

    assert (published.number, again.wanted.number) == (4, 5)
    again.close()


def test_a_stranger_in_the_staging_folder_is_told_of_and_not_touched(place: Place) -> None:
    place.leave(WHOLE).rename(place.root / OWN_FOLDER / "staging" / "notes.txt")

    (outcome,) = place.recover()

    assert outcome.trouble is not None
    assert place.files() == {f"{OWN_FOLDER}/staging/notes.txt": WHOLE}


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EROFS])
def test_whichever_call_fails_the_next_attempt_completes_the_work_and_keeps_every_byte(
    tmp_path: Path, number: int
) -> None:
    damaged = bytearray(FRAMES[1])
    damaged[-20] ^= 1
    for at in range(1, 200):
        place = Place(tmp_path / str(at))
        place.root.mkdir()
        place.leave(FRAMES[0] + bytes(damaged))
        disk = FailingDisk(fails_at=at, number=number)
        try:
            place.recover(disk)
        except OSError:
            assert at == 1, "only looking into the folder may fail as a whole"
        place.told.clear()
        place.recover()
        data = place.files()
        assert data.pop(WANTED.path) == FRAMES[0]
        assert list(data.values()) == [bytes(damaged)]
        if disk.calls < at:
            return
    pytest.fail("there is no end to the calls")


def test_what_the_closed_ledger_does_not_take_any_more_the_next_start_tells(place: Place) -> None:
    place.leave(WHOLE)
    book = Ledger(place.root, "crate1", LOG)
    book.note(ledger.Opened(path=WANTED.path))
    book.close()

    (outcome,) = Recovery(DataFolder(place.root), book.note, LOG).run()

    assert "closed" in (outcome.trouble or "")
    earlier = remember(place.root, "crate1", "", Disk(), LOG)
    Recovery(DataFolder(place.root), place.told.append, LOG, earlier=earlier).run()
    assert recovered(place).path == WANTED.path
    assert (place.root / WANTED.path).read_bytes() == WHOLE


class Watched(dict[str, ledger.Left | None]):
    """Notes in `unguarded` who looks at it, or changes it, without holding `guard`."""

    def __init__(self, files: dict[str, ledger.Left | None], guard: Any) -> None:
        super().__init__(files)
        self._guard = guard
        self.unguarded = list[str]()

    def _note(self) -> None:
        if not self._guard._is_owned():
            self.unguarded.extend(call.name for call in traceback.extract_stack(limit=3)[:1])

    def __getitem__(self, name: str) -> ledger.Left | None:
        self._note()
        return super().__getitem__(name)

    def __setitem__(self, name: str, left: ledger.Left | None) -> None:
        self._note()
        super().__setitem__(name, left)

    def __delitem__(self, name: str) -> None:
        self._note()
        super().__delitem__(name)

    def __len__(self) -> int:
        self._note()
        return super().__len__()

    def get(self, name: str, default: Any = None) -> Any:
        self._note()
        return super().get(name, default)


def test_what_writer_and_recovery_share_is_touched_under_its_lock_alone(place: Place) -> None:
    book = Ledger(place.root, "crate1", LOG)
    name = place.leave(WHOLE).name
    recovery: Any = Recovery(DataFolder(place.root), place.told.append, LOG, losses=Telling(book, LOG))
    watched = recovery._left = Watched(recovery._left, recovery._changed)
    recovery.take(name, ledger.Left(path=WANTED.path, bytes=1, frames=7, crc32c="00000000", why="it failed"))

    recovery.run()
    recovery.stop()
    thread = threading.Thread(target=recovery.run_beside)
    thread.start()
    thread.join(10)
    book.close()

    assert recovered(place).frames == 5
    assert watched.unguarded == []


def test_what_the_disk_loses_between_two_attempts_at_recovery_is_noted(place: Place) -> None:
    class Forgetful(Disk):
        failing = True

        def sync(self, fd: int) -> None:
            if self.failing:
                raise OSError(errno.EIO, "Input/output error")
            super().sync(fd)

    book, disk = Ledger(place.root, "crate1", LOG), Forgetful()
    losses = Telling(book, LOG)
    staged = place.leave(WHOLE)
    recovery = Recovery(DataFolder(place.root, disk), place.told.append, LOG, losses=losses)
    should_be = ledger.Left(
        path=WANTED.path,
        bytes=1,
        frames=5,
        crc32c="00000000",
        session_id=1,
        first_frame_num=0,
        last_frame_num=4,
        why="EIO",
    )
    recovery.take(staged.name, should_be)

    assert recovery.run()[0].trouble
    os.truncate(staged, len(b"".join(FRAMES[:3])))
    disk.failing = False
    recovery.run()
    book.close()

    assert recovered(place).frames == 3
    assert losses.lost.count == 2
