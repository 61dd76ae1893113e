"""The account of a stream that is too long to keep: files are checked, counted and deleted while it runs."""

import hashlib
import threading
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from crc32c import crc32c

from tests.tools.frames import split_frames
from tests.tools.sender import SentFrame
from timestream_aggregator.disk.calls import Disk
from timestream_aggregator.ledger.reading import Place as ReadTo
from timestream_aggregator.ledger.reading import read_on
from timestream_api.ledger import Loss, Published, Recovered, Verified, decode

SCAN = "Scan"
QUIET_FOR = 5.0  # seconds after which all that a file holds is known to have been sent


@dataclass(frozen=True, slots=True)
class Place:
    """Of a frame in the stream."""

    number: int
    kind: str
    session_id: int | None
    frame_num: int | None


@dataclass(slots=True)
class RunningAccount:
    """Of everything that is sent into `folder`. `add()` is for any thread, the rest for one."""

    folder: Path
    sent: dict[str, Place] = field(default_factory=dict[str, Place])
    there: set[int] = field(default_factory=set[int])  # numbers of frames that are or were in a file
    lost: dict[tuple[int | None, int], str] = field(default_factory=dict[tuple[int | None, int], str])
    counted: int = 0  # frames that the ledger has as lost without their numbers
    files: int = 0
    verified: int = 0
    troubles: list[str] = field(default_factory=list[str])
    _waiting: deque[tuple[float, Published | Recovered]] = field(
        default_factory=deque[tuple[float, Published | Recovered]]
    )
    _good: set[str] = field(default_factory=set[str])
    _read: ReadTo = field(default_factory=ReadTo)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, frames: Iterable[SentFrame]) -> None:
        """Take note of frames that have been sent."""
        with self._lock:
            for frame in frames:
                if frame.recorded:
                    place = Place(len(self.sent), frame.kind, frame.session_id, frame.frame_num)
                    self.sent[frame.sha256] = place

    def check(self, *, at_the_end: bool = False) -> None:
        """Read what is new in the ledger; check and delete the files that have been read back."""
        self._read_ledger()
        for _ in range(len(self._waiting)):
            since, told = self._waiting.popleft()
            if at_the_end or (told.path in self._good and time.monotonic() - since > QUIET_FOR):
                self._check_file(told)
            else:
                self._waiting.append((since, told))

    def noted(self) -> set[int]:
        """Return which frames the ledger has as lost."""
        with self._lock:
            return {p.number for p in self.sent.values() if (p.session_id, p.frame_num) in self.lost}

    def unnoted(self) -> list[Place]:
        """Return the frames that are in no file and that the ledger does not have as lost."""
        gone = self.there | self.noted()
        with self._lock:
            return [place for place in self.sent.values() if place.number not in gone]

    def told_wrongly(self) -> int:
        """Return how many frames the ledger has as lost and that are in a file."""
        return len(self.there & self.noted())

    @property
    def backlog(self) -> int:
        """How many files have been published and not been checked here."""
        return len(self._waiting)

    def _read_ledger(self) -> None:
        for text in read_on(self.folder, self._read, Disk()):
            line = decode(text.decode(errors="replace"))
            match line.fact if line else None:
                case Published() | Recovered() as told:
                    self._waiting.append((time.monotonic(), told))
                case Verified() as told:
                    self._note_verified(told)
                case Loss() as told:
                    self._note_loss(told)
                case _:
                    pass

    def _note_verified(self, told: Verified) -> None:
        self.verified += 1
        self._good.add(told.path)
        if not told.good:
            self.troubles.append(f"read back and not good: {told}")

    def _note_loss(self, told: Loss) -> None:
        if told.first is None or told.last is None:
            self.counted += told.count
            return
        numbers = [(told.session_id, number) for number in range(told.first, told.last + 1)]
        if told.count != len(numbers):
            self.troubles.append(f"counted otherwise than numbered: {told}")
        if any(number in self.lost for number in numbers):
            self.troubles.append(f"told twice as lost: {told}")
        self.lost |= dict.fromkeys(numbers, str(told.cause))

    def _check_file(self, told: Published | Recovered) -> None:
        """Compare a file with its line and with what was sent, and delete it."""
        path = self.folder / told.path
        if not path.exists():  # a crash between its name and its line: it has two lines
            return
        data = path.read_bytes()
        frames = list(split_frames(data))
        self.files += 1
        if (told.bytes, told.frames, told.crc32c) != (len(data), len(frames), f"{crc32c(data):08x}"):
            self.troubles.append(f"{told.path} is not what the ledger says: {told}")
        self._count(told.path, [hashlib.sha256(frame).hexdigest() for frame in frames])
        path.unlink()

    def _count(self, path: str, digests: list[str]) -> None:
        with self._lock:
            places = [self.sent[digest] for digest in digests if digest in self.sent]
        if len(places) < len(digests):
            self.troubles.append(f"{path} holds {len(digests) - len(places)} frames that were never sent")
        if any(later.number <= earlier.number for earlier, later in pairwise(places)):
            self.troubles.append(f"{path} is out of order")
        twice = [p for p in places if p.kind == SCAN and p.number in self.there]
        if twice:
            self.troubles.append(f"{path} holds {len(twice)} Scans that an earlier file holds, {twice[0]}")
        self.there.update(place.number for place in places)
