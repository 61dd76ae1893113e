"""Brings what is noted of the stream to the log and to the ledger, and counts what is in no file, whoever finds it."""

import logging
import threading
from dataclasses import dataclass, field
from datetime import datetime

from timestream_aggregator.clock import SYSTEM, Clock
from timestream_aggregator.core.actions import Noted
from timestream_aggregator.ledger.file import Ledger
from timestream_aggregator.logs import RateLimited
from timestream_api import report
from timestream_api.ledger import Gap, Joined, Loss, Quarantined
from timestream_api.report import LossCause


@dataclass(frozen=True, slots=True)
class LossesState:
    """How many frames were lost, and the latest loss."""

    count: int = 0
    latest: report.LastLoss | None = None


@dataclass(slots=True)
class Telling:
    """Where notes go. For any thread; `lost` is all that the run has lost, and is replaced as a whole."""

    ledger: Ledger
    log: logging.Logger
    clock: Clock = SYSTEM
    lost: LossesState = LossesState()
    _adding: threading.Lock = field(default_factory=threading.Lock)
    _limited: RateLimited = field(init=False)

    def __post_init__(self) -> None:
        """Log seldom: a stream of damaged frames is as many losses."""
        self._limited = RateLimited(self.log)

    def tell(self, fact: Noted | Quarantined) -> None:
        """Bring a fact to log and ledger; a loss has a cause, and is counted."""
        when = self.clock.utc()
        if isinstance(fact, Loss):
            self._count(fact, when)
        self.ledger.note(fact, when)
        level = logging.INFO if isinstance(fact, Gap | Joined) else logging.WARNING
        told = fact.model_dump(mode="json", exclude={"kind"}, exclude_none=True)
        self._limited.log(level, fact.kind, told)

    def complain(self, message: str, error: OSError) -> None:
        """Bring to the log what the disk does not take, and nobody has to have."""
        self._limited.log(logging.ERROR, message, {"why": str(error)})

    def _count(self, lost: Loss, when: datetime) -> None:
        latest = report.LastLoss(
            time=when,
            count=lost.count,
            cause=LossCause(lost.cause),
            session=lost.session_id,
            first=lost.first,
            last=lost.last,
        )
        with self._adding:
            self.lost = LossesState(self.lost.count + lost.count, latest)


@dataclass(slots=True)
class Discards:
    """Frames that are being discarded, gathered so that a run of them is one loss."""

    telling: Telling
    count: int = 0  # since the last telling
    session_id: int | None = None
    first: int | None = None
    last: int | None = None
    why: str = ""

    def add(self, number: int | None, session_id: int | None, why: str) -> None:
        """Count a frame with that frame_num."""
        follows = number is None if self.last is None else number == self.last + 1
        if session_id != self.session_id or not follows:
            self.tell()
        self.count += 1
        self.session_id, self.last, self.why = session_id, number, why
        self.first = number if self.first is None else self.first

    def tell(self) -> None:
        """Note what was gathered as one loss."""
        if self.count:
            self.telling.tell(
                Loss(
                    count=self.count,
                    session_id=self.session_id,
                    first=self.first,
                    last=self.last,
                    cause=LossCause.DISK,
                    why=self.why,
                )
            )
        self.count, self.first, self.last = 0, None, None
