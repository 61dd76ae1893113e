"""What a user gets who writes little, mistypes, or looks around: defaults, strictness, explanations."""

import json

import pytest

from tests.api.aggregations import SMALLEST, aggregation, apply, get, refusal, with_claim
from tests.cluster.controlplane import ControlPlane
from timestream_api.resource import Spec

pytestmark = [pytest.mark.control_plane, pytest.mark.timeout(60, func_only=True)]


def test_address_and_claim_alone_are_enough(plane: ControlPlane, namespace: str) -> None:
    spec = apply(plane, namespace, aggregation(SMALLEST))["spec"]

    assert spec["port"] == 50000
    assert spec["timePerFile"] == "10m"
    assert spec["storage"] == {"claimName": "data", "reclaimPolicy": "Retain"}
    assert spec["resources"]["limits"] == {"memory": "640Mi"}


def test_the_defaults_of_the_api_server_are_those_of_the_models(plane: ControlPlane, namespace: str) -> None:
    stored = apply(plane, namespace, aggregation(SMALLEST))["spec"]

    assert Spec.model_validate(stored) == Spec.model_validate(SMALLEST)


def test_a_claim_that_is_made_is_writable_by_one_node_unless_it_says_otherwise(
    plane: ControlPlane, namespace: str
) -> None:
    stored = apply(plane, namespace, aggregation(SMALLEST | {"storage": with_claim()}))

    claim = stored["spec"]["storage"]["volumeClaimTemplate"]["spec"]
    assert claim == {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "10Gi"}}}


@pytest.mark.parametrize(
    ("fragment", "path"),
    [
        ({"adress": "smurf"}, "spec.adress"),
        ({"storage": {"claimname": "data"}}, "spec.storage.claimname"),
        ({"affinity": {"nodeAfinity": {}}}, "spec.affinity.nodeAfinity"),
        ({"resources": {"limit": {"cpu": 1}}}, "spec.resources.limit"),
    ],
)
def test_a_mistyped_field_is_refused_by_name(
    plane: ControlPlane, fragment: dict[str, object], path: str
) -> None:
    said = refusal(plane, "default", aggregation(SMALLEST | fragment))

    assert f'unknown field "{path}"' in said


def test_a_field_that_the_resource_does_not_know_is_not_kept(plane: ControlPlane, namespace: str) -> None:
    manifest = json.dumps(aggregation(SMALLEST | {"colour": "red"}))

    plane.kubectl("apply", "--validate=ignore", f"--namespace={namespace}", "-f", "-", input=manifest)

    assert "colour" not in get(plane, namespace)["spec"]


def test_an_affinity_is_kept_as_it_is_written(plane: ControlPlane, namespace: str) -> None:
    term = {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["fast"]}]}
    node = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}

    stored = apply(plane, namespace, aggregation(SMALLEST | {"affinity": {"nodeAffinity": node}}))

    assert stored["spec"]["affinity"] == {"nodeAffinity": node}


@pytest.mark.parametrize(
    "field", ["address", "timePerFile", "storage.volumeClaimTemplate.spec", "env.valueFrom.secretKeyRef.key"]
)
def test_kubectl_explains_the_fields(plane: ControlPlane, field: str) -> None:
    explained = plane.kubectl("explain", f"tsagg.spec.{field}")

    assert "<empty>" not in explained.split("FIELDS:")[0]


def test_it_is_listed_by_its_short_name_and_by_its_category(plane: ControlPlane, namespace: str) -> None:
    apply(plane, namespace, aggregation(SMALLEST))

    for name in ("tsagg", "timestream", "timestreamaggregation"):
        assert "stream" in plane.kubectl("get", name, f"--namespace={namespace}", "--no-headers")
