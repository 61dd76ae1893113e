"""The HTTP faces of a recorder that says what the test wants."""

import json
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from prometheus_client.parser import text_string_to_metric_families

from timestream_aggregator.reporting.server import MOST_AT_ONCE, StatusServer
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
    totals=Totals(files=1, frames=3, bytes=4, lost=5, duplicates=6, quarantined=7, gaps=8),
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

    def ill(self) -> str | None:
        return self.illness

    def unready(self) -> str | None:
        return self.unreadiness


@contextmanager
def serving(recorder: Told) -> Generator[str]:
    server = StatusServer(0, recorder, "crate1")
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


def test_a_port_that_is_taken_is_an_error_at_the_start() -> None:
    with serving(Told()) as url, pytest.raises(OSError, match="in use"):
        StatusServer(int(url.rpartition(":")[2]), Told(), "crate1")
