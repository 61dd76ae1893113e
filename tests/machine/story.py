"""What happens to a recorder, as hypothesis draws it: a sender with its frames, and a disk with its faults."""

import errno
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from hypothesis import strategies as st

from tests.machine.run import EPOCH
from tests.machine.simulated_disk import Fault
from tests.tools.made_frames import frame


class Sender:
    """A sender with sessions and numbers; it repeats the last frame of each type to whoever connects."""

    def __init__(self, *, smurf: bool) -> None:
        self.smurf = smurf
        self.session = int(EPOCH)
        self.number = 0
        self.serial = 0
        self.last: dict[str, bytes] = {}

    def make(self, kind: str, size: int) -> bytes:
        """Return the next frame."""
        self.serial += 1
        data = b"%06d" % self.serial + b"x" * size
        if not self.smurf or kind == "P":
            return self.keep(kind, frame(kind, data=data))
        made = frame(kind, session=self.session, num=self.number, stream="ufm", data=data)
        self.number += 1
        return self.keep(kind, made)

    def flow(self, value: int, kind: str) -> bytes:
        """Return a flow-control frame; START and END are between sessions."""
        if value in {1, 2}:
            self.session, self.number = self.session + 7, 0
        return self.keep(kind, frame(kind, flow=value, data=b"%d" % value))

    def keep(self, kind: str, made: bytes) -> bytes:
        if kind not in "ST":
            self.last[kind] = made
        return made


class Wire:
    """What is sent on one connection, and how much of it has arrived."""

    def __init__(self) -> None:
        self.tail = b""  # sent and not yet arrived
        self.sent = 0
        self.arrived = 0
        self.frames = deque[tuple[int, bytes]]()  # those that have not arrived in full, and where they end

    def push(self, data: bytes) -> None:
        """Send a frame."""
        self.tail += data
        self.sent += len(data)
        self.frames.append((self.sent, data))

    def take(self, hold: int) -> bytes:
        """Return what arrives now: all but the last `hold` bytes."""
        stop = max(0, len(self.tail) - hold)
        data, self.tail = self.tail[:stop], self.tail[stop:]
        self.arrived += len(data)
        return data

    def whole(self) -> Iterator[bytes]:
        """Yield the frames that have arrived in full since this was asked last."""
        while self.frames and self.frames[0][0] <= self.arrived:
            yield self.frames.popleft()[1]


@dataclass(frozen=True)
class Batch:
    """Frames sent together: (type, size, numbers that get lost before it, whether it is the last one again)."""

    plan: list[tuple[str, int, int, bool]]
    hold: int  # bytes that do not arrive yet
    cuts: list[int]
    pause: float  # seconds, afterwards


@dataclass(frozen=True)
class Flip:
    """A bit of a file changes: of which file, where as a part of its size, or of the lengths in it."""

    pick: int
    at: float
    bit: int
    length: bool


FLIPS: Final = st.builds(
    Flip, st.integers(0, 50), st.floats(0, 1, exclude_max=True), st.integers(0, 7), st.booleans()
)
PLANS: Final = st.lists(
    st.tuples(
        st.sampled_from("SSSSOWTNPC"),
        st.sampled_from([0, 40, 300, 900]),
        st.sampled_from([0, 0, 0, 0, 1, 2]),
        st.integers(0, 9).map(lambda luck: luck == 9),
    ),
    min_size=1,
    max_size=5,
)
BATCHES: Final = st.lists(
    st.builds(
        Batch,
        PLANS,
        st.sampled_from([0, 0, 0, 1, 5, 60]),
        st.lists(st.integers(1, 400), max_size=3),
        st.sampled_from([0.0, 0.0, 1.0, 3.0, 5.1, 25.0]),
    ),
    min_size=1,
    max_size=5,
)
CALLS: Final = st.sampled_from(
    [
        frozenset[str](),
        frozenset({"write", "append"}),
        frozenset({"sync", "sync_data"}),
        frozenset({"link", "unlink", "sync_folder"}),
        frozenset({"create", "lock", "names", "make_folder", "truncate"}),
        frozenset({"open", "read", "size", "is_at", "links"}),
    ]
)
ERRORS: Final = st.sampled_from([errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EINTR])
FAILURES: Final = st.builds(
    Fault, st.integers(0, 8), st.sampled_from([1, 1, 2, 1000]), ERRORS, st.booleans(), only=CALLS
)
SHORT_WRITES: Final = st.builds(
    Fault, st.integers(0, 6), st.integers(1, 4), st.just(0), only=st.just(frozenset({"write", "append"}))
)
KILLS: Final = st.builds(Fault, st.integers(0, 60), st.just(1), late=st.booleans(), kills=st.just(True))
