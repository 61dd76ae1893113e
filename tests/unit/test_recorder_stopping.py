"""How a whole recorder ends."""

import logging
import threading
import time
from pathlib import Path
from typing import Any

from timestream_aggregator.core.file_facts import FileFacts
from timestream_aggregator.ledger.file import ClosedLedgerError, lines
from timestream_aggregator.readback.readback import Readback
from timestream_aggregator.recorder import Recorder
from timestream_api import ledger as facts
from timestream_api.settings import RecorderSettings

LOG = logging.getLogger("test")


def test_all_who_tell_the_ledger_something_have_ended_before_it_says_that_the_recorder_has_stopped(
    tmp_path: Path,
) -> None:
    recorder: Any = Recorder(RecorderSettings(data_dir=tmp_path, address="127.0.0.1", port=1), LOG)

    def verify() -> None:
        while not recorder._parts.recovery._stopping:
            time.sleep(0.01)
        time.sleep(0.3)  # the disk is slow
        recorder._parts.ledger.note(facts.Verified(path="a.g3", good=True))

    recorder._others.append(recorder._thread("slow", verify))
    recorder.start()
    recorder.stop()

    assert [line.fact.kind for line in lines(tmp_path)] == ["started", "verified", "stopped"]
    assert recorder.failed is None


def test_a_file_whose_outcome_is_on_its_way_to_the_ledger_when_time_is_up_is_told(tmp_path: Path) -> None:
    recorder: Any = Recorder(RecorderSettings(data_dir=tmp_path, address="127.0.0.1", port=1), LOG)
    tell, telling = recorder._parts.readback._tell, threading.Event()

    def tell_slowly(fact: facts.Fact) -> None:
        telling.set()
        time.sleep(0.3)  # the disk is slow
        tell(fact)

    recorder._parts.readback._tell = tell_slowly
    (tmp_path / "a.g3").write_bytes(b"no frame")
    recorder.start()
    recorder._parts.readback.add(FileFacts("a.g3", 8, 1, 0))
    telling.wait()
    recorder.stop()

    assert [line.fact.kind for line in lines(tmp_path)] == ["started", "verified", "stopped"]
    assert recorder.failed is None


def test_an_outcome_that_the_ledger_does_not_take_any_more_ends_reading_back_and_is_no_fault(
    tmp_path: Path,
) -> None:
    def refuse(_fact: facts.Fact) -> None:
        raise ClosedLedgerError

    (tmp_path / "a.g3").write_bytes(b"no frame")
    readback = Readback(tmp_path, refuse, LOG)
    readback.add(FileFacts("a.g3", 8, 1, 0))
    thread = threading.Thread(target=readback.run)

    thread.start()
    thread.join(30)

    assert not thread.is_alive()
    assert readback.helper is None
