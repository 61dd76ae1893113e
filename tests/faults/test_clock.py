"""A wall clock that is stepped while the recorder runs: libfaketime, whose file the test rewrites."""

import os
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from tests.faults.account import assert_untouched, contents, settle
from tests.tools.pipes import terminal
from tests.tools.recorder import Recorder, names
from tests.tools.sender import Sender, SentFrame
from timestream_api.ledger import Opened, Published
from timestream_api.values import Layout

HOUR = 3600
FROZEN = "2026-01-01 12:00:00"
LIBRARIES = (
    Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"),
    Path("/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1"),
)


class Clock:
    """The wall clock of one process; the monotonic one is left alone."""

    def __init__(self, folder: Path, begin: str) -> None:
        library = next((path for path in LIBRARIES if path.exists()), None)
        assert library is not None, "faketime is missing: apt-get install faketime"
        self._file = folder / "clock"
        self.set(begin)
        self.environment = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
            "TZ": "UTC",
        }

    def set(self, to: str) -> None:
        """Set it: `+3600s` beside the real one, or a time at which it stands still."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{to}\n")
        new.rename(self._file)


@pytest.fixture
def clocks(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Clock]:
    return lambda begin: Clock(tmp_path_factory.mktemp("clock"), begin)


def assert_in_the_order_of_the_stream(folder: Path, sent: list[SentFrame]) -> None:
    """AssertionError unless files were opened and published, by the ledger, in the order of their frames."""
    account = settle(folder, sent)
    account.assert_complete()
    told = [fact.path for fact in account.facts(Published) if isinstance(fact, Published)]
    assert set(told) == set(names(folder))
    assert told == [fact.path for fact in account.facts(Opened) if isinstance(fact, Opened)]
    lasts = [account.files[path][-1] for path in told]
    assert all(earlier < later for earlier, later in pairwise(lasts)), (
        "the ledger's order is not the stream's"
    )


def test_a_clock_that_is_stepped_an_hour_back_and_forth_ends_no_file_and_doubles_no_name(
    tmp_path: Path, clocks: Callable[[str], Clock]
) -> None:
    clock = clocks("+0s")
    with Sender() as sender, Recorder(tmp_path, sender.port, environment=clock.environment) as recorder:
        recorder.connected()
        sent = sender.start_session() + sender.send_scans(3)
        recorder.recorded(5)
        for number, step in enumerate((HOUR, -HOUR, 0, -2 * HOUR, HOUR)):
            clock.set(f"{step:+d}s")
            sent += sender.send_scans(3, interval=0.1)
            report = recorder.recorded(5 + 3 * (number + 1))
            assert abs(report.time.timestamp() - time.time() - step) < 5, "the clock was not stepped"
            assert report.totals.files == 0, "a step of the clock closed a file"
            assert recorder.probe("/healthz") == 200
        sent += sender.end_session()
        recorder.wait_for(lambda report: report.totals.files == 1)
        assert recorder.stop() == 0

    assert_in_the_order_of_the_stream(tmp_path, sent)
    assert len(names(tmp_path)) == 1


def test_files_rotate_while_the_clock_stands_still_and_while_it_jumps(
    tmp_path: Path, clocks: Callable[[str], Clock]
) -> None:
    clock = clocks(FROZEN)
    with (
        Sender() as sender,
        Recorder(tmp_path, sender.port, time_per_file=1, environment=clock.environment) as recorder,
    ):
        recorder.connected()
        sent = sender.start_session()
        for step in (FROZEN, "2026-01-01 13:00:00", FROZEN, "2026-01-01 11:00:00"):
            clock.set(step)
            begin, before = time.monotonic(), recorder.status().totals.files
            sent += sender.send_scans(16, interval=0.1)
            rotated = recorder.status().totals.files - before
            assert abs(rotated - (time.monotonic() - begin)) <= 1.5, f"{rotated} files"
        sent += sender.end_session()
        recorder.wait_for(lambda report: report.current_file is None)
        assert recorder.stop() == 0

    assert_in_the_order_of_the_stream(tmp_path, sent)
    assert {name.rpartition("_")[0] for name in names(tmp_path)} == {"17672/2026-01-01-12-00-00"}


@pytest.mark.parametrize("layout", [Layout.TIMESTAMP, Layout.SESSION])
def test_acquisitions_that_begin_in_the_same_second_again_overwrite_nothing(
    tmp_path: Path, clocks: Callable[[str], Clock], layout: Layout
) -> None:
    clock, sent = clocks(FROZEN), list[SentFrame]()
    with Sender() as sender:
        for _ in range(2):  # the second recorder meets what the first one left
            with Recorder(
                tmp_path, sender.port, layout=layout.value, environment=clock.environment
            ) as recorder:
                recorder.connected()
                for step in (FROZEN, "2026-01-01 13:00:00", FROZEN):
                    clock.set(step)
                    before = contents(tmp_path)
                    files = recorder.status().totals.files
                    sent += sender.start_session(session_id=1_700_000_000) + sender.send_scans(2)
                    sent += sender.end_session()
                    recorder.wait_for(lambda report, wanted=files + 1: report.totals.files == wanted)
                    assert_untouched(tmp_path, before)
                assert recorder.stop() == 0

    assert_in_the_order_of_the_stream(tmp_path, sent)
    assert len(names(tmp_path)) == 6


def test_the_gap_that_ends_an_acquisition_is_measured_by_the_clock_that_nobody_sets(
    tmp_path: Path, clocks: Callable[[str], Clock]
) -> None:
    clock = clocks("+0s")
    with (
        Sender() as sender,
        Recorder(tmp_path, sender.port, frame_gap=1.5, environment=clock.environment) as recorder,
    ):
        recorder.connected()
        begin = time.monotonic()  # before the last frame: a busy machine may look late at what was recorded
        sent = sender.start_session() + sender.send_scans(2)
        recorder.recorded(4)
        clock.set(f"-{HOUR}s")
        recorder.wait_for(lambda report: report.totals.gaps == 1)
        assert time.monotonic() - begin > 1
        sent += sender.send_scans(2)
        recorder.recorded(6)
        assert recorder.stop() == 0

    assert_in_the_order_of_the_stream(tmp_path, sent)
    assert len(names(tmp_path)) == 2


def test_the_live_line_of_a_terminal_bears_a_clock_that_stands_still(
    tmp_path: Path, clocks: Callable[[str], Clock]
) -> None:
    clock = clocks(FROZEN)
    with (
        Sender() as sender,
        terminal() as screen,
        Recorder(
            tmp_path, sender.port, environment=clock.environment, stderr=screen.writer
        ) as recorder,
    ):  # fmt: skip
        recorder.connected()
        sent = sender.start_session()
        shown = b""
        while shown.count(b" MB/s") < 3:
            shown += os.read(screen.reader, 1 << 16)
        sent += sender.send_scans(3)
        recorder.recorded(5)
        assert recorder.stop() == 0

    settle(tmp_path, sent).assert_complete()
