"""The API server refuses, hangs, lies or is away: recording goes on, and the latest report arrives in the end."""

import socket
import time
from collections.abc import Generator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from tests.faults.account import settle
from tests.faults.network.api_server import Answer, ApiServer, environment, in_a_pod
from tests.faults.network.hosts import NEEDS_ROOT
from tests.tools.authority import make_account
from tests.tools.ports import reserve
from tests.tools.recorder import Recorder
from tests.tools.sender import Sender, SentFrame
from timestream_api.report import ConnectionState, Report

pytestmark = NEEDS_ROOT
SHORTEST = 0.95  # seconds between two requests


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("account")
    make_account(folder)
    return folder


@pytest.fixture(scope="module")
def other_account(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("other")
    make_account(folder)
    return folder


@contextmanager
def recording(folder: Path, account: Path, sender: Sender, port: int) -> Generator[Recorder]:
    with Recorder(
        folder, sender.port, report_to="telescope/crate1", time_per_file=1,
        prefix=in_a_pod(account), environment=environment(port),
    ) as recorder:  # fmt: skip
        recorder.connected()
        sender.wait_for_clients(1)
        yield recorder


def eventually(server: ApiServer, frames: int, timeout: float = 10.0) -> Report:
    """Return the report that the server has of all `frames`."""
    deadline = time.monotonic() + timeout
    while (last := server.last) is None or last.totals.frames < frames or last.current_file is not None:
        assert time.monotonic() < deadline, f"the latest report did not arrive: {last}"
        time.sleep(0.02)
    return last


def assert_recording_is_untouched(recorder: Recorder, sender: Sender, seconds: float) -> list[SentFrame]:
    """Send frames for some time; AssertionError if one of them is not recorded at once."""
    sent, deadline = sender.start_session(), time.monotonic() + seconds
    before = recorder.recorded(2).totals.frames
    while time.monotonic() < deadline:
        sent += sender.send_scans(1, payload=20_000)
        before += 1
        recorder.recorded(before, timeout=1)
        assert recorder.probe("/healthz") == 200
        time.sleep(0.05)
    return sent + sender.end_session()


def assert_bounded(server: ApiServer) -> None:
    """AssertionError if the server was asked more than once a second. The last report of a run may come sooner."""
    times = [
        when for when, report in server.requests if report.connection.state is not ConnectionState.STOPPED
    ]
    assert all(later - earlier >= SHORTEST for earlier, later in pairwise(times)), times


def test_refusals_of_every_kind_hold_up_nothing_and_the_latest_report_follows(
    tmp_path: Path, account: Path
) -> None:
    with Sender() as sender, ApiServer(account) as server:
        server.answers.extend(Answer(code) for code in (403, 422, 500))
        with recording(tmp_path, account, sender, server.port) as recorder:
            sent = assert_recording_is_untouched(recorder, sender, seconds=5)
            report = eventually(server, sum(frame.recorded for frame in sent), timeout=20)
            assert report.connection.state is ConnectionState.CONNECTED
            told = [line for line in recorder.logged().splitlines() if "cannot report" in line]
            assert len(told) == 1, "an outage is told once"
            assert "RoleBinding" in told[0]
            assert recorder.stop() == 0

    assert len(server.requests) < 16
    assert server.last is not None
    assert server.last.connection.state is ConnectionState.STOPPED
    assert_bounded(server)
    settle(tmp_path, sent).assert_complete()


def test_a_busy_server_is_left_alone_for_as_long_as_it_asks(tmp_path: Path, account: Path) -> None:
    with Sender() as sender, ApiServer(account) as server:
        server.answers.extend([Answer(409), Answer(429, retry_after=4)])
        with recording(tmp_path, account, sender, server.port) as recorder:
            sent = assert_recording_is_untouched(recorder, sender, seconds=5)
            eventually(server, sum(frame.recorded for frame in sent))
            assert recorder.stop() == 0

    (conflict, _), (refused, _), (accepted, _), *_ = server.requests
    assert SHORTEST <= refused - conflict < 4
    assert 4 <= accepted - refused < 7
    settle(tmp_path, sent).assert_complete()


def test_a_server_that_does_not_answer_holds_up_nothing(tmp_path: Path, account: Path) -> None:
    with Sender() as sender, ApiServer(account) as server:
        server.answers.append(Answer(None))
        with recording(tmp_path, account, sender, server.port) as recorder:
            sent = assert_recording_is_untouched(recorder, sender, seconds=6)
            eventually(server, sum(frame.recorded for frame in sent))
            assert recorder.stop() == 0

    assert_bounded(server)
    settle(tmp_path, sent).assert_complete()


@pytest.mark.parametrize("trouble", ["away", "another authority", "no TLS", "a black hole"])
def test_a_server_that_cannot_be_trusted_or_met_is_tried_again_and_gets_the_latest_report(
    tmp_path: Path, account: Path, other_account: Path, trouble: str
) -> None:
    port = reserve()
    with Sender() as sender, recording(tmp_path, account, sender, port) as recorder:
        with in_trouble(trouble, other_account, port) as impostor:
            sent = assert_recording_is_untouched(recorder, sender, seconds=3)
        assert impostor is None or not impostor.requests, "the token was told to a stranger"
        with ApiServer(account, port) as server:
            eventually(server, sum(frame.recorded for frame in sent), timeout=20)
            assert recorder.stop() == 0

    assert_bounded(server)
    settle(tmp_path, sent).assert_complete()


@contextmanager
def in_trouble(trouble: str, other_account: Path, port: int) -> Generator[ApiServer | None]:
    """While this lasts, what stands at the port is not the API server."""
    if trouble == "away":
        yield None
    elif trouble == "another authority":
        with ApiServer(other_account, port) as impostor:
            yield impostor
    else:
        backlog = 0 if trouble == "a black hole" else 100
        with socket.create_server(("127.0.0.1", port), backlog=backlog) as listener:
            yield from stay_silent(listener, full=trouble == "a black hole")


def stay_silent(listener: socket.socket, *, full: bool) -> Generator[None]:
    """Accept nobody: who connects waits for an answer, or, with the queue full, for a connection."""
    waiting = [socket.create_connection(listener.getsockname()) for _ in range(full)]
    yield None
    for client in waiting:
        client.close()
