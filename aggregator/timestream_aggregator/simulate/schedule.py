"""What a SMuRF streamer sends, and when: pure, the clock is in the answer."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import count
from typing import Final

WIRING_EVERY: Final = 10  # Scans between two Wiring differences


class Kind(StrEnum):
    """What a SMuRF streamer sends."""

    ALIVE = "ALIVE"
    START = "START"
    OBSERVATION = "Observation, start"
    STATUS = "Wiring, full status"
    SCAN = "Scan"
    DIFFERENCE = "Wiring, difference"
    OBSERVATION_END = "Observation, end"
    END = "END"
    CLEANSE_OBSERVATION = "CLEANSE of Observation"
    CLEANSE_WIRING = "CLEANSE of Wiring"


_BEGIN: Final = (Kind.START, Kind.OBSERVATION, Kind.STATUS)
_FINISH: Final = (Kind.OBSERVATION_END, Kind.END, Kind.CLEANSE_OBSERVATION, Kind.CLEANSE_WIRING)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to simulate. Times are seconds, `sample_rate` is hertz; 0 `sessions` or `frames` have no end."""

    channels: int = 1800
    sample_rate: float = 200.0
    frame_time: float = 1.0
    session_time: float = 600.0
    pause: float = 10.0
    keep_alive: float = 1.0
    sessions: int = 0
    frames: int = 0
    stream_id: str = "simulated"
    seed: int = 0
    lose_frame_nums: frozenset[int] = frozenset()

    @property
    def samples(self) -> int:
        """Samples of each channel in one Scan frame."""
        return max(1, round(self.sample_rate * self.frame_time))


@dataclass(frozen=True, slots=True)
class Step:
    """One frame to send `due` seconds after the start."""

    due: float
    kind: Kind


def schedule(plan: Plan) -> Iterator[Step]:
    """Yield what is sent, in order of `due`. A Scan is due when the time that it covers has passed."""
    start = 0.0
    for number in count(1):
        yield from (Step(start, kind) for kind in _BEGIN)
        scans = max(1, round(plan.session_time / plan.frame_time))
        for scan in range(1, scans + 1):
            due = start + scan * plan.frame_time
            yield Step(due, Kind.SCAN)
            if scan % WIRING_EVERY == 0:
                yield Step(due, Kind.DIFFERENCE)
        start += scans * plan.frame_time
        yield from (Step(start, kind) for kind in _FINISH)
        if number == plan.sessions:
            return
        yield from _keep_alives(plan, start)
        start += plan.pause


def _keep_alives(plan: Plan, start: float) -> Iterator[Step]:
    """Yield what is sent in the pause that begins at `start`."""
    if plan.keep_alive > 0:
        alive = int(plan.pause / plan.keep_alive)
        yield from (Step(start + n * plan.keep_alive, Kind.ALIVE) for n in range(1, alive + 1))
