"""Brings what is noted of the stream to the log and to the ledger. For any thread."""

import logging

from timestream_aggregator.core.actions import Noted
from timestream_aggregator.ledger.file import Ledger
from timestream_aggregator.ledger.losses import Losses
from timestream_aggregator.logs import RateLimited
from timestream_api import ledger as facts


class Telling:
    """Where notes go."""

    def __init__(self, ledger: Ledger, losses: Losses, log: logging.Logger) -> None:
        self._ledger = ledger
        self._losses = losses
        self._limited = RateLimited(log)

    def tell(self, fact: Noted | facts.Quarantined) -> None:
        """Bring a fact to log and ledger."""
        if isinstance(fact, facts.Loss):
            self._losses.note(fact)
            return
        level = logging.INFO if isinstance(fact, facts.Gap | facts.Joined) else logging.WARNING
        told = fact.model_dump(mode="json", exclude={"kind"}, exclude_none=True)
        self._limited.log(level, fact.kind, told)
        self._ledger.note(fact)

    def complain(self, message: str, error: OSError) -> None:
        """Bring to the log what the disk does not take, and nobody has to have."""
        self._limited.log(logging.ERROR, message, {"why": str(error)})
