"""What becomes of frames while the disk fails, and when it works again."""

import errno
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pytest

from timestream_aggregator.clock import SYSTEM, Pulse
from timestream_aggregator.core.actions import Open
from timestream_aggregator.core.naming import Base, FileId
from timestream_aggregator.disk.calls import Disk
from timestream_aggregator.disk.folder import DataFolder
from timestream_aggregator.disk.layout import OWN_FOLDER
from timestream_aggregator.g3.parser import Frame
from timestream_aggregator.ledger.file import Ledger, lines
from timestream_aggregator.ledger.telling import Telling
from timestream_aggregator.writing.patience import Patience
from timestream_aggregator.writing.stream_files import Happening, Slot, StreamFiles, advance
from timestream_aggregator.writing.tally import Board
from timestream_api.ledger import Fact, Left, Loss
from timestream_api.report import CloseReason, LossCause

WANTED = FileId(Base("17000", "2023-11-14-22-13-20"), 0)
ASKED = Open(0, WANTED, SYSTEM.moment(), None, None)
HEAD = b"observation;"


def frame(data: bytes, frame_num: int | None = None, kind: str = "S") -> Frame:
    return Frame(kind, (memoryview(data),), len(data), 0, frame_num=frame_num)


@dataclass
class SmallDisk(Disk):
    """Is full after `room` bytes in all files, until somebody makes more room; a sync may fail `bad_syncs` times."""

    room: int
    bad_syncs: int = 0
    full: threading.Event = field(default_factory=threading.Event)

    def write(self, fd: int, pieces: Sequence[memoryview | bytes], offset: int) -> int:
        if not self.room:
            self.full.set()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = os.pwrite(fd, b"".join(pieces)[: self.room], offset)
        self.room -= written
        return written

    def sync_data(self, fd: int) -> None:
        if self.bad_syncs:
            self.bad_syncs -= 1
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        super().sync_data(fd)


LEDGERS = list[Ledger]()


@pytest.fixture(autouse=True)
def closed_ledgers() -> Iterator[None]:
    yield
    while LEDGERS:
        LEDGERS.pop().close()


def output_on(
    root: Path, disk: Disk, left: Callable[[str, Left | None], None] = lambda _name, _left: None
) -> StreamFiles:
    folder = DataFolder(root, disk)
    folder.prepare()
    log = logging.getLogger("test")
    ledger = Ledger(root, "test", log, disk)
    LEDGERS.append(ledger)
    telling = Telling(ledger, log)
    output = StreamFiles(folder, 0.0, log, Pulse("writer"), ledger, telling, Patience(600), Board())
    output.left = left
    return output


def told(root: Path) -> list[str]:
    LEDGERS[-1].write()
    return [line.fact.kind for line in lines(root)]


Kind = TypeVar("Kind", bound=Fact)


def facts(root: Path, kind: type[Kind]) -> list[Kind]:
    LEDGERS[-1].write()
    return [line.fact for line in lines(root) if isinstance(line.fact, kind)]


def published(root: Path) -> dict[str, bytes]:
    return {
        path.name: path.read_bytes() for path in sorted(root.rglob("*.g3")) if OWN_FOLDER not in path.parts
    }


def test_a_full_disk_holds_on_publishes_what_there_is_and_goes_on_in_a_new_file(tmp_path: Path) -> None:
    disk = SmallDisk(room=40)
    output = output_on(tmp_path, disk)
    output.open(ASKED)
    output.begin_with(HEAD)
    frames = [frame(b"frame number %02d;" % number) for number in range(6)]
    for each in frames:
        output.write(each)

    writing = threading.Thread(target=output.flush)
    writing.start()
    assert disk.full.wait(5)
    time.sleep(0.1)
    assert "No space left" in (output.board.state.trouble or "")
    disk.room = 10_000
    writing.join(10)
    output.close(CloseReason.GAP)

    files = published(tmp_path)
    assert list(files) == [f"{WANTED.base.stem}_000.g3", f"{WANTED.base.stem}_001.g3"]
    assert all(data.startswith(HEAD) for data in files.values())
    assert b"".join(data.removeprefix(HEAD) for data in files.values()) == b"".join(
        f.parts[0] for f in frames
    )
    assert (output.board.state.trouble, output.board.state.frames, output.board.state.files) == (
        None,
        6,
        2,
    )
    assert told(tmp_path) == ["opened", "trouble", "published", "opened", "troubleOver", "published"]
    assert list((tmp_path / OWN_FOLDER / "staging").iterdir()) == []


def test_a_disk_without_room_for_a_single_frame_leaves_no_file_of_nothing_but_the_head(
    tmp_path: Path,
) -> None:
    disk = SmallDisk(room=len(HEAD) + 3)
    output = output_on(tmp_path, disk)
    output.open(ASKED)
    output.begin_with(HEAD)
    output.write(frame(b"frame;"))
    writing = threading.Thread(target=output.flush)
    writing.start()
    assert disk.full.wait(5)
    disk.full.clear()
    disk.room = len(HEAD) + 3
    assert disk.full.wait(5)
    disk.room = 1000
    writing.join(10)
    output.close(CloseReason.GAP)

    assert published(tmp_path) == {f"{WANTED.base.stem}_000.g3": HEAD + b"frame;"}


def test_a_failed_sync_ends_the_file_and_the_next_frames_get_another(tmp_path: Path) -> None:
    output = output_on(tmp_path, SmallDisk(room=10_000, bad_syncs=2))  # the ledger's and the file's
    output.open(ASKED)
    output.write(frame(HEAD, kind="O"))
    output.write(frame(b"one;"))
    output.flush()
    output.sync_if_due()
    output.write(frame(b"two;"))
    output.close(CloseReason.END)

    assert list(published(tmp_path).values()) == [HEAD + b"one;", HEAD + b"two;"]
    assert output.board.state.last is not None
    assert output.board.state.last.reason is CloseReason.END


def test_when_it_has_to_stop_and_the_disk_takes_nothing_it_says_how_many_frames_that_are(
    tmp_path: Path,
) -> None:
    output = output_on(tmp_path, SmallDisk(room=8))
    output.open(ASKED)
    for data in (b"one;", b"two;", b"three;"):
        output.write(frame(data))
    output.patience.stop(0.3)
    output.flush()
    output.discards.tell()

    assert output.board.unwritten == 1
    assert list(published(tmp_path).values()) == [b"one;two;"]
    assert [(fact.count, fact.cause, fact.why) for fact in facts(tmp_path, Loss)] == [
        (1, "Disk", "[Errno 28] No space left on device")
    ]


def test_a_file_that_cannot_be_published_stays_staged_with_all_its_bytes(tmp_path: Path) -> None:
    class NoNames(Disk):
        def make_folder(self, path: Path) -> None:
            if OWN_FOLDER not in path.parts and self.closed:
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            super().make_folder(path)

        closed = False

    disk, left = NoNames(), dict[str, Left | None]()
    output = output_on(tmp_path, disk, left.__setitem__)
    output.open(ASKED)
    output.write(frame(b"one;"))
    output.flush()
    disk.closed = True
    output.patience.stop(0.0)
    output.close(CloseReason.STOPPED)

    assert [(fact.frames, fact.bytes) for fact in facts(tmp_path, Left)] == [(1, 4)]
    assert published(tmp_path) == {}
    (staged,) = (tmp_path / OWN_FOLDER / "staging").iterdir()
    assert staged.read_bytes() == b"one;"
    assert left == {staged.name: facts(tmp_path, Left)[0]}, "recovery has to hear of it"


def test_a_file_to_which_no_frame_comes_is_never_made(tmp_path: Path) -> None:
    output = output_on(tmp_path, Disk())
    output.open(ASKED)
    output.close(CloseReason.STOPPED)

    assert published(tmp_path) == {}
    assert list((tmp_path / OWN_FOLDER / "staging").iterdir()) == []


def test_a_number_is_not_used_again_when_somebody_has_fetched_the_file(tmp_path: Path) -> None:
    output = output_on(tmp_path, Disk())
    for number in range(3):
        output.open(ASKED)
        output.write(frame(b"one;"))
        output.close(CloseReason.DISK)
        (path,) = (tmp_path / WANTED.base.folder).iterdir()
        assert path.name == f"{WANTED.base.stem}_{number:03d}.g3"
        path.unlink()


def name(number: int) -> str:
    return Path(WANTED.base.path(number)).name


class StaleFile(Disk):
    """From `spoil()` on each call on the files that are open by then fails, as after a failover of a file server."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.stale = set[int]()
        self._opened = set[int]()

    def create(self, path: Path) -> int:
        fd = super().create(path)
        self.stale.discard(fd)
        self._opened.add(fd)
        return fd

    def spoil(self) -> None:
        self.stale |= self._opened

    def _check(self, fd: int) -> None:
        if fd in self.stale:
            raise OSError(self.number, os.strerror(self.number))

    def write(self, fd: int, pieces: Sequence[memoryview | bytes], offset: int) -> int:
        self._check(fd)
        return super().write(fd, pieces, offset)

    def truncate(self, fd: int, size: int) -> None:
        self._check(fd)
        super().truncate(fd, size)

    def sync(self, fd: int) -> None:
        self._check(fd)
        super().sync(fd)

    def sync_data(self, fd: int) -> None:
        self._check(fd)
        super().sync_data(fd)


@pytest.mark.parametrize("number", [errno.ESTALE, errno.EBADF, errno.EIO])
def test_a_file_that_fails_while_others_do_not_is_left_and_the_frames_go_on_in_a_new_one(
    tmp_path: Path, number: int
) -> None:
    disk = StaleFile(number)
    output = output_on(tmp_path, disk)
    output.patience.stop(0.0)  # whoever waits for this disk discards at once
    output.open(ASKED)
    output.write(frame(b"one;"))
    output.flush()
    disk.spoil()

    output.write(frame(b"two;"))
    output.close(CloseReason.SIZE_LIMIT)

    assert facts(tmp_path, Loss) == []
    assert [(fact.path, fact.frames) for fact in facts(tmp_path, Left)] == [(WANTED.path, 1)]
    assert published(tmp_path) == {name(1): b"two;"}
    assert [path.read_bytes() for path in (tmp_path / OWN_FOLDER / "staging").iterdir()] == [b"one;"]


LASTING = (
    errno.ESTALE,
    errno.EBADF,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EXDEV,
    errno.EACCES,
    errno.EPERM,
    errno.ENAMETOOLONG,
)


class Unpublishable(Disk):
    """The first `times` attempts at bringing a whole file to the disk fail."""

    def __init__(self, number: int, times: int) -> None:
        self.number = number
        self.times = times
        self.attempts = 0

    def sync(self, fd: int) -> None:
        self.attempts += 1
        if self.attempts <= self.times:
            raise OSError(self.number, os.strerror(self.number))
        super().sync(fd)


@pytest.mark.parametrize(("number", "attempts"), [(errno.EIO, 2), *((number, 1) for number in LASTING)])
def test_what_waiting_does_not_heal_is_tried_once_and_all_else_twice(
    tmp_path: Path, number: int, attempts: int
) -> None:
    disk = Unpublishable(number, times=10)
    output = output_on(tmp_path, disk)
    output.open(ASKED)
    output.write(frame(b"one;"))
    output.close(CloseReason.END)

    assert disk.attempts == attempts
    assert [fact.path for fact in facts(tmp_path, Left)] == [WANTED.path]


def test_a_file_that_the_second_attempt_publishes_is_not_left(tmp_path: Path) -> None:
    output = output_on(tmp_path, Unpublishable(errno.EIO, times=1))
    output.open(ASKED)
    output.write(frame(b"one;"))
    output.close(CloseReason.END)

    assert facts(tmp_path, Left) == []
    assert published(tmp_path) == {name(0): b"one;"}


class Renaming(Disk):
    """The first rename to a final name goes as `happens` says."""

    def __init__(self, happens: str) -> None:
        self.happens = happens

    def rename(self, old: Path, new: Path) -> None:
        happens, self.happens = (self.happens, "") if new.suffix == ".g3" else ("", self.happens)
        if happens == "swept away":
            old.unlink()
        super().rename(old, new)
        if happens:
            number = errno.ENOENT if happens == "told as gone" else errno.EIO
            raise OSError(number, os.strerror(number))


@pytest.mark.parametrize("happens", ["swept away", "told as gone", "told as failed"])
def test_whatever_a_rename_tells_the_file_is_published_once(tmp_path: Path, happens: str) -> None:
    output = output_on(tmp_path, Renaming(happens))
    output.open(ASKED)
    output.write(frame(b"one;"))
    output.close(CloseReason.END)

    assert published(tmp_path) == {name(0): b"one;"}
    assert told(tmp_path) == ["opened", "published"]
    assert list((tmp_path / OWN_FOLDER / "staging").iterdir()) == []


@pytest.mark.parametrize("stands", ["a file", "a link to nothing"])
def test_what_stands_in_the_place_of_the_days_folder_keeps_no_frame_from_a_file(
    tmp_path: Path, stands: str
) -> None:
    output = output_on(tmp_path, Disk())
    day = tmp_path / WANTED.base.folder
    day.touch() if stands == "a file" else day.symlink_to(tmp_path / "away")
    for data in (b"one;", b"two;"):
        output.open(ASKED)
        output.write(frame(data))
        output.close(CloseReason.SIZE_LIMIT)

    assert facts(tmp_path, Loss) == []
    assert [fact.frames for fact in facts(tmp_path, Left)] == [1, 1]
    left = (tmp_path / OWN_FOLDER / "staging").iterdir()
    assert sorted(path.read_bytes() for path in left) == [b"one;", b"two;"]


def test_what_is_lost_before_frames_stands_in_the_ledger_when_they_are_written(tmp_path: Path) -> None:
    seen = list[list[str]]()

    class Witness(Disk):
        def write(self, fd: int, pieces: Sequence[memoryview | bytes], offset: int) -> int:
            seen.append([line.fact.kind for line in lines(tmp_path)])
            return super().write(fd, pieces, offset)

    output = output_on(tmp_path, Witness())
    output.open(ASKED)
    Telling(LEDGERS[-1], logging.getLogger("test")).tell(Loss(count=3, cause=LossCause.SENDER))
    output.write(frame(b"one;"))
    output.close(CloseReason.END)

    assert seen == [["loss"]]


def test_the_number_of_a_file_that_was_left_is_given_to_no_other(tmp_path: Path) -> None:
    disk = StaleFile(errno.ESTALE)
    output = output_on(tmp_path, disk)
    for data in (b"one;", b"two;", b"three;"):
        output.open(ASKED)
        output.write(frame(data))
        output.flush()
        if data == b"one;":
            disk.spoil()
        output.close(CloseReason.SIZE_LIMIT)

    assert published(tmp_path) == {name(1): b"two;", name(2): b"three;"}


@pytest.mark.parametrize(("slot", "happening"), [(Slot.CLOSED, Happening.MADE), (Slot.OPEN, Happening.ASKED)])
def test_what_cannot_happen_to_a_file_is_a_fault_of_the_program(slot: Slot, happening: Happening) -> None:
    with pytest.raises(KeyError):
        advance(slot, happening)
