"""The tools of these tests: what the real sender sends is what they say it sent."""

import socket
import time
from collections.abc import Generator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from threading import Event

import pytest

from tests.tools.frames import Value, digests, frame_bytes, read_frames, split_frames, spt3g_reads
from tests.tools.patience import PATIENCE
from tests.tools.raw_server import RawServer
from tests.tools.sender import END, START, Sender
from timestream_aggregator.commands.simulate.faults import Garbage
from timestream_aggregator.commands.simulate.relay import GARBAGE


@contextmanager
def client_of(sender: Sender | RawServer) -> Generator[socket.socket, None, None]:
    with socket.create_connection(("127.0.0.1", sender.port), timeout=10) as client:
        if isinstance(sender, Sender):
            sender.wait_for_clients(1)
        yield client


@contextmanager
def client_of_restarted(sender: Sender) -> Generator[socket.socket, None, None]:
    """A client that calls until the port takes connections; the only one, so that frames are for it."""
    with call_until_taken(sender.port) as client:
        sender.wait_for_clients(1)
        yield client


def call_until_taken(port: int) -> socket.socket:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with suppress(ConnectionRefusedError):
            return socket.create_connection(("127.0.0.1", port), timeout=10)
        time.sleep(0.01)
    raise AssertionError(f"refused for {PATIENCE} s")


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


def test_without_faults_a_relay_changes_nothing() -> None:
    with Sender(relay=True) as sender, reader_of(sender) as reader:
        sent = [*sender.start_session(), *sender.send_scans(3, payload=3_000_000), sender.alive()]
        sender.exit()
        frames = list(split_frames(reader.result(timeout=10)))

    assert [sha256(frame).hexdigest() for frame in frames] == [frame.sha256 for frame in sent]


def test_a_relay_changes_one_bit_of_a_frame_and_none_of_its_lengths() -> None:
    with Sender(relay=True) as sender, reader_of(sender) as reader:
        sent = [sender.send_scan(), sender.send_scan(fault="crc@0"), sender.send_scan()]
        sender.exit()
        data = reader.result(timeout=10)

    first, second = (sum(frame.size for frame in sent[:n]) for n in (1, 2))
    damaged = data[first:second]
    whole = damaged[:-5] + bytes([damaged[-5] ^ 1]) + damaged[-4:]
    assert len(data) == sum(frame.size for frame in sent)
    with pytest.raises(ValueError, match="bad crc"):
        list(split_frames(damaged))
    assert [sha256(frame).hexdigest() for frame in (data[:first], whole, data[second:])] == [
        frame.sha256 for frame in sent
    ]


@pytest.mark.parametrize("cut", [0, 1, 700])
def test_a_relay_tears_a_frame_and_ends_the_connection(cut: int) -> None:
    with Sender(relay=True) as sender, client_of(sender) as client:
        first, torn = sender.send_scan(), sender.send_scan(fault=f"torn@0:{cut}")

        assert len(received(client)) == first.size + (cut or torn.size // 2)
        with client_of(sender) as successor:
            third = sender.send_scan()
            sender.exit()
            assert len(received(successor)) == third.size


@pytest.mark.parametrize("kind", Garbage)
def test_a_relay_says_what_is_no_frame_before_one(kind: Garbage) -> None:
    with Sender(relay=True) as sender, reader_of(sender) as reader:
        first, second = sender.send_scan(), sender.send_scan(fault=f"garbage@0:{kind}")
        sender.exit()
        data = reader.result(timeout=10)

    assert data[first.size : -second.size] == GARBAGE[kind]


def test_a_relay_trickles_single_bytes_and_then_sends_the_rest_at_once() -> None:
    with Sender(relay=True) as sender, client_of(sender) as client:
        sent, sizes, begun = sender.send_scan(100_000, fault="trickle@0:1"), list[int](), time.monotonic()
        while sum(sizes) < sent.size:
            sizes.append(len(client.recv(1 << 20)))

    assert time.monotonic() - begun >= 1
    assert sum(size < 100 for size in sizes) >= 50, "a client that is held up finds some bytes together"
    assert max(sizes) > 10_000


def test_a_relay_that_vanishes_holds_the_connection_and_then_sends_what_it_held() -> None:
    with Sender(relay=True) as sender, client_of(sender) as client:
        first = sender.send_scan()
        assert len(client.recv(first.size, socket.MSG_WAITALL)) == first.size
        sender.happen("vanish@0:1")
        begun, held = time.monotonic(), sender.send_scan()

        assert len(client.recv(held.size, socket.MSG_WAITALL)) == held.size
        assert time.monotonic() - begun > 0.8


def test_a_relay_that_is_down_refuses_connections_and_frames_are_lost() -> None:
    with Sender(relay=True) as sender:
        with client_of(sender) as client:
            sender.happen("down@0:1")
            assert received(client) == b""
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", sender.port), timeout=5)
            sender.send_scan()
        with client_of_restarted(sender) as successor:
            last = sender.send_scan()
            sender.exit()
            assert len(received(successor)) == last.size


def test_a_restarted_sender_has_forgotten_what_it_would_replay() -> None:
    with Sender(relay=True) as sender:
        with client_of(sender):
            sender.start_session()
            sender.happen("restart@0:0.3")
        with client_of_restarted(sender) as successor:
            scan = sender.send_scan()
            sender.exit()
            assert len(received(successor)) == scan.size


def test_a_relay_ends_while_clients_keep_coming() -> None:
    over = Event()

    def come_and_go(port: int) -> None:
        while not over.is_set():
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5) as client:
                received(client)

    for _ in range(3):
        over.clear()
        with Sender(relay=True) as sender, ThreadPoolExecutor(1) as pool:
            pool.submit(come_and_go, sender.port)
            for fault in ("torn@0", "", "torn@0:9"):
                sender.send_scan(fault=fault)
            sender.happen("down@0:0.05")
            sender.send_scans(5, interval=0.02)
            sender.exit()
            over.set()


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
