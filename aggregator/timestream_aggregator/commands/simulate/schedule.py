"""What a SMuRF streamer sends, when, and what goes wrong: pure, the clock is in the answer."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import takewhile
from math import inf
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, NonNegativeInt, PositiveInt

from timestream_aggregator.commands.simulate.faults import (
    BREAKS,
    EVENTS,
    OF_SCANS,
    SILENCES,
    Fault,
    FaultKind,
    on_the_stream_s_clock,
)

Duration = Annotated[FiniteFloat, Field(ge=0)]
Positive = Annotated[FiniteFloat, Field(gt=0)]
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


class Plan(BaseModel):
    """What to simulate. Times are seconds, `sample_rate` is hertz; 0 `sessions` or `frames` have no end."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    channels: PositiveInt = Field(default=1800, description="1800 at 200 Hz make 1.5 MB a second")
    sample_rate: Positive = Field(default=200.0, description="samples a second of each channel")
    frame_time: Positive = Field(default=1.0, description="seconds that one Scan frame covers")
    stream_id: str = Field(default="simulated", description="sostream_id of the frames")
    sessions: NonNegativeInt = Field(default=0, description="sessions until the end; 0 is for ever")
    session_time: Positive = Field(default=600.0, description="seconds of Scans in a session")
    pause: Duration = Field(default=10.0, description="seconds between two sessions")
    keep_alive: Duration = Field(default=1.0, description="seconds between ALIVEs; 0: none")
    frames: NonNegativeInt = Field(default=0, description="frames until the end; 0 is no limit")
    seed: NonNegativeInt = Field(default=0, description="of the detectors' noise")
    lose_frame_nums: frozenset[int] = frozenset()
    faults: tuple[Fault, ...] = ()

    @property
    def samples(self) -> int:
        """Samples of each channel in one Scan frame."""
        return max(1, round(self.sample_rate * self.frame_time))


@dataclass(frozen=True, slots=True)
class Step:
    """One frame to send `due` seconds after the start, if `kind` is one, and the faults that happen to it."""

    due: float
    kind: Kind | None
    faults: tuple[Fault, ...] = ()


def schedule(plan: Plan) -> Iterator[Step]:
    """Yield what is sent, in order of `due`. A Scan is due when the time that it covers has passed."""
    faults = on_the_stream_s_clock(plan.faults)
    breaks = [fault for fault in faults if fault.kind in BREAKS]
    steps = _sessions(plan, sorted(breaks, key=lambda fault: (fault.at, fault.kind is not FaultKind.RESTART)))
    steps = _bursts(steps, [fault for fault in faults if fault.kind is FaultKind.BURST])
    steps = _marked(steps, [fault for fault in faults if fault.kind in OF_SCANS])
    steps = _eventful(steps, [fault for fault in faults if fault.kind in EVENTS])
    yield from _silenced(plan, steps, [fault for fault in faults if fault.kind in SILENCES])


def _sessions(plan: Plan, breaks: list[Fault]) -> Iterator[Step]:
    """Yield session after session; those that one of `breaks` ends before their time do not count."""
    start, ended = 0.0, 0
    while not plan.sessions or ended < plan.sessions:
        breaks = [fault for fault in breaks if fault.at > start]  # at others one begins anyway
        last = ended + 1 == plan.sessions
        end = start + _scans(plan) * plan.frame_time
        until = breaks[0].at if breaks else inf
        session = _session(plan, start, with_pause=not last)
        yield from takewhile(lambda step, until=until: step.due < until, session)
        ended += end < until
        start = end + plan.pause
        if until < start and not (last and end < until):
            if breaks[0].kind is FaultKind.RESTART:
                yield Step(until, None, (breaks[0],))
            start = until + breaks[0].amount


def _session(plan: Plan, start: float, *, with_pause: bool) -> Iterator[Step]:
    """Yield one session, and the keep-alives of the pause after it."""
    yield from (Step(start, kind) for kind in _BEGIN)
    for scan in range(1, _scans(plan) + 1):
        due = start + scan * plan.frame_time
        yield Step(due, Kind.SCAN)
        if scan % WIRING_EVERY == 0:
            yield Step(due, Kind.DIFFERENCE)
    end = start + _scans(plan) * plan.frame_time
    yield from (Step(end, kind) for kind in _FINISH)
    if with_pause:
        yield from _keep_alives(plan.keep_alive, end, plan.pause)


def _scans(plan: Plan) -> int:
    return max(1, round(plan.session_time / plan.frame_time))


def _keep_alives(every: float, start: float, length: float) -> Iterator[Step]:
    """Yield what is sent in a pause that begins at `start`."""
    if every > 0:
        yield from (Step(start + n * every, Kind.ALIVE) for n in range(1, int(length / every) + 1))


def _bursts(steps: Iterable[Step], bursts: Sequence[Fault]) -> Iterator[Step]:
    """Yield the steps, and after the first Scan that is due from then on those of a burst."""
    waiting = list(bursts)
    for step in steps:
        yield step
        while waiting and step.kind is Kind.SCAN and step.due >= waiting[0].at:
            yield from (Step(step.due, Kind.SCAN) for _ in range(waiting.pop(0).scans))


def _marked(steps: Iterable[Step], faults: Sequence[Fault]) -> Iterator[Step]:
    """Yield the steps; Scans from the time of a fault on, as many as it takes, have it."""
    waiting: dict[Fault, int] = {fault: fault.scans for fault in faults}
    for step in steps:
        if step.kind is not Kind.SCAN or not waiting:
            yield step
            continue
        due = tuple(fault for fault in waiting if fault.at <= step.due)
        yield replace(step, faults=due)
        waiting = {fault: left - (fault in due) for fault, left in waiting.items() if left > (fault in due)}


def _eventful(steps: Iterable[Step], events: Sequence[Fault]) -> Iterator[Step]:
    """Yield the steps, and what happens between them; nothing comes after a stop."""
    waiting = list(events)
    for step in steps:
        while waiting and waiting[0].at <= step.due:
            event = waiting.pop(0)
            yield Step(event.at, None, (event,))
            if event.kind is FaultKind.STOP:
                return
        yield step


def _silenced(plan: Plan, steps: Iterable[Step], silences: Sequence[Fault]) -> Iterator[Step]:
    """Yield the steps, later by the silences before them."""
    waiting, silent = list(silences), 0.0
    for step in steps:
        while waiting and waiting[0].at <= step.due:
            fault = waiting.pop(0)
            if fault.kind is FaultKind.GAP:
                yield from _keep_alives(plan.keep_alive or 1.0, fault.at + silent, fault.amount)
            silent += fault.amount
        yield replace(step, due=step.due + silent)
