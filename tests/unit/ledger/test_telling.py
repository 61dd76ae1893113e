"""What is lost is counted, and whoever looks meanwhile sees a count and the loss that made it so."""

import logging
import sys
import threading
from pathlib import Path

import pytest

from timestream_aggregator.disk.layout import OWN_FOLDER
from timestream_aggregator.ledger.file import Ledger, lines
from timestream_aggregator.ledger.telling import Discards, Telling
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


def test_what_is_discarded_is_one_loss_as_long_as_the_numbers_of_one_session_follow(tmp_path: Path) -> None:
    log = logging.getLogger("test")
    book = Ledger(tmp_path, "crate1", log)
    discards = Discards(Telling(book, log))
    for number, session in [(1, 7), (2, 7), (3, 8), (4, 8), (9, 8), (None, 8), (None, 8), (5, 9)]:
        discards.add(number, session, "full")
    discards.tell()
    book.close()

    told = [line.fact for line in lines(tmp_path)]
    assert [
        (fact.session_id, fact.count, fact.first, fact.last) for fact in told if isinstance(fact, Loss)
    ] == [
        (7, 2, 1, 2),
        (8, 2, 3, 4),
        (8, 1, 9, 9),
        (8, 2, None, None),
        (9, 1, 5, 5),
    ]
