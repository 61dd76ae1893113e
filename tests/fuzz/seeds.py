"""Makes the corpus: one small file of each kind that a recorder may meet. `python -m tests.fuzz.seeds`."""

import struct
from typing import Any, Final, cast

from tests.fuzz.mutations import CORPUS, mend
from tests.tools.made_frames import (
    entry,
    frame,
    g3_bool,
    g3_double,
    g3_int,
    g3_string,
    g3_time,
    header,
    raw_frame,
)
from timestream_aggregator.commands.simulate.schedule import Kind, Plan
from timestream_aggregator.commands.simulate.streamer import Streamer

_SMALL: Final = frame(session=1_700_000_000, num=1, stream="ufm_mv19")

_ODD_NAME: Final = raw_frame("C", {b"a": b"b", b"n" * 1025: b"value", b"c": b"d"})
_ABSURD: Final = struct.pack("<Q4sQ", 4, b"data", 2**40) + bytes(8)
_VERSION_2: Final = struct.pack("<BIiI", 1, 2, 1, ord("C"))
_VERSION_2_EMPTY: Final = struct.pack("<BIiI", 1, 2, 0, ord("C")) + bytes(4)


def _typed(kind: str) -> bytes:
    values = {b"time": g3_time(170_000_000_012_345_678), b"a": g3_double(1.5), b"b": g3_bool(True)}
    return raw_frame(kind, {b"session_id": g3_int(7), b"frame_num": g3_int(1), **values})


def _flow(value: int, kind: str = "N") -> bytes:
    return raw_frame(kind, {b"sostream_flowcontrol": g3_int(value)})


def _big_endian() -> bytes:
    name, blob = b"frame_num", g3_int(1)
    body = struct.pack(">Q", len(name)) + name + struct.pack(">Q", len(blob)) + blob
    return struct.pack(">BIiI", 0, 1, 1, ord("S")) + body + struct.pack(">I", 0)


def _doubled_entry() -> bytes:
    one, two = entry(b"frame_num", g3_int(1)), entry(b"frame_num", g3_int(2))
    return mend(header("S", 2) + one + two + bytes(4))


def _wrong_value() -> bytes:
    keys = (b"sostream_flowcontrol", b"session_id", b"frame_num", b"sostream_id")
    return raw_frame("S", dict.fromkeys(keys, b"")) + raw_frame(
        "S", dict.fromkeys(keys, g3_string("x" * 600))
    )


SEEDS: Final = {
    **{f"type-{kind}": _typed(kind) for kind in ("S", "O", "W", "N", "P", "C", "T", "H", "Z", "ABCD")},
    "flow-control": b"".join(_flow(value) for value in range(4)) + _flow(99) + _flow(3, "W"),
    "flow-control-no-integer": raw_frame("N", {b"sostream_flowcontrol": g3_string("START")}),
    "values-of-other-kinds": _wrong_value(),
    "stream-id-no-text": raw_frame("S", {b"sostream_id": g3_string(b"a\xff\x00b")}),
    "same-shape": b"".join(frame(session=7, num=number, stream="ufm") for number in range(6)),
    "shape-changes": _SMALL * 3 + frame(session=7, num=2, stream="ufm_mv19", data=b"x" * 600) + _SMALL,
    "blob-512-513": frame(data=bytes(512)) + frame(data=bytes(513)),
    "empty-name-and-blob": raw_frame("S", {b"": b""}),
    "longest-name": raw_frame("S", {b"n" * 1024: b"value"}),
    "many-entries": raw_frame("S", {b"%03d" % number: b"x" for number in range(300)}),
    "entry-twice": _doubled_entry(),
    "bad-crc": _SMALL + _SMALL[:-1] + bytes([_SMALL[-1] ^ 1]) + _SMALL,
    "torn-header": _SMALL + _SMALL[:7],
    "torn-name": _SMALL + _SMALL[:24],
    "torn-blob": _SMALL + _SMALL[:60],
    "torn-crc": _SMALL + _SMALL[:-2],
    "torn-large-blob": frame(data=bytes(3000))[:2000],
    "name-1025": _SMALL + header("S", 1) + entry(b"n" * 1025, b"value"),
    "name-length-most": header("S", 1) + b"\xff" * 8,
    "blob-length-2-31": _SMALL + header("S", 1) + struct.pack("<Q4sQ", 4, b"data", 2**31) + bytes(40),
    "blob-length-most": header("S", 1) + struct.pack("<Q4sQ", 4, b"data", 2**64 - 1),
    "entries-0": _SMALL + header("S", 0) + bytes(4),
    "entries-minus-1": header("S", -1) + entry(b"a", b"b"),
    "entries-4097": header("S", 4097) + entry(b"a", b"b"),
    "entries-2-31": header("S", 2**31 - 1) + entry(b"a", b"b"),
    "version-2": struct.pack("<BIiI", 1, 2, 1, ord("S")) + entry(b"a", b"b"),
    "type-none": struct.pack("<BIiI", 1, 1, 1, 0) + entry(b"a", b"b"),
    "type-justified-left": struct.pack("<BIiI", 1, 1, 1, 0x53000000) + entry(b"a", b"b"),
    "version-256": struct.pack("<BIiI", 1, 256, 1, ord("S")) + entry(b"a", b"b"),
    "odd-name": _SMALL + _ODD_NAME + _SMALL,
    "odd-name-then-absurd": _SMALL + header("C", 2) + entry(b"n" * 1025, b"value") + _ABSURD,
    "odd-type": _SMALL + struct.pack("<BIiI", 1, 1, 1, 0xC3A9) + entry(b"a", b"b") + bytes(4) + _SMALL,
    "odd-version": _SMALL + _VERSION_2 + entry(b"a", b"b") + bytes(4) + _VERSION_2_EMPTY + _SMALL,
    "zeros": bytes(100),
    "zero-filled-tail": _SMALL * 2 + bytes(500),
    "big-endian": _big_endian(),
    "http": b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
    "tls": b"\x15\x03\x03\x00\x02\x02\x46",
    "tls-hello": b"\x16\x03\x01\x00\x2e\x01\x00\x00\x2a\x03\x03" + bytes(range(35)),
    "ssh": b"SSH-2.0-OpenSSH_9.6\r\n",
    "text": b"220 mail.example ESMTP ready\r\n",
    "noise": bytes(number * 167 % 251 for number in range(200)),
    "empty": b"",
}


def smurf() -> bytes:
    """Return a short session of the project's simulator, as spt3g writes it."""
    streamer = Streamer(Plan(channels=3, sample_rate=20.0, stream_id="ufm_mv19"))
    kinds = (Kind.START, Kind.OBSERVATION, Kind.STATUS, Kind.SCAN, Kind.DIFFERENCE, Kind.SCAN)
    kinds += (Kind.OBSERVATION_END, Kind.END, Kind.CLEANSE_OBSERVATION, Kind.CLEANSE_WIRING, Kind.ALIVE)
    sent = [streamer.frame(kind, 1_700_000_000.0 + at) for at, kind in enumerate(kinds)]
    return b"".join(cast("Any", each).__getstate__()[1] for each in sent)


def derived(smurf: bytes) -> dict[str, bytes]:
    """Return damaged streams made of a real one."""
    half, third = len(smurf) // 2, len(smurf) // 3
    return {
        "smurf": smurf,
        "smurf-hole": smurf[:third] + smurf[half:],
        "smurf-flipped": smurf[:half] + bytes([smurf[half] ^ 0x40]) + smurf[half + 1 :],
        "smurf-torn": smurf[:-40],
        "smurf-begins-late": smurf[third:],
    }


def main() -> None:
    """Write the files."""
    made = SEEDS | derived(smurf())
    for name, data in made.items():
        (CORPUS / f"{name}.bin").write_bytes(data)
    print(f"{len(made)} files in {CORPUS}")


if __name__ == "__main__":
    main()
