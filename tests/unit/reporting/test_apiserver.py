"""Reports to an HTTPS server that answers as the test wants it, with a certificate and a token on the disk."""

import json
import logging
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.tools.authority import make_account
from timestream_aggregator.ledger.file import Ledger
from timestream_aggregator.ledger.telling import Telling
from timestream_aggregator.reporting.apiserver import ApiServer, Reporter, ReportingError, news
from timestream_api.ledger import Loss
from timestream_api.report import (
    AcquisitionReport,
    Connection,
    ConnectionState,
    CurrentFile,
    LastLoss,
    LastPutAside,
    LossCause,
    Report,
    StorageReport,
    Totals,
)

NOW = datetime(2026, 1, 2, tzinfo=UTC)


@dataclass
class Heard:
    """What the server got, and what it answers."""

    code: int = 200
    message: str = "as you like"
    requests: list[tuple[float, str, dict[str, str], dict[str, Any]]] = field(
        default_factory=list[tuple[float, str, dict[str, str], dict[str, Any]]]
    )

    def states(self) -> list[str]:
        return [body["status"]["aggregator"]["connection"]["state"] for _, _, _, body in self.requests]


class Source:
    """A recorder whose connection is as the test says."""

    def __init__(self) -> None:
        self.state = ConnectionState.CONNECTING
        self.asked = 0

    def report(self) -> Report:
        self.asked += 1
        connection = Connection(state=self.state, endpoint="a:1", since=NOW)
        return Report(time=datetime.now(UTC), started_at=NOW, version="1", connection=connection)


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A service account's folder, whose authority vouches for localhost."""
    folder = tmp_path_factory.mktemp("serviceaccount")
    make_account(folder)
    return folder


@contextmanager
def api_server(account: Path, heard: Heard) -> Generator[ApiServer]:
    class Handler(BaseHTTPRequestHandler):
        def do_PATCH(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            heard.requests.append((time.monotonic(), self.path, dict(self.headers), body))
            answer = json.dumps({"kind": "Status", "message": heard.message}).encode()
            self.send_response(heard.code)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(account / "ca.crt", account / "key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield ApiServer("127.0.0.1", server.server_address[1], account)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def reporting(server: ApiServer, source: Source) -> Generator[Reporter]:
    reporter = Reporter(server, "telescope/crate1", source.report, logging.getLogger("test"))
    reporter.start()
    try:
        yield reporter
    finally:
        reporter.stop()


def eventually(condition: Callable[[], bool], timeout: float = 10.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.01)


def test_a_report_is_a_server_side_apply_of_the_resources_status(account: Path) -> None:
    with api_server(account, heard := Heard()) as server:
        server.apply("telescope", "crate1", {"aggregator": {"version": "1"}})

    _, path, headers, body = heard.requests[0]
    assert path == (
        "/apis/timestream.dev/v1alpha1/namespaces/telescope/timestreamaggregations/crate1/status"
        "?fieldManager=timestream-aggregator-recorder&force=true"
    )
    assert headers["Content-Type"] == "application/apply-patch+yaml"
    assert headers["Authorization"] == "Bearer secret"
    assert body == {
        "apiVersion": "timestream.dev/v1alpha1",
        "kind": "TimestreamAggregation",
        "metadata": {"name": "crate1", "namespace": "telescope"},
        "status": {"aggregator": {"version": "1"}},
    }


def test_a_change_is_sent_at_once_but_no_more_than_one_report_a_second(account: Path) -> None:
    source = Source()
    with api_server(account, heard := Heard()) as server, reporting(server, source) as reporter:
        eventually(lambda: len(heard.requests) == 1)
        for state in (ConnectionState.CONNECTED, ConnectionState.CONNECTING, ConnectionState.CONNECTED):
            source.state = state
            reporter.wake()
            time.sleep(0.4)
        eventually(lambda: heard.states()[-1] == "Connected")
        quiet = len(heard.requests)
        time.sleep(2.5)
        assert len(heard.requests) == quiet, "nothing has changed, and it was sent again"
    times = [when for when, *_ in heard.requests[:quiet]]
    assert all(later - earlier >= 0.95 for earlier, later in pairwise(times))


def test_the_last_report_is_sent_at_the_end(account: Path) -> None:
    source = Source()
    with api_server(account, heard := Heard()) as server:
        with reporting(server, source):
            eventually(lambda: len(heard.requests) == 1)
            source.state = ConnectionState.STOPPED
        assert heard.states() == ["Connecting", "Stopped"]


def test_while_the_api_server_is_away_nothing_piles_up_and_the_latest_is_sent_when_it_is_back(
    account: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = Source()
    with (
        api_server(account, heard := Heard(code=500, message="etcd is away")) as server,
        reporting(server, source),
    ):
        eventually(lambda: len(heard.requests) >= 2)
        source.state, heard.code = ConnectionState.CONNECTED, 200
        failed = len(heard.requests)
        eventually(lambda: len(heard.requests) > failed)
        assert heard.states()[-1] == "Connected"
    words = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
    assert words == ["cannot report, recording goes on"]


def test_a_new_token_is_used_from_the_next_report_on(account: Path) -> None:
    with api_server(account, heard := Heard()) as server:
        for token in ("secret", "rotated"):
            (account / "token").write_text(token)
            server.apply("a", "b", {})
    assert [headers["Authorization"] for _, _, headers, _ in heard.requests] == [
        "Bearer secret",
        "Bearer rotated",
    ]


@pytest.mark.parametrize(
    ("code", "meaning"),
    [
        (403, "see the Role"),
        (404, "CRD"),
        (409, "somebody else"),
        (422, "one version"),
        (429, "busy"),
        (500, "500"),
    ],
)
def test_a_refusal_says_in_one_line_what_it_means_and_what_the_server_said(
    account: Path, code: int, meaning: str
) -> None:
    heard = Heard(code=code, message="no:\nfor a reason")
    with api_server(account, heard) as server, pytest.raises(ReportingError, match=meaning) as refused:
        server.apply("a", "b", {})
    assert "no: for a reason" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_server_with_another_authoritys_certificate_gets_no_token(account: Path, tmp_path: Path) -> None:
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-subj", "/CN=other", "-keyout", tmp_path / "key", "-out", tmp_path / "ca.crt"],
        check=True, capture_output=True,
    )  # fmt: skip
    (tmp_path / "token").write_text("secret")
    with api_server(account, heard := Heard()) as server:
        with pytest.raises(ReportingError, match="certificate verify failed"):
            ApiServer(server.host, server.port, tmp_path).apply("a", "b", {})
        assert heard.requests == []


def test_outside_a_pod_the_reason_is_said() -> None:
    with pytest.raises(ReportingError, match="in a pod only"):
        ApiServer.from_environment({})


@pytest.mark.parametrize("port", ["tcp://10.96.0.1:443", "", "-1"])
def test_a_port_of_the_api_server_that_is_no_number_is_said(port: str) -> None:
    with pytest.raises(ReportingError, match="KUBERNETES_SERVICE_PORT") as raised:
        ApiServer.from_environment({"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": port})
    assert "\n" not in str(raised.value)


def test_the_end_does_not_wait_for_an_api_server_that_does_not_answer(account: Path) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as silent:  # accepts, and says nothing
        reporter = Reporter(
            ApiServer("127.0.0.1", silent.server_address[1], account, timeout=1.0),
            "a/b",
            Source().report,
            logging.getLogger("test"),
        )
        reporter.start()
        time.sleep(0.2)
        start = time.monotonic()
        reporter.stop(timeout=0.5)
        assert time.monotonic() - start < 1
        reporter.stop(timeout=15)


def a_report() -> Report:
    return Report(
        time=NOW,
        started_at=NOW,
        version="1",
        connection=Connection(state=ConnectionState.CONNECTED, endpoint="a:1", since=NOW),
        acquisition=AcquisitionReport(base_name="17000/a", started=NOW),
        current_file=CurrentFile(path="17000/a_000.g3", opened=NOW),
        storage=StorageReport(capacity_bytes=10, free_bytes=5),
    )


def changed(report: Report, part: str | None, **fields: object) -> Report:
    """Return `report` with other values, of itself or of one of its parts."""
    inner = getattr(report, part).model_copy(update=fields) if part else None
    return report.model_copy(update={part: inner} if part else fields)


@pytest.mark.parametrize(
    ("part", "fields"),
    [
        ("totals", {"bad_files": 1}),
        (None, {"last_bad_file": "17000/a_000.g3"}),
        (None, {"last_put_aside": LastPutAside(time=NOW, bytes=1, why="odd")}),
        (None, {"last_loss": LastLoss(time=NOW, count=1, cause=LossCause.DISK)}),
        ("totals", {"recovered": 1}),
        ("acquisition", {"lost": 1}),
        ("acquisition", {"session": 7}),
        ("storage", {"trouble": "the disk is tired"}),
        ("buffer", {"stalled": True}),
        (None, {"current_file": None}),
    ],
)
def test_what_people_wait_for_is_news(part: str | None, fields: dict[str, object]) -> None:
    before = a_report()
    assert news(changed(before, part, **fields)) != news(before)


@pytest.mark.parametrize(
    ("part", "fields"),
    [
        (None, {"time": datetime(2027, 1, 1, tzinfo=UTC)}),
        ("connection", {"last_frame_time": NOW, "attempts": 3}),
        ("acquisition", {"frames": 9, "bytes": 9, "last_frame_num": 9}),
        ("current_file", {"frames": 9, "bytes": 9}),
        ("totals", {"frames": 9, "bytes": 9}),
        ("storage", {"free_bytes": 4}),
        ("buffer", {"bytes": 4, "peak_bytes": 4}),
    ],
)
def test_what_changes_with_each_frame_is_none(part: str | None, fields: dict[str, object]) -> None:
    before = a_report()
    assert news(changed(before, part, **fields)) == news(before)


def test_a_count_stays_within_what_the_api_server_takes() -> None:
    """A garbage frame_num with a good crc makes a loss of 2^62 frames; the API server refuses more than int64."""
    losses = Telling(Ledger(Path("unused"), "s", logging.getLogger("test")), logging.getLogger("test"))
    for _ in range(3):
        losses.tell(Loss(count=1 << 62, cause=LossCause.SENDER))
    totals = Totals(lost=losses.lost.count)

    assert totals.to_json()["lost"] == (1 << 63) - 1
    assert LastLoss(time=NOW, count=1 << 64, cause=LossCause.SENDER).to_json()["count"] == (1 << 63) - 1
    with pytest.raises(ValueError, match="greater than or equal to 0"):
        Totals(lost=-1)
