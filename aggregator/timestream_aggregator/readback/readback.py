"""Has each published file read back by a process of its own, and says whether it holds what was received.

One file at a time, oldest first, and never in the way of recording: a backlog waits. That process loads spt3g, which
takes half a second and memory, and may in principle crash on a bad file.
"""

import json
import logging
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from timestream_aggregator.core.file_facts import FileFacts
from timestream_aggregator.ledger.file import ClosedLedgerError
from timestream_api import ledger

MOST_WAITING: Final = 10_000  # files
ATTEMPTS: Final = 3
LATEST: Final = 3  # files whose outcome is remembered
RETRY_AFTER: Final = 10.0  # seconds
_TO_END: Final = 2.0  # seconds that an outcome gets on its way to the ledger, once it is too late for others


@dataclass(frozen=True, slots=True)
class ReadbackState:
    """How many files were found to be good and bad; replaced as a whole, so that other threads may look at it."""

    good: int = 0
    bad: int = 0
    latest_bad: str | None = None
    outcomes: Mapping[str, bool] = field(default_factory=dict[str, bool])
    """Whether a file holds what was received, for the latest files."""

    def with_outcome(self, path: str, *, good: bool) -> "ReadbackState":
        """Return the state once the file `path` has been looked at."""
        latest = [*self.outcomes.items(), (path, good)][-LATEST:]
        return ReadbackState(
            self.good + good, self.bad + (not good), self.latest_bad if good else path, dict(latest)
        )


class Readback:
    """The files that wait to be read back, and the thread that has it done; all but `run()` is for any thread."""

    def __init__(self, root: Path, tell: Callable[[ledger.Fact], None], log: logging.Logger) -> None:
        """Make one; `tell` is called with each outcome."""
        self._root = root
        self._tell = tell
        self._log = log
        self._waiting: deque[FileFacts] = deque()
        self._changed = threading.Condition()
        self._running = False
        self._finishing = False  # nothing more is added
        self._stopping = False
        self.helper: subprocess.Popen[bytes] | None = None
        self.state = ReadbackState()

    def add(self, written: FileFacts) -> None:
        """Have `written` read back when those before it are."""
        with self._changed:
            if len(self._waiting) >= MOST_WAITING:
                self._log.warning("too many files wait to be read back", extra={"path": written.path})
                return
            self._waiting.append(written)
            self._changed.notify_all()

    def run(self) -> None:
        """Have files read back until told to finish or to stop."""
        self._running = True
        try:
            while (written := self._next()) is not None and self._look_at(written):
                self._waiting.popleft()
        except ClosedLedgerError as error:  # the next recorder reads the file back again
            self._log.warning("an outcome is not noted", extra={"why": str(error)})
        finally:
            self._end()

    def finish(self, patience: float) -> None:
        """Have what waits read back, for `patience` seconds at most, and end."""
        with self._changed:
            self._finishing = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._running, max(0.0, patience))
        self.stop()
        with self._changed:
            self._changed.wait_for(lambda: not self._running, _TO_END)

    def stop(self) -> None:
        """Have no more read back: what is not, is when the next recorder starts."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
            if self.helper is not None:
                self.helper.kill()

    def _end(self) -> None:
        if self._waiting:
            extra = {"files": len(self._waiting), "last": self._waiting[-1].path}
            self._log.warning("not read back: run verify, or start the recorder again", extra=extra)
        with self._changed:
            self._running = False
            self._changed.notify_all()

    def _next(self) -> FileFacts | None:
        """Return the file that waits longest, which still does; None at the end."""

        def ready() -> bool:
            return bool(self._waiting) or self._finishing or self._stopping

        with self._changed:
            self._changed.wait_for(ready)
            return self._waiting[0] if self._waiting and not self._stopping else None

    def _look_at(self, written: FileFacts) -> bool:
        """Have one file read back and tell the outcome; return whether there is no more to do about it."""
        for _attempt in range(ATTEMPTS):
            answer = self._ask(str(self._root / written.path))
            if answer is not None:
                self._judge(written, answer)
                return True
            with self._changed:
                if self._changed.wait_for(lambda: self._stopping, RETRY_AFTER):
                    return False
        self._log.error(
            "the process that reads files back ends each time, the file is not verified",
            extra={"path": written.path},
        )
        return True

    def _judge(self, written: FileFacts, answer: dict[str, Any]) -> None:
        if answer.get("absent"):
            self._log.info("published file was fetched before it was read back", extra={"path": written.path})
            return
        why = difference(written, answer)
        fact = ledger.Verified(path=written.path, good=why is None, sha256=answer.get("sha256"), why=why)
        self.state = self.state.with_outcome(written.path, good=why is None)
        if why is None:
            self._log.debug("file verified", extra={"path": written.path})
        else:
            self._log.error(
                "a file does not hold what was received", extra={"path": written.path, "why": why}
            )
        self._tell(fact)

    def _ask(self, path: str) -> dict[str, Any] | None:
        """Return what a helper finds; None if it ends without an answer."""
        try:
            helper = _start_helper(path)  # may take long: nobody who adds a file waits for it
            with self._changed:
                self.helper = helper
                if self._stopping:
                    helper.kill()
            answer, said = helper.communicate()
            if said:
                text = said.decode(errors="replace")[-500:]
                self._log.warning("the process that reads files back complains", extra={"said": text})
            return json.loads(answer)
        except (OSError, ValueError) as error:
            if not self._stopping:
                self._log.warning("the process that reads files back ended", extra={"why": str(error)})
            return None
        finally:
            with self._changed:
                self.helper = None


def _start_helper(path: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "timestream_aggregator.readback.helper", path]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, start_new_session=True)  # noqa: S603 - a file of ours


def difference(written: FileFacts, found: dict[str, Any]) -> str | None:
    """Return how what is on the disk differs from what was received, None if it does not."""
    if found["crc32c"] is None:  # it could not be read
        return str(found["why"])
    if found["bytes"] != written.bytes:
        return f"it has {found['bytes']} bytes, {written.bytes} were received"
    if found["crc32c"] != written.crc32c:
        return f"its CRC-32C is {found['crc32c']}, that of what was received is {written.crc32c}"
    if found["why"] is not None:
        return str(found["why"])
    if found["frames"] != written.frames:
        return f"spt3g loads {found['frames']} frames, {written.frames} were received"
    return None
