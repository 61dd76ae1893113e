"""A volume that is full, is freed by whoever fetches the files, and is full again."""

import shutil
import time
from pathlib import Path

import pytest

from tests.faults.account import assert_spt3g_reads, settle
from tests.faults.disk import needs_mounts, small_disk
from tests.faults.rehearsal import session, until
from tests.tools.long import size
from tests.tools.raw_server import RawServer
from tests.tools.recorder import OWN_FOLDER, Recorder, published
from tests.tools.sender import SentFrame

CYCLES = size(4, 40)
BUFFER = 4 << 20
pytestmark = [*needs_mounts, pytest.mark.timeout(60 + 10 * CYCLES)]


def test_a_full_volume_that_is_freed_again_and_again_loses_nothing(tmp_path: Path) -> None:
    archive, sent = tmp_path / "archive", list[SentFrame]()
    with (
        small_disk(tmp_path / "data", "8m") as folder,
        RawServer() as server,
        Recorder(
            folder, server.port, max_file_bytes=1 << 20, buffer_bytes=BUFFER, min_free_bytes=0
        ) as recorder,
    ):
        for cycle in range(CYCLES):
            frames = session(1_700_000_000 + cycle, scans=200, payload=100_000)
            sent += frames
            server.play(b"".join(frame.data or b"" for frame in frames))
            recorder.wait_for(
                lambda report: report.storage is not None and "No space" in str(report.storage.trouble)
            )
            assert recorder.probe("/readyz") == 503
            assert recorder.probe("/healthz") == 200
            fetch_until(recorder, folder, archive, len(sent))
        assert recorder.memory() < 80_000_000 + BUFFER
        assert recorder.stop() == 0
        fetch(folder, archive)
        shutil.copytree(folder / OWN_FOLDER, archive / OWN_FOLDER)

    account = settle(archive, sent)
    account.assert_complete()
    assert not any(line.dropped for line in account.lines)
    assert_spt3g_reads([archive])


def fetch_until(recorder: Recorder, folder: Path, archive: Path, frames: int) -> None:
    """Fetch files until so many frames are recorded."""
    deadline = time.monotonic() + 30

    def done() -> bool:
        fetch(folder, archive)
        return recorder.status().totals.frames >= frames

    assert until(done, deadline - time.monotonic()), recorder.logged()[-5000:]


def fetch(folder: Path, archive: Path) -> None:
    """Move all published files to the archive, where none of that name may be."""
    for path in published(folder):
        final = archive / path.relative_to(folder)
        assert not final.exists(), f"{final} was used before"
        final.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(path, final)


def test_a_volume_that_is_almost_out_of_inodes_is_told_while_bytes_are_free(tmp_path: Path) -> None:
    with (
        small_disk(tmp_path / "data", "64m,nr_inodes=1020") as folder,
        Recorder(folder, 1, min_free_bytes=0) as recorder,
    ):
        seen = recorder.wait_for(lambda report: report.storage is not None)
        assert seen.storage is not None
        assert seen.storage.trouble is None
        for number in range(200):
            (folder / ".timestream-aggregator" / f"small{number}").touch()
        report = recorder.wait_for(lambda report: bool(report.storage and report.storage.trouble), 15)
        assert report.storage is not None
        assert "more files can be made (df -i)" in (report.storage.trouble or "")
        assert report.storage.free_bytes > 32 << 20
        assert report.storage.writable
        assert recorder.probe("/readyz") == 200
