"""Every object of the chart, as a real API server judges it; its pods under Pod Security `restricted`."""

import json
import re
from collections.abc import Mapping
from typing import Any

import pytest

from tests.chart.rendering import (
    CHART,
    NAMESPACE,
    RELEASE,
    Chart,
    Manifest,
    as_json,
    examples,
    of_kind,
    pod_of,
)
from tests.chart.variants import VARIANTS
from tests.cluster.commands import Command, CommandError
from tests.cluster.controlplane import ControlPlane
from tests.cluster.paths import CRD

pytestmark = pytest.mark.control_plane


@pytest.fixture(scope="module", name="plane")
def prepared(plane: ControlPlane) -> ControlPlane:
    """Return the control plane with the CRD, and the namespaces of the variants, all of them restricted."""
    plane.serve(CRD)
    for namespace in (NAMESPACE, "lat", "sat-1"):
        plane.kubectl("create", "namespace", namespace)
        plane.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    return plane


def tried(plane: ControlPlane, manifests: list[Manifest], *options: str) -> str:
    return plane.kubectl(
        "apply",
        "--server-side",
        "--dry-run=server",
        "--validate=strict",
        *options,
        "-f",
        "-",
        input=as_json(manifests),
    )


def refusal(plane: ControlPlane, manifests: list[Manifest]) -> str:
    try:
        tried(plane, manifests)
    except CommandError as error:
        return error.said
    return ""


def test_the_api_server_takes_every_object(plane: ControlPlane, rendered: list[Manifest]) -> None:
    answer = tried(plane, rendered, "--force-conflicts")

    assert answer.count("serverside-applied") == len(rendered)


@pytest.fixture(scope="module")
def pods(chart: Chart, plane: ControlPlane) -> list[Manifest]:
    """Return the pods of all variants; their accounts are there, since admission asks for them."""
    manifests = [manifest for values in VARIANTS.values() for manifest in chart.render(values)]
    plane.kubectl("apply", "-f", "-", input=as_json(of_kind(manifests, "ServiceAccount")))
    return [pod_of(deployment) for deployment in of_kind(manifests, "Deployment")]


def test_every_pod_is_admitted_under_pod_security_restricted(
    plane: ControlPlane, pods: list[Manifest]
) -> None:
    for pod in pods:
        assert "serverside-applied" in tried(plane, [in_namespace(pod)])


@pytest.mark.parametrize("part", ["allowPrivilegeEscalation", "capabilities"])
def test_a_pod_that_lacked_one_part_of_it_would_be_refused(
    plane: ControlPlane, pods: list[Manifest], part: str
) -> None:
    pod = json.loads(json.dumps(in_namespace(pods[0])))
    del pod["spec"]["containers"][0]["securityContext"][part]

    assert 'violates PodSecurity "restricted' in refusal(plane, [pod])


def test_every_pod_has_a_read_only_root_and_writes_to_tmp_alone(pods: list[Manifest]) -> None:
    for pod in pods:
        (container,) = pod["spec"]["containers"]
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert [mount["mountPath"] for mount in container["volumeMounts"]] == ["/tmp"]
        assert container["resources"]["limits"]["memory"]


def in_namespace(pod: Manifest) -> Manifest:
    return {**pod, "metadata": {**pod["metadata"], "namespace": NAMESPACE}}


@pytest.mark.parametrize("example", examples(), ids=lambda path: path.name)
def test_every_example_is_a_valid_resource(plane: ControlPlane, example: Any) -> None:
    answer = plane.kubectl(
        "apply", f"--namespace={NAMESPACE}", "--dry-run=server", "--validate=strict", "-f", str(example)
    )

    assert "timestreamaggregation.timestream.dev/" in answer


def test_the_stream_in_the_notes_is_a_valid_resource(plane: ControlPlane, installer: Command) -> None:
    settings = "--set=simulator.enabled=true,crds.install=false"  # the CRD is there already
    options = (f"--namespace={NAMESPACE}", "--dry-run=client", settings)
    notes = installer("install", RELEASE, str(CHART), *options)
    (stream,) = re.findall(r"apply -f - <<EOF\n(.*?)\nEOF\n", notes, re.DOTALL)

    assert (
        json.loads(
            plane.kubectl(
                "create", "--dry-run=server", "--validate=strict", "-o", "json", "-f", "-", input=stream
            )
        )["spec"]["address"]
        == f"{RELEASE}-simulator.{NAMESPACE}"
    )


def test_a_wrong_stream_in_values_is_refused_by_the_api_server(plane: ControlPlane, chart: Chart) -> None:
    wrong: Mapping[str, Any] = {
        "name": "ufm-mv19",
        "spec": {"addres": "smurf-srv20", "storage": {"claimName": "data"}},
    }
    streams = of_kind(chart.render({"aggregations": [wrong]}), "TimestreamAggregation")

    assert 'unknown field "addres"' in refusal(plane, streams)
