"""A long run with faults: 4 x nominal from a real sender, a file each 5 s, something harmed every few seconds.

    python -m tests.faults.soak --minutes 20

Prints what the recorder holds and the account of all frames while it runs. Exit code 1: memory, descriptors or
threads grow, or a frame is in no file and not noted as lost. Needs root, for the small disk.
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

from tests.faults.network.hosts import small_disk
from tests.faults.network.process import Holdings
from tests.faults.network.relay import Relay
from tests.faults.network.soak_account import RunningAccount
from tests.faults.network.soak_faults import FAULTS, Rig, Stream, kill_recorder

DISK_MEGABYTES: Final = 1024
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
    begin: float = field(default_factory=time.monotonic)
    lives: list[Life] = field(default_factory=lambda: [Life()])
    faults: Counter[str] = field(default_factory=Counter[str])
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
        fault = self.rig.random.choice([*FAULTS, kill_recorder] if may_kill else FAULTS)
        fault(self.rig)
        self.faults[fault.__name__] += 1
        if fault is kill_recorder:
            self.lives.append(Life())

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
        account, troubles = self.account, list(self.account.troubles)
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


def run(minutes: float, seed: int, folder: Path) -> int:
    """Return the exit code."""
    with ExitStack() as stack:
        account = RunningAccount(stack.enter_context(small_disk(folder / "disk", DISK_MEGABYTES)))
        stream = Stream(account)
        stack.callback(stream.kill)
        relay = stack.enter_context(Relay(stream.sender.port, seed))
        rig = Rig(account.folder, stream, relay, stack, random.Random(seed))
        rig.start_recorder()
        rig.running.connected()
        stream.sender.wait_for_clients(1)
        stream.start()
        soak = Soak(rig, account, minutes)
        soak.run()
        code = rig.running.stop(timeout=30)
        account.check(at_the_end=True)
        return conclude(soak, code)


def conclude(soak: Soak, code: int) -> int:
    """Print the account; return the exit code of the soak."""
    troubles = soak.verdict() + ([f"the recorder ended with {code}"] if code else [])
    causes = Counter(soak.account.lost.values())
    soak.say()
    print(f"faults: {dict(soak.faults)}\nnumbers noted as lost, by cause: {dict(causes)}")
    told = [life.growth() is not None for life in soak.lives]
    print(f"growth could be told of {sum(told)} of {len(told)} recorders (those that lived for 2 minutes)")
    print(f"unnoted: {len(soak.account.unnoted())}")
    for line in troubles:
        print(f"TROUBLE: {line}")
    return 1 if troubles else 0


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults.soak", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args(words)
    if os.geteuid():
        print("the soak mounts a small disk: run it as root", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        return run(args.minutes, args.seed, Path(folder))


if __name__ == "__main__":
    sys.exit(main())
