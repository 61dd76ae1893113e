"""The bounded memory between the network and the disk: segments that go round, and the queue of what arrived.

The source fills segments and puts what it filled; the framer takes it and cuts frames out of it, the writer gives the
segments back. Two segments go round while the writer keeps up: memory that was just written to is still in
the processor's cache, and fresh memory costs a page fault for each page. Only when none has come back for a
while is another one made, up to the limit; after a burst the spare ones are given back to the system.
"""

import mmap
import threading
from collections import deque
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Final

from timestream_aggregator.clock import SYSTEM, Clock
from timestream_aggregator.core.actions import Moment
from timestream_api import report

SEGMENT_BYTES: Final = 2 << 20
PATIENCE: Final = 0.05  # seconds without a segment coming back before another is made
SPARE_AFTER: Final = 5.0  # seconds after which segments that were not needed are given back to the system
_ROUND: Final = 2  # segments that are always kept
_ITEMS_A_SEGMENT: Final = SEGMENT_BYTES // 512  # items that need as much memory as a segment, about
_ONE_ARRIVAL: Final = 0.05  # seconds within which adjacent bytes count as arrived together


@dataclass(slots=True, eq=False)
class Segment:
    """A piece of memory. The source fills it from the start; it goes round when nobody needs a byte of it."""

    view: memoryview
    filled: int = 0
    ranges: int = 0  # put and not yet given back
    filling: bool = True  # the source goes on filling it


@dataclass(slots=True, eq=False)
class Received:
    """Bytes `start` to `end` of `segment` have arrived on connection number `connection`."""

    connection: int
    segment: Segment
    start: int
    end: int
    at: Moment


@dataclass(frozen=True, slots=True)
class LinkUp:
    """What follows comes from connection number `connection`, to the sender at `endpoint`."""

    connection: int
    at: Moment
    endpoint: str = ""


@dataclass(frozen=True, slots=True)
class Succeeding:
    """A second connection stands while the first is still read: frames may come on both."""


@dataclass(frozen=True, slots=True)
class Silent:
    """No byte has come for the read timeout."""

    at: Moment


@dataclass(frozen=True, slots=True)
class LinkDown:
    """Connection number `connection` has ended; nothing more comes from it."""

    connection: int
    at: Moment
    why: str
    times: int = 1  # and with it all that ended after it without a byte


@dataclass(frozen=True, slots=True)
class NoMore:
    """Nothing more comes at all; `unread` bytes had arrived and were not taken."""

    unread: int = 0


Item = Received | LinkUp | Succeeding | Silent | LinkDown | NoMore


@dataclass(slots=True)
class _Pool:
    """Segments: how many there are, which are free, and how many were needed of late."""

    spare_after: float
    free: list[Segment] = field(default_factory=list[Segment])
    total: int = 0
    most_used: int = 0
    since: float = 0.0

    def take(self) -> Segment:
        """Return a free segment, or a new one."""
        if self.free:
            segment = self.free.pop()
            segment.filled, segment.filling = 0, True
        else:
            memory = mmap.mmap(-1, SEGMENT_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            segment = Segment(memoryview(memory))
            self.total += 1
        self.most_used = max(self.most_used, self.total - len(self.free))
        return segment

    def trim(self, now: float) -> None:
        """Give segments that were not needed for a while back to the system."""
        if now - self.since < self.spare_after:
            return
        while self.free and self.total > max(_ROUND, self.most_used):
            self.free.pop()
            self.total -= 1
        self.most_used, self.since = self.total - len(self.free), now


class Buffer:
    """What has been received and not yet dealt with; at most `limit` bytes."""

    def __init__(self, limit: int, clock: Clock = SYSTEM, spare_after: float = SPARE_AFTER) -> None:
        self.limit = limit
        self._clock = clock
        self._changed = threading.Condition()
        self._pool = _Pool(spare_after)
        self._items: deque[Item] = deque()
        self._waiting = 0  # bytes put and not yet dealt with
        self._peak = 0
        self._stalled = False
        self._stalls = 0
        self._current: Segment | None = None

    def state(self) -> report.BufferReport:
        """Return how full the buffer is."""
        return report.BufferReport(
            bytes=self._waiting, peak_bytes=self._peak, stalled=self._stalled, stalls=self._stalls
        )

    def segment(self, timeout: float) -> Segment | None:
        """Return the segment to fill, with room in it, or None if there is none within `timeout` seconds."""
        current = self._current
        if current is not None and current.filled < SEGMENT_BYTES:
            return current
        with self._changed:
            if current is not None:
                current.filling, self._current = False, None
                self._recycle(current)
            if self._wait_for_segment(timeout):
                self._stalled = False
                self._current = self._pool.take()
            return self._current

    def put(self, item: Item) -> None:
        """Hand `item` to the framer."""
        with self._changed:
            if isinstance(item, Received):
                self._waiting += item.end - item.start
                self._peak = max(self._peak, self._waiting)
                if self._join(item):
                    return
                item.segment.ranges += 1
            if isinstance(item, LinkDown) and self._is_like_the_one_before():
                return
            self._items.append(item)
            self._changed.notify_all()

    def extend(self, size: int) -> None:
        """Take `size` more bytes than the limit from now on."""
        with self._changed:
            self.limit += size

    def take(self, timeout: float) -> Item | None:
        """Return the next item, or None if none comes within `timeout` seconds."""
        with self._changed:
            if not self._items and timeout > 0:
                self._changed.wait_for(lambda: self._items, timeout)
            self._pool.trim(self._clock.monotonic())
            return self._items.popleft() if self._items else None

    def done(self, size: int) -> None:
        """Take note that `size` received bytes are written, or held by an unfinished frame."""
        with self._changed:
            self._waiting -= size
            self._changed.notify_all()

    def give_back(self, segment: Segment, ranges: int) -> None:
        """Take note that the bytes of `ranges` items of `segment` are not needed any more."""
        with self._changed:
            segment.ranges -= ranges
            self._recycle(segment)
            self._changed.notify_all()

    @property
    def empty(self) -> bool:
        """Whether nothing waits for the framer."""
        return not self._items

    def _is_like_the_one_before(self) -> bool:
        """Return whether a connection that ends now had no byte, as another before it; that one counts for both.

        So the connections that a port makes and ends all day need no more memory while the disk hangs.
        """
        match list(islice(reversed(self._items), 2)):
            case [LinkUp(), LinkDown() as before]:
                self._items.pop()
                self._items[-1] = replace(before, times=before.times + 1)
                return True
            case _:
                return False

    def _join(self, item: Received) -> bool:
        """Return whether `item` became a part of the one before: trickling bytes need no item each."""
        last = self._items[-1] if self._items else None
        if (
            not isinstance(last, Received)
            or last.connection != item.connection
            or last.segment is not item.segment
            or last.end != item.start
            or item.at.monotonic - last.at.monotonic > _ONE_ARRIVAL
        ):
            return False
        last.end = item.end
        return True

    def _recycle(self, segment: Segment) -> None:
        if not segment.filling and not segment.ranges:
            self._pool.free.append(segment)

    def _wait_for_segment(self, timeout: float) -> bool:
        """Wait until a segment is free or another may be made; return whether that is so."""
        start = self._clock.monotonic()
        while not self._may_take(self._clock.monotonic() - start):
            left = start + timeout - self._clock.monotonic()
            if left <= 0:
                return False
            self._changed.wait(min(left, PATIENCE))
        return True

    def _may_take(self, waited: float) -> bool:
        """Return whether a segment may be taken after `waited` seconds.

        A writer that has dealt with all there is needs more to complete a frame: waiting for it would be in
        vain.
        """
        pool = self._pool
        if pool.free or pool.total < _ROUND or not self._waiting:
            return True
        if waited < PATIENCE:
            return False
        items = len(self._items) // _ITEMS_A_SEGMENT * SEGMENT_BYTES
        room = self._waiting + items + SEGMENT_BYTES <= self.limit
        self._stalls += not room and not self._stalled
        self._stalled = not room
        return room
