"""Files on a real disk, and on one that fails at a chosen call."""

import ctypes
import errno
import fcntl
import os
import shutil
import struct
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import wraps
from itertools import count
from pathlib import Path
from typing import Any, Self

import pytest
from crc32c import crc32c
from hypothesis import given
from hypothesis import strategies as st

from timestream_aggregator.core.naming import Base, FileId
from timestream_aggregator.disk import folder as files
from timestream_aggregator.disk.calls import Disk
from timestream_aggregator.disk.folder import DataFolder, UnusableFolderError
from timestream_aggregator.disk.layout import OWN_FOLDER, staged_name, wanted_path
from timestream_aggregator.disk.pieces import PIECE, batches, write
from timestream_aggregator.disk.staged import ChangedOnDiskError, StagedFile

BASE = Base("17000/crate1", "1700000000")
CALLS = [name for name in vars(Disk) if not name.startswith("_")]


@dataclass(frozen=True)
class Frame:
    """Bytes, cut in two as at the end of a segment."""

    data: bytes

    @property
    def parts(self) -> Sequence[memoryview]:
        half = len(self.data) // 2
        return memoryview(self.data)[:half], memoryview(self.data)[half:]

    @property
    def size(self) -> int:
        return len(self.data)


ONE, TWO = Frame(b"one " * 100), Frame(b"two " * 400_000)


class FailingDisk(Disk):
    """The real disk, but its `fails_at`-th call (and `times` in all) fails with `number`."""

    def __init__(self, fails_at: int, number: int = errno.ENOSPC, times: int = 1) -> None:
        self.calls = 0
        self.failing = range(fails_at, fails_at + times)
        self.number = number

    def __getattribute__(self, name: str) -> Any:
        value = super().__getattribute__(name)
        return self.counted(value) if name in CALLS and name != "close" else value

    def counted(self, call: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(call)
        def counting(*args: Any) -> Any:
            self.calls += 1
            if self.calls in self.failing:
                raise OSError(self.number, os.strerror(self.number))
            return call(*args)

        return counting


def folder(root: Path, disk: Disk | None = None) -> DataFolder:
    root.mkdir(exist_ok=True)
    made = DataFolder(root, disk)
    made.prepare()
    return made


def published(root: Path) -> list[str]:
    return sorted(str(p.relative_to(root)) for p in root.rglob("*.g3") if OWN_FOLDER not in p.parts)


def staged(root: Path) -> list[Path]:
    return sorted((root / OWN_FOLDER / "staging").iterdir())


def test_a_file_has_its_final_name_and_no_other_when_it_is_published(tmp_path: Path) -> None:
    file = StagedFile(folder(tmp_path), FileId(BASE, 0))
    file.append([ONE, TWO])
    assert published(tmp_path) == []

    assert file.publish().path == "17000/crate1/1700000000_000.g3"

    final = tmp_path / "17000/crate1/1700000000_000.g3"
    assert final.read_bytes() == ONE.data + TWO.data
    assert (file.frames, file.size, file.crc) == (2, final.stat().st_size, crc32c(final.read_bytes()))
    assert staged(tmp_path) == []
    assert {path.name for path in tmp_path.iterdir()} == {OWN_FOLDER, "17000"}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS])
def test_a_final_name_exists_only_if_the_file_is_whole_whichever_call_fails(
    tmp_path: Path, number: int
) -> None:
    for step in count(1):
        root = tmp_path / str(step)
        disk = FailingDisk(fails_at=10**9, number=number)
        data = folder(root, disk)
        disk.failing = range(disk.calls + step, disk.calls + step + 1)
        kept, file = 0, None
        try:
            file = StagedFile(data, FileId(BASE, 0))
            for frame in (ONE, TWO):
                file.append([frame])
                kept = file.size
            file.sync()
            file.publish()
        except OSError:
            assert all((root / name).read_bytes() == ONE.data + TWO.data for name in published(root))
            assert published(root) or sum(path.stat().st_size for path in staged(root)) >= kept
        else:
            assert published(root) == ["17000/crate1/1700000000_000.g3"]
            assert disk.calls < disk.failing[0], "a failure was swallowed"
            return
        finally:
            if file is not None:
                file.close()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_publishing_again_after_any_failure_gives_one_whole_file(tmp_path: Path, number: int) -> None:
    for step in count(1):
        root, disk = tmp_path / str(step), FailingDisk(fails_at=10**9, number=number)
        file = StagedFile(folder(root, disk), FileId(BASE, 0))
        file.append([ONE, TWO])
        disk.failing = range(disk.calls + step, disk.calls + step + 1)
        failed = False
        try:
            file.publish()
        except OSError:
            failed = True
            file.publish()
        assert published(root) == ["17000/crate1/1700000000_000.g3"]
        assert (root / published(root)[0]).read_bytes() == ONE.data + TWO.data
        assert staged(root) == []
        if not failed:
            return


def test_a_torn_frame_is_cut_off_before_publishing(tmp_path: Path) -> None:
    class ShortDisk(Disk):
        """Takes 1,000,000 bytes and is full then."""

        def write(self, fd: int, pieces: Sequence[memoryview | bytes], offset: int) -> int:
            if offset >= 1_000_000:
                raise OSError(errno.ENOSPC, "full")
            return os.pwrite(fd, b"".join(pieces)[: 1_000_000 - offset], offset)

    file = StagedFile(folder(tmp_path, ShortDisk()), FileId(BASE, 0))
    with pytest.raises(OSError, match="full"):
        file.append([ONE, TWO])
    assert file.frames == 1

    final = tmp_path / file.publish().path

    assert final.read_bytes() == ONE.data
    assert file.crc == crc32c(ONE.data)


def test_short_writes_are_completed_and_no_write_is_larger_than_a_mebibyte(tmp_path: Path) -> None:
    asked = list[int]()

    class SlowDisk(Disk):
        def write(self, fd: int, pieces: Sequence[memoryview | bytes], offset: int) -> int:
            asked.append(sum(map(len, pieces)))
            return os.pwrite(fd, b"".join(pieces)[: max(1, asked[-1] // 3)], offset)

    file = StagedFile(folder(tmp_path, SlowDisk()), FileId(BASE, 0))
    file.append([ONE, TWO])

    assert (tmp_path / file.publish().path).read_bytes() == ONE.data + TWO.data
    assert max(asked) <= 1 << 20


def test_a_failed_sync_is_not_taken_for_a_success_the_second_time(tmp_path: Path) -> None:
    class ForgetfulDisk(Disk):
        """Its first sync fails, and what was not on the disk by then is lost, as the kernel may do it."""

        syncs = 0

        def sync(self, fd: int) -> None:
            self.syncs += 1
            if self.syncs == 1:
                os.pwrite(fd, bytes(100), 0)
                raise OSError(errno.EIO, "lost")
            super().sync(fd)

    file = StagedFile(folder(tmp_path, ForgetfulDisk()), FileId(BASE, 0))
    file.append([ONE])
    with pytest.raises(OSError, match="lost"):
        file.publish()
    with pytest.raises(ChangedOnDiskError):
        file.publish()

    assert published(tmp_path) == []
    assert staged(tmp_path) == [file.path]
    file.close()


def test_after_a_failed_sync_the_bytes_are_given_to_the_disk_again(tmp_path: Path) -> None:
    class FailsOnce(Disk):
        written = 0

        def write(self, fd: int, pieces: Sequence[memoryview | bytes], offset: int) -> int:
            self.written += sum(map(len, pieces))
            return super().write(fd, pieces, offset)

        def sync_data(self, fd: int) -> None:
            raise OSError(errno.EIO, f"no sync of {fd}")

    disk = FailsOnce()
    file = StagedFile(folder(tmp_path, disk), FileId(BASE, 0))
    file.append([ONE, TWO])
    with pytest.raises(OSError, match="no sync"):
        file.sync()
    file.publish()

    assert disk.written == 2 * (ONE.size + TWO.size)


def test_numbers_go_on_after_the_highest_and_nothing_is_ever_overwritten(tmp_path: Path) -> None:
    data = folder(tmp_path)
    (tmp_path / BASE.folder).mkdir(parents=True)
    (tmp_path / BASE.path(7)).write_bytes(b"earlier")

    names = list[int]()
    for _ in range(3):
        file = StagedFile(data, FileId(BASE, 0))
        file.append([ONE])
        names.append(file.publish().number)

    assert names == [8, 9, 10]
    assert (tmp_path / BASE.path(7)).read_bytes() == b"earlier"


def test_two_writers_that_want_one_name_both_get_one(tmp_path: Path) -> None:
    files = [StagedFile(folder(tmp_path), FileId(BASE, 0)) for _ in range(2)]
    for file, frame in zip(files, (ONE, TWO), strict=True):
        file.append([frame])

    names = [file.publish().path for file in files]

    assert len(set(names)) == 2
    assert [(tmp_path / name).read_bytes() for name in names] == [ONE.data, TWO.data]


def test_a_number_that_was_taken_instead_of_the_promised_one_is_given_to_no_other(tmp_path: Path) -> None:
    data, other = folder(tmp_path), folder(tmp_path)
    files = [StagedFile(each, FileId(BASE, 0)) for each in (data, other)]
    assert [file.wanted.number for file in files] == [0, 0]
    for file in files:
        file.append([ONE])
    assert [file.publish().number for file in files] == [0, 1]
    shutil.rmtree(tmp_path / BASE.folder)

    with closing(StagedFile(other, FileId(BASE, 0))) as file:
        assert file.wanted.number == 2


class Diary(Disk):
    """Writes down the calls that bring something to the disk, and those that give names."""

    def __init__(self) -> None:
        self.lines = list[tuple[str, str]]()

    def sync(self, fd: int) -> None:
        super().sync(fd)
        self._note("sync", Path(f"/proc/self/fd/{fd}").readlink())

    def sync_folder(self, path: Path) -> None:
        super().sync_folder(path)
        self._note("sync folder", path)

    def rename(self, old: Path, new: Path) -> None:
        super().rename(old, new)
        self._note("rename", new)

    def unlink(self, path: Path) -> None:
        super().unlink(path)
        self._note("unlink", path)

    def _note(self, call: str, path: Path) -> None:
        self.lines.append((call, "staged" if path.parent.name == "staging" else path.name))


def test_names_and_bytes_come_to_the_disk_in_the_order_that_a_loss_of_power_asks_for(tmp_path: Path) -> None:
    disk = Diary()
    file = StagedFile(folder(tmp_path, disk), FileId(BASE, 0))
    file.append([ONE])
    disk.lines.clear()
    file.publish(lambda _: disk.lines.append(("told", "")))

    folders = [("sync folder", name) for name in ("crate1", "17000", tmp_path.name)]
    assert disk.lines == [
        ("sync", "staged"),
        ("sync folder", "staging"),
        *folders,
        ("rename", "1700000000_000.g3"),
        *folders,
        ("told", ""),
        ("unlink", "staged"),
        ("sync folder", "staging"),
    ]


def test_a_link_that_was_made_and_told_as_failed_is_found_the_second_time(tmp_path: Path) -> None:
    class Doubtful(Disk):
        def rename(self, old: Path, new: Path) -> None:
            raise OSError(errno.EINVAL, "Invalid argument", str(old), None, str(new))

        def link(self, old: Path, new: Path) -> None:
            super().link(old, new)
            if new.suffix == ".g3":
                raise OSError(errno.EIO, "Input/output error", str(old), None, str(new))

    file = StagedFile(folder(tmp_path, Doubtful()), FileId(BASE, 0))
    file.append([ONE])
    with pytest.raises(OSError, match="Input/output"):
        file.publish()

    assert file.publish().number == 0
    assert [path.name for path in (tmp_path / BASE.folder).iterdir()] == ["1700000000_000.g3"]


def test_no_file_is_made_where_there_is_one(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(ONE.data)
    with pytest.raises(FileExistsError):
        Disk().create(tmp_path / "a")


def test_a_new_file_that_recovery_took_for_a_left_one_is_made_again(tmp_path: Path) -> None:
    class Hasty(Disk):
        """Recovery is there before the new file is locked, finds it empty, and removes it."""

        removals = 0

        def lock(self, fd: int) -> None:
            path = Path(f"/proc/self/fd/{fd}").readlink()
            if self.removals:
                self.removals -= 1
                path.unlink()
            super().lock(fd)

    disk = Hasty()
    data = folder(tmp_path, disk)
    disk.removals = 1
    with closing(StagedFile(data, FileId(BASE, 0))) as file:
        assert disk.removals == 0
        assert staged(tmp_path) == [file.path]


IN_MOVED_TO = 0x80
IN_CREATE = 0x100


class Watch:
    """What inotify tells of a folder: kind and name of each event."""

    def __init__(self, folder: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._fd: int = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        assert libc.inotify_add_watch(self._fd, os.fsencode(folder), 0x3FF & ~0x31) > 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def events(self) -> list[tuple[int, str]]:
        data, found = os.read(self._fd, 4096), list[tuple[int, str]]()
        while data:
            _, mask, _, length = struct.unpack_from("iIII", data)
            found.append((mask, data[16 : 16 + length].rstrip(b"\0").decode()))
            data = data[16 + length :]
        return found


def test_without_a_rename_that_never_replaces_a_hard_link_does_it(tmp_path: Path) -> None:
    class NoSuchRename(Disk):
        def rename(self, old: Path, new: Path) -> None:
            raise OSError(errno.EINVAL, "Invalid argument", str(old), None, str(new))

    data = folder(tmp_path, NoSuchRename())
    first, second = (StagedFile(data, FileId(BASE, 0)) for _ in range(2))
    first.append([ONE])
    second.append([TWO])

    assert [first.publish().number, second.publish().number] == [0, 1]
    assert (tmp_path / BASE.path(0)).read_bytes() == ONE.data
    assert staged(tmp_path) == []


def test_a_full_disk_is_no_reason_not_to_start(tmp_path: Path) -> None:
    class Full(Disk):
        def create(self, path: Path) -> int:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))

    folder(tmp_path, Full())


def test_a_file_whose_name_was_taken_away_is_published_all_the_same(tmp_path: Path) -> None:
    data = folder(tmp_path)
    file = StagedFile(data, FileId(BASE, 0))
    file.append([ONE])
    shutil.rmtree(tmp_path / OWN_FOLDER)
    file.append([TWO])

    assert (tmp_path / file.publish().path).read_bytes() == ONE.data + TWO.data
    assert staged(tmp_path) == []


def test_a_file_fetched_with_its_folder_before_the_folder_is_synced_counts_as_given(tmp_path: Path) -> None:
    class Archiver(Disk):
        def rename(self, old: Path, new: Path) -> None:
            super().rename(old, new)
            if new.suffix == ".g3":
                shutil.rmtree(new.parent)

    file = StagedFile(folder(tmp_path, Archiver()), FileId(BASE, 0))
    file.append([ONE])

    assert file.publish() == FileId(BASE, 0)


def test_a_folder_on_another_file_system_gets_a_copy_from_who_has_the_time(tmp_path: Path) -> None:
    class TwoVolumes(Diary):
        def rename(self, old: Path, new: Path) -> None:
            if new.suffix == ".g3" and old.parent != new.parent:
                raise OSError(errno.EXDEV, "Invalid cross-device link", str(old), None, str(new))
            super().rename(old, new)

    disk = TwoVolumes()
    data = folder(tmp_path, disk)
    file = StagedFile(data, FileId(BASE, 0))
    file.append([ONE])

    with pytest.raises(OSError, match="cross-device"):
        file.publish()
    disk.lines.clear()
    with Watch(tmp_path / BASE.folder) as watch:
        published = data.publish(file.path, file.wanted, copying=True)
        seen = [name for _, name in watch.events()]
    file.close()

    final = Path(published.path).name
    assert set(seen) == {f".{final}.part", final}, "what is not whole is hidden"
    assert disk.lines.index(("sync", f".{final}.part")) < disk.lines.index(("rename", final))

    assert [path.name for path in (tmp_path / BASE.folder).iterdir()] == [Path(published.path).name]
    assert (tmp_path / published.path).read_bytes() == ONE.data


def test_who_watches_the_folder_hears_of_a_whole_file(tmp_path: Path) -> None:
    file = StagedFile(folder(tmp_path), FileId(BASE, 0))
    file.append([ONE])
    with Watch(tmp_path / BASE.folder) as watch:
        file.publish()
        events = watch.events()

    assert events[0] == (IN_MOVED_TO, Path(BASE.path(0)).name)
    assert IN_CREATE not in {mask for mask, _ in events}


def test_a_file_system_that_can_only_replace_is_refused(tmp_path: Path) -> None:
    class Replaces(Disk):
        def link(self, old: Path, new: Path) -> None:
            raise OSError(errno.EOPNOTSUPP, "not supported", str(old), None, str(new))

        def rename(self, old: Path, new: Path) -> None:
            raise OSError(errno.EINVAL, "Invalid argument", str(old), None, str(new))

    with pytest.raises(UnusableFolderError, match="neither a rename that never replaces nor hard links"):
        folder(tmp_path, Replaces())
    assert staged(tmp_path) == []


def test_a_file_being_written_is_locked(tmp_path: Path) -> None:
    file = StagedFile(folder(tmp_path), FileId(BASE, 0))
    with file.path.open("rb") as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    file.close()
    with file.path.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_folder_that_is_not_there_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UnusableFolderError, match="no such folder") as refused:
        DataFolder(tmp_path / "missing").prepare()
    assert "\n" not in str(refused.value)


def test_a_staged_name_tells_where_the_file_is_to_go() -> None:
    wanted = FileId(Base("17000/a stream", "x.y%z"), 12)
    assert wanted_path(staged_name(wanted, "0a1b")) == wanted.path
    assert "/" not in staged_name(wanted, "0a1b")


@given(st.lists(st.binary(max_size=50)), st.data())
def test_whatever_a_write_takes_the_rest_follows(parts: list[bytes], data: st.DataObject) -> None:
    done = bytearray()

    class Sparing(Disk):
        def write(self, fd: int, pieces: Sequence[memoryview | bytes], offset: int) -> int:
            assert (fd, offset) == (7, 100 + len(done))
            written = data.draw(st.integers(1, sum(map(len, pieces))))
            done.extend(b"".join(pieces)[:written])
            return written

    taken = list(write(Sparing(), 7, [memoryview(part) for part in parts if part], 100))

    assert done == b"".join(parts)
    assert sum(taken) == len(done)


@given(st.lists(st.integers(0, 3 * PIECE), max_size=4))
def test_batches_are_all_bytes_in_order_and_none_is_too_large(sizes: list[int]) -> None:
    parts = [memoryview(bytes([index % 251]) * size) for index, size in enumerate(sizes)]
    found = list(batches(parts))
    assert b"".join(b"".join(batch) for batch in found) == b"".join(parts)
    assert all(0 < sum(map(len, batch)) <= PIECE for batch in found)


def test_an_abandoned_file_keeps_its_bytes(tmp_path: Path) -> None:
    file: StagedFile = StagedFile(folder(tmp_path), FileId(BASE, 0))
    file.append([ONE])
    file.close()
    file.close()
    assert file.path.read_bytes() == ONE.data


@pytest.fixture
def hasty_threads() -> Iterator[None]:
    """Threads take turns after a few instructions each, so that what is not guarded shows."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


@pytest.mark.usefixtures("hasty_threads")
@pytest.mark.parametrize("most", [4, 10_000])
def test_a_number_that_was_reserved_is_not_forgotten_when_two_threads_reserve_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(files, "_MOST_BASES", most)
    folder = DataFolder(tmp_path)
    folder.prepare()
    folder.reserve(FileId(Base("17000", "shared"), 500))

    def reserve(thread: int) -> None:
        for number in range(20_000):
            folder.reserve(FileId(Base("17000", "shared"), 0))
            folder.reserve(FileId(Base("17000", f"of_{thread}_{number % 5}"), 0))

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(reserve, range(2))) == [None, None]

    with closing(StagedFile(folder, FileId(Base("17000", "shared"), 0))) as file:
        assert file.wanted.number == 501


def test_a_file_system_that_cannot_sync_folders_is_none_that_fails() -> None:
    Disk().sync_folder(Path("/proc/self"))
