"""SIGTERM in every state: how long it takes, the exit code, and that what was received is published."""

import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.faults.account import assert_spt3g_reads, sent_bytes, settle
from tests.faults.network.api_server import Answer, ApiServer, environment, in_a_pod
from tests.faults.network.hosts import NEEDS_ROOT, enlarge, small_disk, two_hosts
from tests.faults.network.names import NameService, asking
from tests.faults.points import needs_strace
from tests.faults.rehearsal import record, session, until
from tests.faults.warm import Warm, strace
from tests.tools.authority import make_account
from tests.tools.frames import frame_bytes
from tests.tools.raw_server import RawServer
from tests.tools.recorder import Recorder, published, quarantined, staged
from tests.tools.sender import Sender, SentFrame
from timestream_aggregator.commands.record import READ_BACK
from timestream_api.ledger import Stopped

NOT_WRITTEN = 74
SOON = 4.0 + READ_BACK  # seconds for a stop that has nothing to wait for but its last file
DISK_PATIENCE = 10.0


def root_only(test: Callable[..., None]) -> Callable[..., None]:
    """Mark a test that needs root."""
    for mark in NEEDS_ROOT:
        test = mark(test)
    return test


def slow_disks_only(test: Callable[..., None]) -> Callable[..., None]:
    """Mark a test that makes a disk slow."""
    for mark in needs_strace:
        test = mark(test)
    return test


def stop(recorder: Recorder, timeout: float = SOON) -> int:
    """SIGTERM, and again; return the exit code. TimeoutExpired if it takes longer than `timeout`."""
    recorder.process.send_signal(signal.SIGTERM)
    time.sleep(0.05)
    if recorder.process.poll() is None:
        recorder.process.send_signal(signal.SIGTERM)
    return recorder.process.wait(timeout)


def test_while_nobody_answers_the_call(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        port: int = full.getsockname()[1]
        with (
            socket.create_connection(("127.0.0.1", port)),  # the only place in its queue
            Recorder(tmp_path, port) as recorder,
        ):
            time.sleep(1)
            assert stop(recorder) == 0

    assert published(tmp_path) == []


@root_only
def test_while_the_name_service_does_not_answer(tmp_path: Path) -> None:
    with (
        two_hosts("10.99.9.1", "10.99.9.2") as (here, _),
        NameService(here.socket_for_names(), failure=None) as names,
        Recorder(
            tmp_path, 50_000, address="crate1.test", dial=here.dial,
            prefix=[*here.prefix, *asking("127.0.0.1", tmp_path.parent, patience=20)],
        ) as recorder,
    ):  # fmt: skip
        recorder.wait_for(lambda _: bool(names.asked))
        assert stop(recorder) == 0


def test_while_it_is_connected_and_nothing_has_come(tmp_path: Path) -> None:
    with Sender() as sender, Recorder(tmp_path, sender.port) as recorder:
        recorder.connected()
        assert stop(recorder) == 0

    assert published(tmp_path) == []
    assert settle(tmp_path, []).facts(Stopped) == [Stopped()]


def test_between_two_files(tmp_path: Path) -> None:
    with (
        Sender() as sender,
        Recorder(tmp_path, sender.port, time_per_file=1, frame_gap=30, read_timeout=30) as recorder,
    ):
        recorder.connected()
        sent = sender.start_session() + sender.send_scans(3)
        recorder.recorded(5)
        recorder.wait_for(lambda report: report.current_file is None and report.acquisition is not None)
        assert stop(recorder) == 0

    settle(tmp_path, sent).assert_complete()


def test_in_the_middle_of_a_stream(tmp_path: Path) -> None:
    sent = list[SentFrame]()
    with Sender() as sender, Recorder(tmp_path, sender.port, time_per_file=1) as recorder:
        recorder.connected()
        sent += sender.start_session()
        streaming = threading.Thread(
            target=lambda: sent.extend(sender.send_scans(150, payload=100_000, interval=0.02))
        )
        streaming.start()
        seen = recorder.recorded(70).totals.frames
        assert stop(recorder) == 0
        streaming.join()

    account = settle(tmp_path, sent)
    account.assert_honest(in_flight=sent)
    account.assert_lost_in_one_piece(sent)
    assert len({place for places in account.files.values() for place in places}) >= seen
    assert staged(tmp_path) == []


def test_in_the_middle_of_a_frame(tmp_path: Path) -> None:
    whole, torn = (sent_bytes(frame_bytes("S", {"n": number}, 10_000)) for number in range(2))
    with RawServer() as server, Recorder(tmp_path, server.port) as recorder:
        server.play((whole.data or b"") + (torn.data or b"")[:5000])
        recorder.recorded(1)
        server.wait_played()
        time.sleep(0.2)
        assert stop(recorder) == 0

    settle(tmp_path, [whole]).assert_complete()
    assert quarantined(tmp_path) == []


@root_only
def test_while_it_reports_to_an_api_server_that_does_not_answer(tmp_path: Path) -> None:
    account, data = tmp_path / "account", tmp_path / "data"
    account.mkdir()
    data.mkdir()
    make_account(account)
    with Sender() as sender, ApiServer(account) as server:
        server.answers.extend([Answer(None)] * 10)
        with Recorder(
            data, sender.port, report_to="telescope/crate1",
            prefix=in_a_pod(account), environment=environment(server.port),
        ) as recorder:  # fmt: skip
            recorder.connected()
            sent = sender.start_session() + sender.send_scans(3)
            recorder.recorded(5)
            assert server.requests
            assert stop(recorder, timeout=SOON + 5) == 0

    settle(data, sent).assert_complete()


@root_only
def test_while_the_disk_is_full_and_while_the_buffer_is_too(tmp_path: Path) -> None:
    """Both at once, for the recorder gives a failing disk some time before it leaves without it."""
    sent, buffers = (
        dict[Path, list[SentFrame]](),
        {tmp_path / "disk": 256 << 20, tmp_path / "buffer": 4 << 20},
    )
    with ExitStack() as stack:
        disks = [stack.enter_context(small_disk(folder, 8)) for folder in buffers]
        senders = [stack.enter_context(Sender()) for _ in disks]
        recorders = [
            stack.enter_context(Recorder(folder, sender.port, buffer_bytes=buffers[folder], min_free_bytes=0))
            for folder, sender in zip(disks, senders, strict=True)
        ]
        for folder, sender, recorder in zip(disks, senders, recorders, strict=True):
            recorder.connected()
            sent[folder] = sender.start_session() + sender.send_scans(25, payload=1_000_000)
            recorder.wait_for(
                lambda report: report.storage is not None and report.storage.trouble is not None
            )
        recorders[1].wait_for(lambda report: report.buffer.stalled)
        assert not recorders[0].status().buffer.stalled
        assert stop_all(recorders) == [NOT_WRITTEN, NOT_WRITTEN]
        for folder, sender in zip(disks, senders, strict=True):
            assert assert_spt3g_reads([folder]) >= 1
            enlarge(folder, 64)
            assert_the_next_one_goes_on(folder, sender, sent[folder])


@slow_disks_only
def test_while_the_buffer_is_full_before_a_slow_disk_and_the_kernel_holds_more(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    sent = session(1_700_000_000, scans=20)
    slow = ("-e", "trace=pwritev2", "-e", "inject=pwritev2:delay_enter=700000")
    with (
        RawServer() as server,
        Warm() as warm,
        record(warm, folder, server.port, buffer_bytes=4 << 20, max_file_bytes=64 << 20) as recorder,
        strace(recorder, tmp_path / "trace", *slow),
    ):
        recorder.go()
        for frame in sent:
            server.play(frame.data or b"")
        assert until(lambda: "buffer full" in recorder.logged()), recorder.logged()
        server.wait_played()
        assert recorder.stop() == 0

    account = settle(folder, sent)
    account.assert_complete()
    assert account.facts(Stopped) == [Stopped(unwritten=0, unread=0)]


def stop_all(recorders: list[Recorder]) -> list[int]:
    """Return the exit codes; AssertionError if they leave a full disk too early or too late."""
    begin = time.monotonic()
    for _ in range(2):
        for recorder in recorders:
            recorder.process.send_signal(signal.SIGTERM)
    codes = [recorder.process.wait(DISK_PATIENCE + 8) for recorder in recorders]
    assert time.monotonic() - begin >= DISK_PATIENCE - 1
    return codes


def assert_the_next_one_goes_on(folder: Path, sender: Sender, before: list[SentFrame]) -> None:
    """AssertionError unless what the disk took is published, without a hole, and the stream goes on."""
    with Recorder(folder, sender.port, min_free_bytes=0) as recorder:
        recorder.connected()
        later = sender.start_session() + sender.send_scans(3, payload=100_000)
        number = later[-1].frame_num
        recorder.wait_for(
            lambda report: bool(report.acquisition and report.acquisition.last_frame_num == number)
        )
        assert recorder.stop() == 0
    account = settle(folder, before + later)
    account.assert_honest(in_flight=before)
    account.assert_lost_in_one_piece(before)
    account.assert_lost_in_one_piece(later)
    assert len({place for places in account.files.values() for place in places}) >= 5 + len(later)
    assert staged(folder) == []


def test_while_it_recovers_what_a_killed_one_left(tmp_path: Path) -> None:
    with Sender() as sender:
        with Recorder(tmp_path, sender.port) as recorder:
            recorder.connected()
            sent = sender.start_session() + sender.send_scans(300, payload=1_000_000)
            recorder.recorded(302)
            recorder.process.kill()
            recorder.process.wait(10)
        assert len(staged(tmp_path)) == 1
        port = sender.port
    for _ in range(2):
        with Recorder(tmp_path, port, http_port=0) as recorder:
            while "recorder started" not in recorder.logged():
                time.sleep(0.001)
            assert stop(recorder) == 0
    with Recorder(tmp_path, port) as recorder:
        recorder.wait_for(lambda _: staged(tmp_path) == [])
        assert stop(recorder) == 0

    settle(tmp_path, sent).assert_complete()
    assert len(published(tmp_path)) == 1


@pytest.mark.parametrize("delay", [0.1, 0.2, 0.3, 0.4, 0.5])
def test_at_any_moment_of_its_start(tmp_path: Path, delay: float) -> None:
    """Until Python is there, it ends as any process does: nothing has been received by then."""
    with Recorder(tmp_path, 1, http_port=0) as recorder:
        time.sleep(delay)
        assert stop(recorder) in {0, -signal.SIGTERM}

    assert published(tmp_path) == []
    assert list((tmp_path / ".timestream-aggregator").rglob("*.g3*")) == []


def test_again_and_again_until_it_has_ended(tmp_path: Path) -> None:
    with Sender() as sender, Recorder(tmp_path, sender.port) as recorder:
        recorder.connected()
        sent = sender.start_session() + sender.send_scans(3)
        recorder.recorded(5)
        while recorder.process.poll() is None:
            recorder.process.send_signal(signal.SIGTERM)
            time.sleep(0.0005)
        assert recorder.process.returncode == 0

    settle(tmp_path, sent).assert_complete()
