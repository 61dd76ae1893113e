"""The HTTP faces of a recorder that says what the test wants."""

import json
import logging
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from prometheus_client.parser import text_string_to_metric_families

from timestream_aggregator.reporting.server import MOST_AT_ONCE, PATIENCE, StatusServer
from timestream_api.report import (
    BufferReport,
    CloseReason,
    Connection,
    ConnectionState,
    LastFile,
    Report,
    StorageReport,
    Totals,
)

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
REPORT = Report(
    time=NOW,
    started_at=NOW,
    version="1.2.3",
    connection=Connection(
        state=ConnectionState.CONNECTED, endpoint="crate1:50000", since=NOW, last_frame_time=NOW
    ),
    last_file=LastFile(
        path="1/2_000.g3", frames=3, bytes=4, crc32c="0123abcd", closed=NOW, reason=CloseReason.END
    ),
    totals=Totals(files=1, frames=3, bytes=4, lost=5, missed=9, duplicates=6, quarantined=7, gaps=8),
    storage=StorageReport(capacity_bytes=100, free_bytes=40, writable=False, trouble="full"),
    buffer=BufferReport(bytes=1, peak_bytes=2, stalled=True),
)


@dataclass
class Told:
    """A recorder that is as it is told."""

    illness: str | None = None
    unreadiness: str | None = None

    def report(self) -> Report:
        return REPORT

    def since_start(self) -> Totals:
        return REPORT.totals

    def ill(self) -> str | None:
        return self.illness

    def unready(self) -> str | None:
        return self.unreadiness


@contextmanager
def serving(recorder: Told, address: str = "127.0.0.1", port: int = 0) -> Generator[str]:
    server = StatusServer(address, port, recorder, "crate1", logging.getLogger(__name__))
    server.start()
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        server.stop()


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_the_probes_say_ok_or_what_is_wrong() -> None:
    with serving(told := Told()) as url:
        assert get(f"{url}/healthz") == get(f"{url}/readyz") == (200, "ok\n")
        told.illness, told.unreadiness = "a loop stands still", "the disk is full"
        assert get(f"{url}/healthz") == (503, "a loop stands still\n")
        assert get(f"{url}/readyz") == (503, "the disk is full\n")


def test_status_is_the_report() -> None:
    with serving(Told()) as url:
        code, text = get(f"{url}/status")
    assert code == 200
    assert Report.model_validate_json(text) == REPORT
    assert json.loads(text)["connection"]["lastFrameTime"] == "2026-01-02T03:04:05Z"


def test_metrics_are_the_reports_numbers_with_units_in_their_names() -> None:
    with serving(Told()) as url:
        _, text = get(f"{url}/metrics")
    found = {s.name: s.value for family in text_string_to_metric_families(text) for s in family.samples}
    assert (
        found
        | {
            "timestream_connected": 1,
            "timestream_recording": 0,
            "timestream_last_frame_timestamp_seconds": NOW.timestamp(),
            "timestream_recorded_frames_total": 3,
            "timestream_recorded_bytes_total": 4,
            "timestream_published_files_total": 1,
            "timestream_lost_frames_total": 5,
            "timestream_missed_frames_total": 9,
            "timestream_duplicate_frames_total": 6,
            "timestream_quarantined_pieces_total": 7,
            "timestream_gaps_total": 8,
            "timestream_storage_free_bytes": 40,
            "timestream_storage_writable": 0,
            "timestream_buffer_bytes": 1,
            "timestream_buffer_peak_bytes": 2,
            "timestream_buffer_stalled": 1,
            "timestream_recorder_info": 1,
        }
        == found
    )
    assert "process_resident_memory_bytes" in found


def test_another_page_is_not_found_and_says_which_there_are() -> None:
    with serving(Told()) as url:
        assert get(f"{url}/") == (404, "There is: /healthz /readyz /metrics /status\n")


def test_clients_that_say_nothing_do_not_keep_a_probe_from_its_answer_for_long() -> None:
    with serving(Told()) as url, ExitStack() as idle:
        port = int(url.rpartition(":")[2])
        before = threading.active_count()
        for _ in range(3 * MOST_AT_ONCE):
            idle.enter_context(socket.create_connection(("127.0.0.1", port)))
        time.sleep(0.3)
        assert threading.active_count() - before <= MOST_AT_ONCE
        deadline = time.monotonic() + 10
        while _answers(url) != 200:
            assert time.monotonic() < deadline
            time.sleep(0.1)


def _answers(url: str) -> int:
    try:
        return get(f"{url}/healthz")[0]
    except OSError:
        return 0


def test_a_port_that_is_taken_is_told_and_taken_as_soon_as_it_is_free(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("timestream_aggregator.reporting.server.LISTEN_AGAIN", 0.01)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port: int = other.getsockname()[1]
        with serving(Told(), port=port):
            assert [record.message for record in caplog.records] == [
                "recording without probes and metrics, trying on"
            ]
            other.close()
            while _answers(f"http://127.0.0.1:{port}") != 200:
                time.sleep(0.01)


def test_a_server_that_never_had_its_port_ends_as_others_do() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as other,
        serving(Told(), port=other.getsockname()[1]),
    ):
        pass


@pytest.mark.parametrize(
    ("address", "answering"), [("127.0.0.1", ["127.0.0.1"]), ("::", ["127.0.0.1", "[::1]"])]
)
def test_it_listens_where_it_is_told_to(address: str, answering: list[str]) -> None:
    with serving(Told(), address) as url:
        port = url.rpartition(":")[2]
        assert [host for host in ("127.0.0.1", "[::1]") if _answers(f"http://{host}:{port}")] == answering


def test_where_there_is_no_ipv6_everybody_is_answered_by_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    with serving(Told(), "::") as url:
        assert _answers(url) == 200


@pytest.mark.parametrize("clients", [MOST_AT_ONCE, 10 * MOST_AT_ONCE])
def test_beside_clients_that_send_a_byte_now_and_then_each_probe_has_its_answer(clients: int) -> None:
    with serving(Told()) as url, ExitStack() as slow:
        port = int(url.rpartition(":")[2])
        made = [
            slow.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
            for _ in range(clients)
        ]
        for _ in range(8):
            for client in made:
                with suppress(OSError):  # it was one too many, or its time is over
                    client.send(b"G")
            assert get(f"{url}/healthz") == (200, "ok\n")
            time.sleep(PATIENCE / 5)
        assert all(_has_ended(client) for client in made), "each has had its time"


def _has_ended(client: socket.socket) -> bool:
    """Return whether the server has closed a connection; TimeoutError if it does not."""
    try:
        return client.recv(1) == b""
    except ConnectionError:
        return True
