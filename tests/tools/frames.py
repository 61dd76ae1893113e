"""G3 frames without spt3g and without the recorder's own parser: what the tests compare files with."""

import hashlib
import struct
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from crc32c import crc32c

Value = str | int | bool | float

_HEADER: Final = struct.Struct("<BIiI")
_CRC_START: Final = 0xFFFFFFFF  # and no final xor: crc32c() would do both ends


def frame_bytes(kind: str, keys: Mapping[str, Value], payload: int = 0) -> bytes:
    """Return a well-formed frame of type `kind` (S, O, W, N, ...), with a text of `payload` bytes in it."""
    values = dict(keys) | ({"payload": "x" * payload} if payload else {})
    body, crc = b"", _CRC_START
    for name, value in values.items():
        text, blob = name.encode(), _blob(value)
        body += struct.pack("<Q", len(text)) + text + struct.pack("<Q", len(blob)) + blob
        crc = crc32c(blob, crc32c(text, crc))
    code = int.from_bytes(kind.encode(), "big")
    return _HEADER.pack(1, 1, len(values), code) + body + struct.pack("<I", crc ^ _CRC_START)


def flow_control(value: int) -> bytes:
    """Return a flow-control frame: 0 ALIVE, 1 START, 2 END."""
    return frame_bytes("N", {"sostream_flowcontrol": value})


def read_frames(path: Path) -> list[bytes]:
    """Return the frames of a file. ValueError: a torn tail, bytes that are no frame, a bad crc."""
    return list(split_frames(path.read_bytes()))


def digests(path: Path) -> list[str]:
    """Return the sha256 of each frame of a file."""
    return [hashlib.sha256(frame).hexdigest() for frame in read_frames(path)]


def split_frames(data: bytes) -> Iterator[bytes]:
    """Yield the frames that `data` consists of. ValueError as for `read_frames`."""
    start = 0
    while start < len(data):
        try:
            end = _frame_end(data, start)
        except (struct.error, OverflowError):  # it ends too early, or lies about its size
            raise ValueError(f"torn: the frame at byte {start} of {len(data)} is not whole") from None
        yield data[start:end]
        start = end


def _frame_end(data: bytes, start: int) -> int:
    """Return where the frame at `start` ends."""
    mark, version, entries, _ = _HEADER.unpack_from(data, start)
    if (mark, version) != (1, 1) or entries < 0:
        raise ValueError(f"no frame at byte {start}: {data[start : start + _HEADER.size].hex(' ')}")
    at, crc = start + _HEADER.size, _CRC_START
    for _part in range(2 * entries):  # a name, a blob, a name, a blob, ...
        (size,) = struct.unpack_from("<Q", data, at)
        crc = crc32c(data[at + 8 : at + 8 + size], crc)
        at += 8 + size
    if struct.unpack_from("<I", data, at)[0] != crc ^ _CRC_START:
        raise ValueError(f"bad crc: the frame at byte {start}")
    return at + 4


def _blob(value: Value) -> bytes:
    """Return a G3Bool, G3Int, G3Double or G3String as spt3g stores it."""
    match value:
        case bool():
            return _object(b"G3Bool") + struct.pack("<?", value)
        case int():
            return _object(b"G3Int") + struct.pack("<q", value)
        case float():
            return _object(b"G3Double") + struct.pack("<d", value)
        case str():
            return _object(b"G3String") + struct.pack("<Q", len(value.encode())) + value.encode()


def _object(name: bytes) -> bytes:
    """Return what stands before the value of a small object of class `name`."""
    return struct.pack("<BIQ", 1, 0x80000001, len(name)) + name + struct.pack("<III", 0x80000001, 1, 1)


_COUNT: Final = """
import sys
from spt3g import core
reader, frames = core.G3Reader(sys.argv[1]), 0
while out := reader.Process(None):
    assert len(out[0]) > 0, f"an empty frame after {frames} frames"
    frames += 1
print(frames)
"""


def spt3g_reads(path: Path) -> int:
    """Return how many frames spt3g's reader loads from a file; AssertionError with its words if not all."""
    done = subprocess.run(
        [sys.executable, "-c", _COUNT, str(path)], check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, f"spt3g cannot read {path}: {done.stderr[-2000:]}"
    return int(done.stdout)
