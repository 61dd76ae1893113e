"""What is wrong with one file, or with where it is to go, while the disk takes everything else: recording goes on."""

import shutil
from collections.abc import Callable
from contextlib import ExitStack, suppress
from itertools import count
from pathlib import Path

import pytest

from tests.faults.account import assert_spt3g_reads, settle
from tests.faults.disk import needs_mounts, small_disk
from tests.faults.rehearsal import session
from tests.tools.raw_server import RawServer
from tests.tools.recorder import OWN_FOLDER, Recorder, published, staged
from tests.tools.sender import SentFrame

pytestmark = needs_mounts
SESSION = 1_700_000_000
SCANS = 20  # in each half
PAYLOAD = 20_000


def halves() -> tuple[list[SentFrame], list[SentFrame]]:
    """Return the frames of one session, in two halves."""
    frames = session(SESSION, scans=2 * SCANS, payload=PAYLOAD)
    return frames[: len(frames) // 2], frames[len(frames) // 2 :]


def bytes_of(frames: list[SentFrame]) -> bytes:
    return b"".join(frame.data or b"" for frame in frames)


def sweep(folder: Path) -> None:
    """Remove what is hidden, as cleaning jobs do."""
    ledger = (folder / OWN_FOLDER / "ledger.jsonl").read_bytes()
    shutil.rmtree(folder / OWN_FOLDER)
    (folder / OWN_FOLDER).mkdir()
    (folder / OWN_FOLDER / "ledger.jsonl").write_bytes(ledger)


def remove_the_growing_file(folder: Path) -> None:
    for path in staged(folder):
        path.unlink()


@pytest.mark.parametrize("harm", [sweep, remove_the_growing_file])
def test_what_is_swept_away_while_it_grows_is_published_all_the_same(
    tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    first, second = halves()
    with RawServer() as server, Recorder(tmp_path, server.port, max_stall=1) as recorder:
        server.play(bytes_of(first))
        recorder.recorded(len(first) - 1)
        harm(tmp_path)
        server.play(bytes_of(second))
        recorder.wait_for(lambda report: report.last_file is not None)
        assert recorder.stop() == 0

    account = settle(tmp_path, first + second)
    account.assert_complete()
    assert_spt3g_reads([tmp_path])


def test_a_day_moved_to_another_disk_and_linked_back_holds_nothing_up(tmp_path: Path) -> None:
    first, second = halves()
    with (
        ExitStack() as stack,
        small_disk(tmp_path / "data", "64m") as folder,
        small_disk(tmp_path / "other", "64m") as other,
        RawServer() as server,
    ):
        recorder = stack.enter_context(
            Recorder(folder, server.port, max_file_bytes=1 << 20, max_stall=1, min_free_bytes=0)
        )
        server.play(bytes_of(first))
        recorder.recorded(len(first) - 1)
        (day,) = {path.relative_to(folder).parts[0] for path in [*published(folder), *days(folder)]}
        shutil.move(folder / day, other / day)
        (folder / day).symlink_to(other / day)
        server.play(bytes_of(second))
        report = recorder.wait_for(lambda report: report.totals.recovered > 0)
        assert report.totals.lost == 0
        assert recorder.stop() in {0, 74}
        shutil.copytree(folder, tmp_path / "copy", symlinks=False)

    account = settle(tmp_path / "copy", first + second)
    account.assert_complete()
    assert_spt3g_reads([tmp_path / "copy"])


def days(folder: Path) -> list[Path]:
    return [path / "x" for path in folder.iterdir() if path.is_dir() and path.name != OWN_FOLDER]


def fill(ballast: Path) -> None:
    """Take all bytes, and all inodes: not even a folder can be made."""
    ballast.mkdir()
    with suppress(OSError), (ballast / "bytes").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 12))
    with suppress(OSError):
        for number in count():
            (ballast / str(number)).touch()


def test_a_recorder_that_starts_on_a_full_disk_records_once_there_is_room(tmp_path: Path) -> None:
    frames = session(SESSION, scans=SCANS, payload=PAYLOAD)
    with small_disk(tmp_path / "data", "4m,nr_inodes=64") as folder, RawServer() as server:
        ballast = folder / "ballast"
        fill(ballast)
        with Recorder(folder, server.port, min_free_bytes=0) as recorder:
            server.play(bytes_of(frames))
            recorder.wait_for(lambda report: report.storage is not None and not report.storage.writable)
            shutil.rmtree(ballast)
            recorder.wait_for(lambda report: report.last_file is not None)
            assert recorder.stop() == 0
        account = settle(folder, frames)
        account.assert_complete()
        assert_spt3g_reads([folder])
