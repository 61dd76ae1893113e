"""How much of what could go on for ever a test does: little in each run, much in a long one."""

import os
from typing import Final

LONG: Final = os.environ.get("TIMESTREAM_LONG", "") not in {"", "0"}


def size(quick: int, long: int) -> int:
    """Return how many examples, kills, seeds or rounds a test takes: `long` if TIMESTREAM_LONG=1 is set."""
    return long if LONG else quick
