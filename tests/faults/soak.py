"""A long run with faults: 4 x nominal from a real sender, a file each 5 s, something harmed every few seconds.

    python -m tests.faults.soak --minutes 20

Prints what the recorder holds and the account of all frames while it runs. Exit code 1: memory, descriptors or
threads grow, a frame is in no file and not noted as lost, a probe failed, or recording stopped for longer than the
fault lasted and a few seconds. Needs root, for disks that are small and can be frozen, and strace.
"""

import argparse
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.faults.disk import ext4_disk, small_disk
from tests.faults.network.process import Holdings
from tests.faults.network.relay import Relay
from tests.faults.network.soak_account import RunningAccount
from tests.faults.network.soak_faults import FAULTS, Fault, LogPipe, Rig, Stream, kill_recorder

DISK: Final = "2g"
OTHER_DISK: Final = "512m"
PAUSE: Final = (3.0, 9.0)  # seconds between two faults
LAST_FAULT: Final = 5.0  # seconds until it is behind: what is lost at a stream's very end nobody can know
EVERY: Final = 10.0  # seconds between two lines
LONG_ENOUGH: Final = 120.0  # seconds of a recorder's life after which growth can be told
MEMORY_SLACK: Final = 10_000_000
SLACK: Final = 1


@dataclass(slots=True)
class Life:
    """What one recorder process held over time."""

    begin: float = field(default_factory=time.monotonic)
    seen: list[tuple[float, Holdings]] = field(default_factory=list[tuple[float, Holdings]])

    def growth(self) -> list[str] | None:
        """Return what has grown from the second quarter of its life to the last; None if it was too short."""
        length = self.seen[-1][0] - self.begin if self.seen else 0.0
        if length < LONG_ENOUGH:
            return None
        early = Holdings.typical(
            [held for when, held in self.seen if length / 4 <= when - self.begin <= length / 2]
        )
        late = Holdings.typical([held for when, held in self.seen if length * 3 / 4 <= when - self.begin])
        pairs = {
            "memory": (early.memory, late.memory, MEMORY_SLACK),
            "descriptors": (early.descriptors, late.descriptors, SLACK),
            "threads": (early.threads, late.threads, SLACK),
            "children": (early.children, late.children, SLACK),
        }
        return [f"{name} grew from {a} to {b}" for name, (a, b, slack) in pairs.items() if b > a + slack]


@dataclass(slots=True)
class Soak:
    """One run."""

    rig: Rig
    account: RunningAccount
    minutes: float
    chosen: Sequence[Fault] = FAULTS
    begin: float = field(default_factory=time.monotonic)
    lives: list[Life] = field(default_factory=lambda: [Life()])
    faults: Counter[str] = field(default_factory=Counter[str])
    back: dict[str, float] = field(default_factory=dict[str, float])
    """The longest that it took after each kind of fault until new frames were on the disk, in seconds."""
    _coming: list[Fault] = field(default_factory=list[Fault])
    _next_line: float = 0.0

    def run(self) -> None:
        """Harm, wait, look, until the time is up."""
        end = self.begin + self.minutes * 60
        while time.monotonic() < end:
            self._look_for(self.rig.random.uniform(*PAUSE))
            self._harm(may_kill=time.monotonic() < self.begin + self.minutes * 30)
            self.rig.wait_until_caught_up()
        self._look_for(LAST_FAULT)
        self.rig.wait_until_caught_up()
        self.rig.stream.stop()
        self._look_for(LAST_FAULT)

    def _harm(self, *, may_kill: bool) -> None:
        fault = self._next(may_kill=may_kill)
        fault(self.rig)
        name = fault.__name__
        self.faults[name] += 1
        if fault is kill_recorder:
            self.lives.append(Life())
        self.back[name] = max(self.rig.back(name), self.back.get(name, 0.0))

    def _next(self, *, may_kill: bool) -> Fault:
        """Return the next fault: each once, in any order, then all again."""
        if not self._coming:
            self._coming = [fault for fault in self.chosen if may_kill or fault is not kill_recorder]
            self.rig.random.shuffle(self._coming)
        return self._coming.pop()

    def _look_for(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.rig.stream.failure is not None:
                raise self.rig.stream.failure
            now = time.monotonic()
            self.lives[-1].seen.append((now, Holdings.of(self.rig.running.process.pid)))
            self.account.check()
            if now >= self._next_line:
                self._next_line = now + EVERY
                self.say()
            time.sleep(0.5)

    def say(self) -> None:
        """Print where it stands."""
        held, account = self.lives[-1].seen[-1][1], self.account
        print(
            f"{time.monotonic() - self.begin:6.0f} s  {held.memory / 1e6:6.1f} MB  {held.descriptors:3d} fds  "
            f"{held.threads:2d} threads  {held.children} children | sent {len(account.sent)}, in files "
            f"{len(account.there)}, noted as lost {len(account.noted())}, files {account.files} "
            f"(+{account.backlog}), read back {account.verified} | faults {self.faults.total()}",
            flush=True,
        )

    def verdict(self) -> list[str]:
        """Return what is wrong, in lines."""
        account, troubles = self.account, [*self.account.troubles, *self.rig.troubles]
        unnoted = account.unnoted()
        if len(unnoted) > account.counted:
            troubles.append(
                f"{len(unnoted)} frames are in no file and not noted, {account.counted} are counted"
            )
            troubles += [f"  {place}" for place in unnoted[:20]]
        if account.told_wrongly():
            troubles.append(f"{account.told_wrongly()} frames are noted as lost and are in a file")
        for number, life in enumerate(self.lives):
            troubles += [f"recorder {number + 1}: {line}" for line in life.growth() or []]
        return troubles


def run(minutes: float, seed: int, folder: Path, chosen: Sequence[Fault]) -> int:
    """Return the exit code."""
    with ExitStack() as stack:
        account = RunningAccount(stack.enter_context(ext4_disk(folder / "disk", DISK)))
        other = stack.enter_context(small_disk(folder / "other", OTHER_DISK))
        log = stack.enter_context(LogPipe(folder / "log"))
        stream = Stream(account)
        stack.callback(stream.kill)
        relay = stack.enter_context(Relay(stream.sender.port, seed))
        rig = Rig(account.folder, other, stream, relay, log, stack, random.Random(seed))
        rig.start_recorder()
        rig.running.connected()
        stream.sender.wait_for_clients(1)
        stream.start()
        soak = Soak(rig, account, minutes, chosen)
        try:
            soak.run()
        except AssertionError:
            print(log.tail(), file=sys.stderr)
            raise
        code = rig.running.stop(timeout=30)
        account.check(at_the_end=True)
        return conclude(soak, code)


def conclude(soak: Soak, code: int) -> int:
    """Print the account; return the exit code of the soak."""
    troubles = soak.verdict() + ([f"the recorder ended with {code}"] if code else [])
    causes = Counter(soak.account.lost.values())
    soak.say()
    print(f"faults: {dict(soak.faults)}\nnumbers noted as lost, by cause: {dict(causes)}")
    print("back at the latest, in seconds:", {name: round(took, 1) for name, took in soak.back.items()})
    print(f"what the recorders complained of: {dict(soak.rig.log.complaints())}")
    told = [life.growth() is not None for life in soak.lives]
    print(f"growth could be told of {sum(told)} of {len(told)} recorders (those that lived for 2 minutes)")
    print(f"unnoted: {len(soak.account.unnoted())}")
    for line in troubles:
        print(f"TROUBLE: {line}")
    if troubles:
        print(soak.rig.log.tail(), file=sys.stderr)
    return 1 if troubles else 0


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults.soak", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=1)
    kinds = {fault.__name__: fault for fault in [*FAULTS, kill_recorder]}
    parser.add_argument("--faults", nargs="+", choices=kinds, default=list(kinds), metavar="FAULT")
    args = parser.parse_args(words)
    if os.geteuid():
        print("the soak mounts a small disk: run it as root", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        return run(args.minutes, args.seed, Path(folder), [kinds[name] for name in args.faults])


if __name__ == "__main__":
    sys.exit(main())
