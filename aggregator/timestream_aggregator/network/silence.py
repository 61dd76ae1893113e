"""How long a silent connection is borne before another takes its place, and what earlier silences have taught.

A G3NetworkSender accepts clients only while it sends a frame. A connection that has delivered nothing yet waits in its
backlog: it costs the sender nothing until the next frame, and gets that frame. One that has delivered may have been
let go since, for at EndProcessing the sender lets its clients go and closes no socket. So a silent connection gets a
successor that waits in the backlog. When frames go on, the sender has lost one descriptor by that, for it never closes
the socket of a client that goes: so where the old connection turns out to have lived, more patience is due.

At EndProcessing the sender also accepts what waits in its backlog, repeats its metadata to it, and lets it go: bytes
come that are nothing new, and none on the connection before. If the sender has no metadata to repeat, nothing comes
at all; then what waits has to be replaced as well, until the backlog is full.
"""

import math
from typing import Final

from timestream_aggregator.network.link import HAND_OVER, Link

LONGEST: Final = 3600.0  # seconds that a connection may be silent, at most, whatever was learnt
UNHEARD_AT_MOST: Final = (
    300.0  # seconds after which a connection is replaced while nothing has ever come, at most
)


class Silences:
    """Says when a connection is to be replaced. Times are monotonic seconds."""

    def __init__(self, read_timeout: float) -> None:
        self.replays = False  # the sender has metadata that it repeats to each new client
        self._read_timeout = read_timeout
        self._heard = read_timeout  # silence after which a connection that has delivered is replaced
        self._unheard = read_timeout  # the same while nothing has come on any connection

    def due(self, link: Link) -> float:
        """Return when `link` is to be replaced unless a byte comes; infinity: never."""
        if link.delivered:
            return link.heard + (min(2 * HAND_OVER, self._heard) if link.suspect else self._heard)
        if link.before is None:
            return link.heard + self._unheard
        return math.inf if self.replays else link.heard + self._heard

    def note_new_frame(self) -> None:
        """Be patient no longer than at first with a sender of which nothing comes."""
        self._unheard = self._read_timeout

    def note_replaced(self, link: Link) -> None:
        """Take note that `link` has got a successor."""
        if not link.delivered and link.before is None:
            self._unheard = min(self._unheard * 2, UNHEARD_AT_MOST)

    def note_end(self, *, alive: bool) -> None:
        """Take note that a silence is over, and whether the silent connection lived."""
        self._heard = min(self._heard * 2, LONGEST) if alive else self._read_timeout
