"""Run a peer against a sender of ready-made bytes and read its cost from its own clock.

Measured is from "connected and idle" until all bytes are in its files: neither its start nor its end.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from tests.bench.peers import Peer
from tests.bench.stream import Stream

_PATIENCE: Final = 120.0  # seconds
_LOOK: Final = 0.2  # seconds
_IDLE: Final = 0.002  # seconds of CPU, at most, between two looks


@dataclass(frozen=True, slots=True)
class Cost:
    """What one run took: CPU of all threads in seconds, and the peak memory in bytes."""

    cpu: float
    peak: int


def measure(peer: Peer, stream: Stream, scratch: Path) -> Cost:
    """Return the cost of recording `stream` into a folder of its own under `scratch`."""
    with TemporaryDirectory(dir=scratch) as name, _sender(stream) as (port, sender):
        folder = Path(name)
        process = subprocess.Popen(peer.command(port, folder), stderr=subprocess.DEVNULL)
        try:
            sender.recv(1)  # it has a client
            _wait(lambda: _is_idle(process.pid))
            before = _cpu(process.pid)
            sender.send(b"go")
            _wait(lambda: _stored(folder) >= stream.size)
            cost = Cost(_cpu(process.pid) - before, _peak(process.pid))
            sender.shutdown(socket.SHUT_WR)
            if not peer.ends_by_itself:
                process.send_signal(signal.SIGTERM)
            process.wait(_PATIENCE)
        finally:
            process.kill()
            process.wait()
        if process.returncode != 0 or _stored(folder) != stream.size:
            sys.exit(
                f"{peer.name}: exit {process.returncode}, {_stored(folder)} of {stream.size} bytes stored"
            )
    return cost


def _cpu(pid: int) -> float:
    """Return how many seconds of CPU a process has had, by its own clock (clock_getcpuclockid)."""
    return time.clock_gettime(~pid << 3 | 2)


def _peak(pid: int) -> int:
    """Return the most memory that a process has had, in bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def _is_idle(pid: int) -> bool:
    """Return whether a process does next to nothing."""
    before = _cpu(pid)
    time.sleep(_LOOK)
    return _cpu(pid) - before < _IDLE


def _stored(folder: Path) -> int:
    """Return how many bytes of frames are in files, published or not."""
    return sum(path.stat().st_size for path in folder.rglob("*.g3*") if path.is_file())


def _wait(condition: Callable[[], bool]) -> None:
    """Return when `condition` holds; TimeoutError if it does not come to."""
    deadline = time.monotonic() + _PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("it takes too long: no measurement")
        time.sleep(0.02)


@contextmanager
def _sender(stream: Stream) -> Generator[tuple[int, socket.socket]]:
    """Serve `stream` to the first client from a process of its own, so that only the peer is measured.

    Yields its port and a socket: a byte comes from it when it has a client, bytes let it send, the end hang up.
    """
    ours, theirs = socket.socketpair()
    with socket.create_server(("127.0.0.1", 0)) as server, ours, theirs:
        port: int = server.getsockname()[1]
        child = os.fork()
        if child == 0:
            ours.close()
            _serve(server, stream, theirs)
        theirs.close()
        server.close()
        ours.settimeout(_PATIENCE)
        try:
            yield port, ours
        finally:
            ours.close()
            os.waitpid(child, 0)


def _serve(server: socket.socket, stream: Stream, orders: socket.socket) -> None:
    """Be the sender's process, to its end."""
    try:
        client, _ = server.accept()
        orders.send(b"c")
        if orders.recv(2):
            for frame in stream.frames:
                client.sendall(frame)
            orders.recv(1)
    finally:
        os._exit(0)
