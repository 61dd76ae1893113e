"""What is missing, what came twice, and what was read back: in the report and in the ledger, to the frame."""

import hashlib
from pathlib import Path

from tests.tools.frames import frame_bytes
from tests.tools.raw_server import RawServer
from tests.tools.recorder import Recorder, assert_readable, names, recorded_digests
from tests.tools.sender import Sender
from timestream_aggregator.ledger.file import lines
from timestream_api.ledger import Duplicate, Loss, Verified
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
            assert report.totals.lost == 4
            recorder.stop()

    assert losses(tmp_path) == [("Reconnect", 2, 3), ("Restart", 5, 8)]
