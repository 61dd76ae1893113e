"""frame_num of each session, carried from file to file: what is in no file, and what the ledger says of it."""

from bisect import bisect
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Final

from timestream_aggregator.commands.telling import Told, counted
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
    def told(self) -> Told:
        """What a program reads of it, and a person."""
        values = {"finding": self.what, **asdict(self), "trouble": self.trouble}
        return Told(values, f"{'TROUBLE: ' if self.trouble else ''}session {self.session}: {self.text}\n")


def frames(findings: Iterable[Finding], what: Kind) -> int:
    """Return how many numbers the findings of that kind are about."""
    return sum(one.last - one.first + 1 for one in findings if one.what is what)


@dataclass(slots=True)
class Session:
    """The numbers of one session that are in files.

    What its stream is called by the recorder and by the streamer may not be known: then it may be a part of others.
    """

    number: int
    recorder: str | None
    streamer: str | None
    begins: list[int] = field(default_factory=list[int])  # one of these numbers is the first
    held: list[tuple[int, int, str]] = field(default_factory=list[tuple[int, int, str]])

    def add(self, first: int, last: int, path: str, *, begins: bool = True) -> None:
        """Take in that numbers stand in a file; its head, which repeats earlier ones, `begins` no session."""
        self.held.append((first, last, path))
        self.begins += [first] if begins else []

    def is_of(self, recorder: str | None) -> bool:
        """Return whether what `recorder` tells of a session with this number may be about this one."""
        return self.recorder is None or recorder in {None, BY_HAND, self.recorder}

    def may_be(self, other: "Session") -> bool:
        """Return whether this is, as far as it is known, `other`, of which more is known."""
        same = self.recorder in {None, other.recorder} and self.streamer in {None, other.streamer}
        return same and self is not other


class Sessions:
    """The sessions in the files of one data folder, or of files that are in none: those have no `summary`."""

    def __init__(self, summary: LedgerSummary | None) -> None:
        self._summary = summary
        self._found = defaultdict[int, dict[tuple[str | None, str | None], Session]](dict)
        self._told = defaultdict[int, list[tuple[str | None, tuple[int, int]]]](list)

    def session(self, number: int, recorder: str | None, streamer: str | None) -> Session:
        """Return a session by its number and what its stream is called."""
        recorder = None if recorder == BY_HAND else recorder
        return self._found[number].setdefault((recorder, streamer), Session(number, recorder, streamer))

    def tell(self, number: int | None, recorder: str | None, first: int | None, last: int | None) -> None:
        """Take in that these numbers, if they are known, need no more words."""
        if number is not None and first is not None and last is not None:
            self._told[number].append((recorder, (first, last)))

    def findings(self) -> Iterator[Finding]:
        """Yield what is to be said, of each session in the order of the numbers."""
        for found in self._found.values():
            known = [one for one in found.values() if not any(map(one.may_be, found.values()))]
            for one in known:
                for part in filter(lambda other: other.may_be(one), found.values()):
                    one.held += part.held
                    one.begins += part.begins
                shared = any(one is not other and one.recorder == other.recorder for other in known)
                yield from self._findings(one, shared=shared)

    def _findings(self, one: Session, *, shared: bool) -> Iterator[Finding]:
        """Yield what is to be said of a session; of its number the recorder has others if it is `shared`."""
        summary, number, begins = self._summary, one.number, min(one.begins, default=0)
        told = [] if summary is None else [lost for lost in summary.told_of(number) if one.is_of(lost.stream)]
        yield from (_joined(number, missed) for missed in told if missed.what == "missed")
        numbers = [span for recorder, span in self._told[number] if one.is_of(recorder)]
        numbers += (lost.numbers for lost in told if lost.numbers)
        if begins and not any(first < begins <= last + 1 for first, last in numbers):
            yield Finding(Kind.BEGINS, number, 0, begins - 1, f"begins at frame {begins}")
        one.held.sort()
        held = [(first, last) for first, last, _ in one.held]
        for first, last in without(begins, max(last for _, last in held), [*held, *numbers]):
            after = bisect(one.held, (first,))
            before, behind = one.held[after - 1][2], one.held[min(after, len(held) - 1)][2]
            text = f"{say_missing(first, last)}, between {before} and {behind}"
            yield Finding(Kind.MISSING, number, first, last, text)
        restarted = summary is not None and any(number == of for of, _, _ in summary.renumbered)
        if not shared and not restarted:  # else a number may be that of several frames
            lost = merged(lost.numbers for lost in told if lost.numbers and lost.what == "lost")
            for first, last, path in _common(one.held, lost):
                text = f"{_say(first, last)} told as lost, and in a file: {path}"
                yield Finding(Kind.IN_BOTH, number, first, last, text)


def _joined(number: int, told: FrameRange) -> Finding:
    at, count = (told.last or 0) + 1, told.count
    text = f"joined at frame {at}: {counted(count, 'frame')} had been sent before"
    return Finding(Kind.JOINED, number, at - count, at - 1, text)


def from_ledger(summary: LedgerSummary) -> Iterator[Finding]:
    """Yield what is to be said of all sessions, as far as that is known without looking into a file."""
    sessions = Sessions(summary)
    for path, entry in summary.files.items():
        number, first, last = entry.session_id, entry.first_frame_num, entry.last_frame_num
        sessions.tell(number, entry.stream, first, last)
        if number is None or first is None or last is None or entry.stream == BY_HAND:  # of whom nobody knows
            continue
        session = sessions.session(number, entry.stream, entry.stream_id)
        whole = entry.new > last - first
        for begin, end in [(first, last)] if whole else [(first, first), (last, last)]:
            session.add(begin, end, path)
    return sessions.findings()


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
