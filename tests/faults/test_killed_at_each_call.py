"""SIGKILL at exactly the n-th system call of the file path, for every n of a short recording; then recovery."""

import os
import subprocess
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest

from tests.faults.account import Account, assert_spt3g_reads, assert_untouched, contents, settle
from tests.faults.points import LEDGER, LINKED, POINTS, Point, Since, injected, needs_strace, rehearse
from tests.faults.rehearsal import FIRST, SECOND, SENT, is_staged, record, session, until
from tests.faults.warm import Warm
from tests.tools.raw_server import RawServer
from tests.tools.recorder import OWN_FOLDER, staged
from tests.tools.sender import SentFrame
from timestream_aggregator.core.naming import Base, FileId
from timestream_aggregator.disk.layout import staged_name

KILLED, NOT_BEGUN = -9, -15
THIRD = session(1_700_000_200, scans=2, payload=1_000)
RECOVERY = [
    *(
        Point(Since.START, call)
        for call in ("openat", "flock", "mkdir", "pwritev2", "ftruncate", "fsync", "renameat2", "unlink")
    ),
    *(Point(Since.START, call, LEDGER) for call in ("openat", "write", "fdatasync")),
]
pytestmark = [*needs_strace, pytest.mark.timeout(240)]


@dataclass(frozen=True, slots=True)
class Left:
    """What killed recorders left in a folder: all frames, and the places of those that a recovery finds whole."""

    folder: Path
    sent: list[SentFrame]
    recoverable: set[int]


@pytest.fixture(scope="module")
def warm() -> Iterator[Warm]:
    with Warm() as process:
        yield process


@pytest.fixture(scope="module")
def left(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> Left:
    return leave_behind(warm, tmp_path_factory.mktemp("left") / "data")


@pytest.mark.parametrize("point", POINTS + LINKED, ids=str)
def test_a_killed_recorder_leaves_nothing_that_is_lost_but_what_was_on_its_way(
    tmp_path: Path, warm: Warm, point: Point
) -> None:
    assert_spt3g_reads(list(killed_at_each(tmp_path, warm, point)))


def killed_at_each(tmp_path: Path, warm: Warm, point: Point) -> Iterator[Path]:
    """Kill recordings at the first, second, third of these calls until one comes through; yield the folders."""
    for n in count(1):
        folder = tmp_path / f"{point.name}-{n}"
        outcome = rehearse(warm, folder, point, f"signal=KILL:when={n}")
        if outcome.code == 0:
            settle(folder, SENT).assert_complete()
            assert n > 1, f"{point}: there is no such call"
            return
        assert outcome.code == KILLED, f"{point} {n}: {outcome.code}\n{outcome.log}"
        recover(warm, folder, by_hand=n % 2 == 0)
        yield folder


@pytest.mark.parametrize("point", POINTS, ids=str)
def test_a_recorder_that_is_told_to_stop_at_any_call_publishes_all_it_received(
    tmp_path: Path, warm: Warm, point: Point
) -> None:
    folders = list[Path]()
    for n in count(1):
        folder = tmp_path / f"{point.name}-{n}"
        outcome = rehearse(warm, folder, point, f"signal=TERM:when={n}")
        assert outcome.code == 0 or (outcome.code == NOT_BEGUN and not outcome.log), f"{n}\n{outcome.log}"
        folders.append(folder)
        account = settle(folder, SENT)
        account.assert_honest(in_flight=SENT)
        account.assert_lost_in_one_piece(SENT)
        assert list_staged(folder) == []
        if not outcome.early:
            break

    assert_spt3g_reads(folders)


@pytest.mark.parametrize(
    "point", [Point(Since.RUNNING, "pwritev2"), Point(Since.RUNNING, "write", LEDGER)], ids=str
)
def test_a_loss_is_in_the_ledger_before_the_frames_after_it_are_in_a_file(
    tmp_path: Path, warm: Warm, point: Point
) -> None:
    frames, gone = session(1_700_000_000, scans=8, payload=1_000), set(range(4, 7))
    sent = [frame for place, frame in enumerate(frames) if place not in gone]
    for n in count(1):
        folder = tmp_path / f"{point.name}-{n}"
        code = record_with_a_hole(warm, folder, sent, point, n)
        assert warm.run(tmp_path / "recovered", "recover", folder) == 0
        account = settle(folder, frames)
        account.assert_honest(in_flight=frames)
        if any(place > max(gone) for places in account.files.values() for place in places):
            assert account.noted == gone, f"{n}"
        if code == 0:
            assert n > 3
            break


def record_with_a_hole(warm: Warm, folder: Path, frames: list[SentFrame], point: Point, n: int) -> int | None:
    """Record `frames`, killed at the n-th call; return the exit code."""
    folder.mkdir()
    with RawServer() as server, record(warm, folder, server.port) as recorder:
        recorder.go()
        assert until(lambda: "connected" in recorder.logged())
        with injected(recorder, point, folder, f"signal=KILL:when={n}"):
            for frame in frames:
                server.play(frame.data or b"", pause=0.01)
            until(lambda: not recorder.running() or is_staged(folder, frames[-1]))
            return recorder.stop()


def recover(warm: Warm, folder: Path, *, by_hand: bool) -> None:
    """Have what was left recovered, by the command or by the next recorder, and check what became of it."""
    before, there = contents(folder), on_disk(folder)
    sent = SENT
    if by_hand:
        assert warm.run(folder.with_name(f"{folder.name}.recovered"), "recover", folder) == 0
    else:
        record_third(warm, folder)
        sent = [*SENT, *THIRD]
    assert_untouched(folder, before)
    account = settle(folder, sent)
    account.assert_honest(in_flight=SENT)
    account.assert_lost_in_one_piece([*FIRST, *SECOND])
    assert account.staged == set()
    assert list_staged(folder) == [], "recovered, and still staged"
    assert there <= {place for places in account.files.values() for place in places}
    if not by_hand:
        assert not account.missing & set(range(len(SENT), len(sent)))


def record_third(warm: Warm, folder: Path) -> None:
    """Record another session into the folder."""
    with RawServer() as server, record(warm, folder, server.port) as recorder:
        recorder.go()
        server.play(b"".join(frame.data or b"" for frame in THIRD))
        server.wait_played()
        assert until(lambda: is_staged(folder, THIRD[-1]))
        assert until(lambda: len(list_staged(folder)) == 1), "left files are not recovered"
        assert recorder.stop() == 0, recorder.logged()


def list_staged(folder: Path) -> list[Path]:
    return staged(folder) if (folder / OWN_FOLDER / "staging").is_dir() else []


def on_disk(folder: Path) -> set[int]:
    """Return the places of all frames that are whole in a file, a published one or not."""
    account: Account = settle(folder, SENT)
    return account.staged | {place for places in account.files.values() for place in places}


@pytest.mark.parametrize("point", RECOVERY, ids=str)
def test_a_recovery_that_is_killed_at_any_call_is_taken_up_again(
    tmp_path: Path, warm: Warm, left: Left, point: Point
) -> None:
    before, folders = contents(left.folder), list[Path]()
    for n in count(1):
        folder = tmp_path / f"{point.name}-{n}"
        subprocess.run(["cp", "-a", str(left.folder), str(folder)], check=True)  # with hard links as they are
        code = recover_with(warm, folder, point, n)
        if code == KILLED:
            assert_untouched(folder, before)
            assert warm.run(folder.with_name(f"{folder.name}.log"), "recover", folder) == 0
        assert_untouched(folder, before)
        account = settle(folder, left.sent)
        account.assert_honest(in_flight=left.sent)
        assert list_staged(folder) == []
        assert {place for places in account.files.values() for place in places} == left.recoverable
        assert account.kept == set()
        assert len(account.noted) == 2, "of two damaged frames between good ones not both are noted as lost"
        folders.append(folder)
        if code == 0:
            assert n > 1, f"recovery makes no {point.call}"
            break
        assert code == KILLED

    assert_spt3g_reads(folders)


def recover_with(warm: Warm, folder: Path, point: Point, n: int) -> int | None:
    """Return the exit code of `recover`, killed at the n-th call."""
    with warm.command(folder.with_name(f"{folder.name}.first"), "recover", folder) as command:
        with injected(command, point, folder, f"signal=KILL:when={n}"):
            command.go()
            command.wait(20)
        return command.wait(0)


def leave_behind(warm: Warm, folder: Path) -> Left:
    """Leave files of all kinds."""
    rehearse(warm, folder, Point(Since.RUNNING, "renameat2"), "signal=KILL:when=1")
    sent, there = list(SENT), on_disk(folder)

    def leave(number: int, spoil: Callable[[bytes], bytes], good: Iterable[int]) -> Path:
        frames = session(1_700_001_000 + number, scans=2, payload=1000)
        there.update(len(sent) + place for place in good)
        sent.extend(frames)
        wanted = FileId(Base("17000", f"left-{number}"), 0)
        path = folder / OWN_FOLDER / "staging" / staged_name(wanted, "0a1b")
        path.write_bytes(spoil(b"".join(frame.data or b"" for frame in frames)))
        return path

    leave(0, lambda data: data + bytes(5000), range(4))
    leave(1, lambda data: data[:-1], range(3))
    leave(2, lambda data: data[:500] + b"?" + data[501:], [0, 2, 3])
    leave(3, lambda _: b"", [])
    linked = leave(4, lambda data: data, range(4))
    leave(5, lambda data: data[:3] + b"?" + data[4:], [1, 2, 3])
    leave(6, lambda data: data[:500] + b"?" + data[501:2500] + b"?" + data[2501:], [0, 2])
    (folder / "17000").mkdir()
    os.link(linked, folder / "17000" / "left-4_000.g3")
    return Left(folder, sent, there)
