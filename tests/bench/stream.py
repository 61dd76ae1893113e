"""What is sent: the numbered frames of one session, each of another length, as a streamer's are."""

import random
from dataclasses import dataclass
from typing import Final

from tests.tools.frames import frame_bytes

SESSION: Final = 1_700_000_000
SPREAD: Final = 0.05  # how much a frame may be longer or shorter than is usual, as a part of it


@dataclass(frozen=True, slots=True)
class Stream:
    """Frames as bytes, in the order of their numbers."""

    frames: list[bytes]

    @property
    def size(self) -> int:
        """Return how many bytes it has."""
        return sum(map(len, self.frames))


def stream(payload: int, count: int) -> Stream:
    """Return `count` Scans with about `payload` bytes in each; the same ones each time."""
    chance = random.Random(payload)
    lengths = [round(payload * chance.uniform(1 - SPREAD, 1 + SPREAD)) for _ in range(count)]
    return Stream([_scan(number, length) for number, length in enumerate(lengths)])


def _scan(number: int, length: int) -> bytes:
    keys = {"frame_num": number, "session_id": SESSION, "sostream_id": "bench", "time": float(number)}
    return frame_bytes("S", keys, length)
