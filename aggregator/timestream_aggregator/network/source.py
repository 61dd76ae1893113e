"""The source thread: a TCP client, connected whenever the sender accepts, that fills the buffer.

It knows bytes and silence, no frames: what arrives goes to the framer in the order in which it came, together
with the beginnings and ends of connections.
"""

import logging
import threading
from collections.abc import Callable
from typing import Final

from timestream_aggregator.buffer import (
    SEGMENT_BYTES,
    Buffer,
    LinkDown,
    LinkUp,
    NoMore,
    Received,
    Silent,
    Succeeding,
)
from timestream_aggregator.clock import SYSTEM, Clock, Pulse
from timestream_aggregator.network import sockets
from timestream_aggregator.network.dialer import Dialer
from timestream_aggregator.network.link import HAND_OVER, Link
from timestream_aggregator.network.silence import Silences
from timestream_api.report import Connection, ConnectionState
from timestream_api.settings import RecorderSettings

LAST_MOMENT: Final = 1.0  # seconds that a frame in flight gets to arrive, once the recorder has to stop
IN_FLIGHT: Final = 4 * SEGMENT_BYTES  # bytes of it, at most
_QUIET: Final = 0.1  # seconds without a byte after which nothing is in flight


class Source:
    """Receives until it is told to stop. `run()` is the thread; any thread may call the rest."""

    def __init__(
        self,
        settings: RecorderSettings,
        buffer: Buffer,
        log: logging.Logger,
        changed: Callable[[], None] = lambda: None,
        clock: Clock = SYSTEM,
    ) -> None:
        """Make one; `changed` is called when `connection` has changed, and has to return at once."""
        self._settings = settings
        self._buffer = buffer
        self._log = log
        self._changed = changed
        self._clock = clock
        self._waker = sockets.Waker()
        self._stopping = False
        self._dropped = 0  # number of the connection that the framer has no use for
        self._alive = threading.Event()  # set by the framer when a new frame comes
        self._silences = Silences(settings.read_timeout)
        self._held_back = False
        self._told: str | None = None  # the failure that the log has heard of
        self.pulse = Pulse("source", clock)
        self._dialer = Dialer(settings, self.pulse, self._waker, clock)
        self.connection = Connection(
            state=ConnectionState.CONNECTING, endpoint=self._dialer.endpoint(), since=clock.utc()
        )

    def stop(self) -> None:
        """Receive no more. What was received is still in the buffer."""
        self._stopping = True
        self._waker.wake()

    def drop(self, number: int) -> None:
        """Give up connection `number`: what it delivers are no frames."""
        self._dropped = number
        self._waker.wake()

    def note_new_frame(self) -> None:
        """Take note that the sender is alive: a frame came that was not just a replay."""
        self._alive.set()

    def note_replayable_frame(self) -> None:
        """Take note that the sender has something to repeat to a new client."""
        self._silences.replays = True

    def run(self) -> None:
        """Connect and receive until told to stop; the last item in the buffer says that this is the end."""
        left = 0
        try:
            while not self._stopping:
                link = self._connect()
                while link is not None and not self._stopping:
                    link = self._serve(link)
                if link is not None:
                    left = self._drain(link)
        finally:
            self._say(ConnectionState.STOPPED)
            self._buffer.put(NoMore(left))

    def close(self) -> None:
        """Give back what the source holds, once its thread has ended and nobody calls it any more."""
        self._waker.close()

    # --- connecting

    def _connect(self) -> Link | None:
        """Return a connection, however long that takes; None when told to stop."""
        self._say(ConnectionState.CONNECTING, self.connection.last_error)
        while not self._stopping:
            self.pulse.beat()
            self._waker.wait([], min(1.0, self._dialer.not_before - self._clock.monotonic()))
            if self._clock.monotonic() < self._dialer.not_before:
                continue
            try:
                link = self._dialer.attempt()
            except OSError as error:
                self._note_failure(error)
            else:
                if link is not None:
                    self._silences.replays = False
                    return self._begin(link)
        return None

    def _begin(self, link: Link) -> Link:
        """Make `link` the connection that frames come from."""
        self._told = None
        self._buffer.put(LinkUp(link.number, self._clock.moment(), str(link.target)))
        self._say(ConnectionState.CONNECTED, target=link.target)
        self._log.info("connected", extra={"endpoint": str(link.target), "connection": link.number})
        return link

    def _note_failure(self, error: OSError) -> None:
        why = _reason(error)
        self._say(ConnectionState.CONNECTING, why)
        if why != self._told:
            self._told = why
            self._log.warning(
                "cannot connect, trying on", extra={"endpoint": self._dialer.endpoint(), "why": why}
            )

    # --- receiving

    def _serve(self, link: Link) -> Link | None:
        """Receive from `link`; return the connection to go on with, or None when there is none."""
        while not self._stopping:
            self.pulse.beat()
            if self._dropped == link.number:
                return self._drop(link)
            if link.fd in self._waker.wait([link.fd], self._patience(link)):
                item, ended = self._fill(link)
                if item is not None:
                    self._buffer.put(item)
                if ended is not None:
                    return self._end(link, ended)
                self._say_connected(link)
            else:
                successor = self._mind_silence(link)
                if successor is not link:
                    return successor
        return link

    def _drain(self, link: Link) -> int:
        """Take what has arrived by now, for it will not be sent again, and end; return how many bytes are left.

        A frame in flight gets a moment to arrive. All this goes beyond the buffer's limit, if that is full.
        """
        held = sockets.unread(link.sock)
        self._buffer.extend(held + IN_FLIGHT + SEGMENT_BYTES)
        end, ended, taken = self._clock.monotonic() + LAST_MOMENT, None, 0
        while ended is None and (taken < held or self._more_comes(link, taken - held, end)):
            item, ended = self._fill(link)
            if item is None:
                break
            taken += item.end - item.start
            self._buffer.put(item)
        left = sockets.unread(link.sock)
        if left:
            self._log.warning("stopped with bytes unread", extra={"bytes": left})
        link.close()
        return left

    def _more_comes(self, link: Link, beyond: int, end: float) -> bool:
        """Return whether `link` delivers more at once, unless it is too late for that, or it was enough."""
        if beyond >= IN_FLIGHT or self._clock.monotonic() >= end:
            return False
        return link.fd in self._waker.wait([link.fd], _QUIET)

    def _patience(self, link: Link) -> float:
        """Return for how many seconds there is nothing to do unless a byte comes."""
        due = self._replace_at(link)
        if not link.silent:
            due = min(due, link.heard + self._settings.read_timeout)
        return min(1.0, due - self._clock.monotonic())

    def _fill(self, link: Link) -> tuple[Received | None, str | None]:
        """Return what `link` holds, up to a segment, and why the connection is at its end, if it is."""
        segment = self._buffer.segment(timeout=1.0)
        link.heard, link.silent = self._clock.monotonic(), False
        self._note_held_back(held_back=segment is None)
        if segment is None:
            return None, None
        start, why = segment.filled, None
        try:
            while segment.filled < SEGMENT_BYTES:
                size = link.sock.recv_into(segment.view[segment.filled :])
                if not size:
                    why = "the sender closed the connection"
                    break
                segment.filled += size
        except BlockingIOError:
            pass
        except OSError as error:
            why = _reason(error)
        if segment.filled == start:
            return None, why
        link.began = link.began or link.heard
        return Received(link.number, segment, start, segment.filled, self._clock.moment()), why

    def _mind_silence(self, link: Link) -> Link | None:
        """Tell the framer of a silence; return the connection to go on with: `link`, or one in its place."""
        now = self._clock.monotonic()
        if not link.silent and now - link.heard >= self._settings.read_timeout:
            link.silent = True
            self._buffer.put(Silent(self._clock.moment()))
        return self._replace(link) if now >= self._replace_at(link) else link

    def _replace_at(self, link: Link) -> float:
        self._learn(link)
        return max(self._silences.due(link), link.replace_at)

    def _learn(self, link: Link) -> None:
        """Take in what the framer knows of the sender, and how the connection before `link` has fared."""
        now = self._clock.monotonic()
        if self._alive.is_set():
            self._alive.clear()
            self._silences.note_new_frame()
            self._dialer.note_frames()
            link.proven, link.suspect = True, False
        if link.before is not None and link.began is not None and now - link.began >= HAND_OVER:
            let_go = link.before_was_let_go()
            self._silences.note_end(alive=not let_go)
            link.suspect = let_go and not link.proven

    def _replace(self, old: Link) -> Link | None:
        """Return a second connection in place of `old`, or `old` if it wakes up or nothing accepts.

        `old` is let go only when its successor has stood for a while in which `old` delivered nothing: what
        the sender sent before it knew the successor may still be on its way. If `old` delivers, it goes on,
        and nothing was missed.
        """
        try:
            new = self._dialer.attempt(old)
        except OSError as error:
            if old.delivered or not isinstance(error, TimeoutError):
                self._note_failure(error)
            else:  # the sender's backlog is full, and `old` waits there
                self._dialer.attempts = 0
            old.replace_at = self._dialer.not_before
            return old
        if new is None:
            return old
        self._silences.note_replaced(old)
        return self._hand_over(old, new)

    def _hand_over(self, old: Link, new: Link) -> Link:
        """Return the one of two connections to go on with, once `old` has had its moment."""
        why, delivered = f"no byte for {self._clock.monotonic() - old.heard:.0f} s", old.delivered
        if old.fd not in self._waker.wait([old.fd], HAND_OVER):
            new.succeed(old)
            return self._succeed(old, new, why)
        item, ended = self._fill(old)
        if ended is not None:
            self._buffer.put(Succeeding())
        if item is not None:
            self._buffer.put(item)
        if ended is not None:
            old.close()
            return self._succeed(old, new, ended)
        new.close()
        self._dialer.at_once()
        if delivered:
            self._silences.note_end(alive=True)
        return old

    def _succeed(self, old: Link, new: Link, why: str) -> Link:
        self._note_down(old, why)
        return self._begin(new)

    # --- ending

    def _drop(self, link: Link) -> None:
        """End a connection that delivers no frames, and wait longer each time before the next."""
        self._learn(link)
        self._dialer.after_no_frames()
        self._end(link, "what came is no frame stream")

    def _end(self, link: Link, why: str) -> None:
        link.close()
        self._note_down(link, why)
        self._say(ConnectionState.CONNECTING, why)

    def _note_down(self, link: Link, why: str) -> None:
        self._buffer.put(LinkDown(link.number, self._clock.moment(), why))
        self._log.info("disconnected", extra={"why": why, "connection": link.number})

    # --- telling

    def _say_connected(self, link: Link) -> None:
        """Take back what a refused replacement made us say: the old connection lives."""
        if self.connection.state is not ConnectionState.CONNECTED:
            self._dialer.attempts = 0
            self._say(ConnectionState.CONNECTED, target=link.target)

    def _say(
        self, state: ConnectionState, error: str | None = None, target: sockets.Target | None = None
    ) -> None:
        before = self.connection
        self.connection = Connection(
            state=state,
            endpoint=self._dialer.endpoint(target),
            since=before.since if before.state is state else self._clock.utc(),
            attempts=self._dialer.attempts,
            last_error=error[:1024] if error else None,
        )
        self._changed()

    def _note_held_back(self, *, held_back: bool) -> None:
        if held_back is self._held_back:
            return
        self._held_back = held_back
        if held_back:
            self._log.warning("buffer full, the sender is held back", extra={"bytes": self._buffer.limit})
        else:
            self._log.warning("buffer has room again, receiving goes on")


def _reason(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__
