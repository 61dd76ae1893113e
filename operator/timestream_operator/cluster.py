"""The one door to the Kubernetes client: look, apply, tell. No state but the connections."""

import json
import urllib.parse
from collections.abc import Iterator, Mapping
from typing import Any, Final, cast

import urllib3
from kubernetes import client, config

from timestream_operator.objects import MANAGER, Key, Kind, Manifest, dig, key_of

TIMEOUT: Final = (5.0, 20.0)  # to connect, to answer; seconds
PAGE: Final = 500
APPLY: Final = "application/apply-patch+yaml"
# The request was understood and is refused: the same one again changes nothing.
FINAL: Final = frozenset({400, 403, 404, 405, 413, 415, 422})

_load = cast("Any", config)  # its functions have no types


class RefusedError(Exception):
    """The API server refuses a request, and says why."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class UnavailableError(Exception):
    """The API server cannot be reached or cannot answer now."""


class Cluster:
    """One API server, as the service account of this pod, or as KUBECONFIG says."""

    def __init__(self, api: client.ApiClient) -> None:
        self._api = cast("Any", api)  # its methods have no types

    @classmethod
    def connect(cls, connections: int) -> "Cluster":
        """Return the cluster of this pod, else of KUBECONFIG; nothing is sent yet.

        Raises:
            UnavailableError: neither is there.
        """
        configuration = client.Configuration()
        try:
            try:
                _load.load_incluster_config(configuration)
            except config.ConfigException:
                _load.load_kube_config(client_configuration=configuration)
        except config.ConfigException as error:
            raise UnavailableError(
                f"no API server is known: neither in a pod nor by KUBECONFIG: {error}"
            ) from error
        configuration.connection_pool_maxsize = connections
        # Everything that is sent may be sent twice: an idle connection that was closed costs no failure.
        configuration.retries = urllib3.Retry(total=1, allowed_methods=None, redirect=0)
        return cls(client.ApiClient(configuration))

    def get(self, kind: Kind, key: Key) -> Manifest | None:
        """Return the object, or None where it does not exist."""
        try:
            return self._request("GET", kind.path(key.namespace, key.name))
        except RefusedError as error:
            if error.code == 404:
                return None
            raise

    def list(self, kind: Kind, namespace: str | None, **selectors: str) -> Iterator[Manifest]:
        """Yield all objects of one kind in a namespace (None: in all); `selectors`: labelSelector, fieldSelector."""
        query = {"limit": str(PAGE), **selectors}
        while True:
            page = self._request("GET", kind.path(namespace), query)
            items: list[Manifest] = page.get("items") or []
            for item in items:
                yield {"apiVersion": kind.api_version, "kind": kind.kind, **item}  # items do not say it
            if not (following := dig(page, "metadata", "continue")):
                return
            query["continue"] = following

    def apply(self, kind: Kind, manifest: Manifest, part: str = "") -> Manifest:
        """Apply what the operator owns of an object (of its subresource `part`); return the whole object."""
        key = key_of(manifest)
        query = {"fieldManager": MANAGER, "force": "true"}
        return self._request("PATCH", kind.path(key.namespace, key.name, part), query, manifest, APPLY)

    def create(self, kind: Kind, manifest: Manifest) -> Manifest:
        """Create an object and return it."""
        return self._request("POST", kind.path(key_of(manifest).namespace), {}, manifest, "application/json")

    def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Manifest | None = None,
        content: str | None = None,
    ) -> Manifest:
        headers = {"Accept": "application/json"} | ({"Content-Type": content} if content else {})
        target = f"{path}?{urllib.parse.urlencode(query)}" if query else path
        verb, url, sent_headers, sent, _ = self._api.param_serialize(
            method, target, header_params=headers, body=body, auth_settings=["BearerToken"]
        )
        try:
            answer = self._api.call_api(verb, url, sent_headers, sent, _request_timeout=TIMEOUT)
            text = bytes(answer.read() or b"")
        except (client.ApiException, urllib3.exceptions.HTTPError, OSError) as error:
            raise UnavailableError(f"{method} {path}: {error}") from error
        return _judge(method, path, int(answer.status), text)


def _judge(method: str, path: str, status: int, text: bytes) -> Manifest:
    """Return the answer of a request that succeeded, else raise what it means."""
    try:
        answer: Manifest = json.loads(text)
    except ValueError:
        answer = {"message": f"{path}: {text[:200].decode(errors='replace').strip()}"}
    if 200 <= status < 300:
        return answer
    message = str(answer.get("message") or f"HTTP {status}")
    if status in FINAL:
        raise RefusedError(status, message)
    raise UnavailableError(f"{method} {path}: {status} {message}")


def warnings(cluster: Cluster, namespace: str) -> dict[str, str]:
    """Return the newest warning event about each object of a namespace, by the object's uid."""
    selectors = ("type=Warning", "reason=FailedBinding")  # a claim without a volume is told as normal
    found = [
        event for which in selectors for event in cluster.list(Kind.EVENT, namespace, fieldSelector=which)
    ]
    events = sorted(found, key=_event_time)
    return {str(dig(event, "regarding", "uid")): str(event.get("note") or "") for event in events}


def _event_time(event: Manifest) -> str:
    times = (
        dig(event, "series", "lastObservedTime"),
        event.get("deprecatedLastTimestamp"),
        event.get("eventTime"),
    )
    return max((str(time) for time in times if time), default="")
