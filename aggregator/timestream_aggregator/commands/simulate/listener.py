"""spt3g's G3NetworkSender on an address of our choice, and one that can be stopped."""

import fcntl
import os
import socket
import struct
import termios
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from timestream_aggregator.commands.simulate.g3sender import G3Frame, core

DESCRIPTORS: Final = Path("/dev/fd")
_POLL_SECONDS: Final = 0.05


class Listener:
    """A sender that listens on one address; `G3NetworkSender` by itself listens on all or connects to one.

    Raises:
        OSError: the address is not ours, or the port is taken.
    """

    def __init__(self, address: str, port: int, queue: int = 0) -> None:
        with listening(address, port) as listener:
            listener.setblocking(False)  # the sender looks for clients in passing
            self.port: Final[int] = listener.getsockname()[1]
            before = set(_sockets())
            self._sender = core.G3NetworkSender("*", 0, queue)
            (its_own,) = set(_sockets()) - before
            os.dup2(listener.fileno(), its_own, inheritable=False)

    def send(self, frame: G3Frame) -> None:
        """Accept the clients that wait, and queue `frame` for all; the sender's threads do the rest."""
        self._sender.Process(frame)

    def drain(self, seconds: float, stop: threading.Event) -> bool:
        """Return True once the clients have fetched what is queued, False after `seconds` or at `stop`.

        The queues cannot be seen, but one that is not empty fills its socket at once: sockets that are empty
        twice running have nothing behind them.
        """
        deadline, empty = time.monotonic() + seconds, 0
        while empty < 2:
            if time.monotonic() > deadline or stop.wait(_POLL_SECONDS):
                return False
            empty = 0 if any(_unsent(client) for client in self._clients()) else empty + 1
        return True

    def hang_up(self) -> None:
        """End the connection to each client: what the kernel holds still arrives, and then the end."""
        for descriptor in self._clients():
            with _borrowed(descriptor) as client, suppress(OSError):  # lost in this moment
                client.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Hang up, stop listening, and close what the sender leaves open: its side of each connection.

        Without hanging up first, a client that stalls would hold the sender for ever.
        """
        clients = self._clients()
        self.hang_up()
        self._sender.Close()
        for descriptor in clients:
            os.close(descriptor)

    def _clients(self) -> list[int]:
        """Return the descriptors of the connections that stand; the sender also keeps those of lost ones."""
        return [d for d in _sockets() if _is_client(d, self.port)]


def listening(address: str, port: int) -> socket.socket:
    """Return a socket that listens; OSError: the address is not ours, or the port is taken."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return socket.create_server((address, port), family=family, backlog=16)


def _sockets() -> list[int]:
    """Return the open descriptors of this process that are sockets."""
    return [int(found.name) for found in DESCRIPTORS.iterdir() if found.is_socket()]


def _borrowed(descriptor: int) -> socket.socket:
    """Return a socket object on a copy of `descriptor`, which itself stays open."""
    return socket.socket(fileno=os.dup(descriptor))


def _is_client(descriptor: int, port: int) -> bool:
    """Return whether `descriptor` is a standing TCP connection that was made to `port`."""
    with _borrowed(descriptor) as found:
        if found.family not in {socket.AF_INET, socket.AF_INET6}:
            return False
        try:
            found.getpeername()
        except OSError:  # lost, or one that listens
            return False
        return bool(found.getsockname()[1] == port)


def _unsent(descriptor: int) -> int:
    """Return the bytes that the other side has not acknowledged."""
    answer = fcntl.ioctl(descriptor, termios.TIOCOUTQ, b"\0\0\0\0")
    return int(struct.unpack("i", answer)[0])
