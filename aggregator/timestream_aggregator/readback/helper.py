"""Reads published files back, in a process of its own and of low priority, for a recorder that asks for it.

A line with a file's path and CRC-32C comes in, a JSON list; a JSON object goes out: what is on the disk now, as the
bytes' checksums and as spt3g, the library of its readers, sees it. The end of the input is the end.
"""

import hashlib
import json
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, cast

from crc32c import crc32c

PIECE: Final = 1 << 20  # bytes
NICENESS: Final = 19


def main() -> int:
    """Answer until there is nothing more to read."""
    _step_back()
    for line in sys.stdin:
        path, crc = json.loads(line)
        sys.stdout.write(json.dumps(reread(path, crc)) + "\n")
        sys.stdout.flush()
    return 0


def reread(path: str, wanted: int) -> dict[str, object]:
    """Return `bytes`, `crc32c`, `sha256` and `frames` of a file; `why` if spt3g does not load all of it.

    spt3g believes any length that it finds, so it gets no file whose CRC-32C is not the one that is `wanted`.
    `absent` is there if the file is not, `why` alone if it cannot be read.
    """
    try:
        size, crc, sha256 = _checksums(path)
    except FileNotFoundError:
        return {"absent": True}
    except OSError as error:
        return {"why": f"it cannot be read: {error.strerror}"}
    frames, why = _load(path) if crc == wanted else (0, None)
    return {"bytes": size, "crc32c": crc, "sha256": sha256, "frames": frames, "why": why}


def _checksums(path: str) -> tuple[int, int, str]:
    size, crc, digest = 0, 0, hashlib.sha256()
    for piece in _pieces(path):
        size += len(piece)
        crc = crc32c(piece, crc)
        digest.update(piece)
    return size, crc, digest.hexdigest()


def _pieces(path: str) -> Iterator[bytes]:
    with Path(path).open("rb", buffering=0) as file:
        while piece := file.read(PIECE):
            yield piece


def _load(path: str) -> tuple[int, str | None]:
    """Return how many frames spt3g loads, and why it stopped if it did before the end."""
    reader, frames, start = _open_reader(path), 0, 0
    try:
        while read := reader.Process(None):
            if not len(read[0]) and not int(read[0].type):  # it takes zeros for that
                return frames, f"spt3g finds an empty frame without a type at byte {start}"
            frames += 1
            start = reader.tell()
    except (RuntimeError, ValueError, MemoryError) as error:
        words = str(error).partition("\n")[0].partition(" (in ")[0]
        return frames, f"spt3g does not load the frame at byte {start}: {words}"
    return frames, None


def _open_reader(path: str) -> Any:
    from spt3g import core  # noqa: PLC0415 - half a second, after the priority is low

    spt3g = cast("Any", core)
    spt3g.G3Logger.global_logger = spt3g.G3MultiLogger(spt3g.G3LoggerVector())
    return spt3g.G3Reader(path)


def _step_back() -> None:
    """Let recording go first: for the processor, and when memory is short."""
    os.nice(NICENESS)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


if __name__ == "__main__":
    sys.exit(main())
