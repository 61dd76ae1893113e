"""HTTP: /healthz, /readyz, /metrics, /status. Answers from what is known, without disk or network."""

import logging
import socket
import sys
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Protocol

from timestream_aggregator import logs
from timestream_aggregator.reporting import metrics
from timestream_api.report import Report

# Requests; more are turned away, so that a flood of them cannot take memory from recording.
MOST_AT_ONCE: Final = 16
PATIENCE: Final = 5.0  # seconds that a client gets to say what it wants
Answer = tuple[HTTPStatus, str, bytes]


class StatusSource(Protocol):
    """What is asked of the recorder; each answers at once."""

    def report(self) -> Report:
        """Return what there is to say."""
        ...

    def ill(self) -> str | None:
        """Return why a restart would help, or None."""
        ...

    def unready(self) -> str | None:
        """Return why it cannot record, or None. The sender's absence is no reason."""
        ...


class StatusServer:
    """Serves in threads of its own from `start()` to `stop()`. OSError if the port is taken."""

    def __init__(self, port: int, recorder: StatusSource, stream_id: str) -> None:
        numbers = metrics.Metrics(recorder.report, stream_id)
        pages: dict[str, Callable[[], Answer]] = {
            "/healthz": lambda: _verdict(recorder.ill()),
            "/readyz": lambda: _verdict(recorder.unready()),
            "/metrics": lambda: (HTTPStatus.OK, metrics.CONTENT_TYPE, numbers.text()),
            "/status": lambda: (HTTPStatus.OK, "application/json", _json(recorder.report())),
        }
        self._server = _Server(port, pages)
        self._thread = threading.Thread(target=self._server.serve_forever, name="http", daemon=True)

    @property
    def port(self) -> int:
        """Return the port it listens on."""
        return self._server.server_address[1]

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    """A bounded number of threads, on IPv4 and IPv6 where there is both."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, port: int, pages: dict[str, Callable[[], Answer]]) -> None:
        self.pages = pages
        self._free = threading.BoundedSemaphore(MOST_AT_ONCE)
        both = socket.has_dualstack_ipv6()
        self.address_family = socket.AF_INET6 if both else socket.AF_INET
        super().__init__(("::" if both else "0.0.0.0", port), _Handler)

    def server_bind(self) -> None:
        """Bind for both families; without the look-up of our own name that the standard library does."""
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "recorder", self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread, or not at all if all are busy."""
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer, and make room for the next."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - the same
        """Log what is our mistake; a client that goes away is its own business."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            logging.getLogger(logs.NAME).error("a request failed", exc_info=error)


class _Handler(BaseHTTPRequestHandler):
    """One request."""

    timeout = PATIENCE
    server_version = "timestream-aggregator"
    sys_version = ""
    server: _Server  # pyright: ignore[reportIncompatibleVariableOverride] - it is never another

    def do_GET(self) -> None:
        """Answer with a page."""
        page = self.server.pages.get(self.path.partition("?")[0])
        status, kind, body = page() if page else _not_found(self.server.pages)
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_HEAD(self) -> None:
        """Answer without the page."""
        self.do_GET()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the standard library's name
        """Log nothing: probes come every few seconds."""


def _verdict(trouble: str | None) -> Answer:
    if trouble is None:
        return HTTPStatus.OK, "text/plain; charset=utf-8", b"ok\n"
    return HTTPStatus.SERVICE_UNAVAILABLE, "text/plain; charset=utf-8", f"{trouble}\n".encode()


def _json(report: Report) -> bytes:
    return report.model_dump_json(by_alias=True, indent=2).encode() + b"\n"


def _not_found(pages: dict[str, Callable[[], Answer]]) -> Answer:
    return HTTPStatus.NOT_FOUND, "text/plain; charset=utf-8", f"There is: {' '.join(pages)}\n".encode()
