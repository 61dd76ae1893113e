"""The simulated disk does what the real one does, while nothing fails; and forgets no more than it may."""

import errno
import os
import random
import tempfile
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.machine.simulated_disk import Fault, KilledError, SimulatedDisk
from tests.tools.long import size
from timestream_aggregator.disk.calls import Disk

ROOT = Path("/data")
NAMES = st.sampled_from(["a", "b", "folder/a", "folder/deep/b"])
FOLDERS = st.sampled_from(["folder", "folder/deep"])
NUMBERS = st.integers(0, 3)
DATA = st.binary(max_size=8)
WORK = st.one_of(
    st.tuples(st.sampled_from(["create", "open", "open_end", "open_anew", "unlink"]), NAMES),
    st.tuples(st.sampled_from(["make_folder", "sync_folder", "is_folder", "names"]), FOLDERS),
    st.tuples(st.sampled_from(["link", "rename", "replace", "same"]), NAMES, NAMES),
    st.tuples(
        st.sampled_from(["lock", "lock_shared", "links", "size", "sync", "sync_data", "close"]), NUMBERS
    ),
    st.tuples(st.just("is_at"), NUMBERS, NAMES),
    st.tuples(st.just("write"), NUMBERS, DATA, st.integers(0, 12)),
    st.tuples(st.just("append"), NAMES, DATA),
    st.tuples(st.just("read"), NUMBERS, st.integers(0, 20), st.integers(0, 12)),
    st.tuples(st.just("truncate"), NUMBERS, st.integers(0, 12)),
)


CLOSED = 10**6


class Player:
    """Does the same work on any disk; descriptors are called by the order in which they were got."""

    def __init__(self, disk: Disk, root: Path) -> None:
        self.disk, self.root, self.open = disk, root, list[int]()

    def play(self, work: tuple[object, ...]) -> object:
        """Return what a call answers: a value, or the number of its error."""
        name, *args = work
        if name == "append":  # only to what was opened for it
            return self._append(*args)
        try:
            answer = getattr(self.disk, str(name))(*self.translated(str(name), args))
        except OSError as error:
            return errno.errorcode[error.errno or 0]
        if name == "close":  # the real disk may give the number to another file
            self.open[cast("int", args[0])] = CLOSED
        if name in {"create", "open", "open_end", "open_anew"}:
            self.open.append(answer)
            return "open"
        return sorted(answer) if name == "names" else answer

    def _append(self, name: object, data: object) -> object:
        try:
            fd = self.disk.open_end(self.root / str(name))
        except OSError as error:
            return errno.errorcode[error.errno or 0]
        self.open.append(fd)
        return self.disk.append(fd, cast("bytes", data))

    def translated(self, name: str, args: list[object]) -> list[object]:
        first = args[0]
        if isinstance(first, int):
            args = [self.open[first] if first < len(self.open) else CLOSED, *args[1:]]
        args = [self.root / arg if isinstance(arg, str) else arg for arg in args]
        return [args[0], [args[1]], args[2]] if name == "write" else args

    def close(self) -> None:
        for fd in self.open:
            try:
                self.disk.close(fd)
            except OSError:
                continue


@settings(max_examples=size(100, 2000))
@given(st.lists(WORK, max_size=30))
def test_it_answers_every_call_as_the_real_disk_does(works: list[tuple[object, ...]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        real = Player(Disk(), Path(folder))
        simulated = Player(SimulatedDisk(ROOT, random.Random(0)), ROOT)
        try:
            for work in works:
                assert (work, simulated.play(work)) == (work, real.play(work))
        finally:
            real.close()


def disk(seed: int = 0) -> SimulatedDisk:
    return SimulatedDisk(ROOT, random.Random(seed))


@pytest.mark.parametrize("seed", range(20))
def test_what_was_synced_survives_a_loss_of_power_and_a_kill_loses_nothing(seed: int) -> None:
    made, path = disk(seed), ROOT / "file"
    fd = made.create(path)
    made.write(fd, [b"synced"], 0)
    made.sync_data(fd)
    made.sync_folder(ROOT)
    made.write(fd, [b" and not"], 6)

    made.restart(power_lost=False)
    assert made.files()[path].cached == b"synced and not"
    made.restart(power_lost=True)
    assert made.files()[path].cached.startswith(b"synced")


def test_what_was_not_synced_may_be_lost_names_too() -> None:
    left = set[bytes | None]()
    for seed in range(200):
        made, path = disk(seed), ROOT / "file"
        fd = made.create(path)
        made.write(fd, [b"one"], 0)
        made.write(fd, [b"two"], 3)
        made.restart(power_lost=True)
        file = made.files().get(path)
        left.add(None if file is None else bytes(file.cached))

    assert left >= {None, b"", b"one", b"onetwo"}
    assert any(data and data.startswith(b"\0\0\0") for data in left), "no hole"
    assert any(data and len(data) % 3 for data in left), "nothing torn"


def test_after_a_failed_sync_the_next_one_succeeds_and_means_nothing() -> None:
    kept = set[bytes]()
    for seed in range(30):
        made, path = disk(seed), ROOT / "file"
        fd = made.create(path)
        made.sync_folder(ROOT)
        made.write(fd, [b"data"], 0)
        made.faults.append(Fault(only=frozenset({"sync_data"})))
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            made.sync_data(fd)
        made.sync_data(fd)
        made.restart(power_lost=True)
        kept.add(bytes(made.files()[path].cached))

    assert kept >= {b"", b"data"}


def test_a_lock_ends_with_the_process_that_had_it() -> None:
    made, path = disk(), ROOT / "file"
    made.lock(made.create(path))
    other = made.open(path)
    with pytest.raises(BlockingIOError):
        made.lock(other)
    made.restart(power_lost=False)

    made.lock(made.open(path))


def test_a_killed_process_does_nothing_any_more() -> None:
    made = disk()
    made.faults.append(Fault(kills=True, late=True))
    with pytest.raises(KilledError):
        made.create(ROOT / "file")
    with pytest.raises(KilledError):
        made.unlink(ROOT / "file")

    assert list(made.files()) == [ROOT / "file"]


def test_every_call_of_the_real_disk_is_simulated() -> None:
    real = {name for name in vars(Disk) if not name.startswith("_")}

    assert real <= set(vars(SimulatedDisk))
