"""The loop of the simulator: waits for what is due, has it made, hands it to the sender."""

import logging
import threading
import time
from collections.abc import Iterator
from typing import Final

from timestream_aggregator.commands.simulate.endpoint import Endpoint
from timestream_aggregator.commands.simulate.faults import ON_THE_WAY, Fault, FaultKind
from timestream_aggregator.commands.simulate.g3sender import G3Frame
from timestream_aggregator.commands.simulate.schedule import Plan, Step, schedule
from timestream_aggregator.commands.simulate.streamer import Streamer
from timestream_aggregator.logs import for_stream

DRAIN_SECONDS: Final = 5.0  # what the clients have, at a regular end, to fetch what is queued for them


def send(plan: Plan, endpoint: Endpoint, stop: threading.Event) -> None:
    """Send the plan until it is done and the clients have it, or until `stop`; then close the sender."""
    log, regular = for_stream(plan.stream_id), False
    try:
        regular = _Stream(plan, endpoint, log).run(stop)
        drained = not regular or endpoint.listener.drain(DRAIN_SECONDS, stop)
    finally:
        drained = endpoint.close(DRAIN_SECONDS if regular else 0.0) or not regular
    if not drained and not stop.is_set():
        log.warning("a client was too slow for the last frames", extra={"seconds": DRAIN_SECONDS})


class _Stream:
    """The plan on its way to the sender."""

    def __init__(self, plan: Plan, endpoint: Endpoint, log: logging.Logger) -> None:
        self._plan = plan
        self._endpoint = endpoint
        self._log = log
        self._streamer = Streamer(plan)

    def run(self, stop: threading.Event) -> bool:
        """Send what the plan says when it says it; return whether it came to a regular end.

        What is late is sent at once: a real streamer catches up.
        """
        begun = time.monotonic()
        for step in self._limited():
            if stop.wait(max(0.0, begun + step.due - time.monotonic())):
                return False
            if step.kind is not None:
                self._send(step, self._streamer.frame(step.kind, time.time()))
                continue
            for fault in step.faults:
                self._tell(fault)
                if fault.kind is FaultKind.STOP:
                    return False
                self._endpoint.happen(fault)
        return True

    def _limited(self) -> Iterator[Step]:
        """Yield the steps up to the last frame that is wanted."""
        frames = 0
        for step in schedule(self._plan):
            if self._plan.frames and frames >= self._plan.frames:
                return
            yield step
            frames += step.kind is not None

    def _send(self, step: Step, frame: G3Frame | None) -> None:
        """Send a frame as often as the faults of its step say, and have those of the line done to it."""
        if frame is None:
            return
        times = 1
        for fault in step.faults:
            self._tell(fault)
            if fault.kind in ON_THE_WAY:
                self._endpoint.disturb(self._streamer.position, fault)
            elif fault.kind is FaultKind.LOST:
                times = 0
            elif fault.kind is FaultKind.DUPLICATE:
                times *= 2
        for _ in range(times):
            self._endpoint.listener.send(frame)

    def _tell(self, fault: Fault) -> None:
        session, number = self._streamer.position
        about = {"fault": str(fault.kind), "planned": fault.at, "session_id": session, "frame_num": number}
        self._log.info("fault", extra=about)
