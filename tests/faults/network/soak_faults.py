"""The parts of a soak, and what is done to them: a stream, a bad line, a small disk, a recorder that is killed."""

import fcntl
import hashlib
import json
import os
import random
import select
import shutil
import signal
import subprocess
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from tests.faults.disk import frozen
from tests.faults.network.relay import Relay
from tests.faults.network.soak_account import RunningAccount
from tests.tools.frames import Value, split_frames
from tests.tools.recorder import OWN_FOLDER, Recorder
from tests.tools.sender import Sender
from timestream_api.report import ConnectionState

PAYLOAD: Final = 300_000  # bytes of a Scan
INTERVAL: Final = 0.05  # seconds between two: 6 MB/s, 4 x nominal
BATCH: Final = 5
TIME_PER_FILE: Final = 5
CAUGHT_UP: Final = 15  # frames that may be on their way
CATCH_UP_SECONDS: Final = 60.0
BACK_WITHIN: Final = 10.0
"""Seconds after a fault's end by which a frame that was sent after it is on the disk.

The longest that has to be: 1 to 2 s for a new connection, up to 4 s for a disk that was full for 2 s (attempts come
at pauses that double), 2 to 3 s for what gathered in the buffer while it hung for 20 s, 2 s for a new process, 5 s
(`TIME_PER_FILE`) for a file whose name was swept away and that is seen again when it is published, and 1 s until bytes
reach the kernel. Twice the worst of these is enough on a busy machine; a recorder that waits for one of its limits,
such as 15 s between two attempts on a disk, or for somebody to restart it, is not back by then.
"""
UNREAD_SECONDS: Final = 20.0
HANG: Final = (10.0, 20.0)  # seconds
MOVED_SECONDS: Final = 8.0
STALE_SECONDS: Final = 8.0
ODD: Final[dict[str, Value]] = {str(number): number for number in range(5000)}


class LogPipe:
    """The standard error of recorders: a short pipe, and a thread that copies it to a file, or does not."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._reader, self.writer = os.pipe()
        fcntl.fcntl(self.writer, fcntl.F_SETPIPE_SZ, 4096)
        self._reading = threading.Event()
        self._over = False
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)

    def __enter__(self) -> Self:
        self._reading.set()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over = True
        self._reading.set()
        self._thread.join(5)
        os.close(self._reader)
        os.close(self.writer)

    def stop_reading(self) -> None:
        """Read nothing more, and leave no room for what is written."""
        self._reading.clear()
        time.sleep(0.5)  # the thread has seen it
        writer = os.open(f"/proc/self/fd/{self.writer}", os.O_WRONLY | os.O_NONBLOCK)  # of nobody else
        with suppress(BlockingIOError):
            while True:
                os.write(writer, bytes(1))
        os.close(writer)

    def read(self) -> None:
        """Go on reading."""
        self._reading.set()

    def tail(self) -> str:
        """Return the end of what was read."""
        return self._path.read_bytes()[-20_000:].replace(b"\0", b"").decode(errors="replace")

    def complaints(self) -> Counter[str]:
        """Return how often each message came that is a warning or worse."""
        lines = self._path.read_bytes().replace(b"\0", b"").splitlines()
        told = [json.loads(line) for line in lines if line.startswith(b"{")]
        return Counter(line["message"] for line in told if line["level"] in {"warning", "error", "critical"})

    def _run(self) -> None:
        with self._path.open("wb") as file:
            while not self._over:
                self._reading.wait()
                if select.select([self._reader], [], [], 0.1)[0]:
                    file.write(os.read(self._reader, 1 << 16))
                    file.flush()


@dataclass(slots=True)
class Stream:
    """A real sender that streams in a thread of its own, and is replaced on demand."""

    account: RunningAccount
    sender: Sender = field(default_factory=Sender)
    last: int = 0  # frame_num
    _recent: deque[tuple[float, str]] = field(default_factory=lambda: deque[tuple[float, str]](maxlen=2000))
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

    def send_odd(self) -> None:
        """Send metadata that no recorder takes, and that this sender repeats to each new client."""
        with self._busy:
            self.sender.send("Calibration", ODD)

    def sent_since(self, when: float) -> set[str]:
        """Return the digests of the Scans that were sent after the monotonic second `when`."""
        return {digest for begun, digest in self._recent.copy() if begun >= when}

    def _run(self) -> None:
        try:
            while not self._over.is_set():
                with self._busy:
                    begun = time.monotonic()
                    frames = self.sender.send_scans(BATCH, PAYLOAD, INTERVAL)
                    self.account.add(frames)
                    self._recent.extend((begun, frame.sha256) for frame in frames)
                    self.last = frames[-1].frame_num or 0
                time.sleep(0)  # let the lock go to who waits for it
        except Exception as error:  # noqa: BLE001 - whatever it is, the soak has to say so
            self.failure = error


@dataclass(slots=True)
class Rig:
    """Everything that a soak is made of."""

    folder: Path
    other: Path
    """Another disk."""
    stream: Stream
    relay: Relay
    log: LogPipe
    stack: ExitStack
    random: random.Random
    troubles: list[str] = field(default_factory=list[str])
    recorder: Recorder | None = None
    lives: int = 0

    def start_recorder(self) -> None:
        """Start a recorder, or the next one."""
        self.lives += 1
        made = Recorder(
            self.folder,
            self.relay.port,
            time_per_file=TIME_PER_FILE,
            min_free_bytes=0,
            stderr=self.log.writer,
        )
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

    def wait(self, seconds: float) -> None:
        """Let a fault last; no probe may fail meanwhile."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.probe()
            time.sleep(0.5)

    def until(self, condition: Callable[[], bool], seconds: float = CATCH_UP_SECONDS) -> None:
        """Wait until `condition` holds; AssertionError if that takes too long."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"{condition.__name__}: it does not come to pass"
            time.sleep(0.1)

    def probe(self) -> None:
        """Take note if a restart would be asked for."""
        if (code := self.running.probe("/healthz")) != 200:
            self.troubles.append(f"/healthz says {code}")

    def back(self, fault: str) -> float:
        """Return after how many seconds a frame that is sent from now on is on the disk, in whatever file."""
        begin, wall = time.monotonic(), time.time()
        while not self.stream.sent_since(begin) & set(self._digests_since(wall)):
            assert time.monotonic() < begin + CATCH_UP_SECONDS, f"{fault}: nothing is recorded any more"
            time.sleep(0.2)
        self.probe()
        took = time.monotonic() - begin
        if took > BACK_WITHIN:
            self.troubles.append(f"{fault}: a frame was on the disk {took:.1f} s after it was over")
        return took

    def staged(self) -> list[Path]:
        """Return what is in the staging folder, the latest last."""
        with suppress(FileNotFoundError):
            found = [path for path in (self.folder / OWN_FOLDER / "staging").iterdir() if path.is_file()]
            return sorted(found, key=lambda path: path.stat().st_mtime)
        return []

    def day(self) -> Path:
        """Return the folder of the day."""
        return max(path for path in self.folder.iterdir() if path.name.isdigit())

    def _digests_since(self, wall: float) -> Iterator[str]:
        """Yield the digests of frames in files that have been written to since then."""
        days = [path for path in self.folder.iterdir() if path.name.isdigit()]
        for path in [*self.staged(), *(file for day in days for file in day.glob("*.g3"))]:
            with suppress(FileNotFoundError, ValueError):  # it was published; it ends in a torn frame
                if path.stat().st_mtime >= wall - 1:
                    for frame in split_frames(path.read_bytes()):
                        yield hashlib.sha256(frame).hexdigest()

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
    rig.until(lambda: not rig.relay.is_to_harm)


def insert_garbage(rig: Rig) -> None:
    rig.relay.insert(
        rig.random.choice([b"HTTP/1.1 400 Bad Request\r\n\r\n", bytes(100), b"\x16\x03\x01\x02\0"])
    )
    rig.until(lambda: not rig.relay.is_to_harm)


def send_an_odd_frame(rig: Rig) -> None:
    """Have one come in the middle of the stream, and again at the head of the next connection."""
    rig.stream.send_odd()
    rig.back(send_an_odd_frame.__name__)
    rig.relay.cut(reset=False)


def fill_disk(rig: Rig) -> None:
    """Leave no room for 2 s."""
    filler = rig.folder / OWN_FOLDER / "filler"
    descriptor = os.open(filler, os.O_WRONLY | os.O_CREAT)
    try:
        end, piece = 0, 1 << 30
        while piece >= 1 << 12:
            try:
                os.posix_fallocate(descriptor, end, piece)
                end += piece
            except OSError:
                piece >>= 1
    finally:
        os.close(descriptor)
    rig.wait(2)
    filler.unlink()


def hang_disk(rig: Rig) -> None:
    with frozen(rig.folder):
        rig.wait(rig.random.uniform(*HANG))


def stop_reading_the_log(rig: Rig) -> None:
    rig.log.stop_reading()
    try:
        rig.wait(UNREAD_SECONDS)
        rig.back(stop_reading_the_log.__name__)
    finally:
        rig.log.read()


def sweep_staging(rig: Rig) -> None:
    """Remove the growing file and its folder, as cleaning jobs do; what waits for recovery nobody could bring back."""
    rig.until(lambda: len(rig.staged()) <= 1, 3 * CATCH_UP_SECONDS)
    shutil.rmtree(rig.folder / OWN_FOLDER / "staging", ignore_errors=True)


def move_the_day(rig: Rig) -> None:
    """Move the folder of the day to another disk, with a link in its place, and back."""
    day = rig.day()
    away, moved = rig.other / day.name, list[Path]()
    away.mkdir()
    while True:
        moved.append(day.rename(rig.folder / f".moving{len(moved)}"))
        with suppress(FileExistsError):  # the recorder has made it again in this moment
            day.symlink_to(away)
            break
    for folder in moved:
        _move_files(folder, away)
    rig.wait(MOVED_SECONDS)
    rig.back(move_the_day.__name__)
    day.unlink()
    time.sleep(0.5)  # no call that has met the link is still under way
    day.mkdir(exist_ok=True)
    _move_files(away, day)


def _move_files(source: Path, target: Path) -> None:
    """Move all files to another folder, whole, and remove `source`; no name may be there already."""
    for path in sorted(source.glob("*.g3")):
        hidden, final = target / f".{path.name}.moving", target / path.name
        shutil.copy2(path, hidden)
        os.link(hidden, final)
        hidden.unlink()
    shutil.rmtree(source)


def spoil_a_file(rig: Rig) -> None:
    """Give the growing file a stale handle, as a file server does that was restarted."""
    path = rig.staged()[-1]
    calls = "pwritev2,fdatasync,fsync,ftruncate"
    words = ["strace", "-f", "-qq", "-o", "/dev/null", "-P", str(path), "-e", f"trace={calls}"]
    words += ["-e", f"inject={calls}:error=ESTALE", "-p", str(rig.running.process.pid)]
    with subprocess.Popen(words) as tracer:
        try:
            rig.wait(STALE_SECONDS)
            rig.back(spoil_a_file.__name__)
        finally:
            tracer.terminate()


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


Fault = Callable[[Rig], None]
FAULTS: Final[tuple[Fault, ...]] = (
    restart_sender,
    cut_connection,
    change_a_byte,
    insert_garbage,
    send_an_odd_frame,
    fill_disk,
    hang_disk,
    stop_recorder_for_a_while,
    stop_reading_the_log,
    sweep_staging,
    move_the_day,
    spoil_a_file,
)
