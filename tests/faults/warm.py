"""The project's commands without the half second that a start takes, for tests that need hundreds of runs.

The process is forked from one that has imported the same modules; from there on it is what users run. `strace`
attaches before its first call, and counts the calls of each thread by itself.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from tests.tools.patience import PATIENCE

_PROCESS: Final = Path(__file__).with_name("warm_process.py")


class Warm:
    """Starts commands. Not for two threads at once."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(_PROCESS)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._process.kill()
        self._process.wait(10)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def command(self, log: Path, *words: object, user: int = 0) -> "Command":
        """Return `timestream-aggregator WORDS` of a user, root if 0, which waits for `go()`."""
        told = self.tell(
            {"do": "start", "words": [str(word) for word in words], "log": str(log), "user": user}
        )
        return Command(self, told["pid"], log)

    def run(self, log: Path, *words: object, timeout: float = PATIENCE) -> int | None:
        """Run a command to its end and return the exit code."""
        with self.command(log, *words) as command:
            command.go()
            return command.wait(timeout)

    def tell(self, order: dict[str, object]) -> dict[str, Any]:
        """Give one order and return the answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"the warm process has ended with {self._process.poll()}"
        answer: dict[str, Any] = json.loads(line)
        return answer


class Command:
    """A process of the project. `with` ends it."""

    def __init__(self, warm: Warm, pid: int, log: Path) -> None:
        self.pid = pid
        self.log = log
        self.code: int | None = None  # of its exit; -9 if it was killed
        self._begun = False
        self._warm = warm

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        if self.code is None:
            self.send(signal.SIGKILL)
            assert self.wait() is not None

    def go(self) -> None:
        """Let it begin. Safe to repeat."""
        if not self._begun:
            self._begun = True
            self.send(signal.SIGUSR1)

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if it still runs."""
        if self.code is None:
            os.kill(self.pid, number)  # a zombie is there until it is waited for

    def running(self) -> bool:
        """Return whether it still runs."""
        return self.wait(0) is None

    def wait(self, timeout: float = PATIENCE) -> int | None:
        """Return its exit code, None if it still runs after `timeout` seconds."""
        if self.code is None:
            self.code = self._warm.tell({"do": "wait", "pid": self.pid, "seconds": timeout})["code"]
        return self.code

    def stop(self, timeout: float = PATIENCE) -> int | None:
        """SIGTERM; return the exit code, None if it still runs after `timeout` seconds."""
        self.send(signal.SIGTERM)
        return self.wait(timeout)

    def logged(self) -> str:
        """Return what it said."""
        return self.log.read_text() if self.log.exists() else ""


@contextmanager
def strace(command: Command, trace: Path, *words: str) -> Generator[None]:
    """Trace a command that waits or runs, with these options of strace; it runs on untouched afterwards."""
    with subprocess.Popen(
        ["strace", "-f", "-qq", "-y", "-o", str(trace), *words, "-p", str(command.pid)]
    ) as tracer:
        try:
            _await_tracer(command, tracer)
            yield
        finally:
            tracer.terminate()
            tracer.wait(10)


def _await_tracer(command: Command, tracer: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + PATIENCE
    while not _is_traced(command.pid):
        if tracer.poll() is not None:
            assert not command.running(), f"strace ended with {tracer.returncode}"
            return
        assert time.monotonic() < deadline, "strace does not attach"
        time.sleep(0.002)


def _is_traced(pid: int) -> bool:
    """Return whether strace has all threads of a process."""
    return all(_tracer(task) for task in Path(f"/proc/{pid}/task").iterdir())


def _tracer(task: Path) -> int:
    """Return the process that traces a thread, 0 if there is none, -1 if the thread has ended."""
    try:
        lines = (task / "status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return -1
    return next(int(line.split()[1]) for line in lines if line.startswith("TracerPid:"))
