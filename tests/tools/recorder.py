"""The recorder as it runs for users: a process of its own, looked at through its HTTP faces and its folder."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.tools import ports
from tests.tools.frames import digests, spt3g_reads
from tests.tools.patience import PATIENCE
from tests.tools.sender import SentFrame
from timestream_api.report import ConnectionState, Report

OWN_FOLDER = ".timestream-aggregator"
OTHER_CLOCK = """
import pathlib, sys, time
clock = pathlib.Path(sys.argv.pop(1))
time.time = lambda: float(clock.read_text())
from timestream_aggregator.__main__ import main
sys.exit(main())
"""


class Recorder:
    """`timestream-aggregator record` into `folder`; options by their names: Recorder(folder, port, frame_gap=2).

    `wall_clock` is what the process sees as the Unix time; it stands still until `set_clock`.
    `prefix` a command that runs it elsewhere, such as nsenter; `dial` makes connections to where that is; `stderr` a
    descriptor for its log, which cannot be looked at then.
    """

    def __init__(
        self,
        folder: Path,
        port: int,
        *,
        wall_clock: float | None = None,
        prefix: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        dial: Callable[[int], socket.socket] | None = None,
        stderr: int | None = None,
        **options: object,
    ) -> None:
        self.folder = folder
        self._dial = dial or _dial
        given = options.pop("http_port", None)
        self.http_port = ports.reserve() if given is None else int(str(given))
        chosen = {
            "address": "127.0.0.1",
            "port": port,
            "data_dir": folder,
            "http_port": self.http_port,
            **options,
        }
        words = [f"--{name.replace('_', '-')}={value}" for name, value in chosen.items()]
        self._place = tempfile.TemporaryDirectory()
        start = ["-m", "timestream_aggregator"]
        if wall_clock is not None:
            start = ["-c", OTHER_CLOCK, str(self.set_clock(wall_clock))]
        self.log = tempfile.TemporaryFile(mode="w+")  # noqa: SIM115 - closed at the end
        self.process = subprocess.Popen(
            [*prefix, sys.executable, *start, "record", *words],
            stderr=self.log if stderr is None else stderr,
            env={**os.environ, **(environment or {})},
        )

    def __enter__(self) -> Self:
        if self.http_port:
            self.wait_for(lambda _: True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)
        if kind is not None:
            sys.stderr.write(self.logged())
        self.log.close()
        self._place.cleanup()

    def set_clock(self, seconds: float) -> Path:
        """Have its wall clock stand at `seconds` of Unix time; return the file that tells the process."""
        clock, new = Path(self._place.name, "clock"), Path(self._place.name, "new")
        new.write_text(str(seconds))
        return new.replace(clock)

    def status(self) -> Report:
        """Return its report."""
        return Report.model_validate_json(self._get("/status")[1])

    def wait_for(self, condition: Callable[[Report], bool], timeout: float = PATIENCE) -> Report:
        """Return the first report for which `condition` holds."""
        deadline, report = time.monotonic() + timeout, None
        while time.monotonic() < deadline:
            assert self.process.poll() is None, (
                f"the recorder ended with {self.process.returncode}\n{self.logged()}"
            )
            try:
                report = self.status()
            except (OSError, http.client.HTTPException):
                report = None
            if report is not None and condition(report):
                return report
            time.sleep(0.02)
        raise AssertionError(f"after {timeout} s it is not so: {report}\n{self.logged()}")

    def connected(self) -> Report:
        """Wait until it is connected to the sender."""
        return self.wait_for(lambda report: report.connection.state is ConnectionState.CONNECTED)

    def recorded(self, frames: int, timeout: float = PATIENCE, *, quarantined: int = 0) -> Report:
        """Wait until it has recorded `frames` frames, and put aside so many pieces, since it started."""
        self.wait_for(
            lambda _: (
                self.metric("recorded_frames") >= frames and self.metric("quarantined_pieces") >= quarantined
            ),
            timeout,
        )
        return self.status()  # what the metrics told is in it

    def metric(self, name: str) -> float:
        """Return a counter's value."""
        line = f"timestream_{name}_total "
        text = self._get("/metrics")[1].decode()
        return next(float(row.removeprefix(line)) for row in text.splitlines() if row.startswith(line))

    def probe(self, page: str) -> int:
        """Return the HTTP status of a page."""
        return self._get(page)[0]

    def memory(self) -> int:
        """Return the most memory it has had, in bytes."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))

    def cpu(self) -> float:
        """Return how many seconds of CPU it has had, by its own clock (clock_getcpuclockid)."""
        return time.clock_gettime(~self.process.pid << 3 | 2)

    def stop(self, timeout: float = PATIENCE) -> int:
        """SIGTERM; return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout)

    def logged(self) -> str:
        """Return what it has logged."""
        return os.pread(self.log.fileno(), 1 << 20, 0).decode()

    def messages(self) -> list[str]:
        """Return the messages of its log, without what stands beside them."""
        return [json.loads(line)["message"] for line in self.logged().splitlines()]

    def published(self) -> list[Path]:
        """Return the published files in the order of their names."""
        return published(self.folder)

    def _get(self, page: str) -> tuple[int, bytes]:
        """Return the HTTP status of a page, and the page."""
        connection = http.client.HTTPConnection("127.0.0.1", self.http_port)
        connection.sock = self._dial(self.http_port)
        with closing(connection):
            connection.request("GET", page)
            answer = connection.getresponse()
            return answer.status, answer.read()


def published(folder: Path) -> list[Path]:
    """Return the files that have their final names; AssertionError if anything else stands among them."""
    found = sorted(path for path in folder.rglob("*") if path.is_file() and OWN_FOLDER not in path.parts)
    assert all(path.suffix == ".g3" for path in found), found
    return found


def ledger_of(folder: Path) -> Path:
    """Return the ledger's file for lines that are written now."""
    return folder / OWN_FOLDER / f"ledger-{datetime.now(UTC):%Y-%m}.jsonl"


def names(folder: Path) -> list[str]:
    """Return the names of the published files under `folder`."""
    return [str(path.relative_to(folder)) for path in published(folder)]


def staged(folder: Path) -> list[Path]:
    """Return what is staged under `folder`."""
    return sorted((folder / OWN_FOLDER / "staging").iterdir())


def quarantined(folder: Path) -> list[bytes]:
    """Return the damaged pieces that were kept."""
    return [path.read_bytes() for path in sorted((folder / OWN_FOLDER / "quarantine").glob("*"))]


def recorded_digests(folder: Path) -> list[str]:
    """Return the digests of all recorded frames in the order of the files.

    The first frame of a file is left out if an earlier file holds it: it is there to make the file readable alone.
    """
    found = list[str]()
    for path in published(folder):
        first, *others = digests(path)
        found += others if first in found else [first, *others]
    return found


def assert_recorded(folder: Path, sent: Sequence[SentFrame]) -> None:
    """AssertionError unless each of `sent` that is to be recorded is there once, in order, and nothing else is."""
    found, wanted = recorded_digests(folder), [frame.sha256 for frame in sent if frame.recorded]
    missing = [frame for frame in sent if frame.recorded and frame.sha256 not in found]
    assert not missing, f"{len(missing)} frames are missing, the first is {missing[0]}"
    assert found == wanted, f"{len(found)} frames are there, {len(wanted)} were sent"


def assert_readable(folder: Path) -> None:
    """AssertionError unless spt3g reads each file to its last frame."""
    for path in published(folder):
        assert spt3g_reads(path) == len(digests(path))


def _dial(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
