"""SIGKILL at any moment, again and again, while a real sender goes on; then the account of it all."""

import random
import re
import socket
import threading
import time
from itertools import pairwise
from pathlib import Path
from typing import Self

import pytest

from tests.faults.account import (
    SCAN,
    Account,
    assert_spt3g_reads,
    assert_untouched,
    contents,
    settle,
    whole_frames,
)
from tests.faults.rehearsal import record, until
from tests.faults.warm import Warm
from tests.tools import ports
from tests.tools.long import size
from tests.tools.raw_server import RawServer
from tests.tools.recorder import OWN_FOLDER, published, staged
from tests.tools.sender import Sender, SentFrame
from timestream_aggregator.ledger import file as ledger
from timestream_api.ledger import Fact, Joined, Started, Verified

KILLS = size(15, 200)


@pytest.mark.timeout(60 + 3 * KILLS)
def test_a_recorder_that_is_killed_any_number_of_times_loses_only_what_was_on_its_way(tmp_path: Path) -> None:
    chance, folder = random.Random(KILLS), tmp_path / "data"
    folder.mkdir()
    disk, told = OnDisk(folder), list[int]()
    with Warm() as warm, Sender() as sender, Stream(sender) as stream:
        for kill in range(KILLS):
            before, frames = contents(folder), disk.look()
            told.append(kill_one(warm, folder, sender, chance.uniform(0, 0.8), kill))
            assert_untouched(folder, before)
            assert disk.look() - frames >= told[-1], "it told of more frames than it had written"
    with Warm() as warm:
        assert warm.run(tmp_path / "log", "recover", folder) == 0
        await_all_read_back(warm, folder, sender.port)

    account = settle(folder, stream.sent)
    account.assert_honest(in_flight=stream.sent)
    account.assert_kept(disk.seen)
    assert sum(told) > KILLS, "they hardly recorded"
    assert account.staged == set()
    assert holes(account) <= KILLS
    assert not unnoted_before_others(account), "a loss inside a session that the ledger does not tell of"
    assert not joined_while_recording(account), "what came while recorders ran is told as missed before that"
    assert_spt3g_reads([folder])


class Stream:
    """A sender that goes on sending in a thread, session after session."""

    def __init__(self, sender: Sender) -> None:
        self.sent = list[SentFrame]()
        self._sender = sender
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._send, name="Stream")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(10)

    def _send(self) -> None:
        while not self._over.is_set():
            self.sent += self._sender.start_session()
            for _ in range(8):
                self.sent += self._sender.send_scans(40, payload=30_000, interval=0.004)
            self.sent += self._sender.end_session()


class OnDisk:
    """The frames that are whole in some file, one that is published or not."""

    def __init__(self, folder: Path) -> None:
        self.seen = set[str]()  # their digests, at any time
        self._folder = folder
        self._published = dict[Path, list[str]]()

    def look(self) -> int:
        """Return how many there are, while nobody writes; those that several files hold count for each."""
        for path in published(self._folder):
            self._published.setdefault(path, whole_frames([path]))
        there = (self._folder / OWN_FOLDER / "staging").is_dir()
        found = [*self._published.values(), whole_frames(staged(self._folder) if there else [])]
        self.seen.update(*found)
        return sum(map(len, found))


def kill_one(warm: Warm, folder: Path, sender: Sender, seconds: float, number: int) -> int:
    """Record for so long and be killed; the time begins when the sender has a client.

    Return how many frames it had told of as recorded.
    """
    log, port = folder.with_name(f"{number}.log"), ports.reserve()
    with record(
        warm,
        folder,
        sender.port,
        log=log,
        http_port=port,
        time_per_file=1,
        sync_interval=0.1,
        verify=str(number % 4 == 1).lower(),
    ) as recorder:
        recorder.go()
        if number % 3:  # every third is killed while it starts
            sender.wait_for_clients(1)
        time.sleep(seconds if number % 3 else seconds / 10)
        return recorded(port)


def recorded(port: int) -> int:
    """Return how many frames the recorder says that it has written; 0 if it does not answer yet."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            text = b"".join(iter(lambda: connection.recv(1 << 16), b"")).decode()
    except ConnectionRefusedError:
        return 0
    return int(float(re.findall(r"^timestream_recorded_frames_total (\S+)", text, re.MULTILINE)[0]))


def await_all_read_back(warm: Warm, folder: Path, port: int) -> None:
    """Let a recorder of the same stream start that has all files read back which those before it did not get to."""
    with RawServer(port) as silent, record(warm, folder, silent.port, verify="true") as recorder:
        recorder.go()
        assert until(lambda: verified(folder) == set(contents(folder)), 60 + KILLS), recorder.logged()
        assert recorder.stop() == 0


def verified(folder: Path) -> set[str]:
    """Return which files were read back and found good."""
    facts = [line.fact for line in ledger.lines(folder)]
    return {fact.path for fact in facts if isinstance(fact, Verified) and fact.good}


def holes(account: Account) -> int:
    """Return how many runs of Scans are missing between others; metadata comes again to who joins late."""
    recorded = [place for place, frame in enumerate(account.sent) if frame.kind == SCAN]
    there = {place for places in account.files.values() for place in places}
    states = [place in there for place in recorded]
    return sum(earlier and not later for earlier, later in pairwise(states))


def unnoted_before_others(account: Account) -> list[int]:
    """Return what is nowhere, and not in the ledger, though a later frame of its session is in a file."""
    last = dict[int | None, int]()
    for place in sorted(place for places in account.files.values() for place in places):
        last[account.sent[place].session_id] = place
    untold = account.missing - account.missed
    return [place for place in untold if place < last.get(account.sent[place].session_id, -1)]


def joined_while_recording(account: Account) -> list[Fact]:
    """Return what is told as missed of sessions that began when a recorder had run already."""
    first = min(line.time for line in account.lines if isinstance(line.fact, Started)).timestamp()
    return [
        fact for fact in account.facts(Joined) if isinstance(fact, Joined) and (fact.session_id or 0) > first
    ]
