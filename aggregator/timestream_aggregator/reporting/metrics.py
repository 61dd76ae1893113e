"""Prometheus metrics: the report's numbers, when somebody asks. Nothing is counted twice."""

from collections.abc import Callable, Iterator
from datetime import datetime

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from timestream_api.report import ConnectionState, Report, Totals

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics(Collector):
    """The metrics of one recorder."""

    def __init__(
        self, report: Callable[[], Report], since_start: Callable[[], Totals], stream_id: str
    ) -> None:
        self._report = report
        self._since_start = since_start
        self._stream_id = stream_id
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def collect(self) -> Iterator[Metric]:
        """Yield each metric as it is now."""
        report = self._report()
        yield InfoMetricFamily(
            "timestream_recorder",
            "The recorder and its stream",
            {"version": report.version, "stream": self._stream_id},
        )
        for name, text, value in _now(report):
            if value is not None:
                yield GaugeMetricFamily(f"timestream_{name}", text, value)
        for name, text, value in _totals(self._since_start(), report.buffer.stalls):
            yield CounterMetricFamily(f"timestream_{name}", f"{text}, since the recorder started", value)

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self._registry)


def _now(report: Report) -> Iterator[tuple[str, str, float | None]]:
    connection, buffer = report.connection, report.buffer
    current, last = report.current_file, report.last_file
    connected = connection.state is ConnectionState.CONNECTED
    yield "connected", "1 while the TCP connection to the sender stands", connected
    yield "connection_attempts", "Attempts to connect since the last success", connection.attempts
    yield "last_frame_timestamp_seconds", "When the last frame arrived", _seconds(connection.last_frame_time)
    yield "start_timestamp_seconds", "When the recorder started", _seconds(report.started_at)
    yield "recording", "1 while a file is being written", current is not None
    yield "current_file_bytes", "Bytes in the file being written", current.bytes if current else 0
    closed = _seconds(last.closed) if last else None
    yield "last_file_timestamp_seconds", "When a file was published last", closed
    if storage := report.storage:
        yield "storage_capacity_bytes", "Size of the file system of the data folder", storage.capacity_bytes
        yield "storage_free_bytes", "What is free there for the recorder", storage.free_bytes
        yield "storage_writable", "0 while writing fails and the sender is held back", storage.writable
    yield "ledger_pending_lines", "Lines of the ledger that wait for the disk", report.ledger.pending
    yield "ledger_dropped_lines", "Lines of the ledger that could not be kept", report.ledger.dropped
    yield "ledger_writable", "0 while the ledger cannot be written", report.ledger.trouble is None
    yield "buffer_bytes", "Received and not yet given to the disk", buffer.bytes
    yield "buffer_peak_bytes", "The most there has been since the start", buffer.peak_bytes
    yield "buffer_stalled", "1 while the buffer is full and the sender is held back", buffer.stalled


def _totals(totals: Totals, stalls: int) -> list[tuple[str, str, float]]:
    return [
        ("recorded_frames", "Frames written to files", totals.frames),
        ("recorded_bytes", "Bytes of frames written to files", totals.bytes),
        ("published_files", "Files that have got their final name", totals.files),
        ("verified_files", "Files read back through spt3g", totals.verified),
        ("bad_files", "Files that do not hold what was received", totals.bad_files),
        ("recovered_files", "Files of an earlier run that were completed and published", totals.recovered),
        ("lost_frames", "Frames that the sender counted and that are in no file", totals.lost),
        ("missed_frames", "Frames that sessions had sent before the recorder joined them", totals.missed),
        ("duplicate_frames", "Repeated frames that were not written again", totals.duplicates),
        ("quarantined_pieces", "Damaged pieces of the stream kept aside", totals.quarantined),
        ("buffer_stalls", "How often the buffer was full", stalls),
        ("gaps", "Pauses that ended an acquisition", totals.gaps),
    ]


def _seconds(when: datetime | None) -> float | None:
    return None if when is None else when.timestamp()
