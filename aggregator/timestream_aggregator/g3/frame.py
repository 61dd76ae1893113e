"""One G3 frame: what the recorder knows of it, and a reader that follows its structure as bytes arrive."""

import struct
from dataclasses import dataclass
from typing import Final

from crc32c import crc32c

from timestream_aggregator.g3 import format as g3
from timestream_aggregator.g3.format import U32, U64

NOT_AN_INT: Final = -1

# A blob up to this size is read when the whole of it is there, a larger one as it arrives.
_SMALL_BLOB: Final = 512
LONGEST_ITEM: Final = 2 * U64.size + g3.MAX_NAME_BYTES + _SMALL_BLOB
"""The most bytes that a reader may leave unread for want of more."""
_LONGEST_RUN: Final = 64
_HEADER_TO_COME: Final = -1  # in place of the number of entries to come
_ODD: Final = -2
_NO_CRC: Final = -1  # differs from every trailer
_LEAST_FOLLOWED: Final = 64 << 20
_FLOW_CONTROL: Final = b"sostream_flowcontrol"
_SESSION_ID: Final = b"session_id"
_FRAME_NUM: Final = b"frame_num"
_STREAM_ID: Final = b"sostream_id"
_KEY_LENGTHS: Final = frozenset(len(key) for key in (_FLOW_CONTROL, _SESSION_ID, _FRAME_NUM, _STREAM_ID))


@dataclass(frozen=True, slots=True)
class Frame:
    """One whole frame with a good crc. `parts` are its bytes as they came: views of the caller's segments."""

    type: str
    parts: tuple[memoryview, ...]
    size: int
    crc: int
    flow_control: int | None = None
    """Value of sostream_flowcontrol; None without that key, NOT_AN_INT if it holds something else."""
    session_id: int | None = None
    frame_num: int | None = None
    stream_id: str | None = None
    """sostream_id as the sender wrote it: not safe as a path."""


@dataclass(frozen=True, slots=True)
class Damaged:
    """What is put aside, since it is no good frame, while its end is known; `why` says what is wrong with it.

    `offset` is that of its first byte in the stream. An `odd` one is not held to its crc, and `parts` are no
    more than its first bytes.
    """

    parts: tuple[memoryview, ...]
    size: int
    offset: int
    why: str
    odd: bool = False


@dataclass(frozen=True, slots=True)
class _Run:
    """Small entries in a row with known lengths, which one call of struct reads and one of crc32c checks."""

    layout: struct.Struct
    lengths: tuple[int, ...]  # of name and blob in turn
    known: tuple[int, ...]  # which of the unpacked fields may be names that the recorder knows

    @classmethod
    def of(cls, lengths: tuple[int, ...]) -> "_Run":
        layout = struct.Struct("<" + "".join(f"Q{length}s" for length in lengths))
        names = range(0, len(lengths), 2)
        return cls(layout, lengths, tuple(2 * at + 1 for at in names if lengths[at] in _KEY_LENGTHS))


class _Runs:
    """The runs of small entries met so far: a sender repeats them from frame to frame.

    They are found by the frame's type and the number of entries to come. Lengths that come twice make a run.
    """

    _MOST: Final = 64

    def __init__(self) -> None:
        self._once: dict[tuple[str, int], tuple[int, ...]] = {}
        self._known: dict[tuple[str, int], _Run] = {}
        self.find = self._known.get

    def learn(self, place: tuple[str, int], lengths: tuple[int, ...]) -> None:
        """Take note of the lengths that a frame had at `place`."""
        if len(self._once) >= self._MOST:
            self._once.clear()
            self._known.clear()
        if self._once.get(place) == lengths:
            self._known[place] = _Run.of(lengths)
        self._once[place] = lengths


def most_followed(limit: int) -> int:
    """Return how many bytes of a stream may be passed over for one odd frame, where frames have up to `limit`.

    What outgrew the limit is mostly little larger than it. A length that was damaged promises anything, and
    what is passed over for it are good frames: a connection that is dropped costs less than gigabytes of them.
    """
    return max(2 * limit, _LEAST_FOLLOWED)


class FrameReader:
    """Follows a frame's structure through memory that is contiguous for a while; goes on where it stopped.

    `advance` does that for good frames. It stops at what makes a frame `odd`: from there on `skip` follows.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._most = most_followed(limit)
        self.why = ""  # the frame is odd, if it is
        self._fields = 0  # names and blobs of an odd frame to come
        self._over = 0  # bytes to come of the one that is passed over
        self._runs = _Runs()
        self._lengths: list[int] = []  # of the small entries just read one by one
        self.restart()

    def restart(self) -> None:
        """Make ready for the next frame."""
        self.done = False
        self.size = 0  # of all that is read, or decided to be
        self._type = ""
        self._left = _HEADER_TO_COME  # entries to come
        self._rest = 0  # bytes to come of a large blob
        self._crc = g3.CRC_START
        self._trailer = 0
        self._values: dict[bytes, bytes] = {}  # blobs, by names that may be known

    def advance(self, buffer: memoryview, at: int, end: int) -> int:
        """Read on in buffer[at:end]; return where reading stopped: the frame's end, or for want of bytes."""
        if self._left == _HEADER_TO_COME and end - at >= g3.HEADER.size:
            at = self._read_header(buffer, at)
        if self._rest:
            at = self._read_rest(buffer, at, end)
        if self._left > 0 and not self._rest:
            at = self._read_entries(buffer, at, end)
        if self._left == 0 and not self._rest and not self.done and end - at >= U32.size:
            (self._trailer,) = U32.unpack_from(buffer, at)
            self.size += U32.size
            self.done = True
            at += U32.size
        return at

    @property
    def odd(self) -> bool:
        """Whether only the end of this frame is of interest."""
        return self._left == _ODD

    def skip(self, buffer: memoryview, at: int, end: int) -> int:
        """Follow the lengths of an odd frame in buffer[at:end]; return where that stopped, as `advance` does."""
        while not self.done:
            step = min(self._over, end - at)
            at, self._over = at + step, self._over - step
            if self._over or (self._fields and end - at < U64.size):
                break
            if self._fields:
                self._begin_field(*U64.unpack_from(buffer, at))
                at += U64.size
            else:
                self.done = True
        return at

    def item(self, parts: tuple[memoryview, ...], offset: int) -> Frame | Damaged:
        """Return the frame that was read; `parts` are its bytes, `offset` is where it begins."""
        crc, value = self._crc ^ g3.CRC_START, self._values.get
        if crc != self._trailer:
            why = f"its crc is {crc:08x} and should be {self._trailer:08x}"
            return Damaged(parts, self.size, offset, why)
        flow_control = g3.int_value(value(_FLOW_CONTROL))
        if flow_control is None and _FLOW_CONTROL in self._values:
            flow_control = NOT_AN_INT
        session_id, frame_num = g3.int_value(value(_SESSION_ID)), g3.int_value(value(_FRAME_NUM))
        stream_id = g3.string_value(value(_STREAM_ID))
        return Frame(self._type, parts, self.size, crc, flow_control, session_id, frame_num, stream_id)

    def _read_header(self, buffer: memoryview, at: int) -> int:
        mark, version, entries, code = g3.HEADER.unpack_from(buffer, at)
        kind = g3.frame_type(code)
        self._type, self._left, self.size = kind, entries, g3.HEADER.size
        if mark != 1 or version != 1 or not 0 <= entries <= g3.MAX_ENTRIES or not kind:
            self._be_odd(g3.oddity_of(bytes(buffer[at : at + g3.HEADER.size])))
        return at + g3.HEADER.size

    def _be_odd(self, why: str) -> None:
        """Read no more of the frame than where it ends: all before the next entry is read."""
        self.why, self._fields, self._left, self._crc = why, 2 * self._left, _ODD, _NO_CRC
        self._over = 0 if self._fields else U32.size
        self.size += self._over

    def _begin_field(self, length: int) -> None:
        """Pass over a name or blob of `length` bytes, behind the last one the crc as well."""
        self._fields -= 1
        self._over = length if self._fields else length + U32.size
        self.size += U64.size + self._over
        if self.size > self._most:
            g3.refuse_size(self._type, self.size, self._most)

    def _read_entries(self, buffer: memoryview, at: int, end: int) -> int:
        """Read entries, where they are known many at a time."""
        while self._left and not self._rest:
            stop = self._read_run(buffer, at, end) or self._read_entry(buffer, at, end)
            if not stop:
                return at
            at = stop
        return at

    def _read_run(self, buffer: memoryview, at: int, end: int) -> int:
        """Read entries like those of earlier frames; return where they end, 0 if they are not (all) there."""
        run = self._runs.find((self._type, self._left))
        if run is None or run.layout.size > min(end - at, self._limit - U32.size - self.size):
            return 0
        fields = run.layout.unpack_from(buffer, at)
        if fields[0::2] != run.lengths:
            return 0
        for name in run.known:
            self._values[fields[name]] = fields[name + 2]
        self._crc = crc32c(b"".join(fields[1::2]), self._crc)
        self._left -= len(run.lengths) // 2
        self.size += run.layout.size
        self._lengths.clear()
        return at + run.layout.size

    def _read_entry(self, buffer: memoryview, at: int, end: int) -> int:
        """Read one entry, of a large one what is there; return where that ends, 0 if it is too little."""
        blob = self._find_blob(buffer, at, end)
        if not blob:
            return 0
        (size,) = U64.unpack_from(buffer, blob - U64.size)
        whole = self.size + blob - at + size + U32.size
        if whole > self._limit:
            self._be_odd(g3.odd_size(self._type, whole, self._limit))
            return 0
        stop = min(blob + size, end)
        if size <= _SMALL_BLOB and stop < blob + size:
            return 0
        name = buffer[at + U64.size : blob - U64.size]
        if len(name) in _KEY_LENGTHS:
            self._values[bytes(name)] = bytes(buffer[blob:stop]) if size <= _SMALL_BLOB else b""
        self._crc = crc32c(buffer[blob:stop], crc32c(name, self._crc))
        self._left -= 1
        self._rest = blob + size - stop
        self.size += blob - at + size
        self._learn(len(name), size)
        return stop

    def _find_blob(self, buffer: memoryview, at: int, end: int) -> int:
        """Return where the blob of the entry at `at` begins, 0 if what comes before it is not all there."""
        if end - at < U64.size:
            return 0
        (length,) = U64.unpack_from(buffer, at)
        if length > g3.MAX_NAME_BYTES:
            self._be_odd(g3.odd_name(self._type, length))
            return 0
        blob = at + 2 * U64.size + length
        return blob if blob <= end else 0

    def _learn(self, name: int, blob: int) -> None:
        """Take note of the lengths of an entry that was read by itself."""
        small = blob <= _SMALL_BLOB
        if small:
            self._lengths += (name, blob)
        if self._lengths and (not small or not self._left or len(self._lengths) >= 2 * _LONGEST_RUN):
            entries = len(self._lengths) // 2
            self._runs.learn((self._type, self._left + entries + (not small)), tuple(self._lengths))
            self._lengths.clear()

    def _read_rest(self, buffer: memoryview, at: int, end: int) -> int:
        stop = min(at + self._rest, end)
        self._crc = crc32c(buffer[at:stop], self._crc)
        self._rest -= stop - at
        return stop
