"""A namespace of a real API server to try the operator in.

There is no node: pods stay Pending until a test sets their status, as a kubelet would.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast

from kubernetes import client, config

from tests.cluster.controlplane import ControlPlane
from timestream_operator.objects import Key, Kind

Json = dict[str, Any]
IMAGE: Final = "recorder.example.org/recorder:1"
CHILDREN: Final = (Kind.SERVICE_ACCOUNT, Kind.ROLE, Kind.ROLE_BINDING, Kind.STATEFUL_SET)
SOON: Final = 40.0  # the claim controller may take 15 s to bind
GC_KNOWS: Final = 60.0  # the garbage collector looks for new kinds of owners every 30 s


class Api:
    """Plain requests to the API server as an administrator."""

    def __init__(self, plane: ControlPlane) -> None:
        self._client = cast("Any", config).new_client_from_config(str(plane.kubeconfig))

    def send(
        self, method: str, path: str, body: Json | None = None, content: str = "application/json"
    ) -> Json:
        """Return the answer; fail the test when the API server refuses."""
        status, answer = self.ask(method, path, body, content)
        assert 200 <= status < 300, f"{method} {path}: {status} {answer.get('message')}"
        return answer

    def ask(self, method: str, path: str, body: Json | None, content: str) -> tuple[int, Json]:
        """Return status and answer of any request."""
        request = self._client.param_serialize(
            method, path, header_params={"Content-Type": content, "Accept": "application/json"}, body=body
        )
        answer = self._client.call_api(*request)
        return answer.status, json.loads(answer.read())

    def get(self, kind: Kind, key: Key) -> Json | None:
        """Return an object, None where there is none."""
        status, answer = self.ask("GET", kind.path(*key), None, "application/json")
        return None if status == 404 else answer

    def close(self) -> None:
        """Close the connections."""
        cast("client.ApiClient", self._client).rest_client.close()


class Cluster:
    """One namespace: resources as of a user, pods as of a kubelet, reports as of a recorder."""

    def __init__(self, plane: ControlPlane, api: Api, namespace: str) -> None:
        self.plane = plane
        self.api = api
        self.namespace = namespace

    def make(self, name: str, spec: Mapping[str, Any]) -> Json:
        """Create a resource."""
        manifest = {
            "apiVersion": Kind.AGGREGATION.api_version,
            "kind": Kind.AGGREGATION.kind,
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": {"address": "smurf", **spec},
        }
        return self.api.send("POST", Kind.AGGREGATION.path(self.namespace), manifest)

    def edit(self, kind: Kind, name: str, change: Json, part: str = "") -> Json:
        """Merge `change` into an object."""
        path = kind.path(self.namespace, name, part)
        return self.api.send("PATCH", path, change, "application/merge-patch+json")

    def delete(self, kind: Kind, name: str) -> None:
        """Delete an object, and those that it owns, as kubectl does."""
        self.api.send("DELETE", kind.path(self.namespace, name), {"propagationPolicy": "Background"})

    def get(self, kind: Kind, name: str) -> Json | None:
        """Return an object, None where there is none."""
        return self.api.get(kind, Key(self.namespace, name))

    def wait(self, kind: Kind, name: str, holds: Callable[[Json], Any], seconds: float = SOON) -> Json:
        """Return an object as soon as it exists and something holds for it."""
        end = time.monotonic() + seconds
        while not ((found := self.get(kind, name)) and holds(found)):
            assert time.monotonic() < end, f"{kind.kind} {name} is {json.dumps(found, indent=1)}"
            time.sleep(0.1)
        return found

    def wait_gone(self, kind: Kind, name: str, seconds: float = GC_KNOWS) -> None:
        """Wait until an object is gone."""
        end = time.monotonic() + seconds
        while found := self.get(kind, name):
            assert time.monotonic() < end, f"{kind.kind} {name} is still there: {found['metadata']}"
            time.sleep(0.1)

    def settled(self, name: str) -> Json:
        """Return a resource once the operator has looked at what the user wrote last."""
        return self.wait(Kind.AGGREGATION, name, is_observed)

    def wait_condition(self, name: str, kind: str, status: str, reason: str) -> Json:
        """Return a condition of a resource once it is so."""
        found = self.wait(
            Kind.AGGREGATION,
            name,
            lambda it: (
                (condition(it, kind).get("status"), condition(it, kind).get("reason")) == (status, reason)
            ),
        )
        return condition(found, kind)

    def wait_phase(self, name: str, phase: str) -> Json:
        """Return a resource once it is in a phase."""
        return self.wait(Kind.AGGREGATION, name, lambda it: it.get("status", {}).get("phase") == phase)

    def make_claim(self, name: str, *, bound: bool = True) -> None:
        """Create a claim as users do, with a volume if it is to be bound."""
        body = {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": name},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
        }
        if bound:
            self.provide_volume(name)
        self.api.send("POST", Kind.CLAIM.path(self.namespace), body)

    def provide_volume(self, claim: str, storage_class: str = "") -> str:
        """Make the volume for a claim that comes later (else binding takes 15 s); return the volume's name."""
        name = f"{self.namespace}-{claim}"
        body = {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": name},
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "capacity": {"storage": "1Gi"},
                "claimRef": {"namespace": self.namespace, "name": claim},
                "hostPath": {"path": "/nowhere"},
                "storageClassName": storage_class,
            },
        }
        self.api.send("POST", "/api/v1/persistentvolumes", body)
        return name

    def run_pod(self, name: str) -> Json:
        """Let the pod of a resource run, as a kubelet would; return the pod."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return self.set_pod(name, {"running": {"startedAt": now}}, ready=True)

    def set_pod(self, name: str, state: Json, *, ready: bool, last: Json | None = None) -> Json:
        """Set the state of the container in the pod of a resource; return the pod."""
        self.wait(Kind.POD, f"{name}-0", lambda _: True)
        container = {
            "name": "recorder",
            "image": IMAGE,
            "imageID": "",
            "ready": ready,
            "started": ready,
            "restartCount": 0,
            "state": state,
            "lastState": last or {},
        }
        conditions = [
            {"type": "Ready", "status": str(ready)},
            {"type": "ContainersReady", "status": str(ready)},
        ]
        status = {
            "phase": "Running" if ready else "Pending",
            "conditions": conditions,
            "containerStatuses": [container],
        }
        return self.edit(Kind.POD, f"{name}-0", {"status": status}, "status")

    def report(self, name: str, *, age: float = 0.0, without: Sequence[str] = (), **parts: Any) -> Json:
        """Send a report as the recorder does, by server-side apply of its own part of the status."""
        document = {
            part: value for part, value in report_document(age, **parts).items() if part not in without
        }
        body = {
            "apiVersion": Kind.AGGREGATION.api_version,
            "kind": Kind.AGGREGATION.kind,
            "status": {"aggregator": document},
        }
        path = Kind.AGGREGATION.path(self.namespace, name, "status") + "?fieldManager=recorder&force=true"
        return self.api.send("PATCH", path, body, "application/apply-patch+yaml")

    def events(self, name: str) -> list[Json]:
        """Return what the operator told about a resource."""
        found = self.api.send("GET", Kind.EVENT.path(self.namespace))["items"]
        about = [event for event in found if event["regarding"]["kind"] == Kind.AGGREGATION.kind]
        return [event for event in about if event["regarding"]["name"] == name]

    def versions(self) -> dict[str, str]:
        """Return the resourceVersion of everything that the operator may write here."""
        kinds = (Kind.AGGREGATION, *CHILDREN, Kind.CLAIM, Kind.EVENT)
        return {
            f"{kind.kind}/{item['metadata']['name']}": item["metadata"]["resourceVersion"]
            for kind in kinds
            for item in self.api.send("GET", kind.path(self.namespace))["items"]
        }


def report_document(age: float = 0.0, **parts: Any) -> Json:
    """Return the report of a recorder that is connected and records, `age` seconds old."""
    now = datetime.now(UTC) + timedelta(seconds=1 - age)  # pods say whole seconds
    when = now.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return {
        "time": when,
        "startedAt": when,
        "version": "1",
        "connection": {"state": "Connected", "endpoint": "smurf:50000", "since": when},
        "acquisition": {"baseName": "17955/a", "started": when},
        "currentFile": {"path": "17955/a_000.g3", "opened": when},
        "storage": {"capacityBytes": 1 << 40, "freeBytes": 1 << 39},
        **parts,
    }


def condition(resource: Json, kind: str) -> Json:
    """Return one condition of a resource, empty where it is missing."""
    conditions: list[Json] = resource.get("status", {}).get("conditions", [])
    found = [entry for entry in conditions if entry["type"] == kind]
    return found[0] if found else {}


def is_observed(resource: Json) -> bool:
    """Return whether the operator has looked at the present spec."""
    return resource.get("status", {}).get("observedGeneration") == resource["metadata"]["generation"]
