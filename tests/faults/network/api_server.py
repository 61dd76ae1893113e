"""In place of the API server: HTTPS that accepts reports, refuses them, or does not answer, as the test wants it."""

import json
import ssl
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from timestream_api.report import Report

IN_A_POD: Final = """
mount -t tmpfs none /run && mkdir -p /run/secrets/kubernetes.io &&
ln -s "$0" /run/secrets/kubernetes.io/serviceaccount && exec "$@"
"""


@dataclass(frozen=True, slots=True)
class Answer:
    """What one request gets; no code: nothing at all."""

    code: int | None = 200
    retry_after: int | None = None


class ApiServer:
    """Gives `answers` one by one, then 200. `requests` has when each came, and the report in it."""

    def __init__(self, account: Path, port: int = 0) -> None:
        self.answers = deque[Answer]()
        self.requests = list[tuple[float, Report]]()
        self._over = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_PATCH(self) -> None:
                outer._answer(self)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name
                pass

        self._server = _Quiet(("127.0.0.1", port), Handler)
        self.port: int = self._server.server_address[1]
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(account / "ca.crt", account / "key")
        self._server.socket = context.wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._over.set()
        self._server.shutdown()
        self._thread.join(5)
        self._server.server_close()

    @property
    def last(self) -> Report | None:
        """Return the report that came last."""
        return self.requests[-1][1] if self.requests else None

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        document = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        report = Report.model_validate(document["status"]["aggregator"])
        self.requests.append((time.monotonic(), report))
        answer = self.answers.popleft() if self.answers else Answer()
        if answer.code is None:
            self._over.wait(30)
            return
        text = json.dumps({"kind": "Status", "message": "as the test wants it"}).encode()
        handler.send_response(answer.code)
        handler.send_header("Content-Length", str(len(text)))
        if answer.retry_after is not None:
            handler.send_header("Retry-After", str(answer.retry_after))
        handler.end_headers()
        handler.wfile.write(text)


class _Quiet(ThreadingHTTPServer):
    """A client that hangs up is nothing to speak of."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


def in_a_pod(account: Path) -> Sequence[str]:
    """Return the command that runs another one with `account` as its service account."""
    return ("unshare", "--mount", "sh", "-c", IN_A_POD, str(account))


def environment(port: int) -> Mapping[str, str]:
    """Return the variables by which a pod finds its API server."""
    return {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(port)}
