"""The whole recorder against everything that may happen to it, in any order, on a disk that forgets.

Hypothesis draws the story: frames of every kind, cut anywhere; time; failing calls; kills at any call, of a run or of
a recovery; losses of power; people who fetch files. After each step what has to be true of the disk is.
More stories by hand: TIMESTREAM_MACHINE_EXAMPLES=2000.
"""

import errno
import os
import random
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from crc32c import crc32c
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.fuzz.plain import parse
from tests.fuzz.properties import spt3g_loads
from tests.unit.frames import frame
from tests.unit.recorder_world import EPOCH, ROOT, STAGING, Clock, Run
from tests.unit.simulated_disk import Fault, File, KilledError, SimulatedDisk
from timestream_aggregator.buffer import Connected, Disconnected, Silent, Stopped
from timestream_aggregator.files import OWN_FOLDER, UnusableFolderError
from timestream_aggregator.ledger import NAME
from timestream_api.ledger import Line, Loss, Published, Recovered, decode
from timestream_api.settings import RecorderSettings
from timestream_api.values import Layout

EXAMPLES: Final = int(os.environ.get("TIMESTREAM_MACHINE_EXAMPLES", "150"))
STEPS: Final = int(os.environ.get("TIMESTREAM_MACHINE_STEPS", "30"))
OWN: Final = ROOT / OWN_FOLDER
LEDGER: Final = OWN / NAME
LIMIT: Final = 1 << 20


def is_published(path: Path) -> bool:
    return OWN not in path.parents


@lru_cache(maxsize=4096)
def frames_of(content: bytes) -> tuple[tuple[bytes, ...], bool]:
    """Return the good frames a file begins with, and whether it holds nothing else."""
    stream, found = parse(content, LIMIT), list[bytes]()
    for seen in stream.frames:
        if not seen.good:
            break
        found.append(content[seen.start : seen.end])
    return tuple(found), sum(map(len, found)) == len(content)


@lru_cache(maxsize=4096)
def loads(data: bytes) -> bool:
    return spt3g_loads(data)


def is_observation(data: bytes) -> bool:
    return data[9:13] == b"O\0\0\0"


class GuardedDisk(SimulatedDisk):
    """Sees to it that what is published is whole and durable, never changes, and has a name of its own."""

    def __init__(self, chance: random.Random, clock: Clock) -> None:
        super().__init__(ROOT, chance)
        self.clock = clock
        self.dirty_since: dict[File, float] = {}
        self.named: dict[Path, File] = {}
        self.ledger_doubtful = False

    def struck(self, args: Sequence[Any]) -> None:
        ledger = self.names_seen.get(LEDGER)
        if args[0] in {LEDGER, OWN} or (isinstance(args[0], int) and self.opened(args[0]) is ledger):
            self.ledger_doubtful = True

    def _name(self, change: dict[Path, Any]) -> None:
        for path, node in change.items():
            if isinstance(node, File) and is_published(path):
                assert self.named.setdefault(path, node) is node, f"{path} is used again"
                assert node.durable == node.cached, f"{path} is published before it is on the disk"
                assert frames_of(bytes(node.cached))[1], f"{path} is published and not whole"
            assert node is not None or not is_published(path), f"{path} is taken away"
        super()._name(change)

    def _change(self, file: File, what: tuple[int, bytes] | int) -> None:
        if not file.pending:
            self.dirty_since[file] = self.clock.now
        before = bytes(file.cached)
        super()._change(file, what)
        names = [path for path, node in self.names_seen.items() if node is file and is_published(path)]
        assert not names or file.cached == before, f"{names} changed after it was published"

    def is_staged(self, file: File) -> bool:
        """Return whether the file is being written."""
        names = [path for path, node in self.names_seen.items() if node is file]
        return self.is_open(file) and any(path.parent == STAGING for path in names)

    def forget_names(self, known: set[Path]) -> None:
        """Let names be used again that no file has and that no ledger tells of."""
        self.named = {
            path: file for path, file in self.named.items() if path in self.names_seen or path in known
        }

    def fetch(self, path: Path) -> None:
        """Let somebody move a published file elsewhere."""
        for names in (self.names_seen, self.names_durable):
            names.pop(path, None)
        for change in self.names_pending:
            change.pop(path, None)


class Sender:
    """A sender with sessions and numbers; it repeats the last frame of each type to whoever connects."""

    def __init__(self, *, smurf: bool) -> None:
        self.smurf = smurf
        self.session = int(EPOCH)
        self.number = 0
        self.serial = 0
        self.last: dict[str, bytes] = {}

    def make(self, kind: str, size: int) -> bytes:
        """Return the next frame."""
        self.serial += 1
        data = b"%06d" % self.serial + b"x" * size
        if not self.smurf or kind == "P":
            return self.keep(kind, frame(kind, data=data))
        made = frame(kind, session=self.session, num=self.number, stream="ufm", data=data)
        self.number += 1
        return self.keep(kind, made)

    def flow(self, value: int, kind: str) -> bytes:
        """Return a flow-control frame; START and END are between sessions."""
        if value in {1, 2}:
            self.session, self.number = self.session + 7, 0
        return self.keep(kind, frame(kind, flow=value, data=b"%d" % value))

    def keep(self, kind: str, made: bytes) -> bytes:
        if kind not in "ST":
            self.last[kind] = made
        return made


class Wire:
    """What is sent on one connection, and how much of it has arrived."""

    def __init__(self) -> None:
        self.tail = b""  # sent and not yet arrived
        self.sent = 0
        self.arrived = 0
        self.frames = deque[tuple[int, bytes]]()  # those that have not arrived in full, and where they end

    def push(self, data: bytes) -> None:
        """Send a frame."""
        self.tail += data
        self.sent += len(data)
        self.frames.append((self.sent, data))

    def take(self, hold: int) -> bytes:
        """Return what arrives now: all but the last `hold` bytes."""
        stop = max(0, len(self.tail) - hold)
        data, self.tail = self.tail[:stop], self.tail[stop:]
        self.arrived += len(data)
        return data

    def whole(self) -> Iterator[bytes]:
        """Yield the frames that have arrived in full since this was asked last."""
        while self.frames and self.frames[0][0] <= self.arrived:
            yield self.frames.popleft()[1]


@dataclass(frozen=True)
class Batch:
    """Frames sent together: (type, size, numbers that get lost before it, whether it is the last one again)."""

    plan: list[tuple[str, int, int, bool]]
    hold: int  # bytes that do not arrive yet
    cuts: list[int]
    pause: float  # seconds, afterwards


PLANS: Final = st.lists(
    st.tuples(
        st.sampled_from("SSSSOWTNPC"),
        st.sampled_from([0, 40, 300, 900]),
        st.sampled_from([0, 0, 0, 0, 1, 2]),
        st.integers(0, 9).map(lambda luck: luck == 9),
    ),
    min_size=1,
    max_size=5,
)
BATCHES: Final = st.lists(
    st.builds(
        Batch,
        PLANS,
        st.sampled_from([0, 0, 0, 1, 5, 60]),
        st.lists(st.integers(1, 400), max_size=3),
        st.sampled_from([0.0, 0.0, 1.0, 3.0, 5.1, 25.0]),
    ),
    min_size=1,
    max_size=5,
)
CALLS: Final = st.sampled_from(
    [
        frozenset[str](),
        frozenset({"write", "append"}),
        frozenset({"sync", "sync_data"}),
        frozenset({"link", "unlink", "sync_folder"}),
        frozenset({"create", "lock", "names", "make_folder", "truncate"}),
        frozenset({"open", "read", "size", "is_at", "links"}),
    ]
)
ERRORS: Final = st.sampled_from([errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EINTR])
FAILURES: Final = st.builds(
    Fault, st.integers(0, 8), st.sampled_from([1, 1, 2, 1000]), ERRORS, st.booleans(), only=CALLS
)
SHORT_WRITES: Final = st.builds(
    Fault, st.integers(0, 6), st.integers(1, 4), st.just(0), only=st.just(frozenset({"write", "append"}))
)
KILLS: Final = st.builds(Fault, st.integers(0, 60), st.just(1), late=st.booleans(), kills=st.just(True))
RUNNING: Final = precondition(lambda self: self.run is not None)


class RecorderMachine(RuleBasedStateMachine):
    """Rules are what may happen; invariants what has to hold after each."""

    @initialize(
        chance=st.randoms(use_true_random=False),
        smurf=st.booleans(),
        layout=st.sampled_from(Layout),
        most=st.sampled_from([None, 2000]),
    )
    def begin(self, *, chance: random.Random, smurf: bool, layout: Layout, most: int | None) -> None:
        self.stack = ExitStack()
        self.clock = Clock()
        self.stack.enter_context(self.clock.everywhere())
        self.clock.on_wait = self.waited
        self.disk = GuardedDisk(chance, self.clock)
        self.settings = RecorderSettings(
            data_dir=ROOT, time_per_file=20, frame_gap=5, layout=layout, stream_id="ufm", max_stall=5
        ).model_copy(update={"max_file_bytes": most})  # less than users may set
        self.sender = Sender(smurf=smurf)
        self.run: Run | None = None
        self.patience = 0  # waits until a failing disk works again
        self.connection = 0
        self.wire: Wire | None = None
        self.previous: int | None = None  # session of the last frame sent to this run
        self.latest = b""
        self.ever: Counter[bytes] = Counter()  # frames given to files, by all runs but this one
        self.must: set[bytes] = set()  # frames that have to be somewhere
        self.fetched: Counter[bytes] = Counter()
        self.budget = 0  # frames that were noted as lost since the last look
        self.doubtful = 0  # frames in files that were left since a disk failed, and that it may have lost
        self.owed: list[tuple[int, int, bytes]] = []  # numbers that never came: session, number, next frame
        self.known: set[bytes] = set()  # frames given to files, by any run
        self.discarded = self.left = 0  # frames, by this run, that were accounted for
        self.pressed = False  # the buffer is full
        self.start(power_lost=False, recovers_first=True)

    # --- what may happen

    @precondition(lambda self: self.run is None)
    @rule(power_lost=st.booleans(), recovers_first=st.booleans())
    def start(self, *, power_lost: bool, recovers_first: bool) -> None:
        """Let the recorder start again, perhaps after a loss of power."""
        if power_lost:
            self.must &= self.on_disk(durable=True) | set(self.fetched)
        self.disk.restart(power_lost=power_lost)
        self.disk.forget_names({ROOT / path for path in self.paths_told()})
        self.boot(recovers_first=recovers_first)

    def boot(self, *, recovers_first: bool) -> None:
        def make() -> None:
            self.run = Run(self.disk, self.settings, lambda: self.pressed, recovers_first=recovers_first)

        try:
            self.live(make)
        except UnusableFolderError:
            self.disk.restart(power_lost=False)

    @rule(batches=BATCHES, power_lost=st.booleans(), recovers_first=st.booleans())
    def record(self, *, batches: list[Batch], power_lost: bool, recovers_first: bool) -> None:
        """Send frames for a while, after a start if the recorder is down."""
        if self.run is None:
            self.start(power_lost=power_lost, recovers_first=recovers_first)
        for batch in batches:
            if self.alive:
                self.send(batch)
            if self.alive and batch.pause:
                self.wait(batch.pause)

    @rule(
        batches=BATCHES,
        faults=st.lists(FAILURES | SHORT_WRITES, min_size=1, max_size=3),
        patience=st.sampled_from([1, 3, 15, 60]),
        power_lost=st.booleans(),
    )
    def record_in_trouble(
        self, *, batches: list[Batch], faults: list[Fault], patience: int, power_lost: bool
    ) -> None:
        """Send frames while calls fail, once or until the recorder has waited for a while."""
        self.patience = patience
        self.disk.faults += [replace(fault) for fault in faults]
        self.record(batches=batches, power_lost=power_lost, recovers_first=True)

    @rule(batches=BATCHES, kill=KILLS, power_lost=st.booleans(), recovers_first=st.booleans())
    def record_until_killed(
        self, *, batches: list[Batch], kill: Fault, power_lost: bool, recovers_first: bool
    ) -> None:
        """Send frames, kill the recorder at one of its calls, or at the end, and start it again."""
        self.disk.faults.append(replace(kill))
        self.record(batches=batches, power_lost=False, recovers_first=True)
        if self.alive:
            self.died()
        self.start(power_lost=power_lost, recovers_first=recovers_first)

    def send(self, batch: Batch) -> None:
        """Send frames; some numbers get lost, some frames come again."""
        wire = self.connect()
        for kind, size, skip, again in batch.plan:
            self.latest = self.latest if again and self.latest else self.make(kind, size, skip)
            wire.push(self.latest)
        self.deliver(batch.hold, batch.cuts)

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        assert self.run is not None
        calm = not self.disk.faults
        self.clock.now += seconds
        self.run.supply.items.append(None)
        self.work()
        if calm and self.alive:
            self.work_is_synced()

    @RUNNING
    @rule(value=st.sampled_from([0, 0, 1, 2, 3, 99]))
    def control(self, *, value: int) -> None:
        """Send flow control."""
        wire = self.connect()
        for kind in "OW" if value == 3 else "N":
            wire.push(self.sender.flow(value, kind))
        self.previous = None
        self.deliver(0, [])

    @RUNNING
    @rule(junk=st.sampled_from([b"HTTP/1.1 400 Bad Request", bytes(40), b"\x01\0\0\0\0" + bytes(30)]))
    def send_junk(self, *, junk: bytes) -> None:
        """Send what is no frame: the connection is of no use after that."""
        self.connect()
        self.deliver(0, [])
        if self.run is not None:
            self.put(junk, [])
            self.hang_up("refused")

    @RUNNING
    @rule()
    def send_damaged(self) -> None:
        """Send a frame with a bad crc."""
        self.connect()
        self.deliver(0, [])
        if self.run is not None:
            self.put(frame("S", data=b"damaged")[:-1] + b"?", [])

    @RUNNING
    @rule(why=st.sampled_from(["silent", "closed"]))
    def disconnect(self, *, why: str) -> None:
        """End the connection, or let it be silent for long."""
        self.hang_up(why)

    @RUNNING
    @rule()
    def recover(self) -> None:
        """Let recovery look at what runs before left."""
        run = self.run
        assert run is not None
        self.live(run.recovery.run)

    @rule()
    def heal_disk(self) -> None:
        """Let all calls succeed again."""
        self.disk.faults.clear()

    @rule(pressed=st.booleans())
    def press(self, *, pressed: bool) -> None:
        """Let the buffer be full, or not."""
        self.pressed = pressed

    @RUNNING
    @rule()
    def kill(self) -> None:
        """Kill the process while it does nothing."""
        self.died()

    @RUNNING
    @rule()
    def stop(self) -> None:
        """Tell the recorder to stop."""
        run = self.run
        assert run is not None
        run.output.stop(10.0)
        run.supply.items.append(Stopped())
        going = self.work()
        if self.run is None:
            return
        assert not going
        if not run.output.left:
            self.nothing_of_this_run_is_staged()
        self.check_disk()
        self.account_end(run)

    @rule(pick=st.integers(0, 50))
    def fetch(self, *, pick: int) -> None:
        """Let somebody take a published file away, once it has no other name."""
        there = self.disk.files()
        staged = {file for path, file in there.items() if path.parent == STAGING}
        found = [path for path, file in there.items() if is_published(path) and file not in staged]
        if found:
            path = found[pick % len(found)]
            held = frames_of(bytes(there[path].cached))[0]
            self.fetched.update(held[1:] if held and is_observation(held[0]) else held)
            self.must.difference_update(held)
            self.disk.fetch(path)

    def teardown(self) -> None:
        """In the end all is well again, everything is recovered, and nothing is owed."""
        if not hasattr(self, "disk"):
            return
        try:
            self.end_well()
        finally:
            self.stack.close()

    def end_well(self) -> None:
        self.disk.faults.clear()
        if self.run is not None:
            self.stop()
        self.pressed = False
        self.start(power_lost=False, recovers_first=True)
        assert self.run is not None
        self.recover()
        assert not [path for path in self.disk.files() if path.parent == STAGING], "not all is recovered"
        self.stop()
        self.check_disk()
        if not self.disk.ledger_doubtful:
            self.every_file_is_in_the_ledger()

    # --- how

    def live(self, work: Callable[[], object]) -> None:
        """Do something as the recorder's process, which may be killed on the way."""
        try:
            work()
        except KilledError:
            self.died()

    def work(self) -> bool:
        """Let the writer deal with what was put; return whether it goes on."""
        run, going = self.run, list[bool]()
        assert run is not None
        self.live(lambda: going.append(run.work()))
        if self.run is not None:
            self.account(run)
        return bool(going and going[0])

    def waited(self) -> None:
        """The disk works again when the recorder has waited often enough."""
        self.patience -= 1
        if self.patience <= 0:
            self.disk.faults = [fault for fault in self.disk.faults if fault.kills]

    def connect(self) -> Wire:
        """Return the connection; on a new one the sender first repeats what it sent last."""
        if self.wire is None:
            assert self.run is not None
            self.connection += 1
            self.wire, self.previous = Wire(), None
            self.run.supply.items.append(Connected(self.connection, self.clock.moment()))
            for data in self.sender.last.values():
                self.wire.push(data)
        return self.wire

    @property
    def alive(self) -> bool:
        return self.run is not None

    def hang_up(self, why: str) -> None:
        """End the connection, if there is one and a recorder to notice it."""
        if self.run is not None and self.wire is not None:
            items = self.run.supply.items
            if why == "silent":
                items.append(Silent(self.clock.moment()))
            items.append(Disconnected(self.connection, self.clock.moment(), why))
            self.wire = None
            self.work()

    def make(self, kind: str, size: int, skip: int) -> bytes:
        """Return the next frame; `skip` numbers before it get lost."""
        sender = self.sender
        if kind == "P" or not sender.smurf:
            return sender.make(kind, size)
        session, number = sender.session, sender.number
        sender.number += skip
        data = sender.make(kind, size)
        if self.previous == session:
            self.owed += [(session, number + n, data) for n in range(skip)]
        self.previous = session
        return data

    def deliver(self, hold: int, cuts: list[int]) -> None:
        """Let what was sent arrive, but for the last `hold` bytes, in pieces."""
        wire = self.connect()
        self.put(wire.take(hold), cuts)
        if self.run is None:
            return
        for data in wire.whole():
            if b"sostream_flowcontrol" not in data and data[9:10] != b"P":
                recorded = data in self.known
                assert recorded, f"a frame of type {data[9:10]} was received and not recorded"

    def put(self, data: bytes, cuts: list[int]) -> None:
        """Let bytes arrive, in pieces."""
        assert self.run is not None
        at = 0
        for size in [*cuts, len(data)]:
            self.run.supply.fill(self.connection, data[at : at + size], self.clock.moment())
            at += size
        self.work()

    def account(self, run: Run) -> None:
        """Take note of what the recorder has now, and has to keep."""
        self.must |= {data for data in run.seen.handed if data not in self.known}
        self.known |= set(run.seen.handed)
        self.count_losses(run)
        for owed in [owed for owed in self.owed if owed[2] in run.seen.handed]:
            self.owed.remove(owed)
            session, number, _ = owed
            notes = [fact for fact in run.seen.facts if isinstance(fact, Loss) and fact.session_id == session]
            assert any((note.first or 0) <= number <= (note.last or -1) for note in notes), (
                f"{owed[:2]} unnoted"
            )

    def count_losses(self, run: Run) -> None:
        """Take note of what the ledger tells of frames that are in no file, or in one that may be damaged."""
        self.budget, self.discarded = self.budget + run.discarded - self.discarded, run.discarded
        self.doubtful, self.left = self.doubtful + run.left - self.left, run.left

    def account_end(self, run: Run) -> None:
        """A run is over."""
        self.ever.update(run.seen.handed)
        self.known |= set(run.seen.handed)
        self.count_losses(run)
        self.run, self.owed, self.wire, self.previous = None, [], None, None
        self.discarded = self.left = 0
        self.disk.restart(power_lost=False)

    def died(self) -> None:
        """The process was killed: what the kernel had by then has to stay."""
        run = self.run
        if run is not None:
            self.must |= (set(run.seen.handed) - self.known) & self.on_disk()
            self.account_end(run)
        self.disk.restart(power_lost=False)

    # --- what has to hold

    def on_disk(self, *, durable: bool = False) -> set[bytes]:
        """Return the frames in published and staged files; only those that nothing can take away any more."""
        found = set[bytes]()
        for path, file in self.disk.files().items():
            if is_published(path) or path.parent == STAGING:
                if not durable:
                    found.update(frames_of(bytes(file.cached))[0])
                elif self.disk.has_lasting_name(file):
                    found.update(frames_of(bytes(file.durable))[0])
        return found

    def contents(self) -> Iterator[tuple[bytes, ...]]:
        """Yield the frames of each published and staged file, each once whatever names it has."""
        files = {file: path for path, file in self.disk.files().items()}
        for file, path in files.items():
            if is_published(path) or path.parent == STAGING:
                yield frames_of(bytes(file.cached))[0]

    @invariant()
    def check_disk(self) -> None:
        if not hasattr(self, "disk"):
            return
        self.published_files_are_readable()
        self.nothing_stands_twice()
        self.nothing_is_missing()

    def published_files_are_readable(self) -> None:
        for path, file in self.disk.files().items():
            if is_published(path):
                found, whole = frames_of(bytes(file.cached))
                assert found, f"{path} is empty"
                assert whole, f"{path} cannot be read to its end"
                assert all(map(loads, found)), f"spt3g does not load {path}"
                assert self.disk.named.get(path) is file

    def nothing_stands_twice(self) -> None:
        copies = Counter(self.fetched)
        for held in self.contents():
            copies.update(held[1:] if held and is_observation(held[0]) else held)
        handed = self.ever + (self.run.seen.handed if self.run else Counter[bytes]())
        more = [data for data, count in copies.items() if count > handed[data]]
        assert not more, f"{len(more)} frames stand on the disk more often than they were recorded"

    def nothing_is_missing(self) -> None:
        missing = self.must - self.on_disk()
        noted = self.budget + self.doubtful
        assert len(missing) <= noted, f"{len(missing)} frames are missing, {noted} noted as lost"
        self.must -= missing
        self.doubtful -= max(0, len(missing) - self.budget)
        self.budget = 0
        staged = [file for path, file in self.disk.files().items() if path.parent == STAGING]
        if all(map(self.disk.is_open, staged)):
            self.doubtful = 0

    def is_safe(self, file: File) -> bool:
        """Return whether a loss of power leaves all of the file."""
        return not file.cached or (not file.pending and self.disk.has_lasting_name(file))

    def work_is_synced(self) -> None:
        """Assert that what a file has had for as long as the sync interval is on the disk."""
        since = self.clock.now - self.settings.sync_interval
        late = [
            file
            for file in self.disk.files().values()
            if self.disk.is_staged(file) and not self.is_safe(file) and self.disk.dirty_since[file] < since
        ]
        assert not late, "what was written is not on the disk after the sync interval"

    def nothing_of_this_run_is_staged(self) -> None:
        """Assert that a clean stop publishes; what the disk lost, or runs before left, may still be there."""
        staged = [file for path, file in self.disk.files().items() if path.parent == STAGING]
        assert not [file for file in staged if self.disk.is_open(file)], "stopped, and a staged file is open"

    def lines(self) -> list[Line]:
        file = self.disk.files().get(LEDGER)
        text = bytes(file.cached).decode(errors="replace") if file else ""
        return [line for each in text.splitlines() if (line := decode(each)) is not None]

    def paths_told(self) -> set[str]:
        told = (line.fact for line in self.lines())
        return {fact.path for fact in told if isinstance(fact, Published | Recovered)}

    def every_file_is_in_the_ledger(self) -> None:
        """Assert that the ledger tells of each published file what is in it."""
        told = {
            (fact.path, fact.bytes, fact.frames, fact.crc32c)
            for fact in (line.fact for line in self.lines())
            if isinstance(fact, Published | Recovered)
        }
        for path, file in self.disk.files().items():
            if is_published(path):
                name, data = str(path.relative_to(ROOT)), bytes(file.cached)
                assert (name, len(data), len(frames_of(data)[0]), f"{crc32c(data):08x}") in told, (
                    f"{name} untold"
                )


RecorderMachine.TestCase.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=STEPS,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
TestWhateverHappensNoFrameIsLostUnnoticed = RecorderMachine.TestCase
