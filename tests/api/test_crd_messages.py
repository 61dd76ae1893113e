"""What people read when the API server refuses a resource: each rule of the CRD is broken once."""
# ruff: noqa: E501 - one case a line

from collections.abc import Iterator, Mapping
from typing import Any, Final

import pytest

from crds.generate import definition
from tests.api.aggregations import SMALLEST, DryRun, aggregation, apply, refusal, with_claim
from tests.cluster.controlplane import ControlPlane

pytestmark = [pytest.mark.control_plane, pytest.mark.timeout(60, func_only=True)]

TIME = (
    "must be a time from {} to {}: write whole seconds (600) or hours, minutes and seconds (1h30m, 10m, 90s)"
)
SIZE = "must be a size from {} to {}: write bytes (1073741824) or a quantity (1Gi, 500M)"
HOST = "must be a host name or an IP address alone: no scheme, and no port"
OBJECT = "must be the name of an object: lower case letters, digits, dashes and dots"
KEYS = (
    "keys must be names of up to 63 letters, digits, dashes, dots and underscores, "
    "with a prefix such as example.org/ if you like"
)
OURS = "keys that begin with app.kubernetes.io/ or timestream.dev/ are the operator's: choose another prefix"
ONE_PLACE = (
    "give exactly one of claimName (a PersistentVolumeClaim that exists) "
    "and volumeClaimTemplate (one that is made for this stream)"
)
QUANTITY = "must be a quantity: write a number, with a unit if you like (1, 500m, 2Gi)"
ONE_SOURCE = "give exactly one of secretKeyRef, configMapKeyRef and fieldRef"
NO_OTHER = "create another TimestreamAggregation for the new place"
MOVED = f"cannot change, since the files recorded so far would stay behind: {NO_OTHER}"
BOUND = f"cannot change, since the claim has been made with it: {NO_OTHER}"
SHRUNK = "a volume can grow, not shrink: give at least the size it has"
NAME = (
    "the name must have at most 52 characters: lower case letters, digits, dashes, no dots, "
    "since pods and labels carry it"
)
KEY_REF: Final = {"name": "secret", "key": "password"}

REFUSED: Final[list[tuple[dict[str, Any], str]]] = [
    ({"address": "tcp://smurf:50000"}, HOST),
    ({"address": "10.0.0.3:50000"}, HOST),
    ({"address": "10.0.0.300"}, HOST),
    ({"timePerFile": 0}, TIME.format("1s", "168h")),
    ({"timePerFile": "10 min"}, TIME.format("1s", "168h")),
    ({"timePerFile": ""}, TIME.format("1s", "168h")),
    ({"timePerFile": "0s"}, TIME.format("1s", "168h")),
    ({"timePerFile": "999999h999999h"}, TIME.format("1s", "168h")),
    ({"maxStall": "169h"}, TIME.format("1s", "168h")),
    ({"frameGap": "500ms"}, TIME.format("1s", "1h")),
    ({"readTimeout": -5}, TIME.format("1s", "1h")),
    ({"maxFileBytes": "1023Ki"}, SIZE.format("1Mi", "1Pi")),
    ({"maxFileBytes": "2 GB"}, SIZE.format("1Mi", "1Pi")),
    ({"minFreeBytes": "-1Gi"}, SIZE.format("0", "1Pi")),
    ({"streamId": "lab/stream"}, "must be letters, digits, dashes, dots and underscores, with a letter or digit at both ends"),
    ({"image": "an image"}, "must be the name of an image, such as registry.example.org/lab/image:1.0"),
    ({"storage": {}}, ONE_PLACE),
    ({"storage": {"claimName": "data"} | with_claim()}, ONE_PLACE),
    ({"storage": {"claimName": "Data"}}, OBJECT),
    ({"storage": {"claimName": "data", "reclaimPolicy": "Delete"}}, "reclaimPolicy Delete needs volumeClaimTemplate: a claim that exists already is never deleted"),
    ({"storage": {"claimName": "data", "subPath": "../other"}}, "must be a folder in the volume such as lab/stream1: no leading slash, no part begins with a dot"),
    ({"storage": with_claim("512Ki")}, SIZE.format("1Mi", "1Pi")),
    ({"storage": with_claim(accessModes=["ReadWriteOncePod", "ReadWriteMany"])}, "ReadWriteOncePod must be the only access mode: remove the others"),
    ({"resources": {"limits": {"cpu": "two"}}}, QUANTITY),
    ({"resources": {"limits": {"cpu": 1}, "requests": {"cpu": "1500m"}}}, "a request must not be greater than its limit: lower the request or raise the limit"),
    ({"resources": {"limits": {"memory": "128Mi"}}}, "limits.memory must be 512Mi or more, since the recorder buffers up to 256Mi while a disk stalls, and another process reads files back: raise it or leave it out"),
    ({"labels": {"a b": "c"}}, KEYS),
    ({"labels": {"timestream.dev/aggregation": "c"}}, OURS),
    ({"annotations": {"app.kubernetes.io/name": "c"}}, OURS),
    ({"labels": {"team": "cosmic background"}}, "must be a label: up to 63 letters, digits, dashes, dots and underscores"),
    ({"tolerations": [{"operator": "Exists", "key": "k", "value": "v"}]}, "operator Exists takes no value: leave value out, or use operator Equal"),
    ({"tolerations": [{"value": "v"}]}, "a toleration without key needs operator Exists: it tolerates every taint"),
    ({"tolerations": [{"key": "k", "tolerationSeconds": 5}]}, "tolerationSeconds needs effect NoExecute"),
    ({"env": [{"name": "2ND"}]}, "must be a name of letters, digits and underscores that begins with no digit"),
    ({"env": [{"name": "A", "value": "b", "valueFrom": {"secretKeyRef": KEY_REF}}]}, "give value or valueFrom, not both"),
    ({"env": [{"name": "A", "valueFrom": {}}]}, ONE_SOURCE),
    ({"env": [{"name": "A", "valueFrom": {"secretKeyRef": KEY_REF, "configMapKeyRef": KEY_REF}}]}, ONE_SOURCE),
    ({"env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.address"}}}]}, "must be a field such as metadata.name, spec.nodeName, status.hostIP or status.podIP"),
]  # fmt: skip

IN_PLACE: Final = {"claimName": "data", "subPath": "lab"}
CHANGED: Final[list[tuple[dict[str, Any], dict[str, Any], str]]] = [
    (IN_PLACE, with_claim() | {"subPath": "lab"}, f"the kind of storage (claimName or volumeClaimTemplate) {MOVED}"),
    (IN_PLACE, IN_PLACE | {"claimName": "other"}, f"claimName {MOVED}"),
    (IN_PLACE, IN_PLACE | {"subPath": "other"}, f"subPath {MOVED}"),
    (IN_PLACE, {"claimName": "data"}, f"subPath {MOVED}"),
    (with_claim("10Gi"), with_claim("9Gi"), SHRUNK),
    (with_claim("1Gi"), with_claim((1 << 30) - 1), SHRUNK),
    (with_claim(storageClassName="fast"), with_claim(storageClassName="slow"), f"storageClassName {BOUND}"),
    (with_claim(), with_claim(storageClassName="slow"), f"storageClassName {BOUND}"),
    (with_claim(), with_claim(accessModes=["ReadWriteMany"]), f"accessModes {BOUND}"),
]  # fmt: skip


def messages(schema: Mapping[str, Any]) -> Iterator[str]:
    """Yield the message of each CEL rule in `schema` and below."""
    yield from (rule["message"] for rule in schema.get("x-kubernetes-validations", []))
    for child in schema.get("properties", {}).values():
        yield from messages(child)
    for key in schema.keys() & {"items", "additionalProperties"}:
        yield from messages(schema[key])


def test_each_rule_of_the_crd_is_broken_here() -> None:
    tried = {message for *_, message in (*REFUSED, *CHANGED)} | {NAME}

    schema = definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    assert set(messages(schema)) == tried


@pytest.mark.parametrize(("fragment", "message"), REFUSED)
def test_a_wrong_value_is_refused_in_words(dry_run: DryRun, fragment: dict[str, Any], message: str) -> None:
    said = dry_run.why_not(SMALLEST | fragment)

    assert said is not None
    assert f": {message}" in said


@pytest.mark.parametrize(("before", "after", "message"), CHANGED)
def test_the_place_of_the_files_stays(
    plane: ControlPlane, namespace: str, before: dict[str, Any], after: dict[str, Any], message: str
) -> None:
    apply(plane, namespace, aggregation(SMALLEST | {"storage": before}))

    said = refusal(plane, namespace, aggregation(SMALLEST | {"storage": after}))

    assert f": {message}" in said


@pytest.mark.parametrize("size", ["10Gi", "10240Mi", 10 << 30, "11G", "1Ti"])
def test_a_volume_may_grow_or_be_written_another_way(
    plane: ControlPlane, namespace: str, size: int | str
) -> None:
    apply(plane, namespace, aggregation(SMALLEST | {"storage": with_claim("10Gi")}))

    stored = apply(plane, namespace, aggregation(SMALLEST | {"storage": with_claim(size)}))

    claim = stored["spec"]["storage"]["volumeClaimTemplate"]["spec"]
    assert claim["resources"]["requests"]["storage"] == size


def test_everything_but_the_place_may_change(plane: ControlPlane, namespace: str) -> None:
    apply(plane, namespace, aggregation(SMALLEST))
    other = {"address": "other", "port": 1, "timePerFile": 5, "streamId": "x", "layout": "Session"}

    stored = apply(plane, namespace, aggregation(SMALLEST | other))

    assert stored["spec"] == stored["spec"] | other


@pytest.mark.parametrize("name", ["n" * 53, "lab.stream"])
def test_a_name_that_pods_cannot_carry_is_refused_in_words(dry_run: DryRun, name: str) -> None:
    assert f": {NAME}" in (dry_run.why_not(SMALLEST, name) or "")


def test_a_name_of_52_characters_is_taken(dry_run: DryRun) -> None:
    assert dry_run.why_not(SMALLEST, "n" * 52) is None
