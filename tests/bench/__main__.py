"""`make bench`: what recording costs beside its peers, in turn, as ratios pair by pair.

The limit is a program that receives into memory and writes the same bytes. CPU by each process's own clock; with
observers on the machine compare ratios, not seconds.
"""

import os
import sys
from pathlib import Path
from statistics import median

from tests.bench import long_life
from tests.bench.measure import Cost, measure
from tests.bench.peers import BARE, RECORDER, SPT3G, Peer
from tests.bench.stream import Stream, stream

ROUNDS = 5
PEERS = (BARE, SPT3G, RECORDER)
CASES = ((1_500_000, 200), (71_000, 4_000), (100, 50_000))  # bytes in a frame, frames


def main() -> None:
    """Measure frames of a full SMuRF crate, of a small one, and tiny ones, and print a table for each."""
    scratch = Path(os.environ.get("BENCH_DIR", "/dev/shm"))
    long_life.main(scratch)  # first: a child's peak of memory begins with what this process has by then
    print(f"\n{ROUNDS} rounds, in turn, files under {scratch}; median (lowest-highest)")
    for payload, count in CASES:
        _compare(stream(payload, count), scratch)


def _compare(sent: Stream, scratch: Path) -> None:
    """Print what recording a stream costs each peer, and how many times that the recorder costs."""
    count = len(sent.frames)
    print(f"\n{count} numbered frames of about {sent.size // count} bytes, {sent.size / 1e9:.2f} GB")
    runs: dict[Peer, list[Cost]] = {peer: [] for peer in PEERS}
    for _ in range(ROUNDS):
        for peer in PEERS:
            runs[peer].append(measure(peer, sent, scratch))
    for peer in PEERS:
        _tell(peer, sent, runs[peer], runs[RECORDER])


def _tell(peer: Peer, sent: Stream, runs: list[Cost], ours: list[Cost]) -> None:
    """Print the line of one peer."""
    per_gigabyte = [run.cpu / sent.size * 1e9 for run in runs]
    ratios = [our.cpu / run.cpu for our, run in zip(ours, runs, strict=True)]
    print(
        f"  {peer.name:38} {_spread(per_gigabyte)} CPU-s/GB"
        f"  {len(sent.frames) / median(run.cpu for run in runs):9,.0f} frames/CPU-s"
        f"  peak {max(run.peak for run in runs) / 1e6:4.0f} MB  recorder/this {_spread(ratios)}",
        flush=True,
    )


def _spread(values: list[float]) -> str:
    return f"{median(values):6.2f} ({min(values):.2f}-{max(values):.2f})"


if __name__ == "__main__":
    sys.exit(main())
