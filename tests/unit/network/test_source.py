"""The TCP client, against real sockets on this host."""

import logging
import socket
import struct
import threading
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing, contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.tools.ports import reserve
from timestream_aggregator.buffer import (
    SEGMENT_BYTES,
    Buffer,
    Item,
    LinkDown,
    LinkUp,
    NoMore,
    Received,
    Silent,
    Succeeding,
)
from timestream_aggregator.network import race, sockets
from timestream_aggregator.network.dialer import RETRY
from timestream_aggregator.network.link import Link
from timestream_aggregator.network.source import IN_FLIGHT, Source
from timestream_api.report import ConnectionState
from timestream_api.settings import RecorderSettings

LOG = logging.getLogger("test")
MOST_IN_A_KERNEL = int(Path("/proc/sys/net/ipv4/tcp_rmem").read_text().split()[2])


@contextmanager
def listening(port: int = 0) -> Generator[socket.socket]:
    with closing(socket.create_server(("127.0.0.1", port))) as listener:
        listener.settimeout(10)
        yield listener


def port_of(sock: socket.socket) -> int:
    port: int = sock.getsockname()[1]
    return port


@contextmanager
def receiving(port: int, buffer: Buffer | None = None, **settings: Any) -> Generator[tuple[Source, Buffer]]:
    """A source that runs; it stops within two seconds, or the test fails."""
    given = {"address": "127.0.0.1", "port": port, "read_timeout": 1} | settings
    buffer = buffer or Buffer(64 << 20)
    source = Source(RecorderSettings.model_validate(given), buffer, LOG)
    thread = threading.Thread(target=source.run)
    thread.start()
    try:
        yield source, buffer
    finally:
        source.stop()
        thread.join(2)
        assert not thread.is_alive(), "it does not stop"
        source.close()


def next_item(buffer: Buffer, timeout: float = 10.0) -> Item:
    """Return the next item, and deal with it as the writer would."""
    item = buffer.take(timeout)
    assert item is not None, "nothing came"
    if isinstance(item, Received):
        buffer.give_back(item.segment, 1)
        buffer.done(item.end - item.start)
    return item


def data(item: Item) -> bytes:
    assert isinstance(item, Received)
    return bytes(item.segment.view[item.start : item.end])


def eventually(condition: Callable[[], bool], timeout: float = 5.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.01)


def accept(listener: socket.socket) -> socket.socket:
    connection, _ = listener.accept()
    connection.settimeout(10)
    return connection


def test_what_arrives_comes_between_the_connections_beginning_and_its_end() -> None:
    with listening() as listener, receiving(port_of(listener)) as (source, buffer):
        with accept(listener) as sender:
            sender.sendall(b"frames")
            assert isinstance(next_item(buffer), LinkUp)
            assert data(next_item(buffer)) == b"frames"
            assert source.connection.state is ConnectionState.CONNECTED
        ended = next_item(buffer)
        assert isinstance(ended, LinkDown)
        assert ended.why == "the sender closed the connection"


def test_a_late_sender_is_met_within_about_a_second() -> None:
    port = reserve()
    with receiving(port) as (source, buffer):
        eventually(lambda: source.connection.attempts >= 2)
        assert source.connection.state is ConnectionState.CONNECTING
        assert source.connection.last_error == "Connection refused"
        with listening(port) as listener:
            start = time.monotonic()
            with accept(listener):
                assert time.monotonic() - start < 1.5
                assert isinstance(next_item(buffer), LinkUp)
                assert source.connection.attempts == 0


def test_the_log_says_once_where_it_cannot_connect_to_and_why(caplog: pytest.LogCaptureFixture) -> None:
    port = reserve()
    with receiving(port) as (source, _):
        eventually(lambda: source.connection.attempts > 1)

    (said,) = [vars(record) for record in caplog.records if "cannot connect" in record.message]
    assert (said["endpoint"], said["why"]) == (f"127.0.0.1:{port}", "Connection refused")


def test_a_lost_connection_is_made_again_at_once() -> None:
    with listening() as listener, receiving(port_of(listener), read_timeout=9) as (_, buffer):
        with accept(listener):
            time.sleep(1.2)  # longer than the pause between two attempts
        start = time.monotonic()
        with accept(listener):
            assert time.monotonic() - start < 0.5
        kinds = [type(next_item(buffer)) for _ in range(3)]
        assert kinds[-2:] == [LinkDown, LinkUp]


def test_a_port_that_accepts_and_hangs_up_is_not_tried_in_a_tight_loop() -> None:
    with listening() as listener, receiving(port_of(listener)):
        start, accepted = time.monotonic(), 0
        while time.monotonic() - start < 2.5:
            accept(listener).close()
            accepted += 1
        assert accepted <= 4


def test_a_reset_ends_the_connection_and_the_kernels_words_say_why() -> None:
    with listening() as listener, receiving(port_of(listener)) as (_, buffer):
        with accept(listener) as sender:
            assert isinstance(next_item(buffer), LinkUp)
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        ended = next_item(buffer)
        assert isinstance(ended, LinkDown)
        assert ended.why == "Connection reset by peer"


def test_in_a_silence_the_new_connection_stands_before_the_old_one_is_let_go() -> None:
    with listening() as listener, receiving(port_of(listener), read_timeout=2) as (source, buffer):
        with accept(listener) as first, accept(listener) as second:
            first.setblocking(False)
            with pytest.raises(BlockingIOError):
                first.recv(1)  # no FIN yet
            first.settimeout(10)
            assert first.recv(1) == b""
            second.sendall(b"after")
            items = [next_item(buffer) for _ in range(5)]
        assert [type(item) for item in items] == [LinkUp, Silent, LinkDown, LinkUp, Received]
        assert data(items[4]) == b"after"
        assert source.connection.attempts == 0


def test_what_ends_a_silence_on_the_old_connection_arrives_and_the_new_one_is_dropped() -> None:
    with ExitStack() as both, listening() as listener, receiving(port_of(listener)) as (source, buffer):
        first, second = both.enter_context(accept(listener)), both.enter_context(accept(listener))
        second.sendall(b"replay and the same")  # what a sender gives to both
        first.sendall(b"the frame that ends the silence")
        items = [next_item(buffer) for _ in range(3)]
        assert [type(item) for item in items] == [LinkUp, Silent, Received]
        assert data(items[2]) == b"the frame that ends the silence"
        first.sendall(b"more")
        assert data(next_item(buffer)) == b"more"
        assert source.connection.state is ConnectionState.CONNECTED


def test_an_old_connection_that_gives_its_last_bytes_is_read_first() -> None:
    with listening() as listener, receiving(port_of(listener)) as (_, buffer):
        first = accept(listener)
        with accept(listener) as second:
            second.sendall(b"second")
            first.send(b"first", socket.MSG_MORE)  # goes out together with the FIN
            first.close()
            items = [next_item(buffer) for _ in range(6)]
        assert [type(item) for item in items] == [
            LinkUp,
            Silent,
            Succeeding,
            Received,
            LinkDown,
            LinkUp,
        ]
        assert data(items[3]) == b"first"
        assert data(next_item(buffer)) == b"second"


def test_while_nothing_accepts_the_silent_connection_is_kept_and_its_bytes_arrive() -> None:
    with ExitStack() as stack, listening() as listener, receiving(port_of(listener)) as (source, buffer):
        first = stack.enter_context(accept(listener))
        listener.close()
        eventually(lambda: source.connection.attempts >= 2)
        assert source.connection.state is ConnectionState.CONNECTING
        first.sendall(b"still here")
        items = [next_item(buffer) for _ in range(3)]
        assert data(items[2]) == b"still here"
        eventually(lambda: source.connection.state is ConnectionState.CONNECTED)


def test_a_silent_connection_is_replaced_less_and_less_often_until_a_new_frame_comes() -> None:
    with ExitStack() as kept, listening() as listener, receiving(port_of(listener)) as (source, _):
        times = list[float]()
        for number in range(4):
            kept.enter_context(accept(listener))
            times.append(time.monotonic())
            if number == 2:
                time.sleep(0.3)  # until the source has noticed as well
                source.note_new_frame()
        pauses = [later - earlier for earlier, later in pairwise(times)]
        assert pauses == [pytest.approx(1, abs=0.4), pytest.approx(2, abs=0.4), pytest.approx(1, abs=0.4)]


def test_a_connection_without_frames_is_ended_and_the_next_attempt_comes_later_each_time() -> None:
    with listening() as listener, receiving(port_of(listener), read_timeout=60) as (source, buffer):
        pauses, ended = list[float](), 0.0
        for _ in range(3):
            with accept(listener) as sender:
                pauses.append(time.monotonic() - ended)
                connected = next_item(buffer)
                assert isinstance(connected, LinkUp)
                source.drop(connected.connection)
                assert sender.recv(1) == b""
                ended = time.monotonic()
            assert isinstance(next_item(buffer), LinkDown)
        assert pauses[1:] == [pytest.approx(1, abs=0.5), pytest.approx(2, abs=0.5)]


def test_a_full_buffer_holds_the_sender_back_and_loses_nothing() -> None:
    sent = bytes(range(256)) * (SEGMENT_BYTES * 6 // 256)
    buffer = Buffer(2 * SEGMENT_BYTES)
    with listening() as listener, receiving(port_of(listener), buffer), accept(listener) as sender:
        sending = threading.Thread(target=sender.sendall, args=(sent,))
        sending.start()
        eventually(lambda: buffer.state().stalled)
        time.sleep(1.5)  # longer than the read timeout: being held back is no silence
        assert buffer.state().bytes <= 2 * SEGMENT_BYTES
        assert isinstance(next_item(buffer), LinkUp)
        got = b""
        while len(got) < len(sent):
            item = buffer.take(5)
            assert isinstance(item, Received)
            got += data(item)
            buffer.give_back(item.segment, 1)
            buffer.done(item.end - item.start)
        sending.join()
    assert got == sent


def test_all_addresses_of_a_name_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    with listening() as listener:
        port = port_of(listener)
        dead = sockets.Target(socket.AF_INET, ("127.0.0.2", port))
        alive = sockets.Target(socket.AF_INET, ("127.0.0.1", port))

        def resolve(_host: str, _port: int) -> list[sockets.Target]:
            return [dead, alive]

        monkeypatch.setattr(sockets, "resolve", resolve)
        with receiving(port, address="crate1") as (source, _), accept(listener):
            eventually(lambda: source.connection.state is ConnectionState.CONNECTED)
            assert source.connection.endpoint == f"crate1:{port} (127.0.0.1:{port})"


def test_an_address_that_does_not_answer_holds_up_none_that_does(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        listening() as listener,
        closing(socket.create_server(("127.0.0.2", port_of(listener)), backlog=0)) as full,
        closing(socket.create_connection(full.getsockname())),  # the only place in its queue
    ):
        port = port_of(listener)
        black_hole, alive = (
            sockets.Target(socket.AF_INET, (host, port)) for host in ("127.0.0.2", "127.0.0.1")
        )

        def resolve(_host: str, _port: int) -> list[sockets.Target]:
            return [black_hole, alive]

        monkeypatch.setattr(sockets, "resolve", resolve)
        monkeypatch.setattr(race, "CONNECT_TIMEOUT", 60.0)
        with receiving(port, address="crate1", read_timeout=60) as (source, _), accept(listener):
            eventually(lambda: source.connection.state is ConnectionState.CONNECTED)
            assert source.connection.endpoint == f"crate1:{port} (127.0.0.1:{port})"


def test_a_name_service_that_hangs_holds_up_nothing_that_comes_on_the_connection_that_stands(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with ExitStack() as stack, listening() as listener:
        here, hangs = sockets.Target(socket.AF_INET, ("127.0.0.1", port_of(listener))), threading.Event()
        answers = iter([[here]])
        asked = list[str]()

        def resolve(host: str, _port: int) -> list[sockets.Target]:
            asked.append(host)
            if (known := next(answers, None)) is None:
                hangs.wait(30)
            return known or []

        monkeypatch.setattr(sockets, "resolve", resolve)
        stack.callback(hangs.set)
        _, buffer = stack.enter_context(receiving(port_of(listener), address="crate1"))
        sender = stack.enter_context(accept(listener))
        assert isinstance(next_item(buffer), LinkUp)
        assert isinstance(next_item(buffer), Silent)
        for _ in range(2):  # the silence after that asks nothing more: one question is enough
            eventually(lambda: len(asked) == 2)
            sender.sendall(b"frames")
            assert data(next_item(buffer, timeout=3)) == b"frames"
            assert isinstance(next_item(buffer), Silent)
        assert len(asked) == 2


def test_a_name_that_does_not_resolve_is_tried_on_and_said() -> None:
    with receiving(1, address="no-such-host.invalid") as (source, _):
        eventually(lambda: source.connection.attempts >= 2, timeout=15)
        assert "does not resolve" in (source.connection.last_error or "")


def test_it_stops_at_once_while_it_connects_while_it_waits_and_while_it_is_held_back() -> None:
    with receiving(reserve()) as (_, buffer):
        time.sleep(0.1)
    assert isinstance(buffer.take(0), NoMore)
    with ExitStack() as senders, listening() as listener:
        with receiving(port_of(listener)) as (_, buffer):
            senders.enter_context(accept(listener))
            assert isinstance(next_item(buffer), LinkUp)
        assert isinstance(buffer.take(0), NoMore)
        buffer = Buffer(2 * SEGMENT_BYTES)
        with receiving(port_of(listener), buffer):
            sender = senders.enter_context(accept(listener))
            sender.setblocking(False)
            eventually(lambda: _stuffed(sender) and buffer.state().stalled)


def test_what_the_kernel_holds_when_it_stops_is_taken_though_the_buffer_is_full() -> None:
    buffer, sent = Buffer(2 * SEGMENT_BYTES), 0
    with ExitStack() as senders, listening() as listener:
        with receiving(port_of(listener), buffer):
            sender = senders.enter_context(accept(listener))
            sender.setblocking(False)
            while not buffer.state().stalled:
                sent += _send(sender, 1 << 20)
            sent += _send(sender, 300_000)
            time.sleep(0.2)  # until it has arrived
        got, last = _all_of(buffer)
    assert (got, last) == (sent, NoMore(unread=0))


def test_a_sender_that_goes_on_sending_is_left_in_the_end_and_how_many_bytes_are_unread_is_told() -> None:
    buffer, over = Buffer(2 * SEGMENT_BYTES), threading.Event()
    with ExitStack() as senders, listening() as listener:
        with receiving(port_of(listener), buffer):
            sender = senders.enter_context(accept(listener))
            sending = threading.Thread(target=_send_on, args=(sender, over))
            sending.start()
            senders.callback(sending.join)
            senders.callback(over.set)
            eventually(lambda: buffer.state().stalled)
        got, last = _all_of(buffer)
    assert isinstance(last, NoMore)
    assert last.unread > 0
    assert 2 * SEGMENT_BYTES < got <= 2 * SEGMENT_BYTES + MOST_IN_A_KERNEL + IN_FLIGHT + SEGMENT_BYTES


def _send(sender: socket.socket, size: int) -> int:
    """Return how many bytes the kernels have taken at once."""
    try:
        return sender.send(bytes(size))
    except BlockingIOError:
        time.sleep(0.01)
        return 0


def _send_on(sender: socket.socket, over: threading.Event) -> None:
    with suppress(OSError):  # nobody reads any more
        while not over.is_set():
            sender.sendall(bytes(1 << 20))


def _all_of(buffer: Buffer) -> tuple[int, Item]:
    """Return how many bytes there are, and the last item."""
    size, item = 0, next_item(buffer)
    while not isinstance(item, NoMore):
        size += len(data(item)) if isinstance(item, Received) else 0
        item = next_item(buffer)
    return size, item


def _stuffed(sender: socket.socket) -> bool:
    try:
        sender.send(bytes(1 << 20))
    except BlockingIOError:
        return True
    return False


def test_the_kernel_notices_a_vanished_host_a_few_seconds_after_the_read_timeout() -> None:
    with closing(socket.socket()) as sock:
        sockets.notice_vanished_host(sock, 7)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 7
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 10_000


def test_a_socket_connected_to_itself_is_no_sender() -> None:
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    port = port_of(sock)
    sock.connect(("127.0.0.1", port))  # no listener: the kernel connects it to itself
    with pytest.raises(ConnectionRefusedError):
        sockets.finish(sock)
    with listening(port):
        pass  # and the port is the sender's again


class Doubling(float):
    """A number in whose doubling another thread gets a word in: it calls `meanwhile`."""

    meanwhile: Callable[[], None]

    def __mul__(self, other: float) -> float:
        self.meanwhile()
        return float(self) * other


def doubling(number: float, meanwhile: Callable[[], None]) -> Doubling:
    made = Doubling(number)
    made.meanwhile = meanwhile
    return made


@pytest.fixture
def connected() -> Generator[tuple[Any, Link]]:
    """A source that has no thread of its own, from inside, and its connection."""
    with listening() as listener, ExitStack() as stack:
        settings = RecorderSettings(address="127.0.0.1", port=port_of(listener), read_timeout=1)
        source: Any = Source(settings, Buffer(64 << 20), LOG)
        stack.callback(source.close)
        link: Link | None = source._connect()
        assert link is not None
        stack.enter_context(closing(link.sock))
        stack.enter_context(closing(accept(listener)))
        yield source, link


def test_a_new_frame_counts_though_a_silent_connection_is_replaced_in_that_moment(
    connected: tuple[Any, Link], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("timestream_aggregator.network.source.HAND_OVER", 0.0)
    source, old = connected
    source._silences._unheard = doubling(100, source.note_new_frame)

    new = source._replace(old)

    assert new is not None
    with closing(new.sock):
        assert source._replace_at(new) == new.heard + 1


def test_a_new_frame_counts_though_the_connection_is_given_up_in_that_moment(
    connected: tuple[Any, Link],
) -> None:
    source, link = connected
    source._dialer._not_frames = doubling(10, source.note_new_frame)

    source._drop(link)
    source._drop(link)

    assert source._dialer._not_frames == RETRY
