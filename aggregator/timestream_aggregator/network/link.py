"""One TCP connection to the sender, and what is known of it."""

import socket
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from timestream_aggregator.network import sockets

# Seconds that a silent connection gets to show that it lives, while its successor stands.
HAND_OVER: Final = 1.0


@dataclass(slots=True, eq=False)
class Link:
    """One TCP connection. Times are monotonic seconds."""

    number: int
    sock: socket.socket
    target: sockets.Target
    heard: float  # when a byte came last, or the connection began
    silent: bool = False  # and the framer has been told so
    replace_at: float = 0.0  # not before
    began: float | None = None  # when its first byte came
    proven: bool = False  # a frame came on it that was not just a repeated one
    suspect: bool = False  # what came on it did not come on the one before, and may have been all
    before: socket.socket | None = None  # the silent one whose place it has, to see whether that still lives

    @property
    def fd(self) -> int:
        """Return the socket's descriptor."""
        return self.sock.fileno()

    @property
    def delivered(self) -> bool:
        """Return whether a byte has come."""
        return self.began is not None

    def succeed(self, old: "Link") -> None:
        """Take the place of `old`; of it only what may still show that the silent connection lives is kept.

        That one gets a FIN, which a G3NetworkSender never reads and a server of one client at a time waits for.
        """
        self.before, over = (old.sock, old.before) if old.delivered else (old.before, old.sock)
        if over is not None:
            over.close()
        if old.delivered:
            with suppress(OSError):  # it has ended
                old.sock.shutdown(socket.SHUT_WR)

    def before_was_let_go(self) -> bool:
        """Return whether the connection before stands and has received nothing; it is closed.

        One that has ended, as one through a proxy does when it is half closed, says nothing of the sender.
        """
        if self.before is None:
            return False
        with self.before as before:
            self.before = None
            try:
                before.recv(1, socket.MSG_PEEK)
            except BlockingIOError:
                return True
            except OSError:
                return False
        return False

    def close(self) -> None:
        """Close it, and what is left of the one before. Safe to repeat."""
        self.sock.close()
        if self.before is not None:
            self.before.close()
