"""Several addresses of one name, tried side by side: one that does not answer holds up none that does (RFC 8305)."""

import socket
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from timestream_aggregator.clock import Clock
from timestream_aggregator.network import sockets

HEAD_START: Final = 0.25  # seconds that an address has before the next one is tried as well
CONNECT_TIMEOUT: Final = 5.0


@dataclass(frozen=True, slots=True)
class _Runner:
    sock: socket.socket
    target: sockets.Target
    until: float


class Race:
    """Connects to the first of `targets` that accepts."""

    def __init__(
        self, targets: Iterable[sockets.Target], read_timeout: float, waker: sockets.Waker, clock: Clock
    ) -> None:
        self._targets = deque(targets)
        self._read_timeout = read_timeout
        self._waker = waker
        self._clock = clock
        self._running: dict[int, _Runner] = {}
        self._next_at = 0.0
        self._failure: OSError = OSError("the name has no address")

    def run(self, watched: list[int]) -> tuple[socket.socket, sockets.Target] | None:
        """Return the connection; None if the waker ends the wait, or a byte comes on one of `watched`.

        Raises:
            OSError: none accepts; the latest failure.
        """
        try:
            while self._targets or self._running:
                self._start_next()
                events = self._waker.wait(watched, self._patience(), to_write=self._running)
                for fd in [fd for fd in self._running if fd in events]:
                    if won := self._finish(self._running.pop(fd)):
                        return won
                    events.discard(fd)
                if events:
                    return None
                self._give_up_late_ones()
            raise self._failure
        finally:
            for runner in self._running.values():
                runner.sock.close()

    def _start_next(self) -> None:
        """Try one more address, if none is being tried, or the latest has had its start."""
        now = self._clock.monotonic()
        while self._targets and (not self._running or now >= self._next_at):
            target = self._targets.popleft()
            self._next_at = now + HEAD_START
            try:
                sock = sockets.begin(target, self._read_timeout)
            except OSError as error:
                self._failure = error
            else:
                self._running[sock.fileno()] = _Runner(sock, target, now + CONNECT_TIMEOUT)

    def _finish(self, runner: _Runner) -> tuple[socket.socket, sockets.Target] | None:
        try:
            sockets.finish(runner.sock)
        except OSError as error:
            self._failure = error
            self._next_at = 0.0
            return None
        return runner.sock, runner.target

    def _give_up_late_ones(self) -> None:
        now = self._clock.monotonic()
        for fd in [fd for fd, runner in self._running.items() if now >= runner.until]:
            self._running.pop(fd).sock.close()
            self._failure = TimeoutError(f"no answer within {CONNECT_TIMEOUT:.0f} s")

    def _patience(self) -> float:
        """Return for how long there is nothing to do unless a connection stands or fails."""
        due = [runner.until for runner in self._running.values()]
        if self._targets:
            due.append(self._next_at)
        return min(due, default=self._clock.monotonic()) - self._clock.monotonic()
