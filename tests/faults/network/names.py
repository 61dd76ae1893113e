"""A name service of the tests: one name, and an address, a refusal or no answer at all, as the test wants it."""

import socket
import struct
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Self

REFUSED: Final = 5  # REFUSED; 2 is SERVFAIL, 3 NXDOMAIN
SERVFAIL: Final = 2
NXDOMAIN: Final = 3
_ANSWER: Final = 0x8180  # a response, recursion wanted and available
_TYPE_A: Final = 1


@dataclass(slots=True)
class NameService:
    """Answers on `server`, a UDP socket. `address` is what the name stands for; None: `failure` is the answer.

    `failure` None: it does not answer at all. `asked` has the monotonic seconds of the questions for the address.
    """

    server: socket.socket
    address: str | None = None
    failure: int | None = NXDOMAIN
    asked: list[float] = field(default_factory=list[float])
    _over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self.server.settimeout(0.1)
        self._thread = threading.Thread(target=self._serve, name="names", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join(5)
        self.server.close()

    def _serve(self) -> None:
        while not self._over.is_set():
            try:
                question, client = self.server.recvfrom(512)
            except TimeoutError:
                continue
            end = question.index(b"\0", 12) + 5
            (kind,) = struct.unpack_from("!H", question, end - 4)
            if kind == _TYPE_A:
                self.asked.append(time.monotonic())
            if self.address is not None or self.failure is not None:
                self.server.sendto(self._answer(question, end, kind), client)

    def _answer(self, question: bytes, end: int, kind: int) -> bytes:
        records = b""
        if self.address is not None and kind == _TYPE_A:
            name = struct.pack("!H", 0xC00C)  # the name at byte 12
            records = name + struct.pack("!HHIH", _TYPE_A, 1, 0, 4) + socket.inet_aton(self.address)
        code = 0 if self.address is not None else self.failure or 0
        header = struct.pack(
            "!HHHHHH", *struct.unpack_from("!H", question), _ANSWER | code, 1, bool(records), 0, 0
        )
        return header + question[12:end] + records


def asking(server: str, folder: Path, patience: int = 1) -> Sequence[str]:
    """Return the command that runs another one with `server` as its only name service, asked once for `patience` s."""
    file = folder / "resolv.conf"
    file.write_text(f"nameserver {server}\noptions timeout:{patience} attempts:1\n")
    mount = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'
    return ("unshare", "--mount", "sh", "-c", mount, str(file))
