"""What is missing, what came twice, and what was read back: in the report and in the ledger, to the frame."""

import hashlib
from datetime import UTC, datetime
from pathlib import Path

from tests.tools.frames import frame_bytes
from tests.tools.raw_server import RawServer
from tests.tools.recorder import Recorder, assert_readable, ledger_of, names, recorded_digests
from tests.tools.sender import Sender
from timestream_aggregator.__main__ import main
from timestream_aggregator.ledger.file import lines
from timestream_api.ledger import Duplicate, Line, Loss, Verified
from timestream_api.report import LossCause

SESSION = 1_700_000_000


def scan(number: int) -> bytes:
    return frame_bytes(
        "S", {"session_id": SESSION, "frame_num": number, "sostream_id": "crate1"}, payload=500
    )


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def losses(folder: Path) -> list[tuple[str | None, int | None, int | None]]:
    """Return cause, first and last number of each loss in the ledger."""
    found = (line.fact for line in lines(folder) if isinstance(line.fact, Loss))
    return [(fact.cause, fact.first, fact.last) for fact in found]


def test_each_published_file_is_read_back_and_its_sha256_noted(tmp_path: Path) -> None:
    with Sender() as sender, Recorder(tmp_path, sender.port, max_file_bytes=1 << 20) as recorder:
        recorder.connected()
        sender.start_session()
        sender.send_scans(6, payload=500_000)
        sender.end_session()
        report = recorder.wait_for(lambda report: report.totals.verified == report.totals.files == 3, 30)
        assert report.last_file is not None
        assert report.last_file.verified is True
        assert report.totals.bad_files == 0
        recorder.stop()

    verified = [line.fact for line in lines(tmp_path) if isinstance(line.fact, Verified)]
    assert {fact.path: fact.sha256 for fact in verified} == {
        name: digest((tmp_path / name).read_bytes()) for name in names(tmp_path)
    }


def test_what_a_recorder_had_no_time_to_read_back_the_next_one_does(tmp_path: Path) -> None:
    with RawServer() as server:
        server.play(scan(0) + scan(1))
        with Recorder(tmp_path, server.port, environment={"KUBERNETES_SERVICE_HOST": "a"}) as recorder:
            recorder.recorded(2)
            recorder.stop()  # in a pod, where it waits for no read-back
        assert not [line for line in lines(tmp_path) if isinstance(line.fact, Verified)]

        with Recorder(tmp_path, server.port) as recorder:
            recorder.wait_for(lambda report: report.totals.verified == 1, 30)


def test_a_number_that_is_skipped_is_a_loss_and_a_scan_that_comes_again_is_not_written_again(
    tmp_path: Path,
) -> None:
    frames = {number: scan(number) for number in (0, 1, 5, 6)}
    with RawServer() as server, Recorder(tmp_path, server.port) as recorder:
        server.play(b"".join(frames[number] for number in (0, 1, 5, 5, 6, 6)))
        report = recorder.wait_for(lambda report: report.totals.duplicates == 2)
        assert report.totals.lost == 3
        assert report.last_loss is not None
        assert (report.last_loss.cause, report.last_loss.count) == (LossCause.SENDER, 3)
        recorder.stop()

    assert recorded_digests(tmp_path) == [digest(data) for data in frames.values()]
    assert losses(tmp_path) == [("Sender", 2, 4)]
    assert [line.fact.frame_num for line in lines(tmp_path) if isinstance(line.fact, Duplicate)] == [5, 6]
    assert_readable(tmp_path)


def test_what_was_sent_without_a_connection_or_without_a_recorder_is_counted_to_the_frame(
    tmp_path: Path,
) -> None:
    with RawServer() as server:
        server.play(scan(0) + scan(1))
        server.close()
        server.play(scan(4))
        with Recorder(tmp_path, server.port) as recorder:
            recorder.recorded(3)
            recorder.process.kill()
            recorder.process.wait(10)
        server.play(scan(9))
        with Recorder(tmp_path, server.port) as recorder:
            report = recorder.recorded(1)
            assert report.totals.lost == 2 + 4
            recorder.stop()

    assert losses(tmp_path) == [("Reconnect", 2, 3), ("Restart", 5, 8)]


def test_what_was_told_as_lost_before_a_restart_is_not_counted_again(tmp_path: Path) -> None:
    with RawServer() as server:
        server.play(scan(0) + scan(1) + scan(9) + scan(10))
        with Recorder(tmp_path, server.port) as recorder:
            recorder.recorded(4)
            recorder.stop()
        with ledger_of(tmp_path).open("a") as file:
            told = Line(
                time=datetime.now(UTC),
                stream="stream",
                run="another",
                fact=Loss(count=4, session_id=SESSION, first=11, last=14, cause=LossCause.DISK),
            )
            file.write(told.encode().decode())
        server.play(scan(20))
        with Recorder(tmp_path, server.port) as recorder:
            recorder.recorded(1)
            recorder.stop()

    assert losses(tmp_path) == [
        (LossCause.SENDER, 2, 8),
        (LossCause.DISK, 11, 14),
        (LossCause.RESTART, 15, 19),
    ]


def test_the_counts_of_a_report_are_those_of_the_streams_life_and_metrics_those_of_the_process(
    tmp_path: Path,
) -> None:
    with RawServer() as server:
        for number in range(3):
            server.play(scan(2 * number))
            with Recorder(tmp_path, server.port) as recorder:
                recorder.recorded(1)
                report = recorder.status()
                assert (report.totals.frames, report.totals.lost) == (number + 1, number)
                assert recorder.metric("recorded_frames") == 1
                recorder.stop()
        with Recorder(tmp_path, server.port) as recorder:
            totals = recorder.status().totals
            assert (totals.files, totals.frames, totals.lost) == (3, 3, 2)


def test_a_damaged_file_is_told_of_after_a_restart_too(tmp_path: Path) -> None:
    with RawServer() as server:
        server.play(scan(0))
        with Recorder(tmp_path, server.port, environment={"KUBERNETES_SERVICE_HOST": "a"}) as recorder:
            recorder.recorded(1)
            recorder.stop()
        (name,) = names(tmp_path)
        data = bytearray((tmp_path / name).read_bytes())
        data[-20] ^= 1
        (tmp_path / name).write_bytes(data)
        with Recorder(tmp_path, server.port) as recorder:
            recorder.wait_for(lambda report: report.totals.bad_files == 1, 30)
            recorder.stop()
        with Recorder(tmp_path, server.port) as recorder:
            report = recorder.status()
            assert (report.totals.bad_files, report.last_bad_file) == (1, name)
            assert main(["acknowledge", "--data-dir", str(tmp_path), "17000/none_000.g3"]) == 2
            assert main(["acknowledge", "--data-dir", str(tmp_path), name]) == 0
            server.play(scan(1))
            recorder.wait_for(lambda report: report.totals.bad_files == 0)
            recorder.stop()
        with Recorder(tmp_path, server.port) as recorder:
            report = recorder.status()

    assert (report.totals.bad_files, report.last_bad_file) == (0, None)


def test_a_ledger_that_cannot_be_written_is_told_of_everywhere_and_in_the_exit_code(tmp_path: Path) -> None:
    ledger_of(tmp_path).mkdir(parents=True)
    with RawServer() as server, Recorder(tmp_path, server.port) as recorder:
        report = recorder.wait_for(lambda report: report.ledger.trouble is not None)
        assert "directory" in (report.ledger.trouble or "")
        server.play(scan(0))
        recorder.recorded(1)
        assert recorder.status().ledger.pending > 0
        assert recorder.stop() == 74
