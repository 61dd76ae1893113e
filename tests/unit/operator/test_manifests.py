"""The children as they are applied: what a recorder's pod gets, and what it never gets."""

from typing import Any, Final

import pytest

from timestream_api.resource import Spec
from timestream_operator.drift import CHECKSUM
from timestream_operator.manifests import (
    Defaults,
    Owner,
    children,
    labels,
    pod,
    role,
    stateful_set,
    volume_claim,
)
from timestream_operator.objects import Kind, Manifest

OWNER: Final = Owner("lab", "one", "uid-1")
DEFAULTS: Final = Defaults("recorder:1", "IfNotPresent")


def spec_of(**more: Any) -> Spec:
    return Spec.model_validate({"address": "smurf", "storage": {"claimName": "data"}, **more})


def with_template(size: str = "10Gi", **more: Any) -> Spec:
    claim = {"spec": {"resources": {"requests": {"storage": size}}}}
    return spec_of(storage={"volumeClaimTemplate": claim, **more})


def pod_of(**more: Any) -> Manifest:
    return pod(OWNER, spec_of(**more), DEFAULTS)


def container_of(**more: Any) -> Manifest:
    return pod_of(**more)["containers"][0]


def test_every_setting_of_the_spec_stands_on_the_command_line_where_no_variable_can_change_it() -> None:
    args = container_of(timePerFile="90s", streamId="ufm")["args"]
    assert args[0] == "record"
    assert {"--address=smurf", "--port=50000", "--time-per-file=90", "--stream-id=ufm"} < set(args)
    assert "--report-to=lab/one" in args
    assert "--http-address=::" in args, "the kubelet asks the pod's address"
    assert not any(arg.startswith("--max-file-bytes") for arg in args), "it has no value"


def test_the_pod_passes_the_restricted_standard() -> None:
    made = pod_of()
    assert made["securityContext"]["runAsNonRoot"] is True
    assert made["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    security = made["containers"][0]["securityContext"]
    assert security["allowPrivilegeEscalation"] is False
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert {tuple(set(volume) - {"name"}) for volume in made["volumes"]} == {
        ("persistentVolumeClaim",),
        ("emptyDir",),
    }


def test_nothing_but_the_data_and_tmp_can_be_written() -> None:
    container = container_of(storage={"claimName": "data", "subPath": "lab/one"})
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["volumeMounts"] == [
        {"name": "data", "mountPath": "/data", "subPath": "lab/one"},
        {"name": "tmp", "mountPath": "/tmp"},
    ]


def test_there_is_one_writer_and_none_when_suspended() -> None:
    running = stateful_set(OWNER, spec_of(), DEFAULTS)["spec"]
    assert running["replicas"] == 1
    assert stateful_set(OWNER, spec_of(suspend=True), DEFAULTS)["spec"]["replicas"] == 0
    assert running["selector"]["matchLabels"].items() <= running["template"]["metadata"]["labels"].items()


def test_the_pod_has_time_to_publish_its_file() -> None:
    assert pod_of()["terminationGracePeriodSeconds"] >= 30


def test_probes_ask_the_http_port_and_go_with_it() -> None:
    container = container_of(httpPort=9000)
    assert container["ports"] == [{"name": "http", "containerPort": 9000, "protocol": "TCP"}]
    paths = {
        name: container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")
    }
    assert paths == {"startup": "/healthz", "liveness": "/healthz", "readiness": "/readyz"}
    assert not {"ports", "startupProbe", "livenessProbe", "readinessProbe"} & container_of(httpPort=0).keys()


def test_a_token_is_mounted_only_where_the_recorder_reports() -> None:
    assert pod_of()["automountServiceAccountToken"] is True
    assert pod_of(statusReporting=False)["automountServiceAccountToken"] is False
    assert not [arg for arg in container_of(statusReporting=False)["args"] if arg.startswith("--report-to")]


def test_the_role_is_a_patch_of_this_one_status_and_nothing_else() -> None:
    assert role(OWNER, spec_of())["rules"] == [
        {
            "apiGroups": ["timestream.dev"],
            "resources": ["timestreamaggregations/status"],
            "resourceNames": ["one"],
            "verbs": ["patch"],
        }
    ]
    assert role(OWNER, spec_of(statusReporting=False))["rules"] == []


def test_the_host_network_is_asked_for_and_keeps_the_names_of_the_cluster() -> None:
    assert "hostNetwork" not in pod_of()
    made = pod_of(hostNetwork=True)
    assert (made["hostNetwork"], made["dnsPolicy"]) == (True, "ClusterFirstWithHostNet")


def test_pod_settings_of_the_user_are_passed_on() -> None:
    made = stateful_set(
        OWNER,
        spec_of(
            nodeSelector={"disk": "fast"},
            tolerations=[{"key": "daq", "operator": "Exists"}],
            affinity={"nodeAffinity": {"x": []}},
            priorityClassName="daq",
            imagePullSecrets=[{"name": "site"}],
            labels={"team": "daq"},
            annotations={"example.org/a": "b"},
            resources={"limits": {"memory": "1Gi"}},
        ),
        DEFAULTS,
    )["spec"]["template"]
    assert made["metadata"]["labels"] == {"team": "daq", **labels(OWNER)}
    assert made["metadata"]["annotations"] == {"example.org/a": "b"}
    made = made["spec"]
    assert made["nodeSelector"] == {"disk": "fast"}
    assert made["tolerations"] == [{"key": "daq", "operator": "Exists"}]
    assert made["affinity"] == {"nodeAffinity": {"x": []}}
    assert made["priorityClassName"] == "daq"
    assert made["imagePullSecrets"] == [{"name": "site"}]
    assert made["containers"][0]["resources"] == {"limits": {"memory": "1Gi"}}


@pytest.mark.parametrize(
    ("given", "image", "policy"),
    [
        ({}, "recorder:1", "IfNotPresent"),
        ({"image": "mine:2"}, "mine:2", None),
        ({"image": "mine:2", "imagePullPolicy": "Always"}, "mine:2", "Always"),
        ({"imagePullPolicy": "Never"}, "recorder:1", "Never"),
    ],
)
def test_the_image_is_the_users_else_the_operators(given: Manifest, image: str, policy: str | None) -> None:
    container = container_of(**given)
    assert (container["image"], container.get("imagePullPolicy")) == (image, policy)


def test_our_variables_count_more_than_a_users_of_the_same_name() -> None:
    env = container_of(env=[{"name": "POD_NAME", "value": "x"}, {"name": "TZ", "value": "UTC"}])["env"]
    assert [entry["name"] for entry in env] == ["POD_NAME", "NODE_NAME", "USER", "HOME", "TZ"]
    assert "valueFrom" in env[0]


def test_every_child_but_a_kept_claim_belongs_to_the_resource() -> None:
    owned = {
        kind: "ownerReferences" in made["metadata"]
        for kind, made in children(OWNER, with_template(), DEFAULTS, None)
    }
    assert owned == {
        Kind.SERVICE_ACCOUNT: True,
        Kind.ROLE: True,
        Kind.ROLE_BINDING: True,
        Kind.CLAIM: False,
        Kind.STATEFUL_SET: True,
    }
    assert "ownerReferences" in volume_claim(OWNER, with_template(reclaimPolicy="Delete"), None)["metadata"]


def test_no_claim_is_made_where_one_is_named() -> None:
    assert Kind.CLAIM not in dict(children(OWNER, spec_of(), DEFAULTS, None))


@pytest.mark.parametrize(
    ("asked", "there", "wanted"), [("10Gi", None, "10Gi"), ("10Gi", "5Gi", "10Gi"), ("10Gi", "20Gi", "20Gi")]
)
def test_a_claim_grows_and_never_shrinks(asked: str, there: str | None, wanted: str) -> None:
    actual = {"spec": {"resources": {"requests": {"storage": there}}}} if there else None
    made = volume_claim(OWNER, with_template(asked), actual)
    assert made["spec"]["resources"]["requests"]["storage"] == wanted


def test_the_checksum_tells_what_is_wanted_apart() -> None:
    def seals(spec: Spec) -> dict[Kind, str]:
        return {
            kind: made["metadata"]["annotations"][CHECKSUM]
            for kind, made in children(OWNER, spec, DEFAULTS, None)
        }

    first, again, other = seals(spec_of()), seals(spec_of()), seals(spec_of(nodeSelector={"a": "b"}))
    assert first == again
    assert {kind for kind in first if first[kind] != other[kind]} == {Kind.STATEFUL_SET}
