"""What became of each frame that was sent: in which file it is, and of what is in none, whether the ledger says so.

Reads with a parser of its own, so that a fault of the recorder's parser is not believed. For all tests of faults:

    account = settle(folder, sent)
    account.assert_complete()                # each frame is in one file
    account.assert_honest()                  # or the ledger says that it is lost
    account.assert_honest(in_flight=sent)    # or it was received and not written when the recorder was killed
"""

import hashlib
import subprocess
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Final

from crc32c import crc32c

from tests.tools.frames import split_frames
from tests.tools.recorder import OWN_FOLDER, published
from tests.tools.sender import SentFrame
from timestream_aggregator.ledger import file as ledger
from timestream_api.ledger import Fact, Joined, Line, Loss, Published, Recovered

SCAN: Final = "Scan"
_READ: Final = """
import sys
from spt3g import core
core.set_log_level(core.G3LogLevel.LOG_FATAL)
for path in sys.stdin.read().splitlines():
    frames, end, reader = 0, 0, core.G3Reader(path)
    try:
        while out := reader.Process(None):
            assert len(out[0]) > 0, "an empty frame"
            frames, end = frames + 1, max(end, reader.tell())
        print(frames, end)
    except Exception as error:
        print(-1, repr(error)[:300].replace(chr(10), " "))
"""


@dataclass(slots=True)
class Account:
    """Where each of `sent` is, by its place in that list, and what is wrong beside that."""

    sent: Sequence[SentFrame]
    files: dict[str, list[int]] = field(default_factory=dict[str, list[int]])
    staged: set[int] = field(default_factory=set[int])  # in no file, and in one that was not finished
    kept: set[int] = field(default_factory=set[int])  # in no file, and whole in a quarantined piece
    noted: set[int] = field(default_factory=set[int])  # nowhere, and the ledger says so by its number
    missing: set[int] = field(
        default_factory=set[int]
    )  # nowhere, and in the ledger at most as one of a number
    missed: set[int] = field(
        default_factory=set[int]
    )  # those of them that the ledger has as sent before joining
    counted: int = 0  # how many the ledger says are lost without saying which
    troubles: list[str] = field(default_factory=list[str])
    lines: list[Line] = field(default_factory=list[Line])

    def assert_complete(self) -> None:
        """AssertionError unless each frame to be recorded is in a file, once and in order, and nothing is noted."""
        assert not self.troubles, self._say(self.troubles)
        for where in (self.missing, self.staged, self.noted, self.kept):
            assert not where, self._say([])
        assert not self.counted, self._say([])

    def assert_honest(self, in_flight: Iterable[SentFrame] = ()) -> None:
        """AssertionError unless each frame is in one place, in the ledger as lost, or one of those `in_flight`."""
        excused = {frame.sha256 for frame in in_flight}
        unexplained = [place for place in self.missing if self.sent[place].sha256 not in excused]
        assert not self.troubles, self._say(self.troubles)
        assert len(unexplained) <= self.counted, self._say([f"not noted: {_ranges(unexplained)}"])
        assert self.counted <= len(self.missing), self._say([f"{self.counted} lost in the ledger"])

    def assert_lost_in_one_piece(self, sent: Sequence[SentFrame]) -> None:
        """AssertionError unless what is nowhere of `sent`, all received by one process, is a tail of it."""
        gone = {self.sent[place].sha256 for place in self.missing | self.noted}
        here = [frame.sha256 not in gone for frame in sent if frame.recorded]
        assert here == sorted(here, reverse=True), self._say(["lost in the middle of what one run received"])

    def assert_kept(self, before: Iterable[str]) -> None:
        """AssertionError unless each frame of `before`, by digest, which was whole in some file, is in one now."""
        there = {self.sent[place].sha256 for places in self.files.values() for place in places}
        places = {frame.sha256: place for place, frame in enumerate(self.sent)}
        gone = [places[digest] for digest in set(before) - there]
        assert not gone, self._say([f"was on the disk, and is in no file: {_ranges(gone)}"])

    def facts(self, *kinds: type[Fact]) -> list[Fact]:
        """Return what the ledger tells of these kinds."""
        return [line.fact for line in self.lines if isinstance(line.fact, kinds)]

    def _say(self, troubles: Sequence[str]) -> str:
        words = {"nowhere": self.missing, "noted": self.noted, "staged": self.staged, "kept": self.kept}
        where = [f"{name} {_ranges(places)}" for name, places in words.items() if places]
        files = [f"{path}: {_ranges(places)}" for path, places in self.files.items()]
        told = [line.encode().decode().rstrip() for line in self.lines[-40:]]
        return "\n".join(
            [f"of {len(self.sent)} frames: {'; '.join(where) or 'all in files'}", *troubles, *files, *told]
        )


def settle(folder: Path, sent: Sequence[SentFrame], *, copies: int = 1) -> Account:
    """Return the account of `sent`, all frames in the order they were sent, for a folder where nobody writes.

    `copies` is the number of recorders that received all of it. Frames have to differ, but for flow control.
    """
    account = Account(sent, lines=list(ledger.lines(folder)))
    places = {frame.sha256: place for place, frame in enumerate(sent) if frame.recorded}
    for path in published(folder):
        _read_file(account, str(path.relative_to(folder)), path.read_bytes(), places)
    _look_for_copies(account, copies)
    _compare_with_ledger(account, folder)
    there = {place for found in account.files.values() for place in found}
    account.staged = _whole_frames(folder / OWN_FOLDER / "staging", places) - there
    account.kept = _put_aside(folder / OWN_FOLDER / "quarantine", sent, places) - there - account.staged
    _divide_the_missing(account, set(places.values()) - there - account.staged - account.kept, there)
    _look_at_ranges(account, there, copies)
    return account


def whole_frames(paths: Iterable[Path]) -> list[str]:
    """Return the digests of the frames that stand whole at the beginning of these files."""
    data = (path.read_bytes() for path in paths)
    return [hashlib.sha256(frame).hexdigest() for each in data for frame in _until_damaged(each)]


def contents(folder: Path) -> dict[str, str]:
    """Return the digest of each published file, to be compared later."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in published(folder)
    }


def assert_untouched(folder: Path, before: Mapping[str, str]) -> None:
    """AssertionError unless all files of `before` are there as they were: no name is used twice."""
    now = contents(folder)
    changed = [path for path, digest in before.items() if now.get(path) != digest]
    assert not changed, f"published files have changed or gone: {changed}"


def assert_spt3g_reads(folders: Iterable[Path]) -> int:
    """AssertionError unless spt3g reads each file under `folders` to its last byte. Return how many there are."""
    paths = [path for folder in folders for path in published(folder)]
    done = subprocess.run(
        [sys.executable, "-c", _READ],
        input="\n".join(map(str, paths)),
        capture_output=True,
        text=True,
        check=True,
    )
    answers = done.stdout.splitlines()
    assert len(answers) == len(paths), done.stderr[-2000:]
    for path, answer in zip(paths, answers, strict=True):
        wanted = f"{len(list(_until_damaged(path.read_bytes())))} {path.stat().st_size}"
        assert answer == wanted, f"{path}: spt3g says {answer!r}, expected {wanted!r}"
    return len(paths)


def sent_bytes(
    data: bytes, kind: str = SCAN, session_id: int | None = None, frame_num: int | None = None
) -> SentFrame:
    """Return what stands for a frame that a test makes by hand."""
    digest = hashlib.sha256(data).hexdigest()
    return SentFrame(kind, len(data), digest, frame_num, None, data=data, session_id=session_id)


def _read_file(account: Account, path: str, data: bytes, places: Mapping[str, int]) -> None:
    """Take note of the frames in a published file, and of whatever else is in it."""
    found = account.files[path] = list[int]()
    if not data:
        account.troubles.append(f"empty: {path}")
    try:
        for number, frame in enumerate(split_frames(data)):
            place = places.get(hashlib.sha256(frame).hexdigest())
            if place is None:
                account.troubles.append(f"foreign: frame {number} of {path} was never sent")
            else:
                found.append(place)
    except ValueError as error:
        account.troubles.append(f"damaged: {path}: {error}")
    _look_at_order(account, path, found)


def _look_at_order(account: Account, path: str, found: Sequence[int]) -> None:
    """A file may begin with metadata that its sender repeats, in any order; from the first data on it is as sent."""
    if len(set(found)) < len(found):
        account.troubles.append(
            f"twice in one file: {path}: {_ranges(p for p, n in Counter(found).items() if n > 1)}"
        )
    if any(later < earlier for earlier, later in pairwise(found[_head(account, found) :])):
        account.troubles.append(f"out of order: {path}: {found}")


def _look_for_copies(account: Account, copies: int) -> None:
    """Data may stand in one file; metadata that comes ahead of a file's data may be a copy for its readers."""
    held = Counter[int]()
    for found in account.files.values():
        begin = _head(account, found)
        held.update(found[begin:])
        held.update(dict.fromkeys(found[:begin], 0))
    twice = [place for place, count in held.items() if count > copies]
    if twice:
        account.troubles.append(f"in two files: {_ranges(twice)}")


def _head(account: Account, found: Sequence[int]) -> int:
    """Return how many frames of metadata stand ahead of a file's data."""
    scans = (index for index, place in enumerate(found) if account.sent[place].kind == SCAN)
    return next(scans, len(found))


def _compare_with_ledger(account: Account, folder: Path) -> None:
    """Each file has its line, and each line its file, which is as the line says."""
    told = dict[str, Published | Recovered]()
    for line in account.lines:
        fact = line.fact
        if not isinstance(fact, Published | Recovered):
            continue
        before = told.get(fact.path)
        if before is not None and (
            isinstance(fact, Published) or (before.bytes, before.crc32c) != (fact.bytes, fact.crc32c)
        ):
            account.troubles.append(f"the name {fact.path} is published twice: {before}, then {fact}")
        told[fact.path] = fact
    account.troubles += [
        f"no line of the ledger tells of {path}" for path in account.files if path not in told
    ]
    for path, fact in told.items():
        if path not in account.files:
            account.troubles.append(f"the ledger tells of {path}, which is not there")
            continue
        data = (folder / path).read_bytes()
        there = (len(data), len(account.files[path]), f"{crc32c(data):08x}")
        if (fact.bytes, fact.frames, fact.crc32c) != there:
            account.troubles.append(f"{path} is {there}, the ledger says {fact}")


def _divide_the_missing(account: Account, nowhere: Collection[int], there: Collection[int]) -> None:
    """Tell what the ledger has as lost from what it does not."""
    losses = [fact for fact in account.facts(Loss) if isinstance(fact, Loss)]
    lost = {number for fact in losses for number in _numbers(fact)}
    missed = {number for fact in account.facts(Joined) for number in _numbers(fact)}
    account.noted = {place for place in nowhere if _number(account, place) in lost}
    account.missing = set(nowhere) - account.noted
    account.missed = {place for place in account.missing if _number(account, place) in missed}
    account.counted = sum(fact.count for fact in losses if fact.first is None or fact.last is None)


def _look_at_ranges(account: Account, there: Collection[int], copies: int) -> None:
    """Each number that is told as lost, or as missed before joining, is told once and in no file."""
    told = Counter[tuple[int | None, int]]()
    for fact in account.facts(Loss, Joined):
        numbers = _numbers(fact)
        told.update(numbers)
        if isinstance(fact, Loss) and fact.first is not None and fact.count != len(numbers):
            account.troubles.append(f"counted otherwise than numbered: {fact}")
    twice = sorted(number for (_, number), times in told.items() if times > copies)
    if twice:
        account.troubles.append(f"told twice as lost or missed: {_ranges(twice)}")
    wrong = [place for place in there if _number(account, place) in told]
    if wrong:
        account.troubles.append(f"in a file, and lost or missed in the ledger: {_ranges(wrong)}")


def _number(account: Account, place: int) -> tuple[int | None, int | None]:
    """Return by which session and number the ledger knows a frame."""
    return account.sent[place].session_id, account.sent[place].frame_num


def _numbers(fact: object) -> list[tuple[int | None, int]]:
    """Return all sessions and numbers that a loss names, or that were missed before joining."""
    match fact:
        case Joined():
            numbers = range(fact.first - fact.count, fact.first)
        case Loss(first=int(first), last=int(last)):
            numbers = range(first, last + 1)
        case _:
            return []
    return [(fact.session_id, number) for number in numbers]


def _whole_frames(folder: Path, places: Mapping[str, int]) -> set[int]:
    """Return which frames stand whole at the beginning of the files in `folder`."""
    digests = whole_frames(folder.iterdir()) if folder.is_dir() else []
    return {places[digest] for digest in digests if digest in places}


def _put_aside(folder: Path, sent: Sequence[SentFrame], places: Mapping[str, int]) -> set[int]:
    """Return which frames, of those whose bytes are known, stand anywhere in the quarantine."""
    pieces = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    return {
        place
        for place in places.values()
        if (data := sent[place].data) is not None and any(data in piece for piece in pieces)
    }


def _until_damaged(data: bytes) -> Iterator[bytes]:
    try:
        yield from split_frames(data)
    except ValueError:
        return


def _ranges(places: Iterable[int]) -> str:
    """Return places in few words: 1-4, 7."""
    runs = list[list[int]]()
    for place in sorted(places):
        if runs and place == runs[-1][-1] + 1:
            runs[-1].append(place)
        else:
            runs.append([place])
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs) or "none"
