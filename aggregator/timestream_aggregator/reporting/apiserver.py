"""Sends the report to the resource: a server-side apply of `status.aggregator`, in a thread of its own.

Only the latest report counts. When the API server is away or refuses, recording goes on and nothing piles up.
"""

import http.client
import json
import logging
import random
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from timestream_api.names import API_VERSION, KIND, PLURAL
from timestream_api.report import Report

FIELD_MANAGER: Final = "timestream-aggregator-recorder"
SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
AT_MOST_EVERY: Final = 1.0  # seconds
AT_LEAST_EVERY: Final = 60.0
RETRY_AT_MOST: Final = 60.0
OBEY_AT_MOST: Final = 300.0  # seconds that the API server may ask us to stay away
TIMEOUT: Final = 5.0  # for each step of a request
MEANINGS: Final[Mapping[int, str]] = {
    401: "the pod's token is not accepted",
    403: "the pod's account may not patch this resource's status: see the Role and RoleBinding of its name",
    404: "the resource is gone, or its CRD is not installed",
    409: "somebody else claims status.aggregator",
    422: "the resource's CRD does not know this report: are CRD and recorder of one version?",
    429: "the API server is busy",
}
_NO_NEWS: Final = {
    "time": True,
    "connection": {"attempts", "last_frame_time"},
    "acquisition": {"frames", "bytes", "last_frame_num"},
    "current_file": {"frames", "bytes"},
    "totals": {"frames", "bytes"},
    "storage": {"capacity_bytes", "free_bytes"},
    "buffer": {"bytes", "peak_bytes"},
}
"""What changes all the time, and can wait. Whatever else is in a report is news."""


class ReportingError(Exception):
    """A report did not arrive; the message says why, in one line."""

    def __init__(self, message: str, retry_after: float = 0.0) -> None:
        """`retry_after` is for how many seconds the API server wants to hear nothing."""
        super().__init__(message)
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class ApiServer:
    """The API server as a pod sees it."""

    host: str
    port: int
    account: Path = SERVICE_ACCOUNT
    timeout: float = TIMEOUT

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "ApiServer":
        """Return what the kubelet's variables name.

        Raises:
            ReportingError: this is no pod.
        """
        host, port = (environment.get(f"KUBERNETES_SERVICE_{part}", "") for part in ("HOST", "PORT"))
        if not host or not port.isdecimal():
            raise ReportingError(
                f"KUBERNETES_SERVICE_HOST is {host!r} and KUBERNETES_SERVICE_PORT {port!r}: it works in a pod only"
            )
        return cls(host, int(port))

    def apply(self, namespace: str, name: str, status: Mapping[str, object]) -> None:
        """Apply `status` to the resource, as ours alone.

        Raises:
            ReportingError: it did not arrive, or was refused.
        """
        path = f"/apis/{API_VERSION}/namespaces/{namespace}/{PLURAL}/{name}/status"
        document = {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "metadata": {"name": name, "namespace": namespace},
            "status": status,
        }
        try:
            self._patch(f"{path}?fieldManager={FIELD_MANAGER}&force=true", json.dumps(document))
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise ReportingError(f"the API server cannot be reached: {error}") from error

    def _patch(self, path: str, body: str) -> None:
        context = ssl.create_default_context(cafile=str(self.account / "ca.crt"))
        token = (self.account / "token").read_text().strip()  # each time: the kubelet replaces it every hour
        connection = http.client.HTTPSConnection(self.host, self.port, timeout=self.timeout, context=context)
        try:
            headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/apply-patch+yaml"}
            connection.request("PATCH", path, body, headers)
            answer = connection.getresponse()
            text = answer.read(1 << 16)
        finally:
            connection.close()
        if answer.status >= 300:
            raise ReportingError(
                f"{answer.status}: {MEANINGS.get(answer.status, answer.reason)} ({_detail(text)})",
                _seconds(answer.getheader("Retry-After")),
            )


@dataclass(slots=True)
class Reporter:
    """Sends what `report()` returns: on each change that people wait for at once, else every minute."""

    server: ApiServer
    resource: str
    """NAMESPACE/NAME"""
    report: Callable[[], Report]
    log: logging.Logger
    _changed: threading.Event = field(default_factory=threading.Event)
    _stopping: threading.Event = field(default_factory=threading.Event)
    _sent: object = None  # what people wait for, as it was sent last
    _due: float = 0.0  # monotonic second at which the next report is due, whatever it says
    _pause: float = 0.0  # before the next attempt, while they fail
    _kept_away: float = 0.0  # seconds for which the API server asked us to send nothing
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to send."""
        self._thread = threading.Thread(target=self.run, name="reporting", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Look at the report now: something has changed. Any thread may call this; it returns at once."""
        self._changed.set()

    def stop(self, timeout: float = TIMEOUT) -> None:
        """Send the last report and end; give up after `timeout` seconds."""
        self._stopping.set()
        self._changed.set()
        if self._thread is not None:
            self._thread.join(timeout)

    def run(self) -> None:
        """Send until told to stop; then once more."""
        while not self._stopping.is_set():
            self._send_if_due()
            jitter = random.uniform(0.8, 1.2)  # noqa: S311
            self._stopping.wait(max(AT_MOST_EVERY, self._kept_away, self._pause * jitter))
            self._changed.wait(AT_MOST_EVERY)
            self._changed.clear()
        self._send(self.report())

    def _send_if_due(self) -> None:
        report = self.report()
        if time.monotonic() >= self._due or news(report) != self._sent:
            self._send(report)

    def _send(self, report: Report) -> None:
        namespace, _, name = self.resource.partition("/")
        try:
            self.server.apply(namespace, name, {"aggregator": report.to_json()})
        except ReportingError as error:
            if not self._pause:
                self.log.warning(
                    "cannot report, recording goes on", extra={"to": self.resource, "why": str(error)}
                )
            self._pause = min(max(AT_MOST_EVERY, self._pause * 2), RETRY_AT_MOST)
            self._kept_away, self._due = error.retry_after, 0.0
        else:
            if self._pause:
                self.log.info("reporting works again", extra={"to": self.resource})
            self._sent, self._due = news(report), time.monotonic() + AT_LEAST_EVERY
            self._pause = self._kept_away = 0.0


def news(report: Report) -> object:
    """Return what in a report people wait for: a change in it is worth a message of its own."""
    return report.model_dump(exclude=_NO_NEWS)


def _seconds(retry_after: str | None) -> float:
    """Return what a header Retry-After asks for; 0 if nothing, or a date, which no API server sends."""
    return min(float(retry_after), OBEY_AT_MOST) if retry_after and retry_after.isdecimal() else 0.0


def _detail(body: bytes) -> str:
    """Return what the API server says about a refusal, in one line."""
    try:
        message = json.loads(body)["message"]
    except (ValueError, KeyError, TypeError):
        message = body[:200].decode(errors="replace")
    return " ".join(str(message).split())[:500]
