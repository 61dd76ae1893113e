"""The recorder and a sender that is late, silent, restarted, or has nothing new to say."""

import time
from pathlib import Path

from tests.tools.ports import reserve
from tests.tools.recorder import Recorder, assert_recorded, published
from tests.tools.sender import Sender, SentFrame
from timestream_api.report import CloseReason, ConnectionState, Report


def idle(report: Report) -> bool:
    return report.current_file is None and report.connection.state is ConnectionState.CONNECTED


def test_a_sender_that_starts_later_loses_nothing_by_it(tmp_path: Path) -> None:
    port = reserve()
    with Recorder(tmp_path, port) as recorder:
        recorder.wait_for(lambda report: report.connection.attempts >= 2)
        assert (recorder.probe("/readyz"), recorder.probe("/healthz")) == (200, 200)
        with Sender(port=port) as sender:
            sender.wait_for_clients(1, timeout=3)
            sent = sender.start_session() + sender.send_scans(5)
            report = recorder.recorded(7)
            assert report.connection.attempts == 0
            recorder.stop()

    assert_recorded(tmp_path, sent)


def test_a_sender_that_is_restarted_is_met_again_and_each_life_has_its_files(tmp_path: Path) -> None:
    sent = list[SentFrame]()
    with Sender() as sender, Recorder(tmp_path, sender.port) as recorder:
        for life in range(3):
            with sender if life == 0 else Sender(port=sender.port) as living:
                living.wait_for_clients(1)
                sent += living.start_session(session_id=1_700_000_000 + life) + living.send_scans(4)
                living.exit()
            report = recorder.wait_for(lambda report, lives=life + 1: report.totals.files == lives)
            assert report.last_file is not None
            assert report.last_file.reason is CloseReason.DISCONNECTED
        recorder.stop()

    assert len(published(tmp_path)) == 3
    assert_recorded(tmp_path, sent)


def test_what_ends_a_long_silence_arrives_with_its_first_frame(tmp_path: Path) -> None:
    with Sender() as sender, Recorder(tmp_path, sender.port, read_timeout=1) as recorder:
        recorder.connected()
        sent = sender.start_session() + sender.send_scans(2)
        report = recorder.wait_for(lambda report: report.totals.files == 1)
        assert report.last_file is not None
        assert report.last_file.reason is CloseReason.SILENCE
        for silence in (2.7, 1.3, 3.2):
            deadline = time.monotonic() + silence
            while time.monotonic() < deadline:
                assert sender.clients() >= 1, "the recorder is not connected"
                time.sleep(0.01)
            sent += sender.send_scans(1)
        recorder.recorded(7)
        recorder.stop()

    assert_recorded(tmp_path, sent)


def test_a_silent_sender_loses_few_connections_although_the_recorder_never_leaves_it(tmp_path: Path) -> None:
    with Sender() as sender, Recorder(tmp_path, sender.port, read_timeout=1) as recorder:
        recorder.connected()
        time.sleep(8)  # replaced after 1, 2 and 4 seconds
        assert recorder.messages().count("connected") <= 4
        assert recorder.status().connection.state is ConnectionState.CONNECTED
        sent = sender.start_session() + sender.send_scans(2)
        recorder.recorded(4)
        recorder.stop()

    assert_recorded(tmp_path, sent)


def end_processing(sender: Sender) -> None:
    """Let the sender let all its clients go without a word, as it does at the end of a pipeline."""
    sender.send("EndProcessing", {})


def descriptors(sender: Sender) -> int:
    return len(list(Path(f"/proc/{sender.pid}/fd").iterdir()))


def test_a_sender_that_lets_its_clients_go_in_a_silence_and_goes_on_loses_nothing_by_it(
    tmp_path: Path,
) -> None:
    with Sender() as sender, Recorder(tmp_path, sender.port, read_timeout=1) as recorder:
        recorder.connected()
        sent = sender.start_session() + sender.send_scans(2)
        for silence in (9, 3):
            time.sleep(silence)
            end_processing(sender)
            time.sleep(3.5)
            sent += sender.send_scans(10, interval=0.1)
        recorder.recorded(24)
        recorder.stop()

    assert_recorded(tmp_path, sent)


def test_a_sender_of_scans_alone_that_lets_its_clients_go_and_goes_on_is_heard_soon(tmp_path: Path) -> None:
    with Sender() as sender, Recorder(tmp_path, sender.port, read_timeout=1) as recorder:
        recorder.connected()
        sender.send_scans(2)
        recorder.recorded(2)
        time.sleep(8)
        end_processing(sender)  # whatever waits in the backlog is accepted and let go, and gets no byte
        time.sleep(0.5)
        sender.send_scans(40, interval=0.2)
        report = recorder.wait_for(lambda report: report.totals.frames + report.totals.lost == 42)
        assert report.totals.frames >= 42 - 25  # what was sent in 5 s may be missing
        recorder.stop()


def test_an_idle_sender_with_metadata_loses_one_descriptor_however_long_the_silence_is(
    tmp_path: Path,
) -> None:
    with Sender() as sender, Recorder(tmp_path, sender.port, read_timeout=1) as recorder:
        recorder.connected()
        sent = sender.start_session() + sender.send_scans(2)
        recorder.recorded(4)
        before = descriptors(sender)
        time.sleep(12)
        sent += sender.send_scans(3, interval=0.1)
        recorder.recorded(7)
        assert descriptors(sender) <= before + 1
        recorder.stop()

    assert_recorded(tmp_path, sent)


def test_a_sender_whose_frames_come_rarer_than_the_read_timeout_loses_descriptors_only_at_first(
    tmp_path: Path,
) -> None:
    with Sender() as sender, Recorder(tmp_path, sender.port, read_timeout=1) as recorder:
        recorder.connected()
        sent = sender.start_session() + sender.send_scans(1)
        recorder.recorded(3)
        before = descriptors(sender)
        for _ in range(5):
            time.sleep(3.5)
            sent += sender.send_scans(1)
        recorder.recorded(8)
        time.sleep(0.2)
        assert descriptors(sender) <= before + 2
        recorder.stop()

    assert_recorded(tmp_path, sent)


def test_what_an_idle_sender_repeats_after_a_reconnect_opens_no_file(tmp_path: Path) -> None:
    with Sender() as sender, Recorder(tmp_path, sender.port, read_timeout=1) as recorder:
        recorder.connected()
        sent = sender.start_session() + sender.send_scans(2)
        recorder.wait_for(lambda report: report.totals.files == 1)
        for connections in (2, 3):
            recorder.wait_for(lambda _, made=connections: recorder.messages().count("connected") == made)
            sender.alive()  # the sender accepts the new connection and repeats its metadata
        recorder.wait_for(idle)
        report = recorder.status()
        assert (report.totals.files, report.totals.frames, report.current_file) == (1, 4, None)
        sent += sender.send_scans(1)
        recorder.recorded(5)
        recorder.stop()

    assert_recorded(tmp_path, sent)


def test_a_session_that_goes_on_after_a_lost_connection_is_recorded_once(tmp_path: Path) -> None:
    with Sender() as sender, Recorder(tmp_path, sender.port) as recorder:
        recorder.connected()
        sent = sender.start_session() + sender.send_scans(3)
        recorder.recorded(5)
        sender.hang_up()
        recorder.wait_for(lambda report: report.totals.files == 1)
        recorder.connected()
        sent += sender.send_scans(3)
        report = recorder.recorded(8)
        assert report.totals.lost == 0
        recorder.stop()

    assert_recorded(tmp_path, sent)


def test_a_recorder_that_joins_late_records_from_then_on_with_the_metadata_first(tmp_path: Path) -> None:
    with Sender() as sender:
        early = sender.start_session() + sender.send_scans(3)
        with Recorder(tmp_path, sender.port) as recorder:
            recorder.connected()
            sender.wait_for_clients(1)
            late = sender.send_scans(3)
            recorder.recorded(5)
            recorder.stop()

    assert_recorded(tmp_path, [frame for frame in early if frame.kind != "Scan"] + late)
