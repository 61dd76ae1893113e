"""Like things in great number: the first ones in a minute have a line each, those that follow have one together."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from timestream_api.ledger import Connected, Disconnected, Duplicate, Gap, Quarantined, UnknownFlowControl

Many = Connected | Disconnected | Duplicate | Gap | Quarantined | UnknownFlowControl
LINES: Final = 20  # of a kind, before the first is folded; none while a minute follows another
MINUTE: Final = 60.0  # seconds


@dataclass(slots=True)
class _Run:
    until: float
    room: int  # lines
    rest: Many | None = None


class Folding:
    """What waits for the end of its minute. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._runs: dict[str, _Run] = {}

    def takes(self, fact: Many, now: float) -> bool:
        """Return whether `fact` is one too many, and told with others later."""
        run = self._runs.setdefault(fact.kind, _Run(now + MINUTE, LINES))
        run.room -= 1
        if run.room < 0:
            run.rest = fact if run.rest is None else _together(run.rest, fact)
        return run.room < 0

    def is_due(self, now: float) -> bool:
        """Return whether there is something to tell."""
        return any(run.rest is not None and now >= run.until for run in list(self._runs.values()))

    def due(self, now: float) -> Iterator[Many]:
        """Yield what was gathered in minutes that are over."""
        for kind, run in list(self._runs.items()):
            if now >= run.until:
                del self._runs[kind]
                if run.rest is not None:
                    self._runs[kind] = _Run(now + MINUTE, 0)
                    yield run.rest


def _together(one: Many, other: Many) -> Many:
    """Return what stands for both."""
    more: dict[str, Any] = {"times": (one.times or 1) + (other.times or 1)}
    if isinstance(one, Quarantined) and isinstance(other, Quarantined):
        more["bytes"] = one.bytes + other.bytes
    if isinstance(one, Duplicate) and isinstance(other, Duplicate):
        same = (one.type, one.session_id) == (other.type, other.session_id)
        more |= {"last": other.frame_num} if same else {"session_id": None, "frame_num": None, "last": None}
    return one.model_copy(update=more)
