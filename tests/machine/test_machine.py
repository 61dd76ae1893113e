"""The whole recorder against everything that may happen to it, in any order, on a disk that forgets.

Hypothesis draws the story: frames of every kind, cut anywhere; time; failing calls; kills at any call, of a run or of
a recovery; losses of power; people who fetch files. After each step what has to be true of the disk is.
With TIMESTREAM_LONG=1 there are ten times as many stories, and new ones each time; TIMESTREAM_MACHINE_EXAMPLES says
how many.
"""

import os
from dataclasses import replace
from typing import Final

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from tests.machine.guarded_disk import LIMIT, frames_of, is_observation, is_published
from tests.machine.invariants import Invariants
from tests.machine.run import STAGING
from tests.machine.simulated_disk import Fault
from tests.machine.story import BATCHES, FAILURES, FLIPS, KILLS, SHORT_WRITES, Batch, Flip
from tests.tools.long import LONG, size
from tests.tools.made_frames import frame
from tests.tools.plain import FieldKind, parse
from timestream_aggregator.buffer import NoMore

EXAMPLES: Final = int(os.environ.get("TIMESTREAM_MACHINE_EXAMPLES", str(size(25, 250))))
STEPS: Final = int(os.environ.get("TIMESTREAM_MACHINE_STEPS", "30"))


RUNNING: Final = precondition(lambda self: self.run is not None)


class RecorderMachine(Invariants):
    """Rules are what may happen; after each, all invariants of the stage have to hold."""

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

    @rule(
        batches=BATCHES,
        kill=KILLS,
        flip=st.none() | FLIPS,
        power_lost=st.booleans(),
        recovers_first=st.booleans(),
    )
    def record_until_killed(
        self,
        *,
        batches: list[Batch],
        kill: Fault,
        flip: Flip | None,
        power_lost: bool,
        recovers_first: bool,
    ) -> None:
        """Send frames, kill the recorder at one of its calls, or at the end, and start it again."""
        self.disk.faults.append(replace(kill))
        self.record(batches=batches, power_lost=False, recovers_first=True)
        if self.alive:
            self.died()
        if flip is not None:
            self.damage(flip=flip)
        self.start(power_lost=power_lost, recovers_first=recovers_first)

    def send(self, batch: Batch) -> None:
        """Send frames; some numbers get lost, some frames come again."""
        wire = self.connect()
        for kind, payload, skip, again in batch.plan:
            self.latest = self.latest if again and self.latest else self.make(kind, payload, skip)
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
        run.give_up_after(10.0)
        run.supply.items.append(NoMore())
        going = self.work()
        if self.run is None:
            return
        assert not going
        if not run.recovery.pending:
            self.nothing_of_this_run_is_staged()
        self.check_disk()
        self.account_end(run)

    @precondition(lambda self: self.run is None)
    @rule(flip=FLIPS)
    def damage(self, *, flip: Flip) -> None:
        """Let the disk change a bit of a file that was left."""
        files = self.disk.files()
        there = {file for path, file in files.items() if path.parent == STAGING and file.cached}
        there -= {file for path, file in files.items() if is_published(path)}
        left = [file for file in dict.fromkeys(files.values()) if file in there]
        if left:
            file = left[flip.pick % len(left)]
            fields = parse(bytes(file.cached), LIMIT).fields
            lengths = [field.start for field in fields if field.kind is FieldKind.BLOB_LENGTH]
            types = {
                place
                for field in fields
                if field.kind is FieldKind.TYPE
                for place in range(field.start, field.end)
            }
            places = [place for place in range(len(file.cached)) if place not in types]  # no crc covers those
            places = lengths if flip.length and lengths else places
            self.damaged.add(file)
            file.flip(places[int(flip.at * len(places))], flip.bit)
            self.must &= self.on_disk() | set(self.fetched)

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
            if self.run is not None:
                self.run.close()

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


RecorderMachine.TestCase.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=STEPS,
    derandomize=not LONG,  # CI tells the same stories each time
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
TestWhateverHappensNoFrameIsLostUnnoticed = pytest.mark.timeout(600)(RecorderMachine.TestCase)
