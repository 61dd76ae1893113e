"""The parts of a soak, and what is done to them: a stream, a bad line, a small disk, a recorder that is killed."""

import errno
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.faults.network.relay import Relay
from tests.faults.network.soak_account import RunningAccount
from tests.tools.recorder import Recorder
from tests.tools.sender import Sender
from timestream_api.report import ConnectionState

PAYLOAD: Final = 300_000  # bytes of a Scan
INTERVAL: Final = 0.05  # seconds between two: 6 MB/s, 4 x nominal
BATCH: Final = 5
TIME_PER_FILE: Final = 5
CAUGHT_UP: Final = 15  # frames that may be on their way
CATCH_UP_SECONDS: Final = 60.0


@dataclass(slots=True)
class Stream:
    """A real sender that streams in a thread of its own, and is replaced on demand."""

    account: RunningAccount
    sender: Sender = field(default_factory=Sender)
    last: int = 0  # frame_num
    _busy: threading.Lock = field(default_factory=threading.Lock)
    _over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    failure: Exception | None = None

    def start(self) -> None:
        self.account.add(self.sender.start_session())
        self._thread = threading.Thread(target=self._run, name="stream", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the session; what was sent is on its way to whoever is connected."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()
        self.account.add(self.sender.end_session())

    def kill(self) -> None:
        """End the sender that is there now, however."""
        self.sender.kill()

    def replace(self, relay: Relay) -> None:
        """Let the sender end in order, once all is fetched, and another begin a session at another port."""
        with self._busy:
            self.account.add(self.sender.end_session())
            self.sender.exit()
            self.sender = Sender()
            relay.target = self.sender.port
            self.sender.wait_for_clients(1, timeout=20)
            self.account.add(self.sender.start_session())

    def _run(self) -> None:
        try:
            while not self._over.is_set():
                with self._busy:
                    frames = self.sender.send_scans(BATCH, PAYLOAD, INTERVAL)
                    self.account.add(frames)
                    self.last = frames[-1].frame_num or 0
                time.sleep(0)  # let the lock go to who waits for it
        except Exception as error:  # noqa: BLE001 - whatever it is, the soak has to say so
            self.failure = error


@dataclass(slots=True)
class Rig:
    """Everything that a soak is made of."""

    folder: Path
    stream: Stream
    relay: Relay
    stack: ExitStack
    random: random.Random
    recorder: Recorder | None = None
    lives: int = 0

    def start_recorder(self) -> None:
        """Start a recorder, or the next one."""
        self.lives += 1
        made = Recorder(self.folder, self.relay.port, time_per_file=TIME_PER_FILE, min_free_bytes=0)
        self.recorder = self.stack.enter_context(made)

    @property
    def running(self) -> Recorder:
        assert self.recorder is not None
        return self.recorder

    def wait_until_caught_up(self) -> None:
        """Return when the recorder has nearly all that was sent; AssertionError if that takes it too long."""
        deadline = time.monotonic() + CATCH_UP_SECONDS
        while not self._caught_up():
            assert time.monotonic() < deadline, f"it does not catch up: {self.running.status()}"
            time.sleep(0.2)

    def _caught_up(self) -> bool:
        report = self.running.status()
        if report.connection.state is not ConnectionState.CONNECTED or report.acquisition is None:
            return False
        now = report.acquisition
        same = now.session == self.stream.sender.session_id
        return same and (now.last_frame_num or 0) > self.stream.last - CAUGHT_UP


def restart_sender(rig: Rig) -> None:
    """End a session that arrives: what is lost at the end of one, nobody can know."""
    rig.wait_until_caught_up()
    rig.stream.replace(rig.relay)


def cut_connection(rig: Rig) -> None:
    rig.relay.cut(reset=rig.random.random() < 0.5)


def change_a_byte(rig: Rig) -> None:
    rig.relay.change_a_byte()


def insert_garbage(rig: Rig) -> None:
    rig.relay.insert(
        rig.random.choice([b"HTTP/1.1 400 Bad Request\r\n\r\n", bytes(100), b"\x16\x03\x01\x02\0"])
    )


def fill_disk(rig: Rig) -> None:
    """Leave no room for 2 s."""
    filler = rig.folder / ".timestream-aggregator" / "filler"
    descriptor = os.open(filler, os.O_WRONLY | os.O_CREAT)
    try:
        while True:
            os.write(descriptor, bytes(1 << 20))
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
    finally:
        os.close(descriptor)
    time.sleep(2)
    filler.unlink()


def kill_recorder(rig: Rig) -> None:
    rig.running.process.kill()
    rig.running.process.wait(10)
    time.sleep(rig.random.uniform(0, 2))
    rig.start_recorder()


def stop_recorder_for_a_while(rig: Rig) -> None:
    rig.running.process.send_signal(signal.SIGSTOP)
    try:
        time.sleep(3)
    finally:
        with suppress(ProcessLookupError):
            rig.running.process.send_signal(signal.SIGCONT)


FAULTS: Final[tuple[Callable[[Rig], None], ...]] = (
    restart_sender,
    cut_connection,
    change_a_byte,
    insert_garbage,
    fill_disk,
    stop_recorder_for_a_while,
)
