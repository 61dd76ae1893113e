"""What becomes of log messages while nobody reads them, and once somebody does."""

import json
import logging
import os
import threading
from collections.abc import Generator
from contextlib import contextmanager

from tests.tools.pipes import Pair, pipe, terminal
from timestream_aggregator.logs import MOST_WAITING, LogWriter


@contextmanager
def writing(to: Pair) -> Generator[tuple[LogWriter, logging.Logger]]:
    """Yield a writer and a logger that uses it."""
    writer = LogWriter(to.writer)
    log = logging.getLogger("timestream_aggregator.crate1")
    log.handlers[:], log.propagate = [writer], False
    log.setLevel(logging.INFO)
    yield writer, log
    writer.close()


def test_messages_that_nobody_reads_hold_nobody_up_and_what_found_no_room_is_counted() -> None:
    most = MOST_WAITING // 500
    with pipe() as to:
        to.fill()
        with writing(to) as (_, log):
            for number in range(most):
                log.info("x" * 1000, extra={"number": number})
            reading, read = in_background(to)
            while "dropped" not in "".join(read[-2:]):
                reading.join(0.01)
        to.close_writer()
        reading.join()
        lines = [json.loads(line) for line in "".join(read).lstrip(".").splitlines()]

    numbers = [line["number"] for line in lines if "number" in line]
    assert numbers == list(range(len(numbers))), "the first ones are kept, in order"
    assert lines[-1]["message"] == "log messages dropped"
    assert 0 < lines[-1]["count"] == most - len(numbers)


def in_background(of: Pair) -> tuple[threading.Thread, list[str]]:
    """Return a thread that reads until the end, and what it has read."""
    read = list[str]()

    def loop() -> None:
        while data := os.read(of.reader, 1 << 16):
            read.append(data.decode())

    thread = threading.Thread(target=loop)
    thread.start()
    return thread, read


def test_the_end_does_not_wait_for_ever_for_who_does_not_read() -> None:
    with pipe() as to:
        to.fill()
        with writing(to) as (writer, log):
            log.info("stopped")
        assert writer._thread.is_alive(), "it waits, and nobody for it"
        to.close_reader()
        writer._thread.join()


def test_what_waits_is_written_at_the_end() -> None:
    with pipe() as to:
        with writing(to) as (_, log):
            for number in range(50):
                log.info("message", extra={"number": number})
        numbers = [json.loads(line)["number"] for line in to.read_all().splitlines()]

    assert numbers == list(range(50))


def test_a_reader_that_has_gone_holds_up_nobody() -> None:
    with pipe() as to:
        to.close_reader()
        with writing(to) as (writer, log):
            for _ in range(50):
                log.info("message")
        assert not writer._thread.is_alive()


def test_a_descriptor_that_somebody_made_non_blocking_loses_nothing() -> None:
    with pipe() as to:
        to.fill()
        os.set_blocking(to.writer, False)
        with writing(to) as (_, log):
            log.info("kept")
            os.read(to.reader, 1 << 20)
        assert "kept" in to.read_all()


def test_a_message_that_cannot_be_made_ends_nobody() -> None:
    with pipe() as to:
        with writing(to) as (_, log):
            log.info("%d", "no number")
        assert "cannot be written" in to.read_all()


def test_on_a_terminal_the_live_line_stays_the_last_one_until_the_end() -> None:
    with terminal() as to:
        with writing(to) as (writer, log):
            assert writer.live
            log.info("first")
            writer.show("recording")
            while "recording" not in (shown := os.read(to.reader, 1 << 16).decode()):
                assert "first" in shown
            log.info("second")
        rest = to.read_all()

    assert "\x1b[K" in rest.partition("second")[0]
    assert rest.endswith("\r\x1b[K")


def test_a_terminal_that_has_vanished_has_no_live_line_any_more() -> None:
    with terminal() as to:
        to.close_reader()
        with writing(to) as (writer, log):
            log.info("first")
            while writer.live:
                writer._thread.join(0.01)
