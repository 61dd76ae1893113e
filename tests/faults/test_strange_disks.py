"""Disks that stall, write short, fail, forget what was written, and lose their power; frame by frame."""

import math
import os
import random
import time
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.faults.account import assert_spt3g_reads, assert_untouched, contents, settle
from tests.faults.disk import StrangeDisk, needs_mounts, strange_disk
from tests.faults.rehearsal import SENT, await_last, is_staged, play, record, session, until
from tests.faults.warm import Warm
from tests.tools.long import size
from tests.tools.raw_server import RawServer
from tests.tools.recorder import Recorder, staged
from tests.tools.sender import Sender, SentFrame
from timestream_aggregator.ledger import file as ledger
from timestream_api.ledger import Published, Trouble, TroubleOver

pytestmark = needs_mounts
NOMINAL = 1_500_000  # bytes a second
SYNC_INTERVAL = 0.2
TROUBLE = ("the disk fails", "left unpublished", "a left file cannot be recovered")  # what the log says of it
IN_PASSING = (
    4 << 20
)  # bytes that the writer may have in its hands, and not in the buffer, when the disk stalls


@pytest.fixture
def disk(tmp_path: Path) -> Generator[StrangeDisk]:
    with strange_disk(tmp_path / "disk") as mounted:
        yield mounted


@pytest.fixture(scope="module")
def warm() -> Generator[Warm]:
    with Warm() as process:
        yield process


def folder_on(disk: StrangeDisk) -> Path:
    folder = disk.mount / "data"
    folder.mkdir()
    fd = os.open(disk.mount, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)
    return folder


def test_a_disk_that_stalls_ten_seconds_at_four_times_the_nominal_rate_loses_nothing(
    disk: StrangeDisk,
) -> None:
    folder, payload = folder_on(disk), 300_000
    per_second = 4 * NOMINAL // payload
    with (
        Sender() as sender,
        Recorder(folder, sender.port, max_file_bytes=16 << 20, min_free_bytes=0) as recorder,
    ):
        recorder.connected()
        sent = sender.start_session() + sender.send_scans(per_second, payload, 1 / per_second)
        disk.be(stall=math.inf)
        meanwhile = sender.send_scans(10 * per_second, payload, 1 / per_second)
        arrived = sum(frame.size for frame in meanwhile) - IN_PASSING
        seen = recorder.wait_for(lambda report: report.buffer.peak_bytes > arrived)
        disk.be()
        sent += meanwhile + sender.send_scans(per_second, payload, 1 / per_second)
        sent += sender.end_session()
        recorder.recorded(sum(frame.recorded for frame in sent))
        assert not seen.buffer.stalled, "the sender was held back"
        assert recorder.memory() < seen.buffer.peak_bytes + 80_000_000
        assert recorder.stop() == 0

    settle(folder, sent).assert_complete()
    assert_spt3g_reads([folder])


def test_a_disk_that_takes_little_at_a_time_gets_all_of_it(
    tmp_path: Path, disk: StrangeDisk, warm: Warm
) -> None:
    folder = folder_on(disk)
    disk.be(longest_write=4096)
    with RawServer() as server, record(warm, folder, server.port, log=tmp_path / "log") as recorder:
        recorder.go()
        play(server)
        assert await_last(recorder, folder)
        assert recorder.stop() == 0

    settle(folder, SENT).assert_complete()
    assert "trouble" not in recorder.logged()


def test_lines_of_the_ledger_that_are_cut_short_are_written_whole_once_that_works(
    tmp_path: Path, disk: StrangeDisk, warm: Warm
) -> None:
    folder = folder_on(disk)
    with RawServer() as server, record(warm, folder, server.port, log=tmp_path / "log") as recorder:
        disk.be(longest_write=100)
        recorder.go()
        play(server)
        time.sleep(1.5)
        disk.be()
        assert await_last(recorder, folder)
        assert recorder.stop() == 0

    settle(folder, SENT).assert_complete()


@pytest.mark.parametrize(
    "failing",
    [
        {"write": "EIO", "truncate": "EIO"},
        {"write": "ENOSPC", "create": "ENOSPC", "mkdir": "ENOSPC"},
        {"fsync": "EIO"},
        {"fsyncdir": "EIO"},
        {"link": "EIO"},
        {"unlink": "EIO"},
        {
            "write": "EROFS",
            "create": "EROFS",
            "mkdir": "EROFS",
            "link": "EROFS",
            "unlink": "EROFS",
            "truncate": "EROFS",
        },
    ],
    ids="-".join,
)
def test_a_disk_that_fails_for_a_while_loses_nothing(
    tmp_path: Path, disk: StrangeDisk, warm: Warm, failing: dict[str, str]
) -> None:
    folder = folder_on(disk)
    with RawServer() as server, record(warm, folder, server.port, log=tmp_path / "log") as recorder:
        recorder.go()
        assert until(lambda: "connected" in recorder.logged())
        disk.be(failing=failing)
        play(server)
        assert until(lambda: any(word in recorder.logged() for word in TROUBLE)), recorder.logged()
        time.sleep(0.3)
        disk.be()
        assert await_last(recorder, folder), recorder.logged()
        assert recorder.stop() == 0

    account = settle(folder, SENT)
    account.assert_complete()
    assert len(account.facts(Trouble)) == len(account.facts(TroubleOver))
    assert staged(folder) == []


def test_a_disk_that_fails_at_each_close_loses_nothing_for_all_was_synced_before(
    tmp_path: Path, disk: StrangeDisk, warm: Warm
) -> None:
    folder = folder_on(disk)
    with RawServer() as server, record(warm, folder, server.port, log=tmp_path / "log") as recorder:
        disk.be(failing={"flush": "EIO"})
        recorder.go()
        play(server)
        assert await_last(recorder, folder), recorder.logged()
        assert recorder.stop() == 0
        disk.be()

    settle(folder, SENT).assert_complete()
    assert staged(folder) == []


def test_a_disk_that_forgets_what_it_failed_to_sync_is_found_out(
    tmp_path: Path, disk: StrangeDisk, warm: Warm
) -> None:
    """The kernel tells of it once; a second fsync succeeds, and the bytes are gone."""
    folder, frames = folder_on(disk), session(1_700_000_000, scans=6, payload=1000)
    with RawServer() as server, record(warm, folder, server.port, log=tmp_path / "log") as recorder:
        recorder.go()
        server.play(b"".join(frame.data or b"" for frame in frames[:4]))
        assert until(lambda: is_staged(folder, frames[3]))
        time.sleep(0.2)  # these are synced
        disk.be(failing={"fsync": "EIO"})
        server.play(b"".join(frame.data or b"" for frame in frames[4:6]))
        assert until(lambda: "left unpublished" in recorder.logged()), recorder.logged()
        assert until(lambda: "a left file cannot be recovered" in recorder.logged()), recorder.logged()
        disk.forget()
        disk.be()
        server.play(b"".join(frame.data or b"" for frame in frames[6:]))
        assert until(lambda: is_staged(folder, frames[-1])), recorder.logged()
        assert recorder.stop() == 0

    assert warm.run(tmp_path / "recovered", "recover", folder) == 0
    account = settle(folder, frames)
    account.assert_honest()
    assert account.noted | account.missing == {4, 5}
    assert_spt3g_reads([folder])


def test_a_disk_that_fails_for_too_long_costs_exactly_the_frames_that_the_ledger_names(
    tmp_path: Path, disk: StrangeDisk, warm: Warm
) -> None:
    folder, frames = folder_on(disk), session(1_700_000_000, scans=300, payload=100_000)
    options = {"max-stall": 1, "buffer-bytes": 4 << 20}
    with (
        RawServer() as server,
        record(warm, folder, server.port, log=tmp_path / "log", **options) as recorder,
    ):
        recorder.go()
        server.play(b"".join(frame.data or b"" for frame in frames[:20]))
        assert until(lambda: is_staged(folder, frames[19]))
        disk.be(failing={"write": "ENOSPC", "create": "ENOSPC"})
        for frame in frames[20:]:
            server.play(frame.data or b"", pause=0.01)
        assert until(lambda: server.waiting < 100)
        disk.be()
        server.wait_played()
        assert until(lambda: is_staged(folder, frames[-1])), recorder.logged()
        assert recorder.stop() == 0

    account = settle(folder, frames)
    account.assert_honest()
    assert account.missing == set(), "lost, and not named one by one"
    assert 0 < len(account.noted) < 250
    assert_spt3g_reads([folder])


def test_a_disk_that_hangs_for_too_long_costs_the_oldest_frames_which_are_counted_while_it_hangs(
    disk: StrangeDisk,
) -> None:
    folder, frames = folder_on(disk), session(1_700_000_000, scans=300, payload=100_000)
    with (
        RawServer() as server,
        Recorder(folder, server.port, max_stall=1, buffer_bytes=8 << 20, min_free_bytes=0) as recorder,
    ):
        server.play(b"".join(frame.data or b"" for frame in frames[:20]))
        assert until(lambda: is_staged(folder, frames[19]))
        disk.be(stall=math.inf)
        for frame in frames[20:250]:
            server.play(frame.data or b"", pause=0.01)
        try:
            recorder.wait_for(lambda report: report.totals.lost > 50)
            server.wait_played()
            assert recorder.probe("/healthz") == 200
        finally:
            disk.be()
        server.play(b"".join(frame.data or b"" for frame in frames[250:]))
        assert until(lambda: is_staged(folder, frames[-1])), recorder.logged()
        counted = recorder.status().totals.lost
        assert recorder.stop() == 0

    account = settle(folder, frames)
    account.assert_honest()
    assert account.missing == set(), "lost, and not named one by one"
    assert len(account.noted) == counted < 250
    assert_spt3g_reads([folder])


@pytest.mark.parametrize("seed", range(size(2, 50)))
def test_a_loss_of_power_costs_at_most_what_was_not_synced(
    tmp_path: Path, disk: StrangeDisk, warm: Warm, seed: int
) -> None:
    chance = random.Random(seed)
    folder, sent, synced = folder_on(disk), list[SentFrame](), list[SentFrame]()
    for crash in range(5):
        frames = session(1_700_000_000 + crash, scans=100, payload=20_000)
        until_then = record_until_power_fails(disk, warm, folder, frames, chance)
        sent, synced = sent + frames, synced + frames[:until_then]

    assert warm.run(tmp_path / "recovered", "recover", folder) == 0
    account = settle(folder, sent)
    account.assert_honest(in_flight=set(sent) - set(synced))
    assert_spt3g_reads([folder])


def record_until_power_fails(
    disk: StrangeDisk, warm: Warm, folder: Path, frames: list[SentFrame], chance: random.Random
) -> int:
    """Record, kill the recorder and let the disk lose its power. Return how many frames had to be safe."""
    log = disk.mount.with_name("log")
    with (
        RawServer() as server,
        record(warm, folder, server.port, log=log, sync_interval=SYNC_INTERVAL, time_per_file=1) as recorder,
    ):
        recorder.go()
        for frame in frames:
            server.play(frame.data or b"", pause=0.01)
        time.sleep(chance.uniform(0.3, 1.2))
        played = len(frames) - server.waiting
        time.sleep(2 * SYNC_INTERVAL + 0.2)
        safe = safe_files(folder)
    disk.lose_power(chance.randrange(1 << 30))
    assert_untouched(folder, safe)
    return played


def safe_files(folder: Path) -> dict[str, str]:
    """Return what is in the files that the ledger says are published."""
    told = {line.fact.path for line in ledger.lines(folder) if isinstance(line.fact, Published)}
    return {path: digest for path, digest in contents(folder).items() if path in told}
