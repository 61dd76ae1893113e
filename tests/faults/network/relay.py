"""Stands between a sender and a recorder, and harms the stream as it is told: cut, a byte changed, garbage in it."""

import random
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

from tests.tools.ports import reserve

_HEADER: Final = b"\x01\x01\x00\x00\x00"  # of a frame: a change near it would not be one of the content
_NEAR: Final = 2048
_PIECE: Final = 1 << 16
_NO_LINGER: Final = struct.pack("ii", 1, 0)


class Relay:
    """Passes each client's connection on to `target`, a port of loopback. Any thread may order a harm."""

    def __init__(self, target: int, seed: int = 0) -> None:
        self.target = target
        self._random = random.Random(seed)
        self.port = reserve()
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._changes = 0  # bytes to change, each in a piece of its own
        self._garbage = b""
        self._pairs = set[tuple[socket.socket, socket.socket]]()
        self._lock = threading.Lock()
        self._over = False
        self._threads = list[threading.Thread]()
        self.passed = 0  # bytes

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._over = True
        self._listener.shutdown(socket.SHUT_RDWR)
        self.cut()
        for thread in list(self._threads):
            thread.join(5)
        self._listener.close()

    def change_a_byte(self) -> None:
        """Change one byte of a frame's content, somewhere in what passes next."""
        self._changes += 1

    def insert(self, garbage: bytes) -> None:
        """Put `garbage` into the stream, somewhere."""
        self._garbage = garbage

    @property
    def is_to_harm(self) -> bool:
        """Whether an ordered change or garbage has not passed yet."""
        return bool(self._changes or self._garbage)

    def cut(self, *, reset: bool = True) -> None:
        """End all connections: by a reset, which throws away what is on its way, or by FIN."""
        with self._lock:
            pairs = list(self._pairs)
        for pair in pairs:
            for sock in pair:
                with suppress(OSError):  # it has ended by itself
                    if reset:
                        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
                    sock.shutdown(socket.SHUT_RDWR)

    def _start(self, loop: Callable[..., None], *args: socket.socket) -> None:
        thread = threading.Thread(target=loop, args=args, name="relay", daemon=True)
        self._threads = [old for old in self._threads if old.is_alive()] + [thread]
        thread.start()

    def _accept(self) -> None:
        while not self._over:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._start(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        """Pass on what the sender gives this client, until one of them ends it."""
        with client:
            try:
                sender = socket.create_connection(("127.0.0.1", self.target), timeout=5)
            except OSError:
                return
            sender.settimeout(None)
            with sender:
                self._pump(sender, client)

    def _pump(self, sender: socket.socket, client: socket.socket) -> None:
        with self._lock:
            self._pairs.add((sender, client))
        self._start(self._watch, client, sender)
        with suppress(OSError):  # one of them has ended
            while piece := sender.recv(_PIECE):
                client.sendall(self._harm(piece))
                self.passed += len(piece)
        with self._lock:
            self._pairs.discard((sender, client))
        with suppress(OSError):  # closing alone says nothing to the recorder while somebody waits in recv
            client.shutdown(socket.SHUT_RDWR)

    def _watch(self, client: socket.socket, sender: socket.socket) -> None:
        """End the connection to the sender when the client leaves; a client never says anything."""
        with suppress(OSError):
            client.recv(1)
            sender.shutdown(socket.SHUT_RDWR)

    def _harm(self, piece: bytes) -> bytes:
        if self._garbage:
            garbage, self._garbage = self._garbage, b""
            at = self._random.randrange(len(piece))
            return piece[:at] + garbage + piece[at:]
        if self._changes and len(piece) > 4 * _NEAR:
            at = self._random.randrange(_NEAR, len(piece) - _NEAR)
            if _HEADER not in piece[at - _NEAR : at + 20]:
                self._changes -= 1
                return piece[:at] + bytes([piece[at] ^ 0x5A]) + piece[at + 1 :]
        return piece
