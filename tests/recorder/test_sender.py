"""The tools of these tests: what the real sender sends is what they say it sent."""

import socket
from collections.abc import Generator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.recorder.frames import Value, digests, frame_bytes, read_frames, split_frames, spt3g_reads
from tests.recorder.raw_server import RawServer
from tests.recorder.sender import END, START, Sender


@contextmanager
def client_of(sender: Sender | RawServer) -> Generator[socket.socket, None, None]:
    with socket.create_connection(("127.0.0.1", sender.port), timeout=10) as client:
        if isinstance(sender, Sender):
            sender.wait_for_clients(1)
        yield client


@contextmanager
def reader_of(sender: Sender) -> Generator[Future[bytes], None, None]:
    """A client that reads until the end, which `result()` returns."""
    with ThreadPoolExecutor(1) as pool, client_of(sender) as client:
        yield pool.submit(received, client)


def received(client: socket.socket) -> bytes:
    data = bytearray()
    while piece := client.recv(1 << 20):
        data += piece
    return bytes(data)


def test_the_bytes_on_the_wire_are_those_that_the_sender_reports(tmp_path: Path) -> None:
    file = tmp_path / "received.g3"
    with Sender() as sender, reader_of(sender) as reader:
        sent = [*sender.start_session(), *sender.send_scans(5, payload=1_500_000), sender.wiring()]
        sent += [sender.alive(), sender.send("AB", {"x": 1}), *sender.end_session()]
        sender.exit()
        file.write_bytes(reader.result(timeout=10))

    assert digests(file) == [frame.sha256 for frame in sent]
    assert spt3g_reads(file) == len(sent)
    assert [frame.frame_num for frame in sent if frame.recorded and frame.kind != "AB"] == list(range(9))
    assert [frame.flow_control for frame in sent if not frame.recorded] == [START, 0, END, 3, 3]


@pytest.mark.parametrize("keys", [{"a": 5}, {"a": -1}, {"a": "text, é"}, {"a": True}, {"a": 2.5}, {"a": ""}])
def test_frames_made_without_spt3g_are_those_that_it_makes(keys: Mapping[str, Value]) -> None:
    with Sender() as sender:
        sent = sender.send("Scan", keys, want_bytes=True)

    assert sent.data == frame_bytes("S", keys)


def test_a_late_client_gets_the_latest_frame_of_each_type_but_scan() -> None:
    with Sender() as sender:
        start, observation, wiring = sender.start_session()
        sender.send_scans(3)
        with client_of(sender) as client:
            scan = sender.send_scan()
            sender.exit()
            frames = list(split_frames(received(client)))

    assert [len(frame) for frame in frames] == [start.size, observation.size, wiring.size, scan.size]


def test_a_skipped_number_is_missing_and_the_count_goes_on() -> None:
    with Sender() as sender:
        sender.start_session()
        first = sender.send_scan()
        sender.skip(2)

        assert sender.send_scan().frame_num == (first.frame_num or 0) + 3
        assert sender.send_scan(frame_num=50).frame_num == 50
        assert sender.send_scan().frame_num == 51


def test_a_successor_takes_the_port_of_a_killed_sender() -> None:
    with Sender() as sender, client_of(sender):
        sender.alive()
        sender.kill()
        with Sender(port=sender.port) as successor:
            assert successor.port == sender.port


def test_hanging_up_ends_the_stream_and_the_sender_goes_on() -> None:
    with Sender() as sender:
        with client_of(sender) as client:
            sent = sender.alive()
            sender.hang_up()
            assert len(received(client)) == sent.size
        with client_of(sender):
            sender.alive()


def test_a_torn_file_is_refused_by_both_readers(tmp_path: Path) -> None:
    file = tmp_path / "torn.g3"
    file.write_bytes(frame_bytes("S", {"a": 1}) + frame_bytes("S", {"a": 2})[:-1])

    with pytest.raises(ValueError, match="torn: the frame at byte"):
        read_frames(file)
    with pytest.raises(AssertionError, match="spt3g cannot read"):
        spt3g_reads(file)


@pytest.mark.parametrize("chunk", [None, 1, 7])
def test_the_raw_server_plays_bytes_as_they_are(chunk: int | None) -> None:
    data = frame_bytes("S", {"a": 1})
    with RawServer() as server:
        server.play(data, chunk=chunk)
        server.half_close()
        with client_of(server) as client:
            assert received(client) == data
        server.wait_played()


def test_the_raw_server_resets_and_serves_the_next_client() -> None:
    with RawServer() as server:
        server.play(b"first")
        server.hold(0.1)
        server.reset()
        with client_of(server) as client, pytest.raises(ConnectionResetError):
            received(client)
        server.play(b"second")
        server.close()
        with client_of(server) as client:
            assert received(client) == b"second"

        assert server.connections == 2


def test_what_is_queued_when_a_client_hangs_up_is_for_the_next_one() -> None:
    with RawServer() as server:
        with client_of(server):
            pass
        with client_of(server) as client:
            server.play(b"for the second")
            server.close()
            assert received(client) == b"for the second"
