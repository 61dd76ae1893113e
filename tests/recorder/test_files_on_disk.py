"""Streams of a real G3NetworkSender, recorded by the real process: which files there are and what is in them."""

import time
from pathlib import Path

import pytest

from tests.tools.frames import digests
from tests.tools.recorder import Recorder, assert_readable, assert_recorded, names, published, staged
from tests.tools.sender import Sender, SentFrame
from timestream_api.report import CloseReason
from timestream_api.values import Layout

READ_TIMEOUT = 30  # seconds
FOLDER_SECONDS = 100_000  # the first five digits of Unix time


def test_a_session_with_rotations_is_recorded_byte_for_byte(tmp_path: Path) -> None:
    with Sender() as sender, Recorder(tmp_path, sender.port, time_per_file=1) as recorder:
        recorder.connected()
        sent = sender.start_session()
        sent += sender.send_scans(30, payload=200_000, interval=0.1)
        sent += sender.end_session()
        report = recorder.wait_for(lambda report: report.totals.frames == 33 and report.current_file is None)
        assert report.last_file is not None
        assert report.last_file.reason is CloseReason.END
        assert recorder.stop() == 0

    assert_recorded(tmp_path, sent)
    assert_readable(tmp_path)
    assert len(published(tmp_path)) >= 3
    assert staged(tmp_path) == []


def test_every_later_file_begins_with_the_sessions_observation(tmp_path: Path) -> None:
    with Sender() as sender, Recorder(tmp_path, sender.port, max_file_bytes=1 << 20) as recorder:
        recorder.connected()
        sent = sender.start_session() + sender.send_scans(6, payload=500_000)
        recorder.recorded(8)
        recorder.stop()

    observation = next(frame.sha256 for frame in sent if frame.kind == "Observation")
    assert len(published(tmp_path)) > 2
    assert all(digests(path)[0] == observation for path in published(tmp_path))
    assert_recorded(tmp_path, sent)


@pytest.mark.parametrize("keep_alive", [False, True], ids=["silent", "with keep-alives"])
def test_a_pause_longer_than_the_frame_gap_ends_the_acquisition_while_it_lasts(
    tmp_path: Path, *, keep_alive: bool
) -> None:
    with (
        Sender() as sender,
        Recorder(tmp_path, sender.port, frame_gap=1, read_timeout=READ_TIMEOUT) as recorder,
    ):
        recorder.connected()
        sent = sender.start_session() + sender.send_scans(2)
        recorder.recorded(4)
        paused = time.monotonic()
        while recorder.status().last_file is None:
            assert time.monotonic() - paused < READ_TIMEOUT / 2, "the file is still open"
            if keep_alive:
                sender.alive()
            time.sleep(0.1)
        assert time.monotonic() - paused > 0.8
        sent += sender.send_scans(2)
        recorder.recorded(6)
        report = recorder.status()
        assert (report.totals.gaps, report.totals.files) == (1, 1)
        recorder.stop()

    assert len({name.rpartition("_")[0] for name in names(tmp_path)}) == 2
    assert_recorded(tmp_path, sent)


def test_a_file_is_closed_in_time_also_when_no_frame_comes(tmp_path: Path) -> None:
    with (
        Sender() as sender,
        Recorder(tmp_path, sender.port, time_per_file=1, frame_gap=60, read_timeout=60) as recorder,
    ):
        recorder.connected()
        sent = sender.start_session()
        recorder.recorded(2)
        report = recorder.wait_for(lambda report: report.totals.files == 1, timeout=30)
        assert report.last_file is not None
        assert report.last_file.reason is CloseReason.TIME_LIMIT
        assert report.acquisition is not None, "the acquisition goes on"
        sent += sender.send_scans(1)
        recorder.recorded(3)
        recorder.stop()

    first, second = names(tmp_path)
    assert first.replace("_000", "_001") == second
    assert_recorded(tmp_path, sent)


def test_two_acquisitions_in_one_second_share_no_file(tmp_path: Path) -> None:
    with Sender() as sender, Recorder(tmp_path, sender.port) as recorder:
        recorder.connected()
        sent = list[SentFrame]()
        for _ in range(4):
            sent += sender.start_session() + sender.send_scans(2) + sender.end_session()
        recorder.wait_for(lambda report: report.totals.files == 4)
        recorder.stop()

    assert len(published(tmp_path)) == 4
    assert len({name.rpartition("_")[0] for name in names(tmp_path)}) < 4, "they were not in one second"
    assert_recorded(tmp_path, sent)
    assert all(len(digests(path)) == 5 for path in published(tmp_path))


def test_an_acquisition_that_goes_on_past_the_days_folder_stays_in_its_own(tmp_path: Path) -> None:
    boundary = (int(time.time()) // FOLDER_SECONDS + 1) * FOLDER_SECONDS
    with (
        Sender() as sender,
        Recorder(tmp_path, sender.port, wall_clock=boundary - 1, time_per_file=1) as recorder,
    ):
        recorder.connected()
        sent = sender.start_session() + sender.send_scans(2)
        recorder.recorded(4)
        recorder.set_clock(boundary + 1)
        sent += sender.send_scans(14, interval=0.3)
        recorder.recorded(18)
        sent += sender.end_session()
        recorder.wait_for(lambda report: report.acquisition is None)
        sent += sender.start_session() + sender.end_session()
        recorder.recorded(22)
        recorder.stop()

    before, after = str(boundary - 1)[:5], str(boundary)[:5]
    bases = {name.rpartition("_")[0] for name in names(tmp_path)}
    assert {base.partition("/")[0] for base in bases} == {before, after}
    assert len(bases) == 2
    assert len([name for name in names(tmp_path) if name.startswith(before)]) >= 4
    assert_recorded(tmp_path, sent)


def test_files_of_the_session_layout_are_named_after_stream_and_session(tmp_path: Path) -> None:
    with Sender(stream_id="ufm_mv19") as sender:
        sent = list[SentFrame]()
        for _ in range(2):  # the second run meets the files of the first
            with Recorder(tmp_path, sender.port, layout=Layout.SESSION.value) as recorder:
                recorder.connected()
                sent += sender.start_session(session_id=1_700_000_000) + sender.send_scans(1)
                sent += sender.end_session()
                recorder.wait_for(lambda report: report.totals.files == 1)
                recorder.stop()

    folder = "17000/ufm_mv19/1700000000"
    assert names(tmp_path) == [f"{folder}_000.g3", f"{folder}_001.g3"]
    assert_recorded(tmp_path, sent)


def test_a_frame_larger_than_all_memory_between_network_and_disk_is_recorded(tmp_path: Path) -> None:
    with Sender() as sender, Recorder(tmp_path, sender.port, buffer_bytes=4 << 20) as recorder:
        recorder.connected()
        before = recorder.cpu()
        sent = sender.start_session() + sender.send_scans(3, payload=30_000_000)
        report = recorder.recorded(5)
        assert recorder.cpu() - before < 5
        assert not report.buffer.stalled
        recorder.stop()

    assert_recorded(tmp_path, sent)


def test_a_burst_of_thousands_of_frames_is_recorded_whole(tmp_path: Path) -> None:
    with Sender() as sender, Recorder(tmp_path, sender.port, max_file_bytes=50 << 20) as recorder:
        recorder.connected()
        sent = sender.start_session() + sender.send_scans(3000, payload=71_000)
        report = recorder.recorded(3002)
        assert report.buffer.peak_bytes <= 256 << 20
        recorder.stop()

    assert_recorded(tmp_path, sent)
