"""What is found out of one file, and how numbers are counted."""

from dataclasses import dataclass, field
from enum import StrEnum

from timestream_aggregator.core.replay import NEVER_REPLAYED


class LedgerVerdict(StrEnum):
    """What the ledger of the data folder says of a file."""

    AGREES = "agrees"
    DIFFERS = "differs"
    UNKNOWN = "unknown"  # it has no line of the file


@dataclass(slots=True)
class FileReport:
    """What one file holds. Times are ISO 8601, UTC; `missing` has the first and last of absent numbers.

    `frames` and what follows it tell of the frames before the first trouble with the bytes. `known` are those
    of the missing numbers that the ledger tells of. `ledger` is None for a file that is in no data folder.
    """

    path: str
    bytes: int = 0
    frames: int = 0
    types: dict[str, int] = field(default_factory=dict[str, int])
    sessions: list[int] = field(default_factory=list[int])
    first_time: str | None = None
    last_time: str | None = None
    first_frame_num: int | None = None
    last_frame_num: int | None = None
    missing: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    trouble: list[str] = field(default_factory=list[str])
    known: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    notes: list[str] = field(default_factory=list[str])
    crc32c: str | None = None
    sha256: str | None = None
    ledger: LedgerVerdict | None = None


@dataclass(slots=True)
class Run:
    """Numbers of a session that follow one another in a file; whether there are data frames among them."""

    session: int
    stream: str | None
    first: int
    last: int
    data: bool = False


@dataclass(slots=True)
class Count:
    """Counts frames into a report. `gaps` are missing numbers with their session, `backs` steps back."""

    report: FileReport
    repeated: int = 0  # frames at the beginning whose numbers the ledger leaves out
    gaps: list[tuple[int | None, int, int]] = field(default_factory=list[tuple[int | None, int, int]])
    backs: list[tuple[int | None, int, int]] = field(default_factory=list[tuple[int | None, int, int]])
    runs: list[Run] = field(default_factory=list[Run])
    first_own: int | None = None  # of the frames after those
    last_own: int | None = None
    _session: int | None = None
    _highest: int | None = None  # since the count went back the last time

    def add(
        self, kind: str, session: int | None, number: int | None, time: str | None, stream: str | None
    ) -> None:
        """Count one frame."""
        report = self.report
        report.frames += 1
        report.types[kind] = report.types.get(kind, 0) + 1
        if session is not None:
            self._session = session
            if session not in report.sessions:
                report.sessions.append(session)
                report.last_frame_num = self._highest = None
        if number is not None:
            self._add_number(kind, number)
            if session is not None:
                self._add_to_runs(kind, session, stream, number)
        if time is not None:
            report.first_time = report.first_time or time
            report.last_time = time

    def _add_number(self, kind: str, number: int) -> None:
        """Compare a frame_num with the last one.

        Not before the first Scan: a file may begin with earlier metadata, repeated for its readers.
        """
        report, last = self.report, self._highest
        if last is not None and report.types.get("S", 0) > (kind == "S"):
            if number > last + 1:
                report.missing.append((last + 1, number - 1))
                self.gaps.append((self._session, last + 1, number - 1))
            elif number <= last and kind == "S":
                self.backs.append((self._session, last, number))
        if last is None or number > last or kind == "S":
            self._highest = number
        highest = report.last_frame_num
        report.last_frame_num = number if highest is None else max(highest, number)
        if report.first_frame_num is None:
            report.first_frame_num = number
        if report.frames > self.repeated:
            self.first_own = number if self.first_own is None else self.first_own
            self.last_own = number

    def _add_to_runs(self, kind: str, session: int, stream: str | None, number: int) -> None:
        run = self.runs[-1] if self.runs else None
        if run is None or (run.session, run.stream) != (session, stream) or number - run.last not in {0, 1}:
            run = Run(session, stream, number, number)
            self.runs.append(run)
        run.last = number
        run.data = run.data or kind in NEVER_REPLAYED
