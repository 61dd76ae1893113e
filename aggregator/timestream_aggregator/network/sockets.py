"""TCP sockets that never block, notice a vanished host, and are never connected to themselves."""

import errno
import fcntl
import os
import select
import socket
import struct
import termios
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

_PROBES: Final = 3  # unanswered keep-alive probes, a second apart, after which a host counts as vanished


class UnresolvedError(OSError):
    """The host name has no address now."""


@dataclass(frozen=True, slots=True)
class Target:
    """One address that a host name stands for."""

    family: socket.AddressFamily
    address: tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]

    def __str__(self) -> str:
        """Return it as people write it."""
        host, port = self.address[:2]
        return f"[{host}]:{port}" if self.family == socket.AF_INET6 else f"{host}:{port}"


class Waker:
    """Waits for sockets, and for another thread that has something to say."""

    def __init__(self) -> None:
        self._fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._lock = threading.Lock()

    def wake(self) -> None:
        """End the wait. Any thread may call this, at any time."""
        with self._lock:
            if self._fd >= 0:
                os.eventfd_write(self._fd, 1)

    def wait(self, readable: Iterable[int], timeout: float, *, to_write: Iterable[int] = ()) -> set[int]:
        """Return which descriptors can be read (`to_write`: written) or have failed, within `timeout` seconds.

        A call of `wake()` ends the wait, and is forgotten then.
        """
        poll = select.poll()
        for fd in (self._fd, *readable):
            poll.register(fd, select.POLLIN)
        for fd in to_write:
            poll.register(fd, select.POLLOUT)
        events = {fd for fd, _ in poll.poll(max(0.0, timeout) * 1000)}
        if self._fd in events:
            os.eventfd_read(self._fd)
        return events

    def close(self) -> None:
        """Give the descriptor back."""
        with self._lock:
            os.close(self._fd)
            self._fd = -1


def resolve(host: str, port: int) -> list[Target]:
    """Return all addresses of `host`, the preferred first. May take as long as the name service does.

    Raises:
        UnresolvedError: there is none.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        raise UnresolvedError(errno.EHOSTUNREACH, f"the name {host} does not resolve ({error})") from error
    return [Target(family, address) for family, _, _, _, address in found]


def unread(sock: socket.socket) -> int:
    """Return how many bytes have arrived on `sock` and have not been read."""
    (count,) = struct.unpack("i", fcntl.ioctl(sock, termios.FIONREAD, bytes(4)))
    return int(count)


def begin(target: Target, read_timeout: float) -> socket.socket:
    """Return a socket that is being connected to `target`; `finish()` tells how that went."""
    sock = socket.socket(target.family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        notice_vanished_host(sock, read_timeout)
        failed = sock.connect_ex(target.address)
    except OSError:
        sock.close()
        raise
    if failed not in {0, errno.EINPROGRESS}:
        sock.close()
        raise OSError(failed, os.strerror(failed))
    return sock


def finish(sock: socket.socket) -> None:
    """Return if `sock` is connected.

    Raises:
        OSError: it is not; the socket is closed.
    """
    failed = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if not failed and _connected_to_itself(sock):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        failed = errno.ECONNREFUSED
    if failed:
        sock.close()
        raise OSError(failed, os.strerror(failed))


def _connected_to_itself(sock: socket.socket) -> bool:
    """Return whether the kernel chose the sender's port as ours: on its host we would hold what it needs."""
    try:
        return sock.getsockname() == sock.getpeername()
    except OSError:  # it has ended already; reading it will tell
        return False


def notice_vanished_host(sock: socket.socket, read_timeout: float) -> None:
    """Let the kernel end the connection a few seconds after `read_timeout` if the host answers no probe."""
    idle = min(max(1, round(read_timeout)), 32767)  # the most that the kernel takes
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, idle)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _PROBES)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, (idle + _PROBES) * 1000)
