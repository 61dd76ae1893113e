"""What the files hold that a killed recorder left is known before anything is counted, however slow the disk is."""

import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from tests.tools.frames import frame_bytes
from tests.tools.raw_server import RawServer
from tests.tools.recorder import Recorder
from timestream_aggregator.ledger.file import lines
from timestream_api.ledger import Loss, Recovered

SESSION = 1_700_000_000
READING_TAKES = 1_200_000  # microseconds, a piece


def scan(number: int) -> bytes:
    fields = {"session_id": SESSION, "frame_num": number, "sostream_id": "crate1"}
    return frame_bytes("S", fields, payload=400_000)


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace slows the disk's calls")
def test_a_recovery_that_takes_long_makes_no_loss_of_what_is_in_the_left_file(tmp_path: Path) -> None:
    with RawServer() as server:
        server.play(b"".join(map(scan, range(60))))
        with Recorder(tmp_path, server.port, frame_gap=60) as recorder:
            recorder.recorded(60)
            recorder.process.send_signal(signal.SIGKILL)
            recorder.process.wait(10)
        server.play(b"".join(map(scan, range(62, 70))))
        slowed = ["strace", "-f", "-qqq", "-o", os.devnull, "-e", "trace=pread64"]
        inject = ["-e", f"inject=pread64:delay_enter={READING_TAKES}"]
        with Recorder(tmp_path, server.port, prefix=[*slowed, *inject], verify=False) as recorder:
            begin = time.monotonic()
            recorder.recorded(8, timeout=90)
            while not [line for line in lines(tmp_path) if isinstance(line.fact, Recovered)]:
                assert time.monotonic() < begin + 90
                time.sleep(0.5)
            assert time.monotonic() > begin + 15, "reading was not slow"
            tracer = recorder.process.pid
            (child,) = Path(f"/proc/{tracer}/task/{tracer}/children").read_text().split()
            os.kill(int(child), signal.SIGTERM)
            recorder.process.wait(60)

    told = [line.fact for line in lines(tmp_path)]
    assert [(fact.first, fact.last) for fact in told if isinstance(fact, Loss)] == [(60, 61)]
    assert [(fact.first_frame_num, fact.last_frame_num) for fact in told if isinstance(fact, Recovered)] == [
        (0, 59)
    ]
