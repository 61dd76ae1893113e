"""Sessions that take turns, and how each begins: what a real recorder tells of what is missing."""

import time
from pathlib import Path

from tests.tools.frames import flow_control, frame_bytes
from tests.tools.raw_server import RawServer
from tests.tools.recorder import Recorder
from timestream_aggregator.ledger.file import lines
from timestream_api.ledger import Joined, Loss

ALIVE, START, END = (flow_control(value) for value in (0, 1, 2))


def frame(kind: str, session: int, number: int) -> bytes:
    keys = {"session_id": session, "frame_num": number, "sostream_id": "crate1"}
    return frame_bytes(kind, keys, payload=500)


def session_of(session: int, *numbers: int) -> bytes:
    """Return Observation and Wiring, 0 and 1, and Scans with those numbers."""
    return b"".join(
        [frame("O", session, 0), frame("W", session, 1), *(frame("S", session, n) for n in numbers)]
    )


def missing(folder: Path) -> list[tuple[int | None, str | None, int | None, int | None]]:
    """Return session, cause, first and last number of what the ledger has as lost or, without a cause, as missed."""
    found = list[tuple[int | None, str | None, int | None, int | None]]()
    for line in lines(folder):
        if isinstance(line.fact, Loss):
            found.append((line.fact.session_id, line.fact.cause, line.fact.first, line.fact.last))
        elif isinstance(line.fact, Joined):
            found.append((line.fact.session_id, None, line.fact.first - line.fact.count, line.fact.first - 1))
    return found


def test_a_late_scan_of_the_session_before_hides_no_loss(tmp_path: Path) -> None:
    now = int(time.time())
    first, second = now - 50, now
    with RawServer() as server, Recorder(tmp_path, server.port) as recorder:
        server.play(ALIVE + START + session_of(first, 2, 3) + END + START + session_of(second, 2))
        server.play(frame("S", first, 4) + frame("S", second, 6))
        recorder.recorded(9)
        recorder.stop()

    assert missing(tmp_path) == [(second, "Sender", 3, 5)]


def test_a_damaged_first_frame_of_a_session_is_a_loss(tmp_path: Path) -> None:
    now = int(time.time())
    damaged = bytearray(frame("O", now, 0))
    damaged[-1] ^= 1
    with RawServer() as server, Recorder(tmp_path, server.port) as recorder:
        server.play(ALIVE + START + damaged + b"".join(frame("S", now, number) for number in (1, 2)))
        recorder.recorded(2, quarantined=1)
        recorder.stop()

    assert missing(tmp_path) == [(now, "Damaged", 0, 0)]


def test_a_recorder_that_joins_a_session_late_has_missed_its_beginning_and_lost_nothing(
    tmp_path: Path,
) -> None:
    before = int(time.time()) - 3600
    with RawServer() as server, Recorder(tmp_path, server.port) as recorder:
        server.play(session_of(before, 50, 51))
        report = recorder.recorded(4)
        assert (report.totals.lost, report.totals.missed, report.last_loss) == (0, 48, None)
        assert report.acquisition is not None
        assert (report.acquisition.lost, report.acquisition.missed) == (0, 48)
        recorder.stop()

    assert missing(tmp_path) == [(before, None, 2, 49)]


def test_the_beginning_of_a_session_is_lost_if_it_began_while_the_recorder_ran_or_should_have(
    tmp_path: Path,
) -> None:
    with RawServer() as server:
        with Recorder(tmp_path, server.port) as recorder:
            recorder.connected()
            began = int(time.time())
            server.play(session_of(began, 5))
            recorder.recorded(3)
            recorder.process.kill()
            recorder.process.wait()
        time.sleep(1.1)
        again = int(time.time())
        time.sleep(1.1)
        with Recorder(tmp_path, server.port) as recorder:
            server.play(session_of(again, 30))
            recorder.recorded(3)
            recorder.stop()

    assert missing(tmp_path) == [(began, "Reconnect", 2, 4), (again, "Restart", 2, 29)]
