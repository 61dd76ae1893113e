"""Published files are read back through spt3g, by a process of its own."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from crc32c import crc32c

from tests.tools.made_frames import frame
from timestream_aggregator.core.file_facts import FileFacts
from timestream_aggregator.readback import readback
from timestream_aggregator.readback.readback import Readback, ReadbackState
from timestream_api import ledger

FRAMES = [frame("S", session=1_700_000_000, num=number, data=b"x" * 300) for number in range(5)]
WHOLE = b"".join(FRAMES)
GOOD = FileFacts("a.g3", len(WHOLE), len(FRAMES), crc32c(WHOLE))


class Reading:
    """A read-back of a folder, running."""

    def __init__(self, root: Path) -> None:
        self.told: list[ledger.Fact] = []
        self.readback = Readback(root, self.told.append, logging.getLogger(__name__))
        self.thread = threading.Thread(target=self.readback.run)
        self.thread.start()

    def wait(self, for_what: Callable[[], object], seconds: float = 30) -> None:
        deadline = time.monotonic() + seconds
        while not for_what():
            assert time.monotonic() < deadline, "it did not happen"
            time.sleep(0.02)

    def verified(self, written: FileFacts = GOOD) -> ledger.Verified:
        """Return the outcome for one file."""
        before = len(self.told)
        self.readback.add(written)
        self.wait(lambda: len(self.told) > before)
        fact = self.told[-1]
        assert isinstance(fact, ledger.Verified)
        return fact


@pytest.fixture
def reading(tmp_path: Path) -> Iterator[Reading]:
    running = Reading(tmp_path)
    yield running
    running.readback.stop()
    running.thread.join(10)
    assert not running.thread.is_alive()


def test_a_file_that_holds_what_was_received_is_good_and_its_sha256_is_told(
    tmp_path: Path, reading: Reading
) -> None:
    (tmp_path / "a.g3").write_bytes(WHOLE)

    fact = reading.verified()

    assert (fact.path, fact.good, fact.why) == ("a.g3", True, None)
    assert len(fact.sha256 or "") == 64
    assert (
        reading.readback.state.good,
        reading.readback.state.bad,
        reading.readback.state.outcomes.get("a.g3"),
    ) == (1, 0, True)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (WHOLE[:-1], "bytes"),
        (WHOLE[:-9] + b"?" + WHOLE[-8:], "CRC-32C"),
        (WHOLE + FRAMES[0], "bytes"),
        (b"", "bytes"),
    ],
)
def test_a_file_that_differs_from_what_was_received_is_bad(
    tmp_path: Path, reading: Reading, data: bytes, words: str
) -> None:
    (tmp_path / "a.g3").write_bytes(data)

    fact = reading.verified()

    assert not fact.good
    assert words in (fact.why or "")
    assert (reading.readback.state.bad, reading.readback.state.latest_bad) == (1, "a.g3")


@pytest.mark.parametrize(
    ("data", "frames", "words"),
    [
        (WHOLE, 4, "5 frames"),
        (WHOLE + WHOLE[:50], 5, "torn at byte"),
        (bytes(40), 1, "zeros from byte 0 on"),
    ],
)
def test_a_file_that_spt3g_sees_otherwise_is_bad_though_its_bytes_are_right(
    tmp_path: Path, reading: Reading, data: bytes, frames: int, words: str
) -> None:
    (tmp_path / "a.g3").write_bytes(data)

    fact = reading.verified(FileFacts("a.g3", len(data), frames, crc32c(data)))

    assert not fact.good
    assert words in (fact.why or "")


def test_a_file_that_was_fetched_away_is_neither_good_nor_bad(tmp_path: Path, reading: Reading) -> None:
    (tmp_path / "b.g3").write_bytes(WHOLE)
    reading.readback.add(GOOD)

    reading.verified(FileFacts("b.g3", len(WHOLE), 5, crc32c(WHOLE)))

    assert reading.readback.state.outcomes.get("a.g3") is None


def test_when_the_helper_is_killed_another_one_goes_on(
    tmp_path: Path, reading: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("timestream_aggregator.readback.readback.RETRY_AFTER", 0.05)
    (tmp_path / "a.g3").write_bytes(WHOLE)
    start, killed = readback._start_helper, list["subprocess.Popen[bytes]"]()

    def killed_at_first(path: str) -> "subprocess.Popen[bytes]":
        helper = start(path)
        if not killed:
            killed.append(helper)
            os.kill(helper.pid, signal.SIGKILL)
        return helper

    monkeypatch.setattr(readback, "_start_helper", killed_at_first)

    assert reading.verified().good
    assert [helper.returncode for helper in killed] == [-signal.SIGKILL]


def test_the_helper_lets_recording_go_first(tmp_path: Path) -> None:
    (tmp_path / "a.g3").write_bytes(WHOLE)
    program = (
        "import os; from timestream_aggregator.readback.helper import main; main()\n"
        "print(os.nice(0), open('/proc/self/oom_score_adj').read())"
    )

    command = [sys.executable, "-c", program, str(tmp_path / "a.g3")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)

    answer, went_back = done.stdout.splitlines()[:2]
    assert '"frames": 5' in answer
    assert went_back.split() == ["19", "1000"]


def test_a_helper_that_has_nothing_to_do_ends(tmp_path: Path, reading: Reading) -> None:
    (tmp_path / "a.g3").write_bytes(WHOLE)

    for _ in range(2):
        assert reading.verified().good
        assert reading.readback.helper is None


def test_what_a_helper_complains_of_is_logged_however_much_it_is(
    tmp_path: Path, reading: Reading, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a.g3").write_bytes(WHOLE)
    program = (
        "import sys; sys.stderr.write('x' * 200_000 + 'the end')\n"
        "from timestream_aggregator.readback.helper import main; main()"
    )

    def complaining(path: str) -> "subprocess.Popen[bytes]":
        command, pipe = [sys.executable, "-c", program, path], subprocess.PIPE
        return subprocess.Popen(command, stdout=pipe, stderr=pipe)

    monkeypatch.setattr(readback, "_start_helper", complaining)

    assert reading.verified().good
    (said,) = [record.__dict__["said"] for record in caplog.records if "complains" in record.message]
    assert said == "x" * 493 + "the end"


def test_when_the_log_tells_of_a_bad_file_it_is_counted_named_and_known_to_be_bad(tmp_path: Path) -> None:
    (tmp_path / "a.g3").write_bytes(WHOLE[:-1])
    reading = Reading(tmp_path)
    seen = list[ReadbackState]()

    def look(record: logging.LogRecord) -> bool:
        seen.append(reading.readback.state)
        return True

    logging.getLogger(__name__).addFilter(look)

    reading.verified()

    logging.getLogger(__name__).removeFilter(look)
    reading.readback.stop()
    reading.thread.join(10)
    assert seen == [ReadbackState(good=0, bad=1, latest_bad="a.g3", outcomes={"a.g3": False})]


def test_of_all_outcomes_those_of_the_latest_files_are_known() -> None:
    state = ReadbackState()
    for number in range(5):
        state = state.with_outcome(f"{number}.g3", good=number != 1)

    assert (state.good, state.bad, state.latest_bad) == (4, 1, "1.g3")
    assert state.outcomes == {"2.g3": True, "3.g3": True, "4.g3": True}


def test_who_adds_a_file_waits_for_no_helper_that_is_slow_to_come_or_to_go(
    tmp_path: Path, reading: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.g3").write_bytes(WHOLE)
    started, going, may_go, start = (
        threading.Event(),
        threading.Event(),
        threading.Event(),
        readback._start_helper,
    )

    def slow_start(path: str) -> "subprocess.Popen[bytes]":
        started.set()
        assert may_go.wait(30)
        may_go.clear()
        helper = start(path)
        communicate = helper.communicate

        def slow_end() -> tuple[bytes, bytes]:
            going.set()
            assert may_go.wait(30)
            return communicate()

        monkeypatch.setattr(helper, "communicate", slow_end)
        return helper

    monkeypatch.setattr(readback, "_start_helper", slow_start)
    assert_is_added_at_once(reading)
    for moment in (started, going):
        assert moment.wait(10)
        assert_is_added_at_once(reading)
        may_go.set()
    monkeypatch.setattr(readback, "_start_helper", start)
    reading.wait(lambda: len(reading.told) == 1)
    may_go.set()
    reading.wait(lambda: len(reading.told) == 3)


def assert_is_added_at_once(reading: Reading) -> None:
    adding = threading.Thread(target=reading.readback.add, args=(GOOD,), daemon=True)
    adding.start()
    adding.join(1)
    assert not adding.is_alive(), "the writer waits for a helper"
