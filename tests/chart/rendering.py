"""Renders the chart as `helm template` does, and parses what comes out."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from tests.cluster.commands import Command, CommandError
from tests.cluster.paths import REPOSITORY

CHART: Final = REPOSITORY / "charts" / "timestream-aggregator"
RELEASE: Final = "timestream-aggregator"
NAMESPACE: Final = "observatory"

Manifest = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Chart:
    """The chart with a helm of its own, which knows no cluster."""

    helm: Command

    def render(self, values: Mapping[str, Any] | None = None, *options: str) -> list[Manifest]:
        """Return the objects that the chart makes of `values`.

        Raises:
            CommandError: helm refuses them; the message is what it said.
        """
        text = self.helm(
            "template", RELEASE, str(CHART), f"--namespace={NAMESPACE}", "--values=-", *options,
            input=json.dumps(values or {}),
        )  # fmt: skip
        return [document for document in yaml.safe_load_all(text) if document]

    def refusal(self, values: Mapping[str, Any]) -> str:
        """Return what helm says about values that it refuses; the empty text where it takes them."""
        try:
            self.render(values)
        except CommandError as error:
            return error.said
        return ""


def of_kind(manifests: Sequence[Manifest], *kinds: str) -> list[Manifest]:
    """Return the objects of these kinds."""
    return [manifest for manifest in manifests if manifest["kind"] in kinds]


def one(manifests: Sequence[Manifest], kind: str, part: str = "") -> Manifest:
    """Return the one object of `kind` whose name ends in `part`."""
    (found,) = [m for m in of_kind(manifests, kind) if m["metadata"]["name"].endswith(part)]
    return found


def pod_of(deployment: Manifest) -> Manifest:
    """Return the pod that a Deployment asks for, as an object of its own."""
    template = deployment["spec"]["template"]
    metadata = {**template["metadata"], "name": deployment["metadata"]["name"]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}


def as_json(manifests: Sequence[Manifest]) -> str:
    """Return the objects as one List, for kubectl."""
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": list(manifests)})


def examples() -> list[Path]:
    """Return the manifests of examples/."""
    return sorted((REPOSITORY / "examples").glob("*.yaml"))
