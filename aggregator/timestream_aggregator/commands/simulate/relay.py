"""A relay before the sender, for what a G3NetworkSender cannot do by itself: damage, and a line that fails.

Each client has a connection of its own to the real sender behind, so that it is accepted and served as there.
The relay hands on whole frames, unchanged but for those that were marked.
"""

import select
import socket
import struct
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import suppress
from math import inf
from typing import Final

from timestream_aggregator.commands.simulate.faults import ON_THE_WAY, Fault, FaultKind, Garbage
from timestream_aggregator.commands.simulate.g3sender import G3Frame
from timestream_aggregator.commands.simulate.listener import Listener, listening
from timestream_aggregator.g3.parser import Damaged, Frame, Parser
from timestream_api.settings import LARGEST_FRAME

Position = tuple[int | None, int | None]
"""session_id and frame_num of a frame."""

_INSIDE: Final = "127.0.0.1"
_POLL: Final = 0.02  # seconds
_PIECE: Final = 1 << 20
_BYTE_EVERY: Final = 0.001  # seconds
_ENTRY: Final = struct.pack("<Q4s", 4, b"data")
GARBAGE: Final[Mapping[Garbage, bytes]] = {
    Garbage.HTTP: b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n400\n",
    Garbage.TLS: bytes.fromhex("15 03 01 00 02 02 46"),
    Garbage.ZEROS: bytes(1 << 16),
    Garbage.LENGTH: struct.pack("<BIiI", 1, 1, 1, ord("S")) + _ENTRY + struct.pack("<Q", 1 << 31),
    Garbage.BIG_ENDIAN: struct.pack(">BIiI", 0, 1, 1, ord("S"))
    + struct.pack(">Q4sQ", 4, b"data", 4)
    + b"data",
}


class _OverError(Exception):
    """The connection ends here."""


class Relay:
    """A sender behind a relay that listens on an address and hands on what the `sender` says.

    Raises:
        OSError: the address is not ours, or the port is taken.
    """

    def __init__(self, address: str, port: int, queue: int = 0) -> None:
        self._address, self._queue = address, queue
        self._listener = self._listen(port)
        self.port: Final[int] = self._listener.getsockname()[1]
        self.sender = Listener(_INSIDE, 0, queue)
        self._marks: dict[Position, list[Fault]] = defaultdict(list)
        self._frozen_until = self._down_until = 0.0
        self._stop = threading.Event()
        self._lines: set[_Line] = set()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._serve, name="relay")
        self._thread.start()

    def send(self, frame: G3Frame) -> None:
        """Send `frame` as the sender does."""
        self.sender.send(frame)

    def happen(self, fault: Fault, position: Position = (None, None)) -> None:
        """Begin what happens to the line or to the sender; what happens to a frame is for that at `position`.

        A sender that is restarted is another one, reached only after a while.
        """
        until = time.monotonic() + fault.amount
        if fault.kind in ON_THE_WAY:
            self._marks[position].append(fault)
        elif fault.kind is FaultKind.VANISH:
            self._frozen_until = until
        elif fault.kind in {FaultKind.DOWN, FaultKind.RESTART}:
            self._refuse_until(until)
            self._hang_up()
        if fault.kind is FaultKind.RESTART:
            self.sender.close()
            self.sender = Listener(_INSIDE, 0, self._queue)

    def faults_of(self, frame: Frame | Damaged) -> list[Fault]:
        """Return what is to be done to a frame."""
        return self._marks.get((frame.session_id, frame.frame_num), []) if isinstance(frame, Frame) else []

    def drain(self, seconds: float, stop: threading.Event) -> bool:
        """Take no more clients; return whether within `seconds`, and before `stop`, those there had everything."""
        deadline = time.monotonic() + seconds
        self._refuse_until(inf)
        if not self.sender.drain(seconds, stop):
            return False
        self.sender.hang_up()
        for line in self._all_lines():
            line.thread.join(max(0.0, deadline - time.monotonic()))
        return not self._all_lines()

    def close(self) -> None:
        """End the relay, and the sender behind it."""
        self._refuse_until(inf)
        self._stop.set()
        self._hang_up()
        self._thread.join()
        self._listener.close()
        self.sender.close()

    @property
    def frozen(self) -> bool:
        """Whether nothing is to be done for the moment."""
        return time.monotonic() < self._frozen_until

    @property
    def _down(self) -> bool:
        return time.monotonic() < self._down_until

    def forget(self, line: "_Line") -> None:
        """A line has ended."""
        with self._lock:
            self._lines.discard(line)

    def _all_lines(self) -> "list[_Line]":
        with self._lock:
            return list(self._lines)

    def _hang_up(self) -> None:
        """End all connections, and wait until they have."""
        for line in self._all_lines():
            line.hang_up()
            line.thread.join()

    def _refuse_until(self, moment: float) -> None:
        """Refuse clients from now on."""
        with self._lock, suppress(OSError):  # it listens no longer
            self._down_until = moment
            self._listener.shutdown(socket.SHUT_RDWR)

    def _listen(self, port: int) -> socket.socket:
        listener = listening(self._address, port)
        listener.settimeout(_POLL)
        return listener

    def _serve(self) -> None:
        while not self._stop.is_set():
            if self._down:
                self._listener.close()
            if self.frozen or self._down:
                self._stop.wait(_POLL)
                continue
            if self._listener.fileno() < 0:
                self._listener = self._listen(self.port)
            try:
                self._take(self._listener.accept()[0])
            except TimeoutError:
                pass
            except OSError:  # from now on it refuses
                self._listener.close()

    def _take(self, client: socket.socket) -> None:
        try:
            sender = socket.create_connection((_INSIDE, self.sender.port))
        except OSError:  # its successor does not listen yet
            client.close()
            return
        client.setblocking(True)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        line = _Line(self, client, sender)
        with self._lock:
            line.thread.start()
            self._lines.add(line)
            if self._down:  # since a moment ago
                line.hang_up()


class _Line:
    """One client's connection and the one to the sender behind it."""

    def __init__(self, relay: Relay, client: socket.socket, sender: socket.socket) -> None:
        self._relay = relay
        self._client = client
        self._sender = sender
        self._parser = Parser(LARGEST_FRAME, kept_bytes=2 * LARGEST_FRAME)
        self._over = threading.Event()
        self.thread = threading.Thread(target=self._run, name="relay line")

    def hang_up(self) -> None:
        """End both connections. Safe at any time."""
        self._over.set()
        for end in (self._client, self._sender):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _run(self) -> None:
        with self._client, self._sender, suppress(_OverError, OSError):
            while not self._over.is_set():
                self._pass_on()
        self._relay.forget(self)

    def _pass_on(self) -> None:
        self._thaw()
        readable, _, _ = select.select([self._client, self._sender], [], [], _POLL)
        if self._relay.frozen:
            return
        if self._client in readable and not self._client.recv(_PIECE):
            raise _OverError
        if self._sender in readable:
            piece = self._sender.recv(_PIECE)
            if not piece:
                raise _OverError
            for frame in self._parser.feed(memoryview(piece)):
                self._thaw()
                self._deliver(frame)

    def _thaw(self) -> None:
        while self._relay.frozen and not self._over.wait(_POLL):
            pass

    def _deliver(self, frame: Frame | Damaged) -> None:
        """Send one frame, with what is to happen to it."""
        data = b"".join(frame.parts)
        for fault in self._relay.faults_of(frame):
            data = _DISTURB[fault.kind](self, fault, data)
        self._client.sendall(data)

    def tear(self, fault: Fault, data: bytes) -> bytes:
        """Send the beginning of the frame, then the end of the connection."""
        self._client.sendall(data[: int(fault.amount) or len(data) // 2])
        raise _OverError

    def change_a_bit(self, _fault: Fault, data: bytes) -> bytes:
        """Change the last byte before the crc: no length, but the end of a value."""
        return data[:-5] + bytes([data[-5] ^ 1]) + data[-4:]

    def send_garbage(self, fault: Fault, data: bytes) -> bytes:
        """Send what is no frame before it."""
        return GARBAGE[fault.garbage] + data

    def trickle(self, fault: Fault, data: bytes) -> bytes:
        """Send single bytes for a while; return the rest."""
        deadline, sent = time.monotonic() + fault.amount, 0
        while time.monotonic() < deadline and sent < len(data) - 1 and not self._over.wait(_BYTE_EVERY):
            self._client.sendall(data[sent : sent + 1])
            sent += 1
        return data[sent:]


_DISTURB: Final[Mapping[FaultKind, Callable[[_Line, Fault, bytes], bytes]]] = {
    FaultKind.TORN: _Line.tear,
    FaultKind.CRC: _Line.change_a_bit,
    FaultKind.GARBAGE: _Line.send_garbage,
    FaultKind.TRICKLE: _Line.trickle,
}
