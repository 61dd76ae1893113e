"""Reads a published file back, in a process of its own and of low priority, for a recorder that names it.

A JSON object goes out: what is on the disk now, as the bytes' checksums and as spt3g, the library of its readers, sees
it.
"""

import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

from timestream_aggregator.readback.reading import read

NICENESS: Final = 19


def main() -> int:
    """Answer."""
    _step_back()
    sys.stdout.write(json.dumps(reread(sys.argv[1])) + "\n")
    return 0


def reread(path: str) -> dict[str, object]:
    """Return what is in a file, as `verify` reads it; `why` is what is wrong first, `absent` tells that it is away."""
    if not os.path.lexists(path):
        return {"absent": True}
    report = read(Path(path), hashing=True).report
    return {
        "bytes": report.bytes,
        "crc32c": report.crc32c,
        "sha256": report.sha256,
        "frames": report.frames,
        "why": next(iter(report.trouble), None),
    }


def _step_back() -> None:
    """Let recording go first: for the processor, and when memory is short."""
    os.nice(NICENESS)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


if __name__ == "__main__":
    sys.exit(main())
