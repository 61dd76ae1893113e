"""Simulate a SMuRF stream with spt3g's own sender.

For a first look, for rehearsals, for tests. A client sees what a real streamer shows, habits included: it is
accepted only when the next frame is due, and then gets the latest frame of each type other than Scan first.

`schedule` says what is due when and `faults` what goes wrong; `streamer` makes the frames, `listener` is the
sender, `relay` the same behind a line that fails, `sending` runs it all, `g3sender` leads to spt3g.
"""

import argparse
import signal
import sys
import threading
from collections.abc import Callable
from typing import Annotated, Any, Final

from pydantic import Field, PlainValidator, TypeAdapter, ValidationError

from timestream_aggregator.commands.simulate import faults
from timestream_aggregator.commands.simulate.schedule import Plan
from timestream_aggregator.logs import to_standard_error

_PORT: Final = Annotated[int, Field(ge=0, le=65535)]
_FAULT: Final = Annotated[faults.Fault, PlainValidator(faults.parse)]
_EPILOG: Final = """
faults, as KIND@SECONDS or KIND@SECONDS:ARG (its default); those of Scans happen to the first that is due from
then on, to all clients that are connected. What a sender cannot do itself, a relay before it does.
"""


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Shows defaults, and leaves the table of faults as it is."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `simulate`; those that shape the stream are the fields of `Plan`."""
    add = parser.add_argument
    parser.formatter_class = _HelpFormatter
    parser.epilog = _EPILOG + "\n".join(faults.explain())
    add("--address", default="127.0.0.1", help="address to listen on; 0.0.0.0 or :: is all, as in a pod")
    add("--port", type=_as(_PORT), default=50000, help="TCP port to listen on; 0 takes any and prints it")
    for name, field in Plan.model_fields.items():
        if field.description:
            words: dict[str, Any] = {"default": field.default, "help": field.description}
            add(f"--{name.replace('_', '-')}", type=_as(Annotated[field.annotation, field]), **words)
    add("--lose-frame-nums", type=_numbers, default=argparse.SUPPRESS, help="frames that get lost: 5,6,12")
    add(
        "--fault",
        type=_as(_FAULT),
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
    plan = Plan.model_validate({name: given[name] for name in Plan.model_fields if name in given})
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


def _as(kind: Any) -> Callable[[str], Any]:
    """Return a converter of an option's text, as pydantic reads a value of `kind`."""
    adapter = TypeAdapter(kind)

    def convert(text: str) -> Any:
        try:
            return adapter.validate_python(text)
        except ValidationError as error:
            why = error.errors()[0]["msg"].removeprefix("Value error, ")
            raise argparse.ArgumentTypeError(f"{text!r}: {why}") from None

    return convert


def _numbers(text: str) -> frozenset[int]:
    """Return the numbers of a list such as 5,6,12."""
    return frozenset(int(part) for part in text.split(",") if part)
