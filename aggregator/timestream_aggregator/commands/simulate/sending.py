"""The loop of the simulator: waits for what is due, has it made, hands it to the sender."""

import logging
import threading
import time
from collections.abc import Iterator
from typing import Final

from timestream_aggregator.commands.simulate.faults import Fault, FaultKind
from timestream_aggregator.commands.simulate.listener import Listener
from timestream_aggregator.commands.simulate.relay import Relay
from timestream_aggregator.commands.simulate.schedule import Plan, Step, schedule
from timestream_aggregator.commands.simulate.streamer import Streamer
from timestream_aggregator.logs import for_stream

DRAIN_SECONDS: Final = 5.0  # what the clients have, at a regular end, to fetch what is queued for them


def send(plan: Plan, sender: Listener | Relay, stop: threading.Event) -> None:
    """Send the plan until it is done and the clients have it, or until `stop`; then close the sender."""
    log = for_stream(plan.stream_id)
    try:
        if not _send_all(plan, sender, stop, log) or sender.drain(DRAIN_SECONDS, stop):
            return
    finally:
        sender.close()
    if not stop.is_set():
        log.warning("a client was too slow for the last frames", extra={"seconds": DRAIN_SECONDS})


def _send_all(plan: Plan, sender: Listener | Relay, stop: threading.Event, log: logging.Logger) -> bool:
    """Send what the plan says when it says it; return whether it came to a regular end.

    What is late is sent at once: a real streamer catches up.
    """
    streamer, begun = Streamer(plan), time.monotonic()
    for step in _limited(plan):
        if stop.wait(max(0.0, begun + step.due - time.monotonic())):
            return False
        frame = step.kind and streamer.frame(step.kind, time.time())
        if step.kind and frame is None:
            continue
        for fault in step.faults:
            _tell(fault, streamer, log)
            if fault.kind is FaultKind.STOP:
                return False
            if isinstance(sender, Relay):
                sender.happen(fault, streamer.position)
        for _ in range(_times(step)):
            sender.send(frame)
    return True


def _limited(plan: Plan) -> Iterator[Step]:
    """Yield the steps up to the last frame that is wanted."""
    frames = 0
    for step in schedule(plan):
        if plan.frames and frames >= plan.frames:
            return
        yield step
        frames += step.kind is not None


def _times(step: Step) -> int:
    """Return how often the frame of a step is sent."""
    kinds = [fault.kind for fault in step.faults]
    if step.kind is None or FaultKind.LOST in kinds:
        return 0
    return 2 ** kinds.count(FaultKind.DUPLICATE)


def _tell(fault: Fault, streamer: Streamer, log: logging.Logger) -> None:
    session, number = streamer.position
    about = {"fault": str(fault.kind), "planned": fault.at, "session_id": session, "frame_num": number}
    log.info("fault", extra=about)
