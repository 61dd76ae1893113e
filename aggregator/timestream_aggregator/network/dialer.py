"""Makes connections to the sender: when, to which of its addresses, and how long between attempts."""

import random
import socket
from dataclasses import dataclass
from typing import Final

from timestream_aggregator.clock import SYSTEM, Clock, Pulse
from timestream_aggregator.network import sockets
from timestream_api.settings import RecorderSettings

RETRY: Final = 1.0  # seconds between attempts: a refused one costs nothing, and each second more is data lost
RETRY_NAME: Final = 5.0  # at most, while the name does not resolve
RETRY_NOT_FRAMES: Final = 30.0  # at most, while what comes is no frame stream


@dataclass(slots=True, eq=False)
class Link:
    """One TCP connection. Times are monotonic seconds."""

    number: int
    sock: socket.socket
    target: sockets.Target
    heard: float  # when a byte came last, or the connection began
    silent: bool = False  # and the writer has been told so
    replace_at: float = 0.0  # not before

    @property
    def fd(self) -> int:
        """Return the socket's descriptor."""
        return self.sock.fileno()


class Dialer:
    """Connects to one host name and port. `not_before` is when the next attempt may be made."""

    def __init__(
        self, settings: RecorderSettings, pulse: Pulse, waker: sockets.Waker, clock: Clock = SYSTEM
    ) -> None:
        self._host, self._port = settings.address, settings.port
        self._read_timeout = settings.read_timeout
        self._pulse = pulse
        self._waker = waker
        self._clock = clock
        self._pause = RETRY
        self._not_frames = 0.0  # pause after the last connection, if that delivered no frames
        self._made = 0
        self.attempts = 0  # since the last success
        self.not_before = 0.0

    def attempt(self, watched: Link | None = None) -> Link | None:
        """Return a new connection to the first address that accepts.

        Returns None if the waker ends the wait, or a byte comes on `watched` meanwhile.

        Raises:
            OSError: none accepts; the failure of the last address.
        """
        self.attempts += 1
        self.not_before = self._soon(self._pause)
        try:
            link = self._first_of(self._resolve(), [watched.fd] if watched else [])
        except sockets.UnresolvedError:
            self._pause = min(self._pause * 1.5, RETRY_NAME)
            raise
        except OSError:
            self._pause = RETRY
            raise
        if link is not None:
            self._pause, self.attempts = RETRY, 0
        return link

    def at_once(self) -> None:
        """Let the next attempt be made without a pause."""
        self.not_before = 0.0

    def after_no_frames(self) -> None:
        """Let the next attempt wait: the last connection delivered no frames. Longer each time."""
        self._not_frames = min(max(RETRY, self._not_frames * 2), RETRY_NOT_FRAMES)
        self.not_before = self._soon(self._not_frames)

    def note_frames(self) -> None:
        """Take note that frames come."""
        self._not_frames = 0.0

    def endpoint(self, target: sockets.Target | None = None) -> str:
        """Return HOST:PORT, with the address in parentheses where that says more; 255 characters at most."""
        name = f"[{self._host}]:{self._port}" if ":" in self._host else f"{self._host}:{self._port}"
        return (name if target is None or str(target) == name else f"{name} ({target})")[:255]

    def _resolve(self) -> list[sockets.Target]:
        with self._pulse.waiting_for("the name service"):
            return sockets.resolve(self._host, self._port)

    def _first_of(self, targets: list[sockets.Target], watched: list[int]) -> Link | None:
        failure = OSError("the name has no address")
        for target in targets:
            try:
                sock = sockets.begin(target, self._read_timeout)
                events = self._waker.wait(watched, sockets.CONNECT_TIMEOUT, to_write=sock.fileno())
                if sock.fileno() in events:
                    sockets.finish(sock)
                    self._made += 1
                    return Link(self._made, sock, target, self._clock.monotonic())
                sock.close()
                if events:
                    return None
                failure = TimeoutError(f"no answer within {sockets.CONNECT_TIMEOUT:.0f} s")
            except OSError as error:
                failure = error
        raise failure

    def _soon(self, pause: float) -> float:
        """Return the monotonic second `pause` seconds from now, not quite the same for all recorders."""
        return self._clock.monotonic() + pause * random.uniform(0.8, 1.0)  # noqa: S311 - jitter
