"""The children of a resource: made, owned, put back, and gone with it."""

import time
from typing import Final, NamedTuple

import pytest

from tests.api.aggregations import with_claim
from tests.api.cluster import CHILDREN, Cluster, Json
from tests.api.operating import Operator
from timestream_operator.objects import MANAGED_BY, Kind, dig

pytestmark = [pytest.mark.control_plane, pytest.mark.usefixtures("operator"), pytest.mark.timeout(120)]
MINIMAL: Final[Json] = {"storage": {"claimName": "data"}}


EVE: Final = {"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "eve"}
ROOT: Final = {"spec": {"securityContext": {"runAsUser": 0, "runAsNonRoot": False}}}


def container(stateful_set: Json) -> Json:
    return stateful_set["spec"]["template"]["spec"]["containers"][0]


def test_a_resource_gets_all_its_children_and_owns_them(lab: Cluster) -> None:
    uid = lab.make("one", MINIMAL)["metadata"]["uid"]
    for kind in CHILDREN:
        child = lab.wait(kind, "one", lambda _: True)
        assert [owner["uid"] for owner in child["metadata"]["ownerReferences"]] == [uid]
    args = container(lab.wait(Kind.STATEFUL_SET, "one", lambda _: True))["args"]
    assert args[0] == "record"
    assert {"--address=smurf", "--stream-id=one", f"--report-to={lab.namespace}/one"} < set(args)


def test_the_stateful_set_controller_makes_the_pod_and_its_mount_is_the_claim_that_was_named(
    lab: Cluster,
) -> None:
    lab.make("one", {"storage": {"claimName": "data", "subPath": "lab/one"}})
    spec = lab.wait(Kind.POD, "one-0", lambda _: True)["spec"]
    assert {"name": "data", "persistentVolumeClaim": {"claimName": "data"}} in spec["volumes"]
    assert {"name": "data", "mountPath": "/data", "subPath": "lab/one"} in spec["containers"][0][
        "volumeMounts"
    ]


@pytest.mark.parametrize("kind", CHILDREN, ids=lambda kind: kind.kind)
def test_a_deleted_child_is_put_back(lab: Cluster, kind: Kind) -> None:
    lab.make("one", MINIMAL)
    old = lab.wait(kind, "one", lambda _: True)["metadata"]["uid"]
    lab.settled("one")
    lab.delete(kind, "one")
    lab.wait(kind, "one", lambda child: child["metadata"]["uid"] != old)


class Edit(NamedTuple):
    """What a person does to a child, and the field that shows it."""

    kind: Kind
    change: Json
    field: tuple[str, ...]


EDITS: Final = {
    "account": Edit(
        Kind.SERVICE_ACCOUNT, {"automountServiceAccountToken": True}, ("automountServiceAccountToken",)
    ),
    "role": Edit(
        Kind.ROLE, {"rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]}, ("rules",)
    ),
    "binding": Edit(Kind.ROLE_BINDING, {"subjects": [EVE]}, ("subjects",)),
    "replicas": Edit(Kind.STATEFUL_SET, {"spec": {"replicas": 3}}, ("spec", "replicas")),
    "labels": Edit(Kind.STATEFUL_SET, {"metadata": {"labels": {MANAGED_BY: "me"}}}, ("metadata", "labels")),
    "template": Edit(
        Kind.STATEFUL_SET, {"spec": {"template": ROOT}}, ("spec", "template", "spec", "securityContext")
    ),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS.keys())
def test_an_edited_child_is_put_back(lab: Cluster, edit: Edit) -> None:
    lab.make("one", MINIMAL)
    lab.settled("one")
    before = lab.wait(edit.kind, "one", lambda _: True)
    edited = lab.edit(edit.kind, "one", edit.change)
    assert dig(edited, *edit.field) != dig(before, *edit.field)
    after = lab.wait(edit.kind, "one", lambda child: dig(child, *edit.field) == dig(before, *edit.field))
    assert after["metadata"]["uid"] == before["metadata"]["uid"]


def test_a_child_that_lost_its_labels_and_its_owner_is_left_alone_and_told(lab: Cluster) -> None:
    lab.make("one", MINIMAL)
    lab.settled("one")
    lab.edit(Kind.ROLE, "one", {"metadata": {"labels": None, "ownerReferences": None}})
    said = lab.wait_condition("one", "Reconciled", "False", "NameTaken")
    assert "Role one exists" in said["message"]


def test_an_object_of_somebody_else_is_never_touched_and_the_resource_heals_when_it_goes(
    lab: Cluster,
) -> None:
    foreign = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": "one", "labels": {"a": "b"}},
    }
    made = lab.api.send("POST", Kind.SERVICE_ACCOUNT.path(lab.namespace), foreign)
    lab.make("one", MINIMAL)
    said = lab.wait_condition("one", "Reconciled", "False", "NameTaken")
    assert "ServiceAccount one exists and belongs to somebody else" in said["message"]
    assert lab.wait_phase("one", "Failed")["status"]["reason"] == "NameTaken"
    assert lab.get(Kind.SERVICE_ACCOUNT, "one") == made
    lab.delete(Kind.SERVICE_ACCOUNT, "one")
    lab.edit(Kind.AGGREGATION, "one", {"spec": {"port": 50001}})  # somebody looks again
    lab.wait_condition("one", "Reconciled", "True", "AsAsked")


def test_two_resources_do_not_disturb_each_other(lab: Cluster) -> None:
    lab.make("one", MINIMAL)
    lab.make("one-b", MINIMAL)
    lab.settled("one-b")
    lab.settled("one")
    before = {kind: lab.wait(kind, "one-b", lambda _: True) for kind in CHILDREN}
    lab.delete(Kind.AGGREGATION, "one")
    for kind in CHILDREN:
        lab.wait_gone(kind, "one")
        after = lab.wait(kind, "one-b", lambda _: True)
        assert after["metadata"]["uid"] == before[kind]["metadata"]["uid"]
    rules = before[Kind.ROLE]["rules"]
    assert [rule["resourceNames"] for rule in rules] == [["one-b"]]


def test_a_resource_of_the_same_name_made_again_gets_children_of_its_own(lab: Cluster) -> None:
    first = lab.make("one", MINIMAL)["metadata"]["uid"]
    lab.settled("one")
    lab.delete(Kind.AGGREGATION, "one")
    second = lab.make("one", MINIMAL)["metadata"]["uid"]
    assert first != second
    for kind in CHILDREN:
        lab.wait(
            kind, "one", lambda child: child["metadata"]["ownerReferences"][0]["uid"] == second, seconds=40
        )
    lab.wait_condition("one", "Reconciled", "True", "AsAsked")


def test_children_are_not_made_again_while_their_resource_is_being_deleted(lab: Cluster) -> None:
    lab.make("one", MINIMAL)
    lab.settled("one")
    lab.edit(Kind.AGGREGATION, "one", {"metadata": {"finalizers": ["example.org/wait"]}})
    lab.delete(Kind.AGGREGATION, "one")
    lab.delete(Kind.SERVICE_ACCOUNT, "one")
    time.sleep(2)
    assert lab.get(Kind.SERVICE_ACCOUNT, "one") is None
    lab.edit(Kind.AGGREGATION, "one", {"metadata": {"finalizers": None}})
    lab.wait_gone(Kind.STATEFUL_SET, "one")


def test_suspend_stops_the_pod_and_its_end_starts_it_again(lab: Cluster) -> None:
    lab.make("one", MINIMAL)
    lab.wait(Kind.POD, "one-0", lambda _: True)
    lab.edit(Kind.AGGREGATION, "one", {"spec": {"suspend": True}})
    lab.wait(Kind.STATEFUL_SET, "one", lambda it: it["spec"]["replicas"] == 0)
    lab.wait_gone(Kind.POD, "one-0")
    lab.wait_condition("one", "Ready", "False", "Suspended")
    lab.wait_phase("one", "Suspended")
    lab.edit(Kind.AGGREGATION, "one", {"spec": {"suspend": False}})
    lab.wait(Kind.POD, "one-0", lambda _: True)


def test_an_edit_of_time_per_file_replaces_the_pod_at_once(lab: Cluster) -> None:
    lab.make("one", MINIMAL)
    old = lab.run_pod("one")["metadata"]["uid"]
    lab.edit(Kind.AGGREGATION, "one", {"spec": {"timePerFile": "90s"}})
    new = lab.wait(Kind.POD, "one-0", lambda pod: pod["metadata"]["uid"] != old)
    assert "--time-per-file=90" in new["spec"]["containers"][0]["args"]


def test_an_edit_heals_a_pod_that_never_became_ready(lab: Cluster) -> None:
    lab.make("one", {**MINIMAL, "image": "recorder.example.org/typo:1"})
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}}
    old = lab.set_pod("one", waiting, ready=False)["metadata"]["uid"]
    lab.wait_condition("one", "Ready", "False", "ImagePullBackOff")
    lab.edit(Kind.AGGREGATION, "one", {"spec": {"image": "recorder.example.org/recorder:2"}})
    new = lab.wait(Kind.POD, "one-0", lambda pod: pod["metadata"]["uid"] != old)
    assert new["spec"]["containers"][0]["image"] == "recorder.example.org/recorder:2"


def test_what_needs_no_restart_causes_none(lab: Cluster) -> None:
    lab.make("one", {"storage": with_claim("1Gi")})
    pod = lab.run_pod("one")["metadata"]["uid"]
    revision = lab.wait(Kind.STATEFUL_SET, "one", lambda it: it["status"].get("updateRevision"))
    changes = {"spec": {"storage": {"reclaimPolicy": "Delete"}}}
    lab.edit(Kind.AGGREGATION, "one", changes)
    lab.settled("one")
    lab.wait(Kind.CLAIM, "one-data", lambda claim: claim["metadata"].get("ownerReferences"))
    time.sleep(1)
    after = lab.wait(Kind.STATEFUL_SET, "one", lambda _: True)
    assert after["status"]["updateRevision"] == revision["status"]["updateRevision"]
    assert lab.wait(Kind.POD, "one-0", lambda _: True)["metadata"]["uid"] == pod


def test_no_finalizer_and_no_annotation_is_put_on_the_resource(lab: Cluster) -> None:
    lab.make("one", MINIMAL)
    lab.run_pod("one")
    metadata = lab.wait_condition("one", "Ready", "True", "PodReady") and lab.settled("one")["metadata"]
    assert "finalizers" not in metadata
    assert "annotations" not in metadata


def test_a_recorder_that_does_not_report_has_no_rights_and_no_token(lab: Cluster) -> None:
    lab.make("one", {**MINIMAL, "statusReporting": False})
    lab.settled("one")
    assert not lab.wait(Kind.ROLE, "one", lambda _: True).get("rules")
    pod = lab.wait(Kind.STATEFUL_SET, "one", lambda _: True)["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False


def test_the_story_is_told_by_events(lab: Cluster, operator: Operator) -> None:
    lab.make("one", MINIMAL)
    lab.run_pod("one")
    lab.report("one")
    lab.wait_phase("one", "Degraded")  # the claim is missing, though the pod was said to run
    lab.make_claim("data")
    lab.wait_phase("one", "Recording")
    told = {event["reason"]: event for event in lab.events("one")}
    assert {"Created", "ClaimMissing", "PodReady", "Connected", "Recording"} <= told.keys(), operator.log
    assert told["ClaimMissing"]["type"] == "Warning"
    assert told["Connected"]["note"] == "Connected to smurf:50000."
