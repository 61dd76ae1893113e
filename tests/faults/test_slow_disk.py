"""Disks that are slower than the stream, and disks that hang for longer than a probe would bear."""

import math
import re
import sys
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

import pytest

from tests.faults.account import assert_spt3g_reads, settle
from tests.faults.disk import StrangeDisk, needs_mounts, small_disk, strange_disk
from tests.faults.points import needs_strace
from tests.faults.rehearsal import record, session, until
from tests.faults.warm import Warm, strace
from tests.tools.frames import flow_control
from tests.tools.long import LONG
from tests.tools.raw_server import RawServer
from tests.tools.recorder import Recorder, quarantined, staged
from tests.tools.sender import END, SentFrame

pytestmark = [*needs_mounts, *needs_strace]
SESSION: Final = 1_700_000_000
SYNC_INTERVAL: Final = 1.0
WRITE_TAKES: Final = 0.1  # seconds; 10 MB/s
CALL: Final = re.compile(r"^\d+ +(?P<at>[\d.]+) (?P<call>\w+)\(\d+<(?P<path>[^>]*)>.*\) += ")
HEALTHY: Final = 30.0 if LONG else 3.0  # seconds within which a loop has to go round
HANG: Final = HEALTHY + 5.0
HASTY: Final = f"""
import sys
from timestream_aggregator import clock
from timestream_aggregator.__main__ import main
clock.HEALTHY = {HEALTHY}
del sys.argv[1:4]
sys.exit(main())
"""


@pytest.fixture(scope="module")
def warm() -> Generator[Warm]:
    with Warm() as process:
        yield process


def played(frames: list[SentFrame]) -> bytes:
    return b"".join(frame.data or b"" for frame in frames)


def test_the_sync_interval_holds_while_the_writer_is_behind(tmp_path: Path, warm: Warm) -> None:
    trace, frames = tmp_path / "trace", session(SESSION, scans=50, payload=1 << 20)
    slow = ["-ttt", "-e", "trace=pwritev2,fdatasync"]
    slow += ["-e", f"inject=pwritev2:delay_exit={WRITE_TAKES * 1e6:.0f}"]
    with (
        small_disk(tmp_path / "data", "256m") as folder,  # which syncs at once, whatever the machine does
        RawServer() as server,
        record(warm, folder, server.port, max_file_bytes=1 << 30, sync_interval=SYNC_INTERVAL) as recorder,
    ):
        recorder.go()
        assert until(lambda: "connected" in recorder.logged())
        with strace(recorder, trace, *slow):
            server.play(played(frames))
            whole = [len(played(frames))]
            assert until(lambda: [path.stat().st_size for path in staged(folder)] == whole), recorder.logged()
        assert recorder.stop() == 0
        settle(folder, frames).assert_complete()

    calls = [match for line in trace.read_text().splitlines() if (match := CALL.match(line))]
    ours = [call for call in calls if "/staging/" in call["path"]]
    writes = [float(call["at"]) for call in ours if call["call"] == "pwritev2"]
    syncs = [float(call["at"]) for call in ours if call["call"] == "fdatasync"]
    assert writes[-1] - writes[0] > 4 * SYNC_INTERVAL, "it was not slow"
    assert max(after - before for before, after in pairwise(writes)) < SYNC_INTERVAL, "it was not behind"
    begun = [writes[0], *(at for at in syncs if at < writes[-1]), writes[-1]]
    assert max(after - before for before, after in pairwise(begun)) <= 2 * SYNC_INTERVAL


@dataclass
class Stream:
    """A recorder, its sender, and the frames of its session: all but the last two come before the disk hangs."""

    server: RawServer
    recorder: Recorder
    frames: list[SentFrame]

    def play(self, frames: list[SentFrame]) -> None:
        self.server.play(played(frames))


def a_good_frame(stream: Stream) -> None:
    stream.play(stream.frames[-2:-1])


def a_damaged_frame(stream: Stream) -> None:
    data = bytearray(stream.frames[0].data or b"")
    data[-1] ^= 0xFF
    stream.server.play(bytes(data))


def a_sync(_stream: Stream) -> None:
    """It is due anyway."""


def a_publication(stream: Stream) -> None:
    stream.server.play(flow_control(END))


def a_torn_frame(stream: Stream) -> None:
    stream.server.play((stream.frames[0].data or b"")[:-9])
    stream.server.close()


ITEMS: Final[tuple[Callable[[Stream], None], ...]] = (
    a_good_frame,
    a_damaged_frame,
    a_sync,
    a_publication,
    a_torn_frame,
)


@pytest.mark.timeout(60 + 2 * HANG)
def test_a_disk_that_hangs_is_no_reason_for_a_restart_whatever_the_writer_is_about_to_do(
    tmp_path: Path,
) -> None:
    """One recorder for each thing that it does; with TIMESTREAM_LONG=1 for as long as it is to bear it."""
    with ExitStack() as stack:
        disk = stack.enter_context(strange_disk(tmp_path / "disk"))
        streams = [begin(stack, disk, number) for number in range(len(ITEMS))]
        stack.callback(disk.be)  # no process ends while it waits for the disk
        disk.be(stall=math.inf)
        for item, stream in zip(ITEMS, streams, strict=True):
            item(stream)
        end = time.monotonic() + HANG
        while time.monotonic() < end:
            for item, stream in zip(ITEMS, streams, strict=True):
                assert stream.recorder.probe("/healthz") == 200, item.__name__
            time.sleep(0.2)
        disk.be()
        for stream in streams:
            stream.play(stream.frames[-1:])
            stream.recorder.recorded(len(stream.frames) - 1)
        assert [stream.recorder.stop() for stream in streams] == [0] * len(streams)

        for item, stream in zip(ITEMS, streams, strict=True):
            sent = [*stream.frames[:-2], *stream.frames[-1:]]
            account = settle(stream.recorder.folder, stream.frames if item is a_good_frame else sent)
            there = {place for places in account.files.values() for place in places}
            assert there == set(range(len(account.sent))), (item.__name__, account)
            is_damage = item in {a_damaged_frame, a_torn_frame}
            assert len(quarantined(stream.recorder.folder)) == is_damage, item.__name__
        assert_spt3g_reads([stream.recorder.folder for stream in streams])


def begin(stack: ExitStack, disk: StrangeDisk, number: int) -> Stream:
    """Return a stream whose file grows; its bytes are to be synced in 2 s, when the disk hangs already."""
    folder = disk.mount / f"data{number}"
    folder.mkdir()
    server = stack.enter_context(RawServer())
    made = Recorder(
        folder,
        server.port,
        prefix=[sys.executable, "-c", HASTY],
        sync_interval=2,
        frame_gap=600,
        read_timeout=600,
        verify="false",
        min_free_bytes=0,
    )
    recorder = stack.enter_context(made)
    stream = Stream(server, recorder, session(SESSION + number, scans=6, payload=1000))
    stream.play(stream.frames[:-2])
    recorder.recorded(len(stream.frames) - 2)
    return stream
