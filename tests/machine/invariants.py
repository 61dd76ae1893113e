"""A recorder on its stage: how its life goes on, and what has to hold of the disk at every moment of it."""

import random
from collections import Counter
from collections.abc import Callable, Iterator

from crc32c import crc32c
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.machine.disk_layers import File
from tests.machine.guarded_disk import LEDGER, GuardedDisk, frames_of, is_observation, is_published, loads
from tests.machine.run import ROOT, STAGING, Run, TurnedClock
from tests.machine.simulated_disk import KilledError
from tests.machine.story import Sender, Wire
from timestream_aggregator.buffer import LinkDown, LinkUp, Silent
from timestream_aggregator.disk.folder import UnusableFolderError
from timestream_api.ledger import Line, Loss, Published, Recovered, decode
from timestream_api.settings import RecorderSettings
from timestream_api.values import Layout


class Invariants(RuleBasedStateMachine):
    """A machine with a beginning and invariants. What may happen then, others say."""

    @initialize(
        chance=st.randoms(use_true_random=False),
        smurf=st.booleans(),
        layout=st.sampled_from(Layout),
        most=st.sampled_from([None, 2000]),
    )
    def begin(self, *, chance: random.Random, smurf: bool, layout: Layout, most: int | None) -> None:
        self.clock = TurnedClock()
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
        self.damaged: set[File] = set()
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
            self.run = Run(
                self.disk, self.settings, self.clock, lambda: self.pressed, recovers_first=recovers_first
            )

        try:
            self.live(make)
        except UnusableFolderError:
            self.disk.restart(power_lost=False)

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
        """The disk works again when the recorder has waited often enough; meanwhile more arrives."""
        if self.run is not None:
            self.run.waited()
        self.patience -= 1
        if self.patience <= 0:
            self.disk.faults = [fault for fault in self.disk.faults if fault.kills]

    def connect(self) -> Wire:
        """Return the connection; on a new one the sender first repeats what it sent last."""
        if self.wire is None:
            assert self.run is not None
            self.connection += 1
            self.wire, self.previous = Wire(), None
            self.run.supply.items.append(LinkUp(self.connection, self.clock.moment()))
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
            items.append(LinkDown(self.connection, self.clock.moment(), why))
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
        self.must |= {data for data in run.handed if data not in self.known}
        self.known |= set(run.handed)
        self.count_losses(run)
        for owed in [owed for owed in self.owed if owed[2] in run.handed]:
            self.owed.remove(owed)
            session, number, _ = owed
            notes = [fact for fact in run.facts if isinstance(fact, Loss) and fact.session_id == session]
            assert any((note.first or 0) <= number <= (note.last or -1) for note in notes), (
                f"{owed[:2]} unnoted"
            )

    def count_losses(self, run: Run) -> None:
        """Take note of what the ledger tells of frames that are in no file, or in one that may be damaged."""
        self.budget, self.discarded = self.budget + run.discarded - self.discarded, run.discarded
        self.doubtful, self.left = self.doubtful + run.left - self.left, run.left

    def account_end(self, run: Run) -> None:
        """A run is over."""
        self.ever.update(run.handed)
        self.known |= set(run.handed)
        self.count_losses(run)
        run.close()
        self.run, self.owed, self.wire, self.previous = None, [], None, None
        self.discarded = self.left = 0
        self.disk.restart(power_lost=False)

    def died(self) -> None:
        """The process was killed: what the kernel had by then has to stay."""
        run = self.run
        if run is not None:
            self.must |= (set(run.handed) - self.known) & self.on_disk()
            self.account_end(run)
        self.disk.restart(power_lost=False)

    # --- what has to hold

    def on_disk(self, *, durable: bool = False) -> set[bytes]:
        """Return the frames in published and staged files; only those that nothing can take away any more."""
        found = set[bytes]()
        for path, file in self.disk.files().items():
            if durable and not self.disk.has_lasting_name(file):
                continue
            content = bytes(file.durable if durable else file.cached)
            if is_published(path) or path.parent == STAGING:
                found.update(frames_of(content)[0])
            if file in self.damaged:
                found.update(data for data in self.known if data in content)
        return found

    def contents(self) -> Iterator[tuple[bytes, ...]]:
        """Yield the frames of each published and staged file, each once whatever names it has.

        What was copied from behind damage counts when the damaged file is gone: until then it may be made anew.
        """
        files = {file: path for path, file in self.disk.files().items()}
        names = {path.name for path in files.values()}
        for file, path in files.items():
            copied = path.parent == STAGING and path.name.rpartition("-behind-")[0] in names
            if (is_published(path) or path.parent == STAGING) and not copied:
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
        handed = self.ever + (self.run.handed if self.run else Counter[bytes]())
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
