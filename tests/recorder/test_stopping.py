"""How a recorder ends, what it leaves, and what the next one makes of that."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.tools.ports import reserve
from tests.tools.recorder import (
    Recorder,
    assert_readable,
    assert_recorded,
    names,
    published,
    recorded_digests,
    staged,
)
from tests.tools.sender import Sender, SentFrame
from timestream_aggregator.commands.record import READ_BACK
from timestream_aggregator.ledger.file import lines
from timestream_api.ledger import Recovered, Stopped, Verified
from timestream_api.values import Layout


def test_sigterm_in_the_middle_of_a_stream_publishes_all_that_was_received(tmp_path: Path) -> None:
    with Sender() as sender, Recorder(tmp_path, sender.port) as recorder:
        recorder.connected()
        sent = sender.start_session() + sender.send_scans(10, payload=300_000, interval=0.05)
        recorder.recorded(12)
        start = time.monotonic()
        recorder.process.send_signal(signal.SIGTERM)
        recorder.process.send_signal(signal.SIGTERM)
        recorder.process.send_signal(signal.SIGINT)
        assert recorder.process.wait(10) == 0
        assert time.monotonic() - start < 3 + READ_BACK

    assert_recorded(tmp_path, sent)
    assert_readable(tmp_path)
    assert staged(tmp_path) == []


def test_sigterm_while_no_sender_is_there_ends_it_at_once(tmp_path: Path) -> None:
    port = reserve()
    with Recorder(tmp_path, port) as recorder:
        assert recorder.stop(timeout=3) == 0

    assert published(tmp_path) == []


def test_a_burst_that_was_received_is_written_before_the_end(tmp_path: Path) -> None:
    with Sender() as sender, Recorder(tmp_path, sender.port) as recorder:
        recorder.connected()
        sent = sender.start_session() + sender.send_scans(60, payload=500_000)
        recorder.recorded(2)
        assert recorder.stop() == 0

    found = [path.read_bytes() for path in published(tmp_path)]
    assert sum(map(len, found)) > 0
    assert_readable(tmp_path)
    assert len(names(tmp_path)) == 1
    assert_is_beginning_of(tmp_path, sent)


def assert_is_beginning_of(folder: Path, sent: list[SentFrame]) -> None:
    """AssertionError unless what is recorded is the first part of `sent`, without a hole."""
    found = recorded_digests(folder)
    assert found == [frame.sha256 for frame in sent if frame.recorded][: len(found)]


def test_a_killed_recorder_damages_nothing_and_the_next_one_completes_what_it_left(
    tmp_path: Path,
) -> None:
    with Sender() as sender:
        with Recorder(tmp_path, sender.port, layout=Layout.SESSION.value, max_file_bytes=1 << 20) as recorder:
            recorder.connected()
            sent = sender.start_session(session_id=1_700_000_000)
            sent += sender.send_scans(8, payload=400_000)
            recorder.recorded(10)
            recorder.process.kill()
            recorder.process.wait(10)
        before = {path: path.read_bytes() for path in published(tmp_path)}
        left = [path.read_bytes() for path in staged(tmp_path)]
        with Recorder(tmp_path, sender.port, layout=Layout.SESSION.value, max_file_bytes=1 << 20) as recorder:
            recorder.connected()
            sender.wait_for_clients(1)
            sent += sender.send_scans(2, payload=400_000)
            recorder.recorded(4)
            recorder.wait_for(lambda report: report.totals.recovered == 1)
            assert recorder.stop() == 0

    assert len(before) == 3
    assert len(left) == 1
    assert all(path.read_bytes() == data for path, data in before.items())
    assert published(tmp_path)[3].read_bytes() == left[0]
    assert not staged(tmp_path)
    assert [line.fact.path for line in lines(tmp_path) if isinstance(line.fact, Recovered)] == [
        "17000/ufm_test/1700000000_003.g3"
    ]
    assert set(recorded_digests(tmp_path)) == {frame.sha256 for frame in sent if frame.recorded}
    assert_readable(tmp_path)


def test_a_recorder_that_is_restarted_in_the_same_second_overwrites_nothing(tmp_path: Path) -> None:
    sent = list[SentFrame]()
    with Sender() as sender:
        for _ in range(3):
            with Recorder(tmp_path, sender.port, wall_clock=1_700_000_000) as recorder:
                recorder.connected()
                sent += sender.send_scans(2)
                recorder.recorded(2)
                assert recorder.stop() == 0

    assert names(tmp_path) == [f"17000/2023-11-14-22-13-20_{number:03d}.g3" for number in range(3)]
    assert_recorded(tmp_path, sent)


def test_two_recorders_of_one_stream_in_one_folder_both_keep_all_of_it(tmp_path: Path) -> None:
    with Sender() as sender, Recorder(tmp_path, sender.port) as one, Recorder(tmp_path, sender.port) as other:
        sender.wait_for_clients(2)
        sent = sender.start_session() + sender.send_scans(3) + sender.end_session()
        for recorder in (one, other):
            recorder.wait_for(lambda report: report.totals.files == 1)
            recorder.stop()

    first, second = published(tmp_path)
    assert first.read_bytes() == second.read_bytes()
    assert first.stat().st_size == sum(frame.size for frame in sent if frame.recorded)


def test_the_log_is_json_and_has_a_line_for_each_thing_that_happens(tmp_path: Path) -> None:
    with Sender() as sender, Recorder(tmp_path, sender.port, stream_id="crate1") as recorder:
        recorder.connected()
        sender.start_session()
        sender.end_session()
        recorder.wait_for(lambda _: "file published" in recorder.logged())  # the report may tell of it before
        recorder.stop()
        lines = [json.loads(line) for line in recorder.logged().splitlines()]

    assert [line["message"] for line in lines] == [
        "recorder started", "connected", "file opened", "file published", "recorder stops", "recorder stopped",
    ]  # fmt: skip
    assert {line["stream"] for line in lines} == {"crate1"}
    assert lines[3]["path"] == names(tmp_path)[0]


def test_the_last_file_is_read_back_before_the_end(tmp_path: Path) -> None:
    with Sender() as sender, Recorder(tmp_path, sender.port, time_per_file=1) as recorder:
        recorder.connected()
        sent = sender.start_session() + sender.send_scans(15, interval=0.1)
        recorder.recorded(len(sent) - 1)
        recorder.wait_for(lambda report: report.totals.verified > 0)  # the process is there: no time is lost
        assert recorder.stop() == 0

    told = [line.fact for line in lines(tmp_path)]
    assert {fact.path for fact in told if isinstance(fact, Verified) and fact.good} == set(names(tmp_path))
    assert isinstance(told[-1], Stopped)


def test_in_a_pod_the_next_recorder_does_not_wait_for_the_last_file_to_be_read_back(tmp_path: Path) -> None:
    pod = {"KUBERNETES_SERVICE_HOST": "10.96.0.1"}
    with Sender() as sender:
        with Recorder(tmp_path, sender.port, environment=pod) as recorder:
            recorder.connected()
            sender.start_session()
            sender.send_scans(3)
            recorder.recorded(5)
            assert recorder.stop() == 0
            told = [line for line in map(json.loads, recorder.logged().splitlines()) if "last" in line]
        listed = subprocess.run(
            [sys.executable, "-m", "timestream_aggregator", "ls", tmp_path],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        with Recorder(tmp_path, sender.port) as recorder:
            recorder.wait_for(lambda report: report.totals.verified == 1)

    assert [(line["files"], line["last"]) for line in told] == [(1, names(tmp_path)[0])]
    assert "1 not read back (run verify)\n" in listed.stdout
