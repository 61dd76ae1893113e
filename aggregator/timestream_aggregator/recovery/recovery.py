"""Completes what a killed recorder left: cuts each staged file after its last good frame and publishes it.

Each step may be the last one before the next crash: the file keeps its staged name until its final one is on
the disk and the ledger knows of it, and more than a torn last frame is copied to quarantine before it is cut.
Running it again goes on. A file that somebody is writing is locked, and left alone.
"""

import logging
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from timestream_aggregator.core.file_facts import FileFacts
from timestream_aggregator.core.naming import FileId, parse
from timestream_aggregator.disk.calls import Disk
from timestream_aggregator.disk.folder import DataFolder
from timestream_aggregator.disk.layout import PROBE, wanted_path
from timestream_aggregator.ledger.losses import Losses, Lost
from timestream_aggregator.ledger.recent import History
from timestream_aggregator.recovery.scan import Scan, pieces, scan
from timestream_api import ledger
from timestream_api.report import LossCause
from timestream_api.settings import LARGEST_FRAME

NICENESS: Final = 10  # recording comes first
RETRY_EVERY: Final = 60.0  # seconds


class InterruptedRecoveryError(Exception):
    """The recorder has to stop; what is left waits for the next start."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one staged file. `path` is its final name, None if it has none."""

    staged: str
    path: str | None = None
    frames: int = 0
    bytes: int = 0
    cut: int = 0  # bytes of a torn frame, or zeros
    quarantined: int = 0  # bytes after the first damaged frame
    kept: str | None = None  # where those are, in the quarantine
    trouble: str | None = None


class Recovery:
    """Recovers the files that stand unlocked in the staging folder when this is made."""

    def __init__(
        self,
        folder: DataFolder,
        tell: Callable[[ledger.Fact], None],
        log: logging.Logger,
        *,
        earlier: History | None = None,
        losses: Losses | None = None,
        published: Callable[[FileFacts], None] = lambda _: None,
        max_frame_bytes: int = LARGEST_FRAME,
    ) -> None:
        """Make one; `tell` has to write a fact down before it returns, or to see to it that it will be.

        `earlier` is what the ledger tells: what should be in the files, and the names that files were to get and
        perhaps did in the moment before a crash, where there are no hard links.
        """
        self._folder = folder
        self._disk: Disk = folder.disk
        self._tell = tell
        self._log = log
        self._max_frame_bytes = max_frame_bytes
        self._left = dict[str, ledger.Left | None].fromkeys(
            sorted(self._disk.names(folder.staging), reverse=True)
        )
        earlier = earlier or History()
        self._unended = list(earlier.unended)
        for name in self._left:
            folder.reserve(wanted_path(name))
            self._left[name] = earlier.left.get(wanted_path(name))
        self._losses = losses
        self._published = published
        self._changed = threading.Condition()
        self._stopping = False
        self._new = False  # a file was taken that has not been tried
        self.caught_up = threading.Event()
        """All that was left before this was made has been tried."""
        self.count = 0  # files published; its own thread alone changes it

    def run_beside(self) -> None:
        """Recover in a thread of its own: a long file then holds up neither connecting nor writing."""
        with suppress(OSError):  # it is nicer already, and only root may take that back
            os.setpriority(os.PRIO_PROCESS, 0, NICENESS)  # on Linux, of this thread
        try:
            while True:
                self.run()
                self.caught_up.set()
                self._wait()
        except InterruptedRecoveryError:
            with self._changed:
                left = len(self._left)
            if left:
                self._log.warning("stopped before all left files were recovered")
        finally:
            self.caught_up.set()

    def take(self, name: str, left: ledger.Left) -> None:
        """Recover the staged file `name` too, which should hold what `left` says. Any thread may call this."""
        with self._changed:
            self._left[name], self._new = left, True
            self._changed.notify()

    def stop(self) -> None:
        """Recover no more. Any thread may call this."""
        with self._changed:
            self._stopping = True
            self._changed.notify()

    def _wait(self) -> None:
        """Wait until there is something to recover, or to try again."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopping or self._new, RETRY_EVERY if self._left else None)
        self._pause()

    def run(self) -> list[Outcome]:
        """Return what became of the files that were left, one by one; called again, it tries those that failed.

        Raises:
            InterruptedRecoveryError: it was told to stop.
        """
        outcomes: list[Outcome] = []
        while self._unended:
            self._tell_of(self._unended.pop())
        with self._changed:
            self._new, names = False, list(self._left)
        for name in names:
            outcome = self._recover(name)
            if outcome is not None:
                outcomes.append(outcome)
            if outcome is None or outcome.trouble is None:
                with self._changed:
                    del self._left[name]
        return outcomes

    def _tell_of(self, name: str) -> None:
        """Tell of a file that has its final name, if it is there: nobody has."""
        wanted = parse(name)
        try:
            fd = self._disk.open(self._folder.root / name)
        except OSError:  # it is not there, or not ours to look at
            return
        try:
            found = scan(self._disk, fd, self._max_frame_bytes, self._pause)
            if wanted is not None and found.frames and self._disk.links(fd) == 1:
                self._folder.settle(wanted)
                self._tell_recovered(wanted, Outcome(name), found)
        except OSError as error:
            self._log.error("a file cannot be looked at", extra={"path": name, "why": str(error)})
        finally:
            self._disk.close(fd)

    def _recover(self, name: str) -> Outcome | None:
        """Return what became of one file, None if it was nobody's or is somebody else's."""
        path = self._folder.staging / name
        try:
            fd = self._disk.open(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            return self._give_up(name, str(error))
        try:
            return self._look_at(path, fd) if self._folder.claim(path, fd) else None
        except OSError as error:
            return self._give_up(name, str(error))
        finally:
            self._disk.close(fd)

    def _look_at(self, path: Path, fd: int) -> Outcome | None:
        if path.name.startswith(PROBE):
            self._folder.forget(path)
            return None
        wanted = parse(wanted_path(path.name))
        if wanted is None:
            return self._give_up(path.name, "it is not called like a file that is being written")
        found = scan(self._disk, fd, self._max_frame_bytes, self._pause)
        self._compare(path.name, found, wanted)
        standing = self._standing(path, fd, wanted)
        if standing is not None:
            return self._finish(path, standing, Outcome(path.name, frames=found.frames), found)
        outcome = self._cut(path, fd, found)
        if not found.frames:
            return self._remove(path, wanted, outcome, found)
        self._disk.sync(fd)
        return self._finish(path, self._folder.publish(path, wanted), outcome, found)

    def _compare(self, name: str, found: Scan, wanted: FileId) -> None:
        """Note as lost what was written into the file and is not in it."""
        with self._changed:
            left = self._left.get(name)
        if left is None or self._losses is None or found.frames >= left.frames:
            return
        missing = left.frames - max(found.frames, left.repeated)
        first, last = _after(found, left), left.last_frame_num
        known = first is not None and last is not None and last - first + 1 == missing
        lost = Lost(
            missing,
            LossCause.DISK,
            left.session_id,
            first if known else None,
            last if known else None,
            why=left.why,
            path=wanted.path,
        )
        self._losses.note(lost)
        with self._changed:
            self._left[name] = None  # it is noted now

    def _standing(self, path: Path, fd: int, wanted: FileId) -> FileId | None:
        """Return the final name that the file has got already, if it has."""
        if self._disk.links(fd) == 1:
            return None
        folder = self._folder.root / wanted.base.folder
        for name in sorted(self._disk.names(folder)):
            if self._disk.is_at(fd, folder / name):
                return parse(f"{wanted.base.folder}/{name}")
        self._log.warning("a staged file has another name that is not known", extra={"path": str(path)})
        return None

    def _cut(self, path: Path, fd: int, found: Scan) -> Outcome:
        """Cut the file after its last good frame; copy what is more than a torn frame aside before."""
        rest = found.size - found.good
        if not rest:
            return Outcome(path.name, frames=found.frames)
        kept = None if found.damage is None else self._keep(path.name, fd, found)
        if found.frames:
            self._disk.truncate(fd, found.good)
        if kept is None:
            return Outcome(path.name, frames=found.frames, cut=rest)
        self._log.warning("damaged", extra={"path": path.name, "why": found.damage, "kept": kept})
        return Outcome(path.name, frames=found.frames, quarantined=rest, kept=kept)

    def _keep(self, name: str, fd: int, found: Scan) -> str:
        """Copy what follows the good frames, all of it, and return where that stands in the quarantine."""
        quarantine = self._folder.staging.with_name("quarantine")
        path = quarantine / "recovered" / f"{name}.g3part"
        self._disk.make_folder(path.parent)
        copy, at = self._disk.open_anew(path), 0
        try:
            for piece in pieces(self._disk, fd, found.good, found.size):
                self._pause()
                view = memoryview(piece)
                while view:
                    written = self._disk.write(copy, [view], at)
                    view, at = view[written:], at + written
            self._disk.sync(copy)
        finally:
            self._disk.close(copy)
        for folder in (path.parent, quarantine, quarantine.parent):
            self._disk.sync_folder(folder)
        return str(path.relative_to(quarantine))

    def _finish(self, path: Path, final: FileId, outcome: Outcome, found: Scan) -> Outcome:
        """Tell of a file that has its final name, and take the other one away."""
        self._folder.settle(final)
        self._tell_recovered(final, outcome, found)
        self._folder.forget(path)
        return replace(outcome, path=final.path, bytes=found.good)

    def _tell_recovered(self, final: FileId, outcome: Outcome, found: Scan) -> None:
        file = found.facts(final.path)
        told = ledger.Recovered(
            **file.line(), cut=outcome.cut, quarantined=outcome.quarantined, kept=outcome.kept
        )
        self._tell(told)
        self._published(file)
        self.count += 1
        extra = told.model_dump(mode="json", exclude={"kind"}, exclude_none=True)
        self._log.warning("file recovered", extra=extra)

    def _remove(self, path: Path, wanted: FileId, outcome: Outcome, found: Scan) -> Outcome:
        """Remove a file without a whole frame."""
        if found.size:
            told = ledger.Removed(
                path=wanted.path, cut=outcome.cut, quarantined=outcome.quarantined, kept=outcome.kept
            )
            self._tell(told)
        self._folder.forget(path)
        self._log.info("removed a left file without frames", extra={"path": wanted.path, "bytes": found.size})
        return outcome

    def _give_up(self, name: str, why: str) -> Outcome:
        self._log.error("a left file cannot be recovered", extra={"path": name, "why": why})
        return Outcome(name, trouble=why)

    def _pause(self) -> None:
        if self._stopping:
            raise InterruptedRecoveryError


def _after(found: Scan, left: ledger.Left) -> int | None:
    """Return the frame_num of the first frame that was written and is not there, None if it is not known."""
    if not found.frames:
        return left.first_frame_num
    return None if found.last_frame_num is None else found.last_frame_num + 1
