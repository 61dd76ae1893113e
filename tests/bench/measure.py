"""Run a peer against a sender of ready-made bytes and read its cost from the kernel's own accounting."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.bench.peers import Peer

_PATIENCE_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Cost:
    """What one run took: CPU of the whole process in seconds, its peak memory in bytes, time on the wall in seconds."""

    cpu: float
    peak: int
    wall: float


def measure(peer: Peer, frame: bytes, count: int, scratch: Path) -> Cost:
    """Return the cost of recording `count` copies of `frame` into a folder of its own under `scratch`."""
    with TemporaryDirectory(dir=scratch) as folder, _sender(frame, count) as (port, sent):
        began = time.monotonic()
        process = subprocess.Popen(peer.command(port, Path(folder)), stderr=subprocess.DEVNULL)
        sent.wait(_PATIENCE_SECONDS)
        if not peer.ends_by_itself:
            _wait_for_bytes(Path(folder), len(frame) * count)
            process.send_signal(signal.SIGTERM)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        wall = time.monotonic() - began
        stored = sum(path.stat().st_size for path in Path(folder).rglob("*.g3"))
    if process.returncode != 0 or stored != len(frame) * count:
        sys.exit(
            f"{peer.name}: exit {process.returncode}, {stored} of {len(frame) * count} bytes stored: no measurement"
        )
    return Cost(usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, wall)


def _wait_for_bytes(folder: Path, wanted: int) -> None:
    """Wait until `wanted` bytes are on the disk, published or not."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) >= wanted:
            return
        time.sleep(0.1)


@contextmanager
def _sender(frame: bytes, count: int) -> Generator[tuple[int, threading.Event]]:
    """Serve `count` copies of `frame` to the first client from a process of its own: only the peer is measured."""
    sent = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        child = os.fork()
        if child == 0:
            _serve(server, frame, count)
        watcher = threading.Thread(target=lambda: (os.waitpid(child, 0), sent.set()))
        watcher.start()
        yield server.getsockname()[1], sent
    watcher.join()


def _serve(server: socket.socket, frame: bytes, count: int) -> None:
    """Be the sender's process: send everything, then end."""
    client, _ = server.accept()
    server.close()
    for _ in range(count):
        client.sendall(frame)
    client.shutdown(socket.SHUT_WR)
    client.recv(1)
    os._exit(0)
