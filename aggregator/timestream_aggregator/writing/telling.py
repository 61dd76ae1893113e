"""Brings what was noted of the stream to the log and to the ledger. For any thread."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from timestream_aggregator.core.actions import Note, NoteKind
from timestream_aggregator.disk.quarantine import Kept
from timestream_aggregator.ledger.file import Ledger
from timestream_aggregator.ledger.losses import Losses, Lost
from timestream_aggregator.logs import RateLimited
from timestream_api import ledger as facts

_LEVELS: Final = {kind: logging.INFO if kind is NoteKind.GAP else logging.WARNING for kind in NoteKind}
_FACTS: Final[Mapping[NoteKind, type[facts.Fact]]] = {
    NoteKind.GAP: facts.Gap,
    NoteKind.RENUMBERED: facts.Renumbered,
    NoteKind.DUPLICATE: facts.Duplicate,
    NoteKind.RENAMED: facts.Renamed,
    NoteKind.UNKNOWN_FLOW_CONTROL: facts.UnknownFlowControl,
}


@dataclass(frozen=True, slots=True)
class PutAside:
    """A damaged piece of the stream, of `size` bytes. No parts: what comes again is kept once."""

    parts: tuple[memoryview, ...]
    size: int
    why: str


class Telling:
    """Where notes go."""

    def __init__(self, ledger: Ledger, losses: Losses, log: logging.Logger) -> None:
        self._ledger = ledger
        self._losses = losses
        self._limited = RateLimited(log)

    def tell(self, note: Note) -> None:
        """Bring a note to log and ledger."""
        if note.kind is NoteKind.LOSS:
            self._losses.note(Lost(**note.fields))  # pyright: ignore[reportArgumentType] - see the core
            return
        self._limited.log(_LEVELS[note.kind], note.kind.value, note.fields)
        fact = facts.fact_of(_FACTS[note.kind], note.fields)
        if fact is not None:
            self._ledger.note(fact)

    def put_aside(self, piece: PutAside, kept: Kept | None, disk: OSError | None = None) -> None:
        """Tell of a damaged piece, and of what was kept of it or why nothing was."""
        extra = {"bytes": piece.size, "why": piece.why}
        if disk is not None:
            self._limited.log(logging.ERROR, "cannot keep a damaged piece", {**extra, "disk": str(disk)})
        else:
            self._limited.log(
                logging.WARNING, "damaged piece of the stream", {**extra, "kept": str(kept and kept.path)}
            )
        fact = facts.Quarantined(bytes=piece.size, why=piece.why)
        if kept is not None:
            fact = fact.model_copy(update={"kept": kept.path.name, "kept_bytes": kept.bytes})
        self._ledger.note(fact)
