"""Manifests of TimestreamAggregations, and what the API server says to them."""

import json
import ssl
from collections.abc import Mapping
from http.client import HTTPSConnection
from typing import Any, Final
from urllib.parse import urlsplit

import pytest

from tests.cluster.commands import CommandError
from tests.cluster.controlplane import ControlPlane

Spec = Mapping[str, Any]
SMALLEST: Final[dict[str, Any]] = {"address": "smurf", "storage": {"claimName": "data"}}


def aggregation(spec: Spec, name: str = "stream") -> dict[str, Any]:
    """Return the manifest of a resource."""
    return {
        "apiVersion": "timestream.dev/v1alpha1",
        "kind": "TimestreamAggregation",
        "metadata": {"name": name},
        "spec": dict(spec),
    }


def with_claim(size: int | str = "10Gi", **claim: Any) -> dict[str, Any]:
    """Return a `spec.storage` whose claim is made for the stream."""
    return {"volumeClaimTemplate": {"spec": {"resources": {"requests": {"storage": size}}} | claim}}


def apply(plane: ControlPlane, namespace: str, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Apply `manifest` as a user does and return the resource as the API server keeps it."""
    said = plane.kubectl(
        "apply", f"--namespace={namespace}", "--output=json", "-f", "-", input=json.dumps(manifest)
    )
    return json.loads(said)


def get(plane: ControlPlane, namespace: str, name: str = "stream") -> dict[str, Any]:
    """Return the resource as the API server keeps it, with its managed fields."""
    arguments = ("get", "tsagg", name, f"--namespace={namespace}", "--output=json", "--show-managed-fields")
    return json.loads(plane.kubectl(*arguments))


def refusal(plane: ControlPlane, namespace: str, manifest: Mapping[str, Any]) -> str:
    """Return why the API server refuses `manifest`; fail the test if it does not."""
    with pytest.raises(CommandError) as refused:
        apply(plane, namespace, manifest)
    return refused.value.said


class DryRun:
    """Asks the API server whether it would take a resource, over one connection; nothing is kept."""

    _PATH: Final = (
        "/apis/timestream.dev/v1alpha1/namespaces/default/timestreamaggregations"
        "?dryRun=All&fieldValidation=Strict"
    )

    def __init__(self, plane: ControlPlane, token: str) -> None:
        """Aim at `plane`; the connection is opened by the first request."""
        place = urlsplit(plane.server)
        trust = ssl.create_default_context(cafile=str(plane.ca))
        self._connection = HTTPSConnection(place.netloc, context=trust, timeout=30)
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def why_not(self, spec: Spec, name: str = "stream") -> str | None:
        """Return what the API server has against `spec`, or None."""
        self._connection.request("POST", self._PATH, json.dumps(aggregation(spec, name)), self._headers)
        response = self._connection.getresponse()
        answer = json.loads(response.read())
        assert response.status in {201, 400, 422}, answer
        return None if response.status == 201 else str(answer["message"])

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
