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
REFUSALS: Final = (RuntimeError, ValueError, MemoryError)
"""What spt3g's reader raises about bytes that it cannot read."""


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
    for piece in pieces(path):
        size += len(piece)
        crc = crc32c(piece, crc)
        digest.update(piece)
    return size, crc, digest.hexdigest()


def pieces(path: str | Path) -> Iterator[bytes]:
    """Yield the bytes of a file."""
    with Path(path).open("rb", buffering=0) as file:
        while piece := file.read(PIECE):
            yield piece


def _load(path: str) -> tuple[int, str | None]:
    """Return how many frames spt3g loads, and why it stopped if it did before the end."""
    frames, start = 0, 0
    try:
        reader = open_reader(path)
        while read := reader.Process(None):
            if not len(read[0]) and not int(read[0].type):  # it takes zeros for that
                return frames, f"spt3g finds an empty frame without a type at byte {start}"
            frames += 1
            start = reader.tell()
    except REFUSALS as error:
        return frames, f"spt3g does not load the frame at byte {start}: {in_short(error)}"
    return frames, None


def open_reader(path: str | Path) -> Any:
    """Return spt3g's reader, which has no types, and keep spt3g from writing messages of its own."""
    from spt3g import core  # noqa: PLC0415 - 60 MB and half a second: of those who need it, at low priority

    spt3g = cast("Any", core)
    spt3g.G3Logger.global_logger = spt3g.G3MultiLogger(spt3g.G3LoggerVector())
    try:
        return spt3g.G3Reader(str(path))
    except (TypeError, UnicodeEncodeError) as error:
        raise ValueError("spt3g opens no path that is not UTF-8") from error


def in_short(error: BaseException) -> str:
    """Return what spt3g says, without the place in its sources."""
    return str(error).partition("\n")[0].partition(" (in ")[0]


def _step_back() -> None:
    """Let recording go first: for the processor, and when memory is short."""
    os.nice(NICENESS)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


if __name__ == "__main__":
    sys.exit(main())
