"""HTTP: /healthz, /readyz, /metrics, /status. Answers from what is known, without disk or network."""

import logging
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Protocol, cast

from timestream_aggregator import logs
from timestream_aggregator.reporting import metrics
from timestream_api.report import Report, Totals

# Requests; for one more the oldest is given up, so that a flood of them takes neither memory from recording nor its
# answer from a probe.
MOST_AT_ONCE: Final = 16
PATIENCE: Final = 2.0  # seconds that a client gets, from its connection to the end of the answer
LISTEN_AGAIN: Final = 10.0  # seconds
Answer = tuple[HTTPStatus, str, bytes]


class StatusSource(Protocol):
    """What is asked of the recorder; each answers at once."""

    def report(self) -> Report:
        """Return what there is to say."""
        ...

    def since_start(self) -> Totals:
        """Return the counts since the process started."""
        ...

    def ill(self) -> str | None:
        """Return why a restart would help, or None."""

    def unready(self) -> str | None:
        """Return why it cannot record, or None. The sender's absence is no reason."""


class StatusServer:
    """Serves in threads of its own from `start()` to `stop()`; while it cannot listen, it tries again and again.

    Recording does not depend on it. In a pod, too, it is better to record without probes than not at all: where the
    port belongs to somebody who does not answer for us, the kubelet restarts the pod, as if it had not started.
    """

    def __init__(
        self, address: str, port: int, recorder: StatusSource, stream_id: str, log: logging.Logger
    ) -> None:
        numbers = metrics.Metrics(recorder.report, recorder.since_start, stream_id)
        self._address = address
        self._port = port
        self._log = log
        self._pages: dict[str, Callable[[], Answer]] = {
            "/healthz": lambda: _verdict(recorder.ill()),
            "/readyz": lambda: _verdict(recorder.unready()),
            "/metrics": lambda: (HTTPStatus.OK, metrics.CONTENT_TYPE, numbers.text()),
            "/status": lambda: (HTTPStatus.OK, "application/json", _json(recorder.report())),
        }
        self._stopping = threading.Event()
        self._failed = False
        self._server = self._listen()
        self._thread = threading.Thread(target=self._run, name="http", daemon=True)

    @property
    def port(self) -> int:
        """Return the port it listens on, 0 if it does not."""
        return self._server.server_port if self._server else 0

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Answer no more."""
        self._stopping.set()
        if self._server:
            self._server.socket.shutdown(socket.SHUT_RDWR)  # it waits no longer
        self._thread.join()
        if self._server:
            self._server.server_close()

    def _run(self) -> None:
        while not self._stopping.is_set():
            if self._server:
                self._server.handle_request()
                self._server.close_old(MOST_AT_ONCE)
            elif not self._stopping.wait(LISTEN_AGAIN):
                self._server = self._listen()

    def _listen(self) -> "_Server | None":
        where = {"address": self._address, "port": self._port}
        try:
            server = _Server(self._address, self._port, self._pages)
        except OSError as error:
            if not self._failed:
                extra = {**where, "why": error.strerror}
                self._log.warning("recording without probes and metrics, trying on", extra=extra)
            self._failed = True
            return None
        if self._failed:
            self._log.info("probes and metrics answer", extra=where)
        return server


class _Server(ThreadingHTTPServer):
    """Answers a bounded number of clients at once; none has more than its time, and the newest always gets a place."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64
    timeout = 0.5  # seconds that handle_request() waits for a client

    def __init__(self, address: str, port: int, pages: dict[str, Callable[[], Answer]]) -> None:
        self.pages = pages
        self._open: dict[socket.socket, float] = {}  # since when, the oldest first
        if address == "::" and not socket.has_dualstack_ipv6():
            address = "0.0.0.0"
        found = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        self.address_family, _, _, _, where = found[0]
        super().__init__(cast("tuple[str, int]", where), _Handler)

    def server_bind(self) -> None:
        """Bind, `::` for both families; without the look-up of our own name that the standard library does."""
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "recorder", self.server_address[1]

    def close_old(self, most: int) -> None:
        """Close the connections that have had their time, and the oldest ones of more than `most`."""
        begun = self._open.copy()
        for place, (request, since) in enumerate(begun.items()):
            if place < len(begun) - most or time.monotonic() - since > PATIENCE:
                self._open.pop(request, None)
                with suppress(OSError):  # it has ended
                    request.shutdown(socket.SHUT_RDWR)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread."""
        self.close_old(MOST_AT_ONCE - 1)
        self._open[request] = time.monotonic()
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer, and make room for the next."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._open.pop(request, None)

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
