"""The faults that can be rehearsed: what each is called, what it takes, and when it happens."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final


class FaultKind(StrEnum):
    """What goes wrong."""

    PAUSE = "pause"
    GAP = "gap"
    LOST = "lost"
    DUPLICATE = "duplicate"
    BURST = "burst"
    SESSION = "session"
    RESTART = "restart"
    STOP = "stop"
    DOWN = "down"
    VANISH = "vanish"
    TORN = "torn"
    CRC = "crc"
    TRICKLE = "trickle"
    GARBAGE = "garbage"


class Garbage(StrEnum):
    """What arrives that is no frame."""

    HTTP = "http"
    TLS = "tls"
    ZEROS = "zeros"
    LENGTH = "length"
    BIG_ENDIAN = "big-endian"


@dataclass(frozen=True, slots=True)
class About:
    """What the argument of a fault is, its default and least value, and what happens; "" for no argument."""

    argument: str
    default: float
    what: str
    least: float = 1


ABOUT: Final[Mapping[FaultKind, About]] = {
    FaultKind.PAUSE: About("seconds", 10, "nothing is sent, no keep-alive either; then the session goes on", 0),
    FaultKind.GAP: About("seconds", 10, "nothing but keep-alives is sent; then the session goes on", 0),
    FaultKind.LOST: About("frames", 1, "Scans are numbered and never sent"),
    FaultKind.DUPLICATE: About("frames", 1, "Scans are sent twice"),
    FaultKind.BURST: About("frames", 100, "Scans beyond those that are due, as fast as they can be made"),
    FaultKind.SESSION: About("", 0, "a new session begins; the running one has no END"),
    FaultKind.RESTART: About(
        "seconds", 2, "the sender ends without END, and its successor listens and begins a session", 0
    ),
    FaultKind.STOP: About("", 0, "the sender ends for good, without END; so does this process"),
    FaultKind.DOWN: About(
        "seconds", 2, "connections end and new ones are refused, while frames are made and lost", 0
    ),
    FaultKind.VANISH: About(
        "seconds", 30, "no byte is sent or read and no connection accepted or closed; then all of it comes", 0
    ),
    FaultKind.TORN: About("bytes", 0, "a Scan ends after so many bytes, and with it the connection; 0 is half", 0),
    FaultKind.CRC: About("frames", 1, "one bit of each Scan is changed on its way"),
    FaultKind.TRICKLE: About("seconds", 5, "a byte every millisecond; then the rest at once", 0),
    FaultKind.GARBAGE: About("what", 0, f"bytes that are no frame come before a Scan: {', '.join(Garbage)}"),
}  # fmt: skip
SILENCES: Final = frozenset({FaultKind.PAUSE, FaultKind.GAP})
BREAKS: Final = frozenset({FaultKind.SESSION, FaultKind.RESTART})
EVENTS: Final = frozenset({FaultKind.STOP, FaultKind.DOWN, FaultKind.VANISH})
ON_THE_WAY: Final = frozenset({FaultKind.TORN, FaultKind.CRC, FaultKind.TRICKLE, FaultKind.GARBAGE})
"""What happens to the bytes of a Scan after the sender has sent them."""
OF_SCANS: Final = ON_THE_WAY | {FaultKind.LOST, FaultKind.DUPLICATE}
OF_THE_LINE: Final = ON_THE_WAY | {FaultKind.DOWN, FaultKind.VANISH, FaultKind.RESTART}
"""What a G3NetworkSender cannot do by itself."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault, `at` seconds after the start; `amount` is its argument if that is a number."""

    kind: FaultKind
    at: float
    amount: float = 0
    garbage: Garbage = Garbage.HTTP

    @property
    def scans(self) -> int:
        """How many Scans it happens to."""
        return int(self.amount) if ABOUT[self.kind].argument == "frames" else 1


def parse(text: str) -> Fault:
    """Return the fault that `text`, KIND@SECONDS or KIND@SECONDS:ARG, describes.

    Raises:
        ValueError: it describes none; the message says why.
    """
    word, _, rest = text.partition("@")
    if word not in set(FaultKind):
        raise ValueError(f"{word!r} is none of {', '.join(FaultKind)}")
    kind, (time, colon, argument) = FaultKind(word), rest.partition(":")
    at = _number(time, 0, f"{kind}@SECONDS")
    about = ABOUT[kind]
    if not colon:
        return Fault(kind, at, about.default)
    if kind is FaultKind.GARBAGE:
        if argument not in set(Garbage):
            raise ValueError(f"{argument!r} is none of {', '.join(Garbage)}")
        return Fault(kind, at, garbage=Garbage(argument))
    if not about.argument:
        raise ValueError(f"{kind} takes no argument")
    return Fault(kind, at, _number(argument, about.least, f"{kind}@SECONDS:{about.argument.upper()}"))


def on_the_stream_s_clock(faults: Iterable[Fault]) -> list[Fault]:
    """Return the faults in order, timed by a clock that stands still while the stream is silent."""
    timed, silent = list[Fault](), 0.0
    for fault in sorted(faults, key=lambda fault: fault.at):
        earliest = timed[-1].at if timed else 0.0
        timed.append(replace(fault, at=max(earliest, fault.at - silent)))
        silent += fault.amount if fault.kind in SILENCES else 0.0
    return timed


def explain() -> Iterator[str]:
    """Yield a line for each kind, for --help."""
    for kind, about in ABOUT.items():
        default = Garbage.HTTP if kind is FaultKind.GARBAGE else f"{about.default:g}"
        argument = f"{about.argument} ({default})" if about.argument else ""
        yield f"  {kind:<10} {argument:<14} {about.what}"


def _number(text: str, least: float, usage: str) -> float:
    """Return a number from `least` on."""
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{text!r} is no number; write {usage}") from None
    if not (math.isfinite(value) and value >= least):
        raise ValueError(f"{text} is less than {least:g} or no number; write {usage}")
    return value
