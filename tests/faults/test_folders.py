"""Data folders that are not as they should be: read-only, somebody else's, in pieces, torn, shared."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.faults.account import assert_spt3g_reads, assert_untouched, contents, sent_bytes, settle
from tests.faults.disk import needs_mounts, small_disk
from tests.faults.rehearsal import SENT, await_last, is_staged, play, record, session, until
from tests.faults.warm import Warm
from tests.tools.frames import frame_bytes
from tests.tools.raw_server import RawServer
from tests.tools.recorder import OWN_FOLDER, published, staged
from timestream_aggregator.core.naming import Base, FileId
from timestream_aggregator.disk.layout import staged_name
from timestream_api.ledger import Recovered, Torn

NOBODY, UNUSABLE_FOLDER, LEFT, KILLED = 65534, 73, 74, -9
pytestmark = needs_mounts


@pytest.fixture(scope="module")
def warm() -> Generator[Warm]:
    with Warm() as process:
        yield process


@pytest.fixture
def place() -> Generator[Path]:
    """A folder that other users may enter."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def refused(warm: Warm, folder: Path, log: Path, user: int = 0) -> str:
    """Return the one line with which a recorder refuses a folder."""
    with record(warm, folder, 1, log=log, user=user) as recorder:
        recorder.go()
        assert recorder.wait() == UNUSABLE_FOLDER, recorder.logged()
        (line,) = recorder.logged().splitlines()
    return line


def test_a_folder_on_a_read_only_file_system_is_refused(tmp_path: Path, warm: Warm) -> None:
    with small_disk(tmp_path / "data", "8m") as folder:
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        assert "Read-only file system" in refused(warm, folder, tmp_path / "log")


def test_a_folder_of_somebody_else_is_refused_with_the_user_who_asked(place: Path, warm: Warm) -> None:
    folder = place / "data"
    folder.mkdir()
    line = refused(warm, folder, place / "log", NOBODY)
    assert "Permission denied" in line
    assert str(NOBODY) in line

    os.chown(folder, NOBODY, NOBODY)
    record_all(warm, folder, place / "log2", user=NOBODY)
    assert {path.owner() for path in published(folder)} == {"nobody"}


@pytest.mark.parametrize(("layout", "mode"), [("Timestamp", 0o755), ("Session", 0o755), ("Session", 0o700)])
def test_a_days_folder_of_another_user_holds_nothing_up_and_is_filled_once_it_may_be(
    place: Path, warm: Warm, layout: str, mode: int
) -> None:
    """As after a first run as root; discards would begin at once, for nobody is patient with this disk."""
    name = "17000" if layout == "Session" else f"{time.time():.0f}"[:5]
    folder, day = place / "data", place / "data" / name
    day.mkdir(parents=True)
    os.chown(folder, NOBODY, NOBODY)
    day.chmod(mode)
    with (
        RawServer() as server,
        record(
            warm, folder, server.port, log=place / "log", user=NOBODY, max_stall=1, layout=layout
        ) as recorder,
    ):
        recorder.go()
        play(server)
        assert await_last(recorder, folder), recorder.logged()
        assert recorder.stop() == LEFT
        assert recorder.logged().count("left unpublished") == 4
    assert published(folder) == []
    account = settle(folder, SENT)
    assert len(account.staged) == len(SENT)
    assert not account.noted | account.missing

    os.chown(day, NOBODY, NOBODY)
    with record(warm, folder, 1, log=place / "log2", user=NOBODY) as recorder:
        recorder.go()
        assert until(lambda: not staged(folder)), recorder.logged()
        assert recorder.stop() == 0
    settle(folder, SENT).assert_complete()


def test_files_that_another_user_left_are_not_in_the_way(place: Path, warm: Warm) -> None:
    folder = place / "data"
    folder.mkdir()
    folder.chmod(0o777)
    record_all(warm, folder, place / "log")
    for path in (folder / OWN_FOLDER, folder / OWN_FOLDER / "staging"):
        path.chmod(0o777)
    assert "Permission denied" in refused_later(warm, folder, place / "log2")


def refused_later(warm: Warm, folder: Path, log: Path) -> str:
    """Return what a recorder says whose ledger belongs to somebody else, while it records."""
    with RawServer() as server, record(warm, folder, server.port, log=log, user=NOBODY) as recorder:
        recorder.go()
        assert until(
            lambda: "the ledger cannot be written" in recorder.logged() or not recorder.running(), 10
        )
        return recorder.logged()


def record_all(warm: Warm, folder: Path, log: Path, user: int = 0) -> None:
    """Record both sessions."""
    with RawServer() as server, record(warm, folder, server.port, log=log, user=user) as recorder:
        recorder.go()
        play(server)
        assert await_last(recorder, folder), recorder.logged()
        assert recorder.stop() == 0
    settle(folder, SENT).assert_complete()


def test_an_own_folder_on_another_file_system_is_refused(tmp_path: Path, warm: Warm) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    with small_disk(folder / OWN_FOLDER, "8m"):
        line = refused(warm, folder, tmp_path / "log")
        assert "another file system" in line
        assert str(folder) in line


def test_a_folder_of_the_day_on_another_file_system_gets_copies(tmp_path: Path, warm: Warm) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    with (
        small_disk(folder / "17000", "8m"),
        RawServer() as server,
        record(warm, folder, server.port, layout="Session") as recorder,
    ):
        recorder.go()
        play(server)
        assert await_last(recorder, folder)
        assert recorder.stop() == 0
        assert "cross-device" in recorder.logged()
        shutil.copytree(folder, tmp_path / "copy")

    settle(tmp_path / "copy", SENT).assert_complete()
    assert_spt3g_reads([tmp_path / "copy"])


def test_zeros_at_the_end_of_a_left_file_and_a_torn_line_cost_nothing(tmp_path: Path, warm: Warm) -> None:
    folder, frames = tmp_path / "data", session(1_600_000_000, scans=3, payload=1000)
    (folder / OWN_FOLDER / "staging").mkdir(parents=True)
    left = folder / OWN_FOLDER / "staging" / staged_name(FileId(Base("16000", "left"), 0), "0a1b")
    left.write_bytes(b"".join(frame.data or b"" for frame in frames) + bytes(100_000))
    (folder / OWN_FOLDER / "ledger.jsonl").write_text('{"v":1,"time":"2026-01-0')
    with RawServer() as server, record(warm, folder, server.port) as recorder:
        recorder.go()
        play(server)
        assert await_last(recorder, folder)
        assert recorder.stop() == 0

    account = settle(folder, [*frames, *SENT])
    account.assert_complete()
    assert account.facts(Torn)
    assert [fact.cut for fact in account.facts(Recovered) if isinstance(fact, Recovered)] == [100_000]
    assert_spt3g_reads([folder])


@pytest.mark.parametrize("layout", ["Timestamp", "Session"])
def test_two_recorders_on_one_folder_keep_out_of_each_others_way(
    tmp_path: Path, warm: Warm, layout: str
) -> None:
    """One is killed, recovered by hand and started again while the other records."""
    folder = tmp_path / "data"
    folder.mkdir()
    ours, theirs = stream_of("ours"), stream_of("theirs")
    with (
        RawServer() as one,
        RawServer() as other,
        Warm() as second,
        record(
            second, folder, other.port, log=tmp_path / "other", stream_id="theirs", layout=layout
        ) as recorder,
    ):
        recorder.go()
        other.play(b"".join(theirs), chunk=100_000, pause=0.01)
        with record(
            warm, folder, one.port, log=tmp_path / "first", stream_id="ours", layout=layout
        ) as killed:
            killed.go()
            one.play(b"".join(ours[:10]))
            assert until(lambda: is_staged(folder, sent_bytes(ours[9])))
        before = contents(folder)
        assert warm.run(tmp_path / "recover", "recover", folder) == 0
        with record(warm, folder, one.port, log=tmp_path / "again", stream_id="ours", layout=layout) as again:
            again.go()
            one.play(b"".join(ours[10:]))
            other.wait_played()
            assert until(lambda: is_staged(folder, sent_bytes(ours[-1])))
            assert until(lambda: is_staged(folder, sent_bytes(theirs[-1])))
            assert again.stop() == 0
        assert recorder.stop() == 0
        assert_untouched(folder, before)

    assert killed.code == KILLED
    sent = [sent_bytes(data, session_id=1_700_000_000) for data in [*ours, *theirs]]
    settle(folder, sent).assert_complete()
    assert staged(folder) == []
    assert_spt3g_reads([folder])


def stream_of(name: str) -> list[bytes]:
    """Return the frames of a session without metadata; two streams may call theirs the same."""
    keys = {"session_id": 1_700_000_000, "sostream_id": "ufm_test", "name": name}
    return [frame_bytes("S", keys | {"frame_num": number}, 100_000) for number in range(30)]
