"""The loop of the simulator: waits for what is due, has it made, hands it to the sender."""

import threading
import time
from itertools import islice
from typing import Final

from timestream_aggregator.logs import for_stream
from timestream_aggregator.simulate.outlet import Outlet
from timestream_aggregator.simulate.schedule import Plan, schedule
from timestream_aggregator.simulate.streamer import Streamer

DRAIN_SECONDS: Final = 5.0  # what the clients have, at a regular end, to fetch what is queued for them


def send(plan: Plan, outlet: Outlet, stop: threading.Event) -> None:
    """Send the plan until it is done and the clients have it, or until `stop`; then close the sender."""
    try:
        _stream(plan, outlet, stop)
        if not stop.is_set() and not outlet.drain(DRAIN_SECONDS, stop):
            log = for_stream(plan.stream_id)
            log.warning("a client was too slow for the last frames", extra={"seconds": DRAIN_SECONDS})
    finally:
        outlet.close()


def _stream(plan: Plan, outlet: Outlet, stop: threading.Event) -> None:
    """Send what the plan says when it says it. What is late is sent at once: a real streamer catches up."""
    streamer, begun = Streamer(plan), time.monotonic()
    for step in islice(schedule(plan), plan.frames or None):
        if stop.wait(max(0.0, begun + step.due - time.monotonic())):
            return
        frame = streamer.frame(step.kind, time.time())
        if frame is not None:
            outlet.send(frame)
