"""Frames that are odd, and what a sender replays to each new client: they cost themselves and no frame that follows."""

import struct
from pathlib import Path
from typing import Final

import pytest

from tests.tools.frames import Value, digests, frame_bytes, read_frames
from tests.tools.raw_server import RawServer
from tests.tools.recorder import Recorder, published, quarantined
from tests.tools.sender import Sender
from timestream_aggregator.commands.verify.checking import Checker
from timestream_aggregator.ledger.file import lines
from timestream_api.ledger import Connected, Quarantined

SESSION: Final = 1_700_000_000
MIB: Final = 1 << 20
KEYS_5000: Final[dict[str, Value]] = {str(number): number for number in range(5000)}
# Kind, keys and bytes of payload of what a sender keeps for new clients, and the words about it.
ODD: Final[dict[str, tuple[str, dict[str, Value], int, str]]] = {
    "5,000 keys": ("Calibration", KEYS_5000, 0, "type 'C' with 5000 entries"),
    "a key of 1,500 bytes": ("Calibration", {"k" * 1500: 1}, 0, "type 'C' with a name of 1500 bytes"),
    "larger than the limit": ("Wiring", {"dump": 1}, 3 * MIB, "raise --max-frame-bytes"),
}
EMPTY: Final = {"an empty Calibration": "Calibration", "an empty None": "none"}
ABSURD: Final = struct.pack("<BIiI", 1, 1, 1, ord("W")) + struct.pack("<Q4sQ", 4, b"data", 1 << 40)


def scan(number: int) -> bytes:
    return frame_bytes("S", {"session_id": SESSION, "frame_num": number}, payload=500)


def put_aside(folder: Path) -> list[Quarantined]:
    return [line.fact for line in lines(folder) if isinstance(line.fact, Quarantined)]


def recorded_once(folder: Path) -> list[str]:
    """Return the digests of all frames, without the metadata that later files begin with."""
    return list(dict.fromkeys(digest for path in published(folder) for digest in digests(path)))


def connections(folder: Path) -> int:
    return sum(isinstance(line.fact, Connected) for line in lines(folder))


@pytest.mark.parametrize("name", ODD)
def test_an_odd_frame_of_a_real_sender_costs_itself_also_when_it_is_replayed(
    tmp_path: Path, name: str
) -> None:
    kind, keys, payload, words = ODD[name]
    with Sender() as sender, Recorder(tmp_path, sender.port, max_frame_bytes=2 * MIB) as recorder:
        recorder.connected()
        sent = sender.start_session() + sender.send_scans(5)
        odd = sender.send(kind, keys, payload, want_bytes=True)
        sent += sender.send_scans(5)
        recorder.recorded(12, quarantined=1)
        sender.hang_up()
        recorder.wait_for(lambda _: recorder.messages().count("connected") == 2)
        sent += sender.send_scans(5)
        report = recorder.recorded(17, quarantined=2)
        assert report.totals.lost == 0
        assert report.last_put_aside is not None
        assert words in report.last_put_aside.why
        assert report.last_put_aside.bytes == odd.size
        assert recorder.memory() < 80_000_000
        recorder.stop()

    assert recorded_once(tmp_path) == [frame.sha256 for frame in sent if frame.recorded]
    assert connections(tmp_path) == 2
    assert odd.data is not None
    assert quarantined(tmp_path) == [odd.data[:MIB]]
    first, second = put_aside(tmp_path)
    assert (first.bytes, first.kept_bytes) == (odd.size, min(odd.size, MIB))
    assert (second.bytes, second.kept, second.why) == (odd.size, None, first.why)


@pytest.mark.parametrize("name", EMPTY)
def test_a_frame_without_entries_is_recorded_once_and_verified_like_any_other(
    tmp_path: Path, name: str
) -> None:
    with Sender() as sender, Recorder(tmp_path, sender.port) as recorder:
        recorder.connected()
        sent = sender.start_session() + sender.send_scans(5)
        sent.append(sender.send(EMPTY[name], {}))
        sent += sender.send_scans(5)
        recorder.recorded(13)
        sender.hang_up()
        recorder.wait_for(lambda _: recorder.messages().count("connected") == 2)
        sent += sender.send_scans(5)
        sent += sender.end_session()
        report = recorder.wait_for(lambda report: report.totals.verified == report.totals.files >= 2, 30)
        assert (report.totals.frames, report.totals.lost, report.totals.quarantined) == (19, 0, 0)
        assert report.last_put_aside is None
        recorder.stop()

    assert recorded_once(tmp_path) == [frame.sha256 for frame in sent if frame.recorded]
    assert [Checker().verify(path).trouble for path in published(tmp_path)] == [[]] * len(published(tmp_path))


def test_no_odd_frame_ends_the_connection(tmp_path: Path) -> None:
    end = struct.pack("<Q1sQ1sI", 1, b"a", 1, b"b", 0)
    odd = [
        struct.pack("<BIiI", 1, 2, 1, ord("C")) + end,
        struct.pack("<BIiI", 1, 1, 1, 0) + end,
        struct.pack("<BIiI", 1, 1, 1, 0xC3A9) + end,
        struct.pack("<BIiI", 1, 1, 1, ord("C")) + struct.pack("<Q", 3000) + b"n" * 3000 + bytes(12),
        struct.pack("<BIiI", 1, 1, 4097, ord("C")) + bytes(16 * 4097 + 4),
        struct.pack("<BIiI", 1, 1, 1, ord("C")) + struct.pack("<QQ", 0, 5000) + bytes(5004),
    ]
    stream = b"".join(scan(number) + each for number, each in enumerate(odd))
    with RawServer() as server, Recorder(tmp_path, server.port, max_frame_bytes=4096) as recorder:
        server.play(stream + scan(len(odd)), chunk=1013)
        recorder.recorded(len(odd) + 1, quarantined=len(odd))
        assert server.connections == 1
        recorder.stop()

    recorded = [frame for path in published(tmp_path) for frame in read_frames(path)]
    assert recorded == [scan(number) for number in range(len(odd) + 1)]
    assert quarantined(tmp_path) == odd


@pytest.mark.parametrize(
    "refused",
    [ABSURD, bytes(64), b"\xff" * 40, struct.pack("<BIiI", 1, 1, -1, ord("C"))],
    ids=["an absurd length", "zeros", "ones", "a negative count"],
)
def test_what_heads_one_connection_after_another_ends_the_recording_once(
    tmp_path: Path, refused: bytes
) -> None:
    with RawServer() as server, Recorder(tmp_path, server.port) as recorder:
        server.play(refused + scan(0))
        report = recorder.wait_for(lambda report: report.totals.quarantined == 1)
        assert report.totals.frames == 0
        recorder.wait_for(lambda _: recorder.messages().count("connected") == 2)
        server.play(refused + scan(1) + scan(2))
        recorder.recorded(2, quarantined=2)
        server.play(scan(3))
        server.close()
        server.play(refused + scan(4))
        report = recorder.recorded(4, quarantined=3)
        assert server.connections == 3
        assert report.last_put_aside is not None
        assert report.last_put_aside.bytes == len(refused)
        recorder.stop()

    recorded = [frame for path in published(tmp_path) for frame in read_frames(path)]
    assert recorded == [scan(number) for number in range(1, 5)]
    assert {fact.why for fact in put_aside(tmp_path)} == {put_aside(tmp_path)[0].why}
    assert [fact.bytes for fact in put_aside(tmp_path)][1:] == [len(refused)] * 2


def test_two_refused_frames_in_one_replay_end_the_recording_twice_and_no_more(tmp_path: Path) -> None:
    replay = ABSURD + scan(0) + b"\xff" * 40
    with RawServer() as server, Recorder(tmp_path, server.port) as recorder:
        for number, stands in ((1, 2), (2, 3), (3, 3)):
            server.play(replay + scan(number))
            recorder.wait_for(lambda report, found=number: report.totals.quarantined >= found)
            recorder.wait_for(lambda _, want=stands: recorder.messages().count("connected") == want)
        recorder.recorded(2)
        assert server.connections == 3
        recorder.stop()

    recorded = [frame for path in published(tmp_path) for frame in read_frames(path)]
    assert recorded == [scan(0), scan(3)]


def test_a_search_is_told_when_it_begins_and_when_the_connections_end_cuts_it_short(tmp_path: Path) -> None:
    with RawServer() as server, Recorder(tmp_path, server.port) as recorder:
        for number in (1, 2):
            began = recorder.status().time
            server.play(b"\xff" * 40)
            recorder.wait_for(
                lambda report, began=began: (
                    report.last_put_aside is not None
                    and report.last_put_aside.time > began
                    and report.totals.quarantined == 1
                )
            )
            server.close()
            recorder.wait_for(lambda report, found=number: report.totals.quarantined == found)
            recorder.wait_for(lambda _, want=number + 1: recorder.messages().count("connected") == want)
        server.play(scan(0))
        recorder.recorded(1)
        recorder.stop()

    first, second = put_aside(tmp_path)
    assert first.why == second.why
    assert first.bytes == second.bytes == 40
