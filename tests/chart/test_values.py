"""What helm refuses, and what it says; what each setting changes."""

from collections.abc import Mapping
from typing import Any

import pytest

from tests.chart.rendering import CHART, Chart, Manifest, of_kind, one, pod_of
from tests.chart.variants import AGGREGATION, VARIANTS


def container(manifests: list[Manifest], part: str) -> Manifest:
    return pod_of(one(manifests, "Deployment", part))["spec"]["containers"][0]


def environment(manifests: list[Manifest]) -> dict[str, str]:
    return {entry["name"]: entry.get("value", "") for entry in container(manifests, "operator")["env"]}


def test_helm_lint_has_nothing_to_say(chart: Chart) -> None:
    assert "0 chart(s) failed" in chart.helm("lint", "--strict", str(CHART))


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"operater": {}}, "'operater' not allowed"),
        ({"operator": {"loglevel": "info"}}, "'loglevel' not allowed"),
        ({"operator": {"logLevel": "loud"}}, "/operator/logLevel"),
        ({"operator": {"image": {"tagg": "1"}}}, "'tagg' not allowed"),
        ({"operator": {"resources": {"limit": {}}}}, "'limit' not allowed"),
        ({"operator": {"tolerations": [{"efect": "NoSchedule"}]}}, "'efect' not allowed"),
        ({"watchNamespaces": "lat"}, "/watchNamespaces"),
        ({"watchNamespaces": ["Lat"]}, "/watchNamespaces/0"),
        ({"simulator": {"port": "50000"}}, "/simulator/port"),
        ({"aggregations": [{"name": "ufm-mv19"}]}, "missing property 'spec'"),
        ({"aggregations": [{**AGGREGATION, "sepc": {}}]}, "'sepc' not allowed"),
        ({"crds": {"install": "yes"}}, "/crds/install"),
    ],
)
def test_a_typo_is_refused_with_its_place(chart: Chart, wrong: Mapping[str, Any], told: str) -> None:
    assert told in chart.refusal(wrong)


def test_images_are_of_the_charts_version_and_name_no_registry(chart: Chart) -> None:
    manifests = chart.render({})

    assert container(manifests, "operator")["image"] == "timestream-aggregator-operator:0.1.0"
    assert environment(manifests)["RECORDER_IMAGE"] == "timestream-aggregator:0.1.0"


def test_a_registry_stands_before_every_image(chart: Chart) -> None:
    manifests = chart.render(VARIANTS["own names, labels and registry"])

    assert container(manifests, "operator")["image"] == (
        "registry.example.org/daq/timestream-aggregator-operator:1.2.3"
    )
    assert container(manifests, "simulator")["image"] == "registry.example.org/daq/recorder:4.5.6"
    assert environment(manifests)["RECORDER_IMAGE"] == "registry.example.org/daq/recorder:4.5.6"
    for deployment in of_kind(manifests, "Deployment"):
        assert pod_of(deployment)["spec"]["imagePullSecrets"] == [{"name": "registry"}]


def test_own_labels_are_on_every_object_and_pod(chart: Chart) -> None:
    manifests = chart.render(VARIANTS["own names, labels and registry"])

    assert {m["metadata"]["labels"]["site"] for m in manifests} == {"atacama"}
    for deployment in of_kind(manifests, "Deployment"):
        assert pod_of(deployment)["metadata"]["labels"]["site"] == "atacama"
        assert "site" not in deployment["spec"]["selector"]["matchLabels"]


def test_the_operators_pod_is_placed_as_asked(chart: Chart) -> None:
    asked = VARIANTS["placed operator"]["operator"]
    manifests = chart.render(VARIANTS["placed operator"])
    pod = pod_of(one(manifests, "Deployment", "operator"))

    for field in ("nodeSelector", "tolerations", "affinity", "priorityClassName"):
        assert pod["spec"][field] == asked[field]
    assert pod["metadata"]["annotations"] == asked["podAnnotations"]
    assert container(manifests, "operator")["env"][-2:] == asked["extraEnv"]
    assert environment(manifests)["LOGLEVEL"] == "debug"


def test_the_operator_is_never_there_twice(rendered: list[Manifest]) -> None:
    spec = one(rendered, "Deployment", "operator")["spec"]

    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})


def test_streams_in_values_become_resources_where_they_are_to_be(chart: Chart) -> None:
    first, second = of_kind(chart.render(VARIANTS["streams"]), "TimestreamAggregation")

    assert first["spec"] == AGGREGATION["spec"]
    assert first["metadata"]["labels"]["telescope"] == "lat"
    assert first["metadata"]["annotations"] == AGGREGATION["annotations"]
    assert [first["metadata"]["namespace"], second["metadata"]["namespace"]] == ["observatory", "lat"]


def test_the_simulator_has_no_probe_since_each_connection_is_a_client(chart: Chart) -> None:
    simulator = container(chart.render(VARIANTS["simulator"]), "simulator")

    assert not [key for key in simulator if key.endswith("Probe")]
    assert {"--frame-time=0.5", "--pause=0"} <= set(simulator["args"])
