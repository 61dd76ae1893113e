"""Each system call of the file path fails: once, call by call, and again and again until the disk is well."""

import logging
import resource
import threading
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path

import pytest

from tests.faults.account import assert_spt3g_reads, settle
from tests.faults.points import LEDGER, POINTS, Outcome, Point, Since, needs_strace, rehearse
from tests.faults.rehearsal import SENT, await_last, play, record
from tests.faults.warm import Warm
from tests.tools.long import LONG, size
from tests.tools.raw_server import RawServer
from tests.tools.recorder import published, staged
from timestream_aggregator.recorder import Recorder
from timestream_api.ledger import Stopped
from timestream_api.settings import RecorderSettings

ERRORS = ("ENOSPC", "EDQUOT", "EIO", "EROFS", "EINTR")
UNUSABLE_FOLDER, NOT_WRITTEN = 73, 74
pytestmark = [*needs_strace, pytest.mark.timeout(size(240, 900))]
AT_WORK = [point for point in POINTS if point.since is Since.RUNNING or point.path] + [
    Point(Since.RUNNING, "close", "staging")
]
AT_START = [Point(Since.START, call) for call in ("mkdir", "renameat2", "fsync")]


@pytest.fixture(scope="module")
def warm() -> Iterator[Warm]:
    with Warm() as process:
        yield process


def errors_for(n: int) -> Sequence[str]:
    """Return what the n-th call fails with: one error of all in turn, or each if there is time."""
    return ERRORS if LONG else (ERRORS[n % len(ERRORS)],)


def assert_nothing_lost(folder: Path, outcome: Outcome, what: str) -> None:
    assert outcome.code == 0, f"{what}: {outcome.code}\n{outcome.log}"
    settle(folder, SENT).assert_complete()
    assert staged(folder) == [], f"{what}: left in staging\n{outcome.log}"


@pytest.mark.parametrize("point", AT_WORK, ids=str)
def test_a_call_that_fails_once_loses_nothing(tmp_path: Path, warm: Warm, point: Point) -> None:
    folders = list[Path]()
    for n in count(1):
        outcomes = list[Outcome]()
        for error in errors_for(n):
            folders.append(tmp_path / f"{point.name}-{n}-{error}")
            outcomes.append(rehearse(warm, folders[-1], point, f"error={error}:when={n}"))
            assert_nothing_lost(folders[-1], outcomes[-1], f"{point}, {n}: {error}")
        if not any(outcome.met for outcome in outcomes):
            assert n > 1, f"{point}: there is no such call"
            break

    assert_spt3g_reads(folders)


@pytest.mark.parametrize("point", AT_WORK, ids=str)
def test_a_call_that_fails_until_the_disk_is_well_loses_nothing(
    tmp_path: Path, warm: Warm, point: Point
) -> None:
    folders = list[Path]()
    for n in range(1, 5) if LONG else (2,):
        for error in errors_for(AT_WORK.index(point)):
            folder = tmp_path / f"{point.name}-{n}-{error}"
            outcome = rehearse(warm, folder, point, f"error={error}:when={n}+", heal_after=0.7)
            if error != "EINTR":  # which Python itself tries again, for ever
                assert_nothing_lost(folder, outcome, f"{point}, from {n} on: {error}")
            folders.append(folder)

    assert_spt3g_reads(folders)


@pytest.mark.parametrize("point", AT_START, ids=str)
def test_a_folder_that_fails_at_the_start_is_refused_in_one_line_and_left_as_it_was(
    tmp_path: Path, warm: Warm, point: Point
) -> None:
    for n in count(1):
        folder = tmp_path / f"{point.name}-{n}"
        outcome = rehearse(warm, folder, point, f"error=EROFS:when={n}")
        if outcome.code == 0:
            assert n > 1, f"{point}: there is no such call"
            break
        assert outcome.code == UNUSABLE_FOLDER, outcome.log
        assert len(outcome.log.splitlines()) == 1
        assert published(folder) == []


def test_a_fault_of_the_program_itself_ends_it_loudly(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Faulty(Recorder):
        def fail(self) -> None:
            self._guard("writer", threading.Lock().release)

    recorder = Faulty(RecorderSettings(data_dir=tmp_path), logging.getLogger("faults"))
    recorder.fail()

    assert recorder.over.is_set()
    assert recorder.failed == "the writer failed: RuntimeError('release unlocked lock')"
    assert caplog.messages == ["a fault of this program"]


def test_a_disk_that_takes_nothing_until_the_end_is_told_in_the_ledger(tmp_path: Path, warm: Warm) -> None:
    folder = tmp_path / "data"
    outcome = rehearse(warm, folder, Point(Since.RUNNING, "pwritev2"), "error=ENOSPC:when=4+", hopeless=True)

    assert outcome.code == NOT_WRITTEN
    account = settle(folder, SENT)
    account.assert_lost_in_one_piece(SENT)
    account.assert_honest()
    assert len(account.noted) > 4
    told = [fact.unwritten for fact in account.facts(Stopped) if isinstance(fact, Stopped)]
    assert told == [len(account.noted)]


def test_a_write_that_is_cut_short_is_completed_or_its_frame_goes_to_the_next_file(
    tmp_path: Path, warm: Warm
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    with RawServer() as server, record(warm, folder, server.port) as recorder:
        resource.prlimit(recorder.pid, resource.RLIMIT_FSIZE, (600_000, resource.RLIM_INFINITY))
        recorder.go()
        play(server)
        assert await_last(recorder, folder)
        assert recorder.stop() == 0
        assert "File too large" in recorder.logged()

    settle(folder, SENT).assert_complete()
    assert all(path.stat().st_size <= 600_000 for path in published(folder))
    assert len(published(folder)) > 4
    assert_spt3g_reads([folder])


def test_no_line_of_the_ledger_is_lost_to_a_full_disk(tmp_path: Path, warm: Warm) -> None:
    folder = tmp_path / "data"
    point = Point(Since.START, "write", LEDGER)
    outcome = rehearse(warm, folder, point, "error=ENOSPC:when=3+", heal_after=1.0)

    assert_nothing_lost(folder, outcome, "the ledger's writes fail")
    assert not any(line.dropped for line in settle(folder, SENT).lines)
