"""What is lost is counted, and whoever looks meanwhile sees a count and the loss that made it so."""

import logging
import sys
import threading
from pathlib import Path

import pytest

from timestream_aggregator.disk.layout import OWN_FOLDER
from timestream_aggregator.ledger.file import Ledger
from timestream_aggregator.ledger.telling import Telling
from timestream_api.ledger import Loss
from timestream_api.report import LossCause


def test_a_count_is_never_seen_without_its_latest_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / OWN_FOLDER).mkdir()
    monkeypatch.setattr(logging.getLogger("test"), "disabled", True)
    book = Ledger(tmp_path, "crate1", logging.getLogger("test"))
    losses = Telling(book, logging.getLogger("test"))
    noted, seen, usual = threading.Event(), set[tuple[int, int | None]](), sys.getswitchinterval()

    def note() -> None:
        for number in range(1, 5001):
            losses.tell(Loss(count=1, cause=LossCause.DISK, first=number, last=number))
        noted.set()

    thread = threading.Thread(target=note)
    sys.setswitchinterval(1e-6)
    thread.start()
    while not noted.is_set():
        state = losses.lost
        seen.add((state.count, state.latest.last if state.latest else 0))
    thread.join()
    sys.setswitchinterval(usual)
    book.close()

    assert losses.lost.count == 5000
    assert all(count == last for count, last in seen)
