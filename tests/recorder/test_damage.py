"""Bytes that no sender should send, played by a raw server: what is kept, and that recording goes on."""

import struct
from pathlib import Path

import pytest

from tests.tools.frames import frame_bytes, read_frames
from tests.tools.raw_server import RawServer
from tests.tools.recorder import Recorder, published, quarantined

SCANS = [
    frame_bytes("S", {"frame_num": number, "session_id": 1_700_000_000}, payload=100) for number in range(6)
]
HUGE = struct.pack("<BIiI", 1, 1, 1, ord("S")) + struct.pack("<Q", 3) + b"key" + struct.pack("<Q", 1 << 31)


def recorded(folder: Path) -> list[bytes]:
    return [frame for path in published(folder) for frame in read_frames(path)]


def test_a_stream_that_comes_byte_by_byte_is_recorded(tmp_path: Path) -> None:
    with RawServer() as server, Recorder(tmp_path, server.port) as recorder:
        server.play(b"".join(SCANS), chunk=1)
        recorder.recorded(len(SCANS))
        recorder.stop()

    assert recorded(tmp_path) == SCANS


@pytest.mark.parametrize("chunk", [7, 1013, 65_537])
def test_a_stream_in_pieces_of_any_size_is_recorded(tmp_path: Path, chunk: int) -> None:
    frames = [
        frame_bytes("S", {"frame_num": n}, payload=size)
        for n, size in enumerate((1, 900, 70_000, 5, 3_000_000))
    ]
    with RawServer() as server, Recorder(tmp_path, server.port, http_port=0) as recorder:
        server.play(b"".join(frames[:3] if chunk < 100 else frames), chunk=chunk)
        server.wait_played()
        server.close()
        while not published(tmp_path):
            assert recorder.process.poll() is None
        recorder.stop()

    assert recorded(tmp_path) == (frames[:3] if chunk < 100 else frames)


@pytest.mark.parametrize(
    "garbage",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(32),
        HUGE,
        bytes(64),
        b"\0" + SCANS[0][1:],
    ],
    ids=["HTTP", "TLS", "a length of 2^31", "zeros", "big endian"],
)
def test_what_is_no_frame_is_kept_aside_and_a_good_connection_follows(tmp_path: Path, garbage: bytes) -> None:
    with RawServer() as server, Recorder(tmp_path, server.port) as recorder:
        server.play(SCANS[0] + garbage)
        recorder.wait_for(lambda _: server.connections == 2)
        server.play(SCANS[1])
        report = recorder.recorded(2, quarantined=1)
        assert server.connections == 2
        assert report.totals.quarantined == 1
        assert recorder.memory() < 80_000_000
        recorder.stop()

    assert recorded(tmp_path) == SCANS[:2]
    assert quarantined(tmp_path) == [garbage]


def test_a_frame_that_stops_half_way_is_kept_aside(tmp_path: Path) -> None:
    with RawServer() as server, Recorder(tmp_path, server.port) as recorder:
        server.play(SCANS[0] + SCANS[1][:100])
        server.close()
        server.play(SCANS[2])
        report = recorder.recorded(2, quarantined=1)
        assert report.totals.quarantined == 1
        recorder.stop()

    assert recorded(tmp_path) == [SCANS[0], SCANS[2]]
    assert quarantined(tmp_path) == [SCANS[1][:100]]


def test_a_frame_with_a_bad_crc_is_kept_aside_and_the_connection_goes_on(tmp_path: Path) -> None:
    bad = SCANS[1][:-1] + bytes([SCANS[1][-1] ^ 1])
    with RawServer() as server, Recorder(tmp_path, server.port) as recorder:
        server.play(SCANS[0] + bad + SCANS[2])
        report = recorder.recorded(2, quarantined=1)
        assert (server.connections, report.totals.quarantined) == (1, 1)
        recorder.stop()

    assert recorded(tmp_path) == [SCANS[0], SCANS[2]]
    assert quarantined(tmp_path) == [bad]


def test_a_sender_that_stops_in_the_middle_of_a_frame_is_replaced_and_the_frame_kept_aside(
    tmp_path: Path,
) -> None:
    with RawServer() as server, Recorder(tmp_path, server.port, read_timeout=1) as recorder:
        server.play(SCANS[0] + SCANS[1][:100])
        recorder.wait_for(lambda report: report.totals.quarantined == 1)
        server.play(SCANS[2])
        recorder.recorded(2)
        recorder.stop()

    assert recorded(tmp_path) == [SCANS[0], SCANS[2]]


def test_a_jump_of_the_frame_number_is_a_loss_of_exactly_that_many(tmp_path: Path) -> None:
    with RawServer() as server, Recorder(tmp_path, server.port) as recorder:
        server.play(SCANS[0] + SCANS[1] + SCANS[5])
        report = recorder.recorded(3)
        assert report.totals.lost == 3
        recorder.stop()
