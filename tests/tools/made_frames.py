"""G3 frames made by hand from the description of the format: no code of the recorder or of spt3g is in them."""

import struct
from collections.abc import Iterable, Mapping

from crc32c import crc32c
from hypothesis import strategies as st

INT_CLASS = b"G3Int"


def small_value(kind: bytes, value: bytes) -> bytes:
    """Return the blob of a small value of the class `kind`."""
    return (
        struct.pack("<BIQ", 1, 0x80000001, len(kind)) + kind + struct.pack("<III", 0x80000001, 1, 1) + value
    )


def g3_int(value: int) -> bytes:
    return small_value(INT_CLASS, struct.pack("<q", value))


def g3_string(text: str | bytes) -> bytes:
    data = text if isinstance(text, bytes) else text.encode()
    return small_value(b"G3String", struct.pack("<Q", len(data)) + data)


def g3_bool(value: bool) -> bytes:  # noqa: FBT001
    return small_value(b"G3Bool", struct.pack("<?", value))


def g3_double(value: float) -> bytes:
    return small_value(b"G3Double", struct.pack("<d", value))


def g3_time(ticks: int) -> bytes:
    return small_value(b"G3Time", struct.pack("<q", ticks))


def header(kind: str, entries: int) -> bytes:
    return struct.pack("<BIiI", 1, 1, entries, int.from_bytes(kind.encode(), "big"))


def entry(name: bytes, blob: bytes) -> bytes:
    return struct.pack("<Q", len(name)) + name + struct.pack("<Q", len(blob)) + blob


def frame_crc(entries: Iterable[tuple[bytes, bytes]]) -> int:
    crc = 0xFFFFFFFF
    for name, blob in entries:
        crc = crc32c(blob, crc32c(name, crc))
    return crc ^ 0xFFFFFFFF


def raw_frame(kind: str, entries: Mapping[bytes, bytes]) -> bytes:
    """Return a frame's bytes: names and blobs as they are given, in that order."""
    body = b"".join(entry(name, blob) for name, blob in entries.items())
    return header(kind, len(entries)) + body + struct.pack("<I", frame_crc(entries.items()))


def frame(
    kind: str = "S",
    *,
    flow: int | None = None,
    session: int | None = None,
    num: int | None = None,
    stream: str | None = None,
    data: bytes = b"data",
) -> bytes:
    """Return a frame with the streamer's keys that are given, and `data` as the blob of one more."""
    entries = {b"data": data}
    if stream is not None:
        entries[b"sostream_id"] = g3_string(stream)
    for name, value in ((b"sostream_flowcontrol", flow), (b"session_id", session), (b"frame_num", num)):
        if value is not None:
            entries[name] = g3_int(value)
    return raw_frame(kind, entries)


def raw_frames() -> st.SearchStrategy[bytes]:
    """Frames of few shapes, as a sender's are, with every kind of value under every name."""
    integers = st.integers(-(2**63), 2**63 - 1)
    blobs = st.one_of(
        integers.map(g3_int),
        st.text(max_size=20).map(g3_string),
        st.booleans().map(g3_bool),
        st.binary(max_size=4),
        st.sampled_from([b"", bytes(512), bytes(513), bytes(range(256)) * 8]),
    )
    names = st.sampled_from(
        [
            b"session_id",
            b"session_ix",
            b"frame_num",
            b"sostream_id",
            b"sostream_flowcontrol",
            b"data",
            b"",
            b"x" * 1024,
        ]
    )
    kinds = st.sampled_from(["S", "O", "N", "ABCD"])
    return st.builds(raw_frame, kinds, st.dictionaries(names, blobs, min_size=1, max_size=6))
