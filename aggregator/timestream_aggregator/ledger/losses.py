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

    def note(self, lost: Loss, at: datetime | None = None) -> None:
        """Count `lost`, which has a cause, and tell of it."""
        when = at or self.clock.utc()
        latest = report.LastLoss(
            time=when,
            count=lost.count,
            cause=LossCause(lost.cause),
            session=lost.session_id,
            first=lost.first,
            last=lost.last,
        )
        with self._adding:
            self.state = LossesState(self.state.count + lost.count, latest)
        self.ledger.note(lost, when)
        told = lost.model_dump(mode="json", exclude={"kind"}, exclude_none=True)
        self._limited.log(logging.WARNING, "loss", told)


@dataclass(slots=True)
class Discards:
    """Frames that are being discarded, gathered so that a run of them is one loss."""

    losses: Losses
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
            self.losses.note(
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
