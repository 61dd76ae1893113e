"""Makes connections to the sender: when, to which of its addresses, and how long between attempts."""

import random
from typing import Final

from timestream_aggregator.clock import SYSTEM, Clock, Pulse
from timestream_aggregator.network import sockets
from timestream_aggregator.network.link import Link
from timestream_aggregator.network.names import Lookup
from timestream_aggregator.network.race import Race
from timestream_api.settings import RecorderSettings

RETRY: Final = 1.0  # seconds between attempts: a refused one costs nothing, and each second more is data lost
RETRY_NAME: Final = 5.0  # at most, while the name does not resolve
RETRY_NOT_FRAMES: Final = 30.0  # at most, while what comes is no frame stream
_LONG: Final = 3600.0  # seconds


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
        self._lookup: Lookup | None = None
        self.attempts = 0  # since the last success
        self.not_before = 0.0

    def attempt(self, watched: Link | None = None) -> Link | None:
        """Return a new connection to the first address that accepts.

        Returns None if the waker ends the wait, or a byte comes on `watched` meanwhile.

        Raises:
            OSError: none accepts; the failure of the last address.
        """
        seen = [watched.fd] if watched else []
        self.attempts += 1
        self.not_before = self._soon(self._pause)
        try:
            targets = self._resolve(seen)
            link = None if targets is None else self._first_of(targets, seen)
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

    def _resolve(self, watched: list[int]) -> list[sockets.Target] | None:
        """Return the addresses of the name; None if the wait ends before the name service answers.

        The question then stays asked: a name service that hangs gets one at a time.
        """
        lookup = self._lookup
        if lookup is None or lookup.answer is not None:  # by now the answer may be an old one
            lookup = self._lookup = Lookup(self._host, self._port, self._waker)
        with self._pulse.waiting_for("the name service"):
            self._waker.wait(watched, _LONG)
        if lookup.answer is None:
            return None
        self._lookup = None
        if isinstance(lookup.answer, Exception):
            raise lookup.answer
        return lookup.answer

    def _first_of(self, targets: list[sockets.Target], watched: list[int]) -> Link | None:
        won = Race(targets, self._read_timeout, self._waker, self._clock).run(watched)
        if won is None:
            return None
        self._made += 1
        return Link(self._made, *won, self._clock.monotonic())

    def _soon(self, pause: float) -> float:
        """Return the monotonic second `pause` seconds from now, not quite the same for all recorders."""
        return self._clock.monotonic() + pause * random.uniform(0.8, 1.0)  # noqa: S311 - jitter
