"""The parser fuzzed for as long as you like: `python -m tests.fuzz --minutes 10`.

What makes a property fail is made as short as can be and kept in the corpus, where each test run tries it
again. Exit codes: 0 nothing failed, 1 something did.
"""

import argparse
import hashlib
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import HypothesisException

from tests.fuzz.mutations import CORPUS, LARGEST, cuts, limits, streams
from tests.fuzz.properties import check, memory

BATCH: Final = 2000  # examples
QUIETLY: Final = settings(
    max_examples=BATCH,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    phases=(Phase.generate, Phase.shrink),
)


@dataclass
class Try:
    """The input that was tried last; after hypothesis has given up on a shorter one, the shortest that fails."""

    data: bytes = b""
    cuts: list[int] = field(default_factory=list[int])
    limit: int = LARGEST


def batch(number: int) -> tuple[Try, str] | None:
    """Try many streams; return the shortest that fails and how, None if none does."""
    last = Try()

    @seed(number)
    @settings(QUIETLY)
    @given(data=streams(), draw=st.data(), measure=st.booleans())
    def one(*, data: bytes, draw: st.DataObject, measure: bool) -> None:
        last.data, last.limit, last.cuts = data, draw.draw(limits(data)), draw.draw(cuts(len(data)))
        check(data, last.cuts, last.limit)
        if measure:
            taken, allowed = memory(data, last.cuts, 1 << 40)
            assert taken <= allowed, f"{taken} bytes of memory for {len(data)} that arrived"

    try:
        one()
    except HypothesisException:
        raise
    except Exception:  # noqa: BLE001 - whatever the parser raises is what is looked for
        return last, traceback.format_exc()
    return None


def keep(found: Try, how: str) -> None:
    """Put a failing stream into the corpus, and say how it fails."""
    path = CORPUS / f"found-{hashlib.sha256(found.data).hexdigest()[:12]}.bin"
    path.write_bytes(found.data)
    print(how)
    print(f"kept as {path}: {len(found.data)} bytes, cut at {found.cuts}, limit {found.limit}", flush=True)


def main(argv: Sequence[str]) -> int:
    """Fuzz until the time is over."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="how long (10)")
    parser.add_argument(
        "--seed", type=int, default=time.time_ns() % 10**9, help="of the first batch (the time)"
    )
    options = parser.parse_args(argv)
    end, number, failed = time.monotonic() + options.minutes * 60, options.seed, 0
    while time.monotonic() < end:
        found = batch(number)
        if found is not None:
            keep(*found)
            failed += 1
        number += 1
        print(f"{(number - options.seed) * BATCH} streams, {failed} failures, next seed {number}", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
