"""frame_num of each session, carried from file to file: what is in no file, and what the ledger says of it."""

from bisect import bisect
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Final

from timestream_aggregator.commands.inventory import counted
from timestream_aggregator.ledger.summary import FrameRange, LedgerSummary, merged, without

BY_HAND: Final = "recover"  # the stream of lines that the command of that name writes


class Kind(StrEnum):
    """What a finding is about."""

    JOINED = "joined"  # late: frames before that were sent and missed
    BEGINS = "begins"  # not at 0, and nobody tells why
    MISSING = "missing"  # between files, and nobody tells why
    IN_BOTH = "told as lost and in a file"


@dataclass(frozen=True, slots=True)
class Finding:
    """What is to be said of the numbers `first` to `last` of a session."""

    what: Kind
    session: int
    first: int
    last: int
    text: str

    @property
    def trouble(self) -> bool:
        """Whether that must not be."""
        return self.what in {Kind.MISSING, Kind.IN_BOTH}

    @property
    def values(self) -> dict[str, object]:
        """What a program reads."""
        return {"finding": self.what, **asdict(self), "trouble": self.trouble}

    @property
    def line(self) -> str:
        """What a person reads."""
        return f"session {self.session}: {self.text}\n"


def frames(findings: Iterable[Finding], what: Kind) -> int:
    """Return how many numbers the findings of that kind are about."""
    return sum(one.last - one.first + 1 for one in findings if one.what is what)


@dataclass(slots=True)
class Session:
    """The numbers of one session that are in files; `told` are others that need no more words."""

    number: int
    begins: int | None = None
    recorders: set[str] = field(default_factory=set[str])  # by the names of their streams
    shared: bool = False  # the recorder had another stream with a session of this number
    held: list[tuple[int, int, str]] = field(default_factory=list[tuple[int, int, str]])
    told: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])

    def add(self, first: int, last: int, path: str, *, begins: bool = True) -> None:
        """Take in that numbers stand in a file; its head, which repeats earlier ones, `begins` no session."""
        self.held.append((first, last, path))
        if begins:
            self.begins = first if self.begins is None else min(first, self.begins)

    def findings(self, summary: LedgerSummary | None) -> Iterator[Finding]:
        """Yield what is to be said, in the order of the numbers."""
        told = (
            []
            if summary is None
            else [one for one in summary.told_of(self.number) if self.is_ours(one.stream)]
        )
        numbers = [*self.told, *(one.numbers for one in told if one.numbers)]
        begins = self.begins or 0
        yield from (self._joined(one) for one in told if one.what == "missed")
        if begins and not any(first < begins <= last + 1 for first, last in numbers):
            yield Finding(Kind.BEGINS, self.number, 0, begins - 1, f"begins at frame {begins}")
        self.held.sort()
        held = [(first, last) for first, last, _ in self.held]
        for first, last in without(begins, max(last for _, last in held), [*held, *numbers]):
            after = bisect(self.held, (first,))
            before, behind = self.held[after - 1][2], self.held[min(after, len(held) - 1)][2]
            text = f"{say_missing(first, last)}, between {before} and {behind}"
            yield Finding(Kind.MISSING, self.number, first, last, text)
        restarted = summary is not None and any(
            self.number == session for session, _, _ in summary.renumbered
        )
        if not self.shared and not restarted:  # else a number may be that of several frames
            lost = list(merged(one.numbers for one in told if one.numbers and one.what == "lost"))
            for first, last, path in _common(self.held, lost):
                text = f"{_say(first, last)} told as lost, and in a file: {path}"
                yield Finding(Kind.IN_BOTH, self.number, first, last, text)

    def is_ours(self, recorder: str) -> bool:
        """Return whether what `recorder` tells of a session with this number may be about this one."""
        return not self.recorders or recorder in self.recorders or recorder == BY_HAND

    def _joined(self, told: FrameRange) -> Finding:
        at, count = (told.last or 0) + 1, told.count
        text = f"joined at frame {at}: {counted(count, 'frame')} had been sent before"
        return Finding(Kind.JOINED, self.number, at - count, at - 1, text)


def from_ledger(summary: LedgerSummary) -> Iterator[Finding]:
    """Yield what is to be said of all sessions, as far as that is known without looking into a file."""
    sessions, names = dict[tuple[int, str], Session](), defaultdict[tuple[int, str], set[str]](set)
    recovered = defaultdict[int, list[tuple[int, int]]](list)  # by hand, and of whom nobody knows
    for path, entry in summary.files.items():
        number, first, last = entry.file.session_id, entry.file.first_frame_num, entry.file.last_frame_num
        if number is None or first is None or last is None:
            continue
        if entry.stream == BY_HAND:
            recovered[number].append((first, last))
            continue
        session = sessions.setdefault((number, entry.stream), Session(number, recorders={entry.stream}))
        names[number, entry.stream] |= {entry.stream_id} if entry.stream_id else set()
        whole = entry.file.frames - entry.repeated > last - first
        for begin, end in [(first, last)] if whole else [(first, first), (last, last)]:
            session.add(begin, end, path)
        session.told.append((first, last))
    for key, session in sessions.items():
        session.told += recovered[session.number]
        session.shared = len(names[key]) > 1
        yield from session.findings(summary)


def _common(
    held: Iterable[tuple[int, int, str]], lost: list[tuple[int, int]]
) -> Iterator[tuple[int, int, str]]:
    """Yield which numbers of `held` are in one of the ranges `lost` too, which are in order and apart."""
    for first, last, path in held:
        at = max(0, bisect(lost, (first,)) - 1)
        while at < len(lost) and lost[at][0] <= last:
            if lost[at][1] >= first:
                yield max(first, lost[at][0]), min(last, lost[at][1]), path
            at += 1


def say_missing(first: int, last: int) -> str:
    """Return what a reader needs to know about a gap in the numbers."""
    return f"{_say(first, last)} missing"


def _say(first: int, last: int) -> str:
    return f"frame_num {first} is" if first == last else f"frame_num {first} to {last} are"
