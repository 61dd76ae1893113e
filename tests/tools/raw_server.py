"""A TCP server that plays given bytes: cut anywhere, with pauses, with any end."""

import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, Queue
from types import TracebackType
from typing import Self

from tests.tools.patience import PATIENCE
from tests.tools.ports import reserve

Act = Callable[[socket.socket], bool]  # does its part on the connection; True: the connection is over


class RawServer:
    """Serves one client after another on a loopback port: what is queued is done in order, once one is there.

    When a client hangs up, what is still queued is for the next one.
    """

    def __init__(self, port: int = 0) -> None:
        self.port = port or reserve()
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self.arrivals = list[float]()  # of its clients, in seconds of the monotonic clock
        self._acts: Queue[Act] = Queue()
        self._over = threading.Event()
        self._client: socket.socket | None = None
        self._next: Act | None = None  # taken from the queue for a client that had gone
        self._thread = threading.Thread(target=self._serve, name="RawServer", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._over.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        if self._client is not None:
            with suppress(OSError):  # it may have gone
                self._client.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        self._listener.close()

    @property
    def connections(self) -> int:
        """Return how many clients there have been."""
        return len(self.arrivals)

    def play(self, data: bytes, chunk: int | None = None, pause: float = 0.0) -> None:
        """Send `data`: at once, or `chunk` bytes at a time with `pause` seconds after each."""

        def act(client: socket.socket) -> bool:
            step = chunk or len(data) or 1
            for start in range(0, len(data), step):
                client.sendall(data[start : start + step])
                self._over.wait(pause)
            return False

        self._acts.put(act)

    def hold(self, seconds: float) -> None:
        """Be silent."""

        def act(_client: socket.socket) -> bool:
            self._over.wait(seconds)
            return False

        self._acts.put(act)

    def half_close(self) -> None:
        """Send FIN and keep the socket, as a sender that has shut down its side."""

        def act(client: socket.socket) -> bool:
            client.shutdown(socket.SHUT_WR)
            return False

        self._acts.put(act)

    def close(self) -> None:
        """Close the connection: FIN. The next act waits for the next client."""
        self._acts.put(lambda _client: True)

    def reset(self) -> None:
        """Reset the connection: RST. The next act waits for the next client."""

        def act(client: socket.socket) -> bool:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return True

        self._acts.put(act)

    @property
    def waiting(self) -> int:
        """How many acts are not done yet."""
        return self._acts.unfinished_tasks

    def wait_played(self, timeout: float = PATIENCE) -> None:
        """Return when everything queued has been done; TimeoutError if it is not within `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while self._acts.unfinished_tasks:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self._acts.unfinished_tasks} acts to go after {timeout} s")
            time.sleep(0.005)

    def _serve(self) -> None:
        """Take one client after another until the server ends."""
        while not self._over.is_set():
            try:
                self._client, _ = self._listener.accept()
            except OSError:  # the listener is closed
                return
            self._client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.arrivals.append(time.monotonic())
            with self._client:
                self._perform(self._client)

    def _perform(self, client: socket.socket) -> None:
        """Do what is queued until the connection is over."""
        over = False
        while not over and not self._over.is_set():
            act = self._take()
            if _gone(client):
                self._next = act
                return
            if act is not None:
                over = self._do(act, client)

    def _take(self) -> Act | None:
        """Return what is to be done next, None if nothing is queued for the moment."""
        act, self._next = self._next, None
        try:
            return act or self._acts.get(timeout=0.02)
        except Empty:
            return None

    def _do(self, act: Act, client: socket.socket) -> bool:
        """Do one act; return whether the connection is over."""
        try:
            return act(client)
        except OSError:  # the client has gone
            return True
        finally:
            self._acts.task_done()


def _gone(client: socket.socket) -> bool:
    """Return whether the client has hung up."""
    try:
        return not client.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True
