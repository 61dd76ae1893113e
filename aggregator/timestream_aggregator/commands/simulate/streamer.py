"""The frames of a SMuRF streamer: flow control, and the frames of a session with their keys and contents."""

import json
from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from timestream_aggregator.commands.simulate.g3sender import G3Frame, core
from timestream_aggregator.commands.simulate.schedule import Kind, Plan
from timestream_aggregator.logs import for_stream

Counts = npt.NDArray[np.int32]

_SPREAD: Final = (
    37  # samples by which the pattern is longer than one frame, so that no two observers are alike
)
_FLOW_KEY: Final = "sostream_flowcontrol"
_FLOW: Final = {
    Kind.ALIVE: ("none", 0),
    Kind.START: ("none", 1),
    Kind.END: ("none", 2),
    Kind.CLEANSE_OBSERVATION: ("Observation", 3),
    Kind.CLEANSE_WIRING: ("Wiring", 3),
}


class Detectors:
    """Counts of all channels, the same for the same seed: noise that repeats, one sample on in each frame."""

    def __init__(self, plan: Plan) -> None:
        self.names: Final = [f"r{channel:04d}" for channel in range(plan.channels)]
        self._samples = plan.samples
        self._period = plan.samples + _SPREAD
        shape = (plan.channels, self._period + plan.samples)
        pattern = np.random.default_rng(plan.seed).normal(0, 1000, shape).astype(np.int32)
        pattern[:, self._period :] = pattern[:, : plan.samples]
        self._pattern: Counts = pattern

    def read(self, scan: int) -> Counts:
        """Return the counts of the Scan number `scan` (from 0) of a session, shape (channels, samples)."""
        first = scan * self._samples % self._period
        return np.ascontiguousarray(self._pattern[:, first : first + self._samples])


class Streamer:
    """Makes the frames, and counts them as a SMuRF streamer does: each frame but flow control, by session."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._log = for_stream(plan.stream_id)
        self._detectors = Detectors(plan)
        self._session = self._number = self._scans = 0

    def frame(self, kind: Kind, now: float) -> G3Frame | None:
        """Return the frame to send at `now` (Unix seconds); None if the plan wants it lost."""
        if kind is Kind.START:
            self._begin(now)
        if kind in _FLOW:
            name, value = _FLOW[kind]
            frame = _new(name)
            frame[_FLOW_KEY] = core.G3Int(value)
            return frame
        frame, number = self._counted(kind, now)
        return None if number in self._plan.lose_frame_nums else frame

    @property
    def position(self) -> tuple[int, int]:
        """session_id and frame_num of the last frame that was counted."""
        return self._session, self._number - 1

    def _begin(self, now: float) -> None:
        """Begin a session; its id is the Unix time, or a later second if that one has had its session."""
        self._session = max(int(now), self._session + 1)
        self._number = self._scans = 0
        self._log.info("session begins", extra={"session_id": self._session})

    def _counted(self, kind: Kind, now: float) -> tuple[G3Frame, int]:
        """Return a frame with the keys of the session, and its frame_num."""
        frame, number = _new(kind.value.partition(",")[0]), self._number
        frame["sostream_version"] = core.G3Int(2)
        frame["sostream_id"] = core.G3String(self._plan.stream_id)
        frame["session_id"] = core.G3Int(self._session)
        frame["frame_num"] = core.G3Int(number)
        frame["time"] = _time(now)
        for name, value in self._content(kind, now):
            frame[name] = value
        self._number += 1
        return frame, number

    def _content(self, kind: Kind, now: float) -> Iterator[tuple[str, object]]:
        """Yield what makes a frame of `kind`."""
        match kind:
            case Kind.SCAN:
                yield "data", self._scan(now)
            case Kind.STATUS | Kind.DIFFERENCE:
                yield "dump", core.G3Int(int(kind is Kind.STATUS))
                yield "status", core.G3String(self._status(full=kind is Kind.STATUS))
            case _:
                place = "start" if kind is Kind.OBSERVATION else "end"
                yield "stream_placement", core.G3String(place)

    def _scan(self, now: float) -> object:
        """Return the next counts as a G3TimestreamMap, 4 bytes a sample as with SMuRF."""
        counts = self._detectors.read(self._scans)
        self._scans += 1
        first = _time(now - (self._plan.samples - 1) / self._plan.sample_rate)
        return core.G3TimestreamMap(self._detectors.names, counts, start=first, stop=_time(now))

    def _status(self, *, full: bool) -> str:
        """Return registers and their values as JSON: all of them, or those that changed."""
        root = "AMCc.SmurfProcessor"
        changed: dict[str, object] = {f"{root}.FrameRxStats.FrameCnt": self._scans}
        if not full:
            return json.dumps(changed)
        channels = len(self._detectors.names)
        mapper = {"NumChannels": channels, "Mask": list(range(channels))}
        named: dict[str, object] = {f"{root}.ChannelMapper.{name}": value for name, value in mapper.items()}
        return json.dumps(changed | named | {f"{root}.SampleRate": self._plan.sample_rate})


def _new(kind: str) -> G3Frame:
    """Return an empty frame; `kind` is spt3g's name of the type."""
    return core.G3Frame(getattr(core.G3FrameType, kind))


def _time(unix_seconds: float) -> object:
    """Return a G3Time, which counts in units of 10 ns."""
    return core.G3Time(round(unix_seconds * 1e8))
