"""What is in no file: counted, logged and written into the ledger in one place, whoever finds it."""

import logging
import threading
from dataclasses import dataclass, field
from datetime import datetime

from timestream_aggregator.clock import SYSTEM, Clock
from timestream_aggregator.ledger.file import Ledger
from timestream_aggregator.logs import RateLimited
from timestream_api import report
from timestream_api.ledger import Loss
from timestream_api.report import LossCause


@dataclass(frozen=True, slots=True)
class Lost:
    """Frames in no file; `first` and `last` are their frame_num, where that is known."""

    count: int
    cause: LossCause
    session_id: int | None = None
    first: int | None = None
    last: int | None = None
    why: str | None = None
    path: str | None = None
    stream_id: str | None = None


@dataclass(frozen=True, slots=True)
class LossesState:
    """How many frames were lost, and the latest loss."""

    count: int = 0
    latest: report.LastLoss | None = None


@dataclass(slots=True)
class Losses:
    """All that a run has lost. For any thread; `state` is replaced as a whole."""

    ledger: Ledger
    log: logging.Logger
    clock: Clock = SYSTEM
    state: LossesState = LossesState()
    _adding: threading.Lock = field(default_factory=threading.Lock)
    _limited: RateLimited = field(init=False)

    def __post_init__(self) -> None:
        """Log seldom: a stream of damaged frames is as many losses."""
        self._limited = RateLimited(self.log)

    def note(self, lost: Lost, at: datetime | None = None) -> None:
        """Count `lost` and tell of it."""
        when = at or self.clock.utc()
        fact = Loss(
            count=lost.count,
            cause=lost.cause,
            session_id=lost.session_id,
            stream_id=lost.stream_id,
            first=lost.first,
            last=lost.last,
            why=lost.why,
            path=lost.path,
        )
        latest = report.LastLoss(
            time=when,
            count=lost.count,
            cause=lost.cause,
            session=lost.session_id,
            first=lost.first,
            last=lost.last,
        )
        with self._adding:
            self.state = LossesState(self.state.count + lost.count, latest)
        self.ledger.note(fact, when)
        told = fact.model_dump(mode="json", exclude={"kind"}, exclude_none=True)
        self._limited.log(logging.WARNING, "loss", told)


@dataclass(slots=True)
class Discards:
    """Frames that are being discarded, gathered so that a run of them is one loss."""

    losses: Losses
    count: int = 0  # since the last telling
    session_id: int | None = None
    first: int | None = None
    last: int | None = None

    def add(self, numbers: list[int | None], session_id: int | None) -> None:
        """Count frames with these frame_num."""
        if session_id != self.session_id:
            self.tell("")
        known = [number for number in numbers if number is not None]
        self.count += len(numbers)
        self.session_id = session_id
        if known:
            self.first = known[0] if self.first is None else self.first
            self.last = known[-1]

    def tell(self, why: str) -> None:
        """Note what was gathered as one loss."""
        if self.count:
            lost = Lost(
                self.count, LossCause.DISK, self.session_id, self.first, self.last, why or "the disk failed"
            )
            self.losses.note(lost)
        self.count, self.first, self.last = 0, None, None
