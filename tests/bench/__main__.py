"""`make bench`: CPU per GB and peak memory of the recorder and its peers, in turn, and the ratios pair by pair."""

import os
import sys
from pathlib import Path
from statistics import median

from tests.bench.measure import Cost, measure
from tests.bench.peers import BARE, RECORDER, SPT3G, Peer
from tests.tools.frames import frame_bytes

ROUNDS = 5
PEERS = (BARE, RECORDER, SPT3G)


def main() -> None:
    """Measure Scans of a full SMuRF crate and small ones, and print a table for each."""
    scratch = Path(os.environ.get("BENCH_DIR", "/dev/shm"))
    print(f"{ROUNDS} rounds, in turn, files under {scratch}; CPU without the start-up of each program")
    for payload, count in ((1_500_000, 640), (71_000, 6_760)):
        frame = frame_bytes(
            "S", {"frame_num": 1, "session_id": 1, "sostream_id": "bench", "time": 1.0}, payload
        )
        _compare(frame, count, scratch)


def _compare(frame: bytes, count: int, scratch: Path) -> None:
    """Print what recording `count` frames costs each peer, and the recorder's ratio to each other one."""
    gigabytes = len(frame) * count / 1e9
    print(f"\n{count} frames of {len(frame)} bytes, {gigabytes:.2f} GB")
    runs: dict[Peer, list[Cost]] = {peer: [] for peer in PEERS}
    idle = {peer: median(measure(peer, frame, 1, scratch).cpu for _ in range(3)) for peer in PEERS}
    for _ in range(ROUNDS):
        for peer in PEERS:
            runs[peer].append(measure(peer, frame, count, scratch))
    for peer in PEERS:
        cpu = [(run.cpu - idle[peer]) / gigabytes for run in runs[peer]]
        ratios = [
            (a.cpu - idle[RECORDER]) / (b.cpu - idle[peer])
            for a, b in zip(runs[RECORDER], runs[peer], strict=True)
        ]
        print(
            f"  {peer.name:42} {median(cpu):5.2f} CPU-s/GB ({min(cpu):.2f}-{max(cpu):.2f})"
            f"  peak {max(run.peak for run in runs[peer]) / 1e6:5.0f} MB  recorder costs {median(ratios):.2f} x"
        )


if __name__ == "__main__":
    sys.exit(main())
