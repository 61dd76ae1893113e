"""Like things in great number are few lines of the ledger, and all of them are counted."""

import logging
from pathlib import Path

from timestream_aggregator.clock import Clock
from timestream_aggregator.disk.layout import OWN_FOLDER
from timestream_aggregator.ledger.file import Ledger, lines
from timestream_aggregator.ledger.folding import LINES, MINUTE
from timestream_aggregator.ledger.summary import summary_of
from timestream_api import ledger


class Turned(Clock):
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


def book_in(root: Path, clock: Clock) -> Ledger:
    (root / OWN_FOLDER).mkdir()
    return Ledger(root, "crate1", logging.getLogger(__name__), clock=clock)


def test_a_run_of_duplicates_is_a_line_that_counts_them(tmp_path: Path) -> None:
    book = book_in(tmp_path, Turned())
    for number in range(1200):
        book.note(ledger.Duplicate(type="S", session_id=7, frame_num=number))
    book.note(ledger.Loss(count=10, session_id=7, first=1200, last=1209))
    book.close()

    assert len(list(lines(tmp_path))) == LINES + 2
    told = summary_of(tmp_path)
    assert told is not None
    (again,) = told.duplicates
    assert (again.count, again.first, again.last) == (1200, 0, 1199)
    assert book.memory.totals.duplicates == 1200


def test_a_connection_that_flaps_for_an_hour_is_two_lines_a_minute(tmp_path: Path) -> None:
    clock = Turned()
    book = book_in(tmp_path, clock)
    for _ in range(3600):
        book.note(ledger.Connected(endpoint="here:1"))
        book.note(ledger.Disconnected(why="closed", times=2))
        clock.now += 1
        book.write()
    clock.now += MINUTE
    book.write()
    facts = [line.fact for line in lines(tmp_path)]
    book.close()

    assert len(facts) < 2 * (LINES + 62)
    assert sum(fact.times or 1 for fact in facts if isinstance(fact, ledger.Connected)) == 3600
    assert sum(fact.times or 1 for fact in facts if isinstance(fact, ledger.Disconnected)) == 7200


def test_what_is_quarantined_is_counted_with_its_bytes(tmp_path: Path) -> None:
    book = book_in(tmp_path, Turned())
    for _ in range(500):
        book.note(ledger.Quarantined(bytes=3, why="its crc"))
    book.close()

    told = summary_of(tmp_path)
    assert told is not None
    assert (told.quarantined, told.quarantined_bytes) == (500, 1500)


def test_duplicates_of_two_sessions_that_take_turns_are_counted_without_their_numbers(tmp_path: Path) -> None:
    book = book_in(tmp_path, Turned())
    for number in range(200):
        book.note(ledger.Duplicate(type="S", session_id=number % 2, frame_num=number))
    book.close()

    *_, last = lines(tmp_path)
    assert last.fact == ledger.Duplicate(type="S", times=200 - LINES)
