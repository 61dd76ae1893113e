"""Simulate a SMuRF stream with spt3g's own sender.

For a first look, for rehearsals, for tests. A client sees what a real streamer shows, habits included: it is
accepted only when the next frame is due, and then gets the latest frame of each type other than Scan first.

`schedule` says what is due when and `faults` what goes wrong; `streamer` makes the frames, `listener` is the
sender, `relay` the same behind a line that fails, `sending` runs it all, `g3sender` leads to spt3g.
"""

import argparse
import math
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Final

from timestream_aggregator.commands.simulate import faults
from timestream_aggregator.commands.simulate.schedule import Plan
from timestream_aggregator.logs import to_standard_error

_EPILOG: Final = """
faults, as KIND@SECONDS or KIND@SECONDS:ARG (its default); those of Scans happen to the first that is due from
then on, to all clients that are connected. What a sender cannot do itself, a relay before it does.
"""


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Shows defaults, and leaves the table of faults as it is."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `simulate`; those that shape the stream have the names of the fields of `Plan`."""
    add, plan = parser.add_argument, Plan()
    parser.formatter_class = _HelpFormatter
    parser.epilog = _EPILOG + "\n".join(faults.explain())
    add("--address", default="127.0.0.1", help="address to listen on; 0.0.0.0 or :: is all, as in a pod")
    add("--port", type=_port, default=50000, help="TCP port to listen on; 0 takes any and prints it")
    add("--channels", type=_whole(1), default=plan.channels, help="1800 at 200 Hz make 1.5 MB a second")
    add("--sample-rate", type=_positive, default=plan.sample_rate, help="samples a second of each channel")
    add("--frame-time", type=_positive, default=plan.frame_time, help="seconds that one Scan frame covers")
    add("--stream-id", default=plan.stream_id, help="sostream_id of the frames")
    add("--sessions", type=_whole(0), default=plan.sessions, help="sessions until the end; 0 is for ever")
    add("--session-time", type=_positive, default=plan.session_time, help="seconds of Scans in a session")
    add("--pause", type=_duration, default=plan.pause, help="seconds between two sessions")
    add("--keep-alive", type=_duration, default=plan.keep_alive, help="seconds between ALIVEs; 0: none")
    add("--frames", type=_whole(0), default=plan.frames, help="frames until the end; 0 is no limit")
    add("--seed", type=_whole(0), default=plan.seed, help="of the detectors' noise")
    add("--lose-frame-nums", type=_numbers, default=argparse.SUPPRESS, help="frames that get lost: 5,6,12")
    add(
        "--fault",
        type=_fault,
        action="append",
        default=argparse.SUPPRESS,
        dest="faults",
        metavar="KIND@SECONDS[:ARG]",
        help="let something go wrong SECONDS after the start; may be given many times; kinds: see below",
    )


def run(args: argparse.Namespace) -> int:
    """Send until the plan is done, or SIGTERM or SIGINT. Return 0, or 1 if the address cannot be had."""
    # spt3g takes 60 MB and half a second, which the other commands do without.
    from timestream_aggregator.commands.simulate.listener import Listener  # noqa: PLC0415
    from timestream_aggregator.commands.simulate.relay import Relay  # noqa: PLC0415
    from timestream_aggregator.commands.simulate.sending import send  # noqa: PLC0415

    given = vars(args)
    shape = {
        field.name: given[field.name] for field in fields(Plan) if field.name in given.keys() - {"faults"}
    }
    plan = replace(Plan(**shape), faults=tuple(given.get("faults", ())))
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stop.set())
    try:
        relayed = any(fault.kind in faults.OF_THE_LINE for fault in plan.faults)
        sender = (Relay if relayed else Listener)(args.address, args.port)
    except OSError as error:
        sys.stderr.write(f"simulate: cannot listen on {args.address} port {args.port}: {error.strerror}\n")
        return 1
    sys.stdout.write(f"listening on {args.address}:{sender.port}\n")
    sys.stdout.flush()
    with to_standard_error("info"):
        send(plan, sender, stop)
    return 0


def _whole(least: int) -> Callable[[str], int]:
    """Return a converter to whole numbers from `least` on."""

    def whole_number(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"{text} is less than {least}")
        return value

    return whole_number


def _port(text: str) -> int:
    value = int(text)
    if not 0 <= value <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is no TCP port: those are 0 to 65535")
    return value


def _duration(text: str) -> float:
    """Return seconds, 0 or more."""
    value = float(text)
    if not (value >= 0 and math.isfinite(value)):
        raise argparse.ArgumentTypeError(f"{text} is no number from 0 on")
    return value


def _positive(text: str) -> float:
    """Return a number greater than 0."""
    value = _duration(text)
    if value == 0:
        raise argparse.ArgumentTypeError("must be greater than 0")
    return value


def _numbers(text: str) -> frozenset[int]:
    """Return the numbers of a list such as 5,6,12."""
    return frozenset(int(part) for part in text.split(",") if part)


def _fault(text: str) -> faults.Fault:
    try:
        return faults.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
