"""Who reads the recorder's log, or does not, or goes away: recording does not depend on it."""

import json
import os
import signal
import sys
from pathlib import Path

from tests.tools.patience import PATIENCE
from tests.tools.pipes import pipe, terminal
from tests.tools.recorder import Recorder, assert_readable, assert_recorded
from tests.tools.sender import Sender

IGNORING_HANGUP = ["sh", "-c", 'trap "" HUP; exec "$@"', "sh"]  # as nohup does
HEARING_HANGUP = ["env", "--default-signal=HUP"]  # whoever started the tests may have it ignored
ALL_CLOSED = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh"]
IN_THE_BACKGROUND = [  # of a terminal that stops whoever writes to it there
    *("sh", "-c", 'exec setsid --ctty "$@" <&2', "sh"),
    *("sh", "-c", 'stty tostop; set -m; "$@" & wait $!', "sh"),
]
NOT_ROOT_ENOUGH = ["setpriv", "--bounding-set=-sys_nice", "--inh-caps=-sys_nice"]


def test_a_log_that_nobody_reads_stops_neither_recording_nor_probes_nor_reading_back_nor_the_end(
    tmp_path: Path,
) -> None:
    with Sender() as sender, pipe() as log:
        log.fill()
        with Recorder(tmp_path, sender.port, stderr=log.writer) as recorder:
            recorder.connected()
            sent = sender.start_session() + sender.send_scans(10) + sender.end_session()
            recorder.wait_for(lambda report: report.totals.verified == 1)
            assert recorder.probe("/healthz") == recorder.probe("/readyz") == 200
            assert recorder.stop(timeout=10) == 0

    assert_recorded(tmp_path, sent)
    assert_readable(tmp_path)


def test_what_nobody_has_read_for_a_while_is_all_there_when_somebody_does(tmp_path: Path) -> None:
    with Sender() as sender, pipe() as log:
        log.fill()
        with Recorder(tmp_path, sender.port, stderr=log.writer) as recorder:
            recorder.connected()
            sender.start_session()
            sender.end_session()
            recorder.wait_for(lambda report: report.totals.files == 1)
            while not os.read(log.reader, 1 << 20).endswith(b"."):
                pass
            assert recorder.stop() == 0
        messages = [json.loads(line)["message"] for line in log.read_all().splitlines()]

    assert (messages[0], messages[-1]) == ("recorder started", "recorder stopped")
    assert {"connected", "file opened", "file published", "recorder stops"} == set(messages[1:-1])


def test_a_terminal_that_goes_away_is_no_fault(tmp_path: Path) -> None:
    with (
        Sender() as sender,
        terminal() as screen,
        Recorder(tmp_path, sender.port, prefix=IGNORING_HANGUP, stderr=screen.writer) as recorder,
    ):
        recorder.connected()
        while b"MB/s" not in os.read(screen.reader, 1 << 16):
            pass
        screen.close_writer()
        screen.close_reader()
        sent = sender.start_session()
        for _ in range(3):
            sent += sender.send_scans(5, interval=0.2)
        recorder.recorded(len(sent) - 1)
        assert recorder.stop() == 0

    assert_recorded(tmp_path, sent)


def test_a_hangup_ends_it_as_sigterm_does(tmp_path: Path) -> None:
    with Sender() as sender, Recorder(tmp_path, sender.port, prefix=HEARING_HANGUP) as recorder:
        recorder.connected()
        sent = sender.start_session() + sender.send_scans(3)
        recorder.recorded(5)
        recorder.process.send_signal(signal.SIGHUP)
        assert recorder.process.wait(PATIENCE) == 0

    assert_recorded(tmp_path, sent)


def test_a_hangup_that_nohup_has_it_ignore_does_not_end_it(tmp_path: Path) -> None:
    with Sender() as sender, Recorder(tmp_path, sender.port, prefix=IGNORING_HANGUP) as recorder:
        recorder.connected()
        recorder.process.send_signal(signal.SIGHUP)
        sent = sender.start_session() + sender.send_scans(3)
        recorder.recorded(5)
        assert recorder.stop() == 0

    assert_recorded(tmp_path, sent)


def test_in_the_background_of_a_terminal_that_stops_those_who_write_there_it_goes_on(tmp_path: Path) -> None:
    with (
        Sender() as sender,
        terminal() as screen,
        Recorder(tmp_path, sender.port, prefix=IN_THE_BACKGROUND, stderr=screen.writer) as recorder,
    ):
        recorder.connected()
        while b"MB/s" not in os.read(screen.reader, 1 << 16):
            pass
        sent = sender.start_session() + sender.send_scans(3)
        recorder.recorded(5)
        shell = recorder.process.pid
        (job,) = Path(f"/proc/{shell}/task/{shell}/children").read_text().split()
        os.kill(int(job), signal.SIGTERM)
        assert recorder.process.wait(PATIENCE) == 0

    assert_recorded(tmp_path, sent)


def test_with_all_standard_streams_closed_it_records_and_nothing_is_written_into_a_file_instead(
    tmp_path: Path,
) -> None:
    with (
        Sender() as sender,
        Recorder(tmp_path, sender.port, prefix=ALL_CLOSED, time_per_file=1) as recorder,
    ):
        recorder.connected()
        sent = sender.start_session() + sender.send_scans(20, interval=0.1)
        recorder.recorded(22)
        recorder.wait_for(lambda report: report.totals.verified > 0)
        targets = [Path(f"/proc/{recorder.process.pid}/fd/{number}").readlink() for number in range(3)]
        assert recorder.stop() == 0

    assert targets == [Path(os.devnull)] * 3
    assert_recorded(tmp_path, sent)
    assert_readable(tmp_path)


def test_an_ordinary_user_may_start_it_as_nice_as_he_likes(tmp_path: Path) -> None:
    nice = ["nice", "-n", "15", *(NOT_ROOT_ENOUGH if os.geteuid() == 0 else ())]
    with Sender() as sender, Recorder(tmp_path, sender.port, prefix=nice) as recorder:
        recorder.connected()
        sent = sender.start_session() + sender.send_scans(3) + sender.end_session()
        recorder.wait_for(lambda report: report.totals.verified == 1)
        own = os.getpriority(os.PRIO_PROCESS, 0)
        assert os.getpriority(os.PRIO_PROCESS, recorder.process.pid) == min(19, own + 15)
        assert recorder.stop() == 0

    assert_recorded(tmp_path, sent)


def test_a_process_that_reads_files_back_and_says_much_is_heard_and_held_up_by_nobody(
    tmp_path: Path,
) -> None:
    noisy = tmp_path / "noisy"
    noisy.mkdir()
    (noisy / "sitecustomize.py").write_text(
        "import os, sys\n"
        "if any('readback' in word for word in sys.orig_argv):\n"
        "    os.write(2, b'it says much. ' * 100_000)\n"
    )
    data = tmp_path / "data"
    data.mkdir()
    environment = {"PYTHONPATH": os.pathsep.join([str(noisy), *filter(None, sys.path)])}
    with Sender() as sender, pipe() as log:
        log.fill()
        with Recorder(data, sender.port, stderr=log.writer, environment=environment) as recorder:
            recorder.connected()
            sender.start_session()
            sender.end_session()
            recorder.wait_for(lambda report: report.totals.verified == 1)
            while not os.read(log.reader, 1 << 20).endswith(b"."):
                pass
            assert recorder.stop() == 0
        assert "it says much." in log.read_all()
