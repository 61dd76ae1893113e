"""Completes what a killed recorder left: cuts each staged file after the good frames it begins with and publishes it.

More than a torn last frame is copied to quarantine before it is cut off, and the good frames in it to a staged file
of their own, which is published next. Each step may be the last one before the next crash: a file keeps its staged
name until its final one is on the disk and the ledger knows of it, and what stood behind damage is made anew until
the damage is cut off. Running it again goes on. A file that somebody is writing is locked, and left alone.
"""

import logging
import os
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import InitVar, dataclass, replace
from pathlib import Path
from typing import Final
from urllib.parse import quote

from timestream_aggregator.core.file_facts import FileFacts
from timestream_aggregator.core.naming import FileId, parse
from timestream_aggregator.disk.calls import Disk
from timestream_aggregator.disk.folder import DataFolder
from timestream_aggregator.disk.layout import PROBE, wanted_path
from timestream_aggregator.disk.pieces import copy, copy_to
from timestream_aggregator.g3.parser import Frame
from timestream_aggregator.ledger.memory import Memory
from timestream_aggregator.ledger.telling import Telling
from timestream_aggregator.recovery.lost import lost_from
from timestream_aggregator.recovery.scan import Frames, Part, Scan, last_numbered, scan
from timestream_api import ledger
from timestream_api.report import Totals

_BEHIND: Final = re.compile(r"(?P<file>.+)-behind-(?P<at>[0-9a-f]{1,16})")
"""The staged name of what stood behind damage: that of the damaged file, and where the damage begins in it."""
NICENESS: Final = 10  # recording comes first
RETRY_FIRST: Final = 1.0  # seconds
RETRY_EVERY: Final = 60.0  # at most


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
    quarantined: int = 0  # bytes from the first damaged frame on, with the good frames behind it
    kept: str | None = None  # where those are, in the quarantine
    trouble: str | None = None
    stranger: str | None = None  # what it is, if nothing can have been recorded into it


@dataclass(eq=False)
class Recovery:
    """Recovers the files that stand unlocked in the staging folder when this is made."""

    folder: DataFolder
    tell: Callable[[ledger.Fact], None]
    """Has to write a fact down before it returns, or to see to it that it will be."""
    log: logging.Logger
    earlier: InitVar[Memory | None] = None
    """What the ledger tells: what should be in the files, and the names that files were to get and perhaps did in the
    moment before a crash, where there are no hard links."""
    losses: Telling | None = None
    published: Callable[[FileFacts], None] = lambda _: None

    def __post_init__(self, earlier: Memory | None) -> None:
        """Look which files there are."""
        self._disk: Disk = self.folder.disk
        earlier = earlier or Memory("")
        self._unended = list(earlier.unended)
        self._told: set[str] = set()  # files that were told of under their final names
        self._complaints: dict[str, str] = {}  # why files cannot be recovered, as the log has heard
        self._opened = set(earlier.unended)  # names of files that the ledger expects
        self._noted = {(path, first) for path, lost in earlier.lost.items() for first in lost}
        self._left: dict[str, ledger.Left | None] = {}
        self._doubtful: set[str] = set()  # files that could not be published in this run
        self._promised: dict[str, FileId] = {}  # names of what stood behind damage
        self._strangers: list[str] = []
        self._found: list[str] = []  # files that were there in the beginning
        self._find(set(self._disk.names(self.folder.staging)), earlier.left)
        self._changed = threading.Condition()
        self._stopping = False
        self._new = False  # a file was taken that has not been tried
        self._pause_before_next = RETRY_FIRST
        self.looked = threading.Event()
        """What numbers are in the files that were left is known in `ahead`, as far as it can be."""
        self.ahead: list[tuple[str, Frame]] | None = None
        self.count = 0  # files published; its own thread alone changes it
        self.content = Totals()  # what is in those that runs before left

    def run_beside(self) -> None:
        """Recover in a thread of its own: a long file then holds up neither connecting nor writing."""
        with suppress(OSError):  # it may be lower already
            os.setpriority(os.PRIO_PROCESS, 0, NICENESS)  # on Linux, of this thread
        try:
            self.look_ahead()
            while True:
                self.run()
                self._wait()
        except InterruptedRecoveryError:
            with self._changed:
                left = len(self._left)
            if left:
                self.log.warning("stopped before all left files were recovered")

    def look_ahead(self) -> None:
        """Find the last numbered frame of each file that was left, by the name this is to get, and recover nothing.

        It is a matter of moments, also where recovery takes long: what the next frames lack can then be told.

        Raises:
            InterruptedRecoveryError: it was told to stop.
        """
        ahead: list[tuple[str, Frame]] = []
        try:
            files = [(wanted_path(name), self.folder.staging / name) for name in self._found]
            published = filter(None, map(parse, self._unended))  # perhaps: nobody was left to say so
            files += [(file.path, self.folder.root / file.path) for file in published]
            for name, path in files:
                frame = self._last_in(path)
                if frame is not None:
                    ahead.append((name, frame))
            self.ahead = ahead
        finally:
            self.looked.set()

    def _last_in(self, path: Path) -> Frame | None:
        """Return the last frame with a number of a file that is there and that nobody is writing."""
        try:
            if not self._disk.is_there(path) or not self._disk.is_file(path):
                return None
            fd = self._disk.open(path)
            try:
                return last_numbered(self._disk, fd, self._pause) if self.folder.claim(path, fd) else None
            finally:
                self._disk.close(fd)
        except OSError as error:
            self._complain(
                "a left file cannot be read: what is in it may be told as lost", shown(path.name), error
            )
            return None

    def take(self, name: str, left: ledger.Left | None) -> None:
        """Recover the staged file `name` too, which should hold what `left` says. Any thread may call this.

        Without `left` it has its final name and was told of: only the staged one is taken away.
        """
        with self._changed:
            self._left[name], self._new = left, True
            (self._told if left is None else self._doubtful).add(name)
            self._pause_before_next = RETRY_FIRST
            self._changed.notify()

    @property
    def pending(self) -> int:
        """How many files could not be published in this run, and are not recovered yet."""
        with self._changed:
            return len(self._doubtful & self._left.keys())

    @property
    def unfinished(self) -> bool:
        """Whether there is something of this run left to do, if only a staged name to take away."""
        with self._changed:
            return bool((self._doubtful | self._told) & self._left.keys())

    def try_again(self) -> None:
        """Try what failed again: the disk works. Any thread may call this."""
        with self._changed:
            self._new = bool(self._left)
            self._changed.notify()

    def stop(self) -> None:
        """Recover no more. Any thread may call this."""
        with self._changed:
            self._stopping = True
            self._changed.notify()

    def _wait(self) -> None:
        """Wait until there is something to recover, or to try again."""
        with self._changed:
            pause = self._pause_before_next if self._left else None
            self._pause_before_next = min(self._pause_before_next * 2, RETRY_EVERY)
            self._changed.wait_for(lambda: self._stopping or self._new, pause)
        self._pause()

    def run(self) -> list[Outcome]:
        """Return what became of the files that were left, one by one; called again, it tries those that failed.

        Raises:
            InterruptedRecoveryError: it was told to stop.
        """
        outcomes: list[Outcome] = []
        while self._unended:
            self._tell_of(self._unended.pop())
        while self._strangers:
            outcomes.append(self._pass_over(self._strangers.pop()))
        with self._changed:
            self._new = False
        tried = set[str]()
        while (name := self._untried(tried)) is not None:
            tried.add(name)
            outcome = self._recover(name)
            if outcome is not None:
                outcomes.append(outcome)
            if outcome is None or outcome.trouble is None:
                with self._changed:
                    del self._left[name]
        return outcomes

    def _find(self, names: set[str], left: Mapping[str, ledger.Left]) -> None:
        """Take note of what is in the staging folder: what stood behind damage comes when the damaged file is done."""
        for name in sorted(names, reverse=True):
            path = wanted_path(name)
            wanted = parse(path)
            if wanted is not None:
                self.folder.reserve(wanted)
            elif not name.startswith(PROBE):
                self._strangers.append(name)
                continue
            self._found.append(name)
            behind = _BEHIND.fullmatch(name)
            if behind is None:
                self._left[name] = left.get(path)
            elif behind["file"] not in names:
                self._left[name] = None

    def _untried(self, tried: set[str]) -> str | None:
        with self._changed:
            return next((name for name in self._left if name not in tried), None)

    def _pass_over(self, name: str) -> Outcome:
        """Tell, once, of what is in the staging folder and is not called like a file that is being written."""
        if name.startswith(".nfs"):
            return self._tell_stranger(name, "an NFS client keeps what somebody removed and has open")
        with suppress(OSError):
            if not self._disk.is_file(self.folder.staging / name):
                return self._tell_stranger(name, "it is no file")
        return self._give_up(name, "it is not called like a file that is being written")

    def _tell_stranger(self, name: str, what: str) -> Outcome:
        self.log.warning("passed over in the staging folder", extra={"path": shown(name), "why": what})
        return Outcome(name, stranger=what)

    def _tell_of(self, name: str) -> None:
        """Tell of a file that has its final name, if it is there: nobody has."""
        wanted = parse(name)
        if wanted is None:
            return
        path = self.folder.root / wanted.path
        try:
            if not self._disk.is_file(path):
                return
            fd = self._disk.open(path)
        except OSError:  # it is not there, or not ours to look at
            return
        try:
            found = scan(self._disk, fd, self._pause)
            if found.head.frames and self._disk.links(fd) == 1:
                self.folder.settle(wanted)
                self._tell_recovered(wanted, Outcome(name), found.head)
        except OSError as error:
            self._complain("a file cannot be looked at", name, error)
        finally:
            self._disk.close(fd)

    def _recover(self, name: str) -> Outcome | None:
        """Return what became of one file, None if it was nobody's or is somebody else's."""
        path = self.folder.staging / name
        try:
            if not self._disk.is_file(path):
                return self._tell_stranger(name, "it is no file")
            fd = self._disk.open(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            return self._give_up(name, str(error))
        try:
            return self._look_at(path, fd) if self.folder.claim(path, fd) else None
        except OSError as error:
            return self._give_up(name, str(error))
        finally:
            self._disk.close(fd)

    def _look_at(self, path: Path, fd: int) -> Outcome | None:
        wanted = parse(wanted_path(path.name))
        if wanted is None:  # it is a probe
            return self._remove_probe(path, fd)
        found = scan(self._disk, fd, self._pause)
        self._look_behind(path, found.size)
        standing = self._standing(path, fd, wanted)
        if standing is not None:
            self._note_losses(path.name, found, wanted)
            return self._finish(path, wanted, standing, Outcome(path.name, frames=found.head.frames), found)
        outcome = self._cut(path, fd, found, wanted)
        if not found.head.frames:
            return self._remove(path, wanted, outcome, found)
        if path.name in self._doubtful:  # after a failed sync the kernel takes it for written
            copy(self._disk, fd, fd, [(0, found.head.bytes)], self._pause)
        self._disk.sync(fd)
        return self._finish(path, wanted, self._publish(path, wanted), outcome, found)

    def _remove_probe(self, path: Path, fd: int) -> Outcome | None:
        if self._disk.size(fd):
            return self._tell_stranger(path.name, "it is called like a file that is never written to")
        self.folder.forget(path)
        return None

    def _publish(self, path: Path, wanted: FileId) -> FileId:
        """Give the file its name. The ledger knows it before: by that line a start after a crash finds the file.

        What stood behind damage gets the next name, and so does a file whose name somebody else has taken.
        """
        if path.name not in self._promised:
            taken = Path(wanted.path).name in self._disk.names(self.folder.root / wanted.base.folder)
            if taken or _BEHIND.fullmatch(path.name):
                self._promised[path.name] = self.folder.name_for_new(FileId(wanted.base, 0))
        wanted = self._promised.get(path.name, wanted)
        if wanted.path not in self._opened:
            self.tell(ledger.Opened(path=wanted.path))
            self._opened.add(wanted.path)
        return self.folder.publish(path, wanted, copying=True)

    def _note_losses(self, name: str, found: Scan, wanted: FileId) -> None:
        """Note as lost, once, what was written into the file and is not in it, as far as that is known."""
        with self._changed:
            left = self._left.get(name)
        if self.losses is None or (wanted.path, None) in self._noted:
            return
        for lost in lost_from(found, left, wanted.path):
            if (wanted.path, lost.first) not in self._noted:
                self.losses.tell(lost)
                self._noted.add((wanted.path, lost.first))
                self.losses.ledger.write(sync=True)  # before the file is cut, and no longer tells of it
                left = None
        if (
            left is None or found.rest
        ):  # what is whole now the disk may still lose, until the file is published
            with self._changed:
                self._left[name] = None

    def _standing(self, path: Path, fd: int, wanted: FileId) -> FileId | None:
        """Return the final name that the file has got already, if it has."""
        if self._disk.links(fd) == 1:
            return None
        folder = self.folder.root / wanted.base.folder
        for name in sorted(self._disk.names(folder)):
            if self._disk.is_at(fd, folder / name):
                return parse(f"{wanted.base.folder}/{name}")
        self.log.warning("a staged file has another name that is not known", extra={"path": str(path)})
        return None

    def _cut(self, path: Path, fd: int, found: Scan, wanted: FileId) -> Outcome:
        """Cut the file after the good frames it begins with; put what is more than a torn frame aside before."""
        kept = self._kept_path(path.name)
        if found.damage is not None:
            self._copy(fd, [(found.head.bytes, found.size)], kept)
        if found.behind.frames:
            behind = Frames(self._disk, fd, self._pause).stretches(found.head.bytes)
            self._copy(fd, behind, path.with_name(f"{path.name}-behind-{found.head.bytes:x}"))
        self._note_losses(path.name, found, wanted)
        if found.rest and found.head.frames:
            self._disk.truncate(fd, found.head.bytes)
        outcome = Outcome(path.name, frames=found.head.frames)
        if found.damage is None:
            return self._was_cut(outcome, kept) if not found.rest else replace(outcome, cut=found.rest)
        place = str(kept.relative_to(self._quarantine))
        self.log.warning("damaged", extra={"path": path.name, "why": found.damage, "kept": place})
        return replace(outcome, quarantined=found.rest, kept=place)

    def _was_cut(self, outcome: Outcome, kept: Path) -> Outcome:
        """Return the outcome for a file without damage, of which a run before may have cut some off."""
        try:
            size = self._disk.size_at(kept)
        except FileNotFoundError:
            return outcome
        return replace(outcome, quarantined=size, kept=str(kept.relative_to(self._quarantine)))

    @property
    def _quarantine(self) -> Path:
        return self.folder.staging.with_name("quarantine")

    def _kept_path(self, name: str) -> Path:
        return self._quarantine / "recovered" / f"{name}.g3part"

    def _copy(self, fd: int, stretches: Iterable[tuple[int, int]], path: Path) -> None:
        """Copy these bytes of the file to the file `path`, in place of what that held, and bring it to the disk."""
        self._disk.make_folder(path.parent)
        copy_to(self._disk, fd, path, stretches, self._pause)
        for folder in path.parents:
            self._disk.sync_folder(folder)
            if folder == self.folder.staging.parent:
                break

    def _finish(self, path: Path, wanted: FileId, final: FileId, outcome: Outcome, found: Scan) -> Outcome:
        """Tell of a file that has its final name, and take the other one away."""
        self.folder.settle(final)
        if path.name not in self._told:
            self._tell_recovered(final, outcome, found.head, None if final == wanted else wanted.path)
        self._forget(path)
        return replace(outcome, path=final.path, bytes=found.head.bytes)

    def _tell_recovered(self, final: FileId, outcome: Outcome, head: Part, wanted: str | None = None) -> None:
        file = head.facts(final.path)
        told = ledger.Recovered(
            **file.line(),
            wanted=wanted,
            cut=outcome.cut,
            quarantined=outcome.quarantined,
            kept=outcome.kept,
        )
        self.tell(told)
        self.published(file)
        self.count += 1
        if outcome.staged not in self._doubtful:
            before = self.content
            self.content = Totals(frames=before.frames + file.frames, bytes=before.bytes + file.bytes)
        extra = told.model_dump(mode="json", exclude={"kind"}, exclude_none=True)
        self.log.warning("file recovered", extra=extra)

    def _remove(self, path: Path, wanted: FileId, outcome: Outcome, found: Scan) -> Outcome:
        """Remove a file that does not begin with a good frame."""
        if found.size:
            told = ledger.Removed(
                path=wanted.path, cut=outcome.cut, quarantined=outcome.quarantined, kept=outcome.kept
            )
            self.tell(told)
        self._forget(path)
        self.log.info("removed a left file without frames", extra={"path": wanted.path, "bytes": found.size})
        return outcome

    def _forget(self, path: Path) -> None:
        """Take the staged name away; what stood behind damage in the file is next."""
        self.folder.forget(path)
        for behind in self._behind(path.name):
            with self._changed:
                self._left.setdefault(behind[0], None)

    def _behind(self, name: str) -> list[re.Match[str]]:
        """Return the names of what stood behind damage in the file `name`."""
        there = map(_BEHIND.fullmatch, self._disk.names(self.folder.staging))
        return [match for match in there if match and match["file"] == name]

    def _look_behind(self, path: Path, size: int) -> None:
        """Remove copies of what is still in the file, and would be published twice if the damage is not there now."""
        for behind in self._behind(path.name):
            if int(behind["at"], 16) < size:
                self.folder.forget(path.with_name(behind[0]))
            else:  # it was cut off, and then the file was compared with what it should hold
                with self._changed:
                    self._left[path.name] = None

    def _give_up(self, name: str, why: str) -> Outcome:
        if self._complaints.get(name) != why:
            self._complaints[name] = why
            self.log.error(
                "a left file cannot be recovered, trying on", extra={"path": shown(name), "why": why}
            )
        return Outcome(name, trouble=why)

    def _complain(self, message: str, path: str, error: OSError) -> None:
        self.log.error(message, extra={"path": path, "why": str(error)})

    def _pause(self) -> None:
        if self._stopping:
            raise InterruptedRecoveryError


def shown(name: str) -> str:
    """Return a name from the disk as a person may see it: any bytes may be in it."""
    return quote(os.fsencode(name), safe="%")
