"""Claims: made, kept, deleted, grown; and claims that are not there."""

from typing import Final

import pytest

from tests.api.aggregations import with_claim
from tests.api.cluster import Cluster, Json
from timestream_operator.objects import Kind

pytestmark = [pytest.mark.control_plane, pytest.mark.usefixtures("operator"), pytest.mark.timeout(120)]
CLASS: Final = "grows"


def size(claim: Json) -> str:
    return claim["spec"]["resources"]["requests"]["storage"]


def storage(amount: str, **more: str) -> Json:
    return {"storage": {**with_claim(amount), **more}}


def test_a_claim_is_made_as_the_template_says_and_mounted(lab: Cluster) -> None:
    template = with_claim("1Gi", storageClassName="fast")
    template["volumeClaimTemplate"]["metadata"] = {
        "labels": {"lab": "a"},
        "annotations": {"example.org/x": "y"},
    }
    lab.make("one", {"storage": template})
    claim = lab.wait(Kind.CLAIM, "one-data", lambda _: True)
    assert claim["spec"]["storageClassName"] == "fast"
    assert claim["metadata"]["labels"]["lab"] == "a"
    assert claim["metadata"]["annotations"]["example.org/x"] == "y"
    volumes = lab.wait(Kind.POD, "one-0", lambda _: True)["spec"]["volumes"]
    assert {"name": "data", "persistentVolumeClaim": {"claimName": "one-data"}} in volumes


def test_a_claim_that_was_made_stays_with_its_files_when_the_resource_goes_and_is_taken_up_again(
    lab: Cluster,
) -> None:
    lab.make("one", storage("1Gi"))
    made = lab.wait(Kind.CLAIM, "one-data", lambda _: True)["metadata"]
    assert "ownerReferences" not in made
    lab.settled("one")
    lab.delete(Kind.AGGREGATION, "one")
    lab.wait_gone(Kind.STATEFUL_SET, "one")
    lab.make("one", storage("1Gi"))
    lab.wait_condition("one", "Reconciled", "True", "AsAsked")
    assert lab.wait(Kind.CLAIM, "one-data", lambda _: True)["metadata"]["uid"] == made["uid"]


def test_a_claim_goes_with_the_resource_where_reclaim_policy_says_delete(lab: Cluster) -> None:
    lab.make("one", storage("1Gi", reclaimPolicy="Delete"))
    lab.wait(Kind.CLAIM, "one-data", lambda claim: claim["metadata"].get("ownerReferences"))
    lab.settled("one")
    lab.delete(Kind.AGGREGATION, "one")
    lab.wait_gone(Kind.CLAIM, "one-data")


def test_reclaim_policy_can_change_in_both_directions(lab: Cluster) -> None:
    lab.make("one", storage("1Gi", reclaimPolicy="Delete"))
    lab.wait(Kind.CLAIM, "one-data", lambda claim: claim["metadata"].get("ownerReferences"))
    lab.edit(Kind.AGGREGATION, "one", {"spec": {"storage": {"reclaimPolicy": "Retain"}}})
    lab.wait(Kind.CLAIM, "one-data", lambda claim: not claim["metadata"].get("ownerReferences"))
    lab.edit(Kind.AGGREGATION, "one", {"spec": {"storage": {"reclaimPolicy": "Delete"}}})
    lab.wait(Kind.CLAIM, "one-data", lambda claim: claim["metadata"].get("ownerReferences"))


def grow(amount: str) -> Json:
    return {
        "spec": {
            "storage": {"volumeClaimTemplate": {"spec": {"resources": {"requests": {"storage": amount}}}}}
        }
    }


def test_raising_the_template_grows_the_claim_and_what_a_person_grew_is_not_shrunk(lab: Cluster) -> None:
    make_class(lab)
    template = with_claim("1Gi", storageClassName=CLASS)
    lab.provide_volume("one-data", CLASS)
    lab.make("one", {"storage": template})
    lab.wait(Kind.CLAIM, "one-data", lambda claim: claim["status"].get("phase") == "Bound")
    lab.edit(Kind.AGGREGATION, "one", grow("2Gi"))
    lab.wait(Kind.CLAIM, "one-data", lambda claim: size(claim) == "2Gi")
    lab.edit(Kind.CLAIM, "one-data", {"spec": {"resources": {"requests": {"storage": "4Gi"}}}})
    lab.edit(Kind.AGGREGATION, "one", grow("3Gi"))
    lab.settled("one")
    lab.wait_condition("one", "Reconciled", "True", "AsAsked")
    assert size(lab.wait(Kind.CLAIM, "one-data", lambda _: True)) == "4Gi"


def test_a_volume_that_cannot_grow_is_told_and_the_recorder_goes_on(lab: Cluster) -> None:
    lab.provide_volume("one-data")
    lab.make("one", storage("1Gi"))
    pod = lab.run_pod("one")["metadata"]["uid"]
    lab.report("one")
    lab.wait_phase("one", "Recording")
    lab.edit(Kind.AGGREGATION, "one", grow("2Gi"))
    said = lab.wait_condition("one", "Reconciled", "False", "Forbidden")
    assert "PersistentVolumeClaim one-data is refused" in said["message"]
    assert lab.wait_phase("one", "Recording")
    assert lab.wait(Kind.POD, "one-0", lambda _: True)["metadata"]["uid"] == pod


def test_a_missing_claim_is_named_and_heals_when_it_is_made(lab: Cluster) -> None:
    lab.make("one", {"storage": {"claimName": "telescope-data"}})
    said = lab.wait_condition("one", "StorageReady", "False", "ClaimMissing")
    assert "PersistentVolumeClaim telescope-data does not exist" in said["message"]
    assert lab.wait_phase("one", "Pending")["status"]["reason"] == "ClaimMissing"
    lab.make_claim("telescope-data")
    lab.wait_condition("one", "StorageReady", "True", "Bound")


def test_a_claim_that_is_deleted_while_its_pod_runs_is_told(lab: Cluster) -> None:
    lab.make_claim("data")
    lab.make("one", {"storage": {"claimName": "data"}})
    lab.run_pod("one")
    lab.wait_condition("one", "StorageReady", "True", "Bound")
    lab.edit(Kind.CLAIM, "data", {"metadata": {"finalizers": ["example.org/used"]}})
    lab.delete(Kind.CLAIM, "data")
    lab.wait_condition("one", "StorageReady", "False", "ClaimDeleting")
    lab.edit(Kind.CLAIM, "data", {"metadata": {"finalizers": None}})
    lab.wait_condition("one", "StorageReady", "False", "ClaimMissing")


def test_a_claim_without_a_volume_says_why(lab: Cluster) -> None:
    lab.make_claim("data", bound=False)
    lab.make("one", {"storage": {"claimName": "data"}})
    lab.wait_condition("one", "StorageReady", "False", "ClaimPending")
    said = lab.wait_condition("one", "StorageReady", "False", "ClaimNotBound")
    assert "no persistent volumes available" in said["message"]


def test_a_claim_whose_volume_is_gone_is_told(lab: Cluster) -> None:
    lab.make_claim("data")
    lab.make("one", {"storage": {"claimName": "data"}})
    lab.wait_condition("one", "StorageReady", "True", "Bound")
    path = f"/api/v1/persistentvolumes/{lab.namespace}-data"
    lab.api.send("DELETE", path)
    lab.api.send("PATCH", path, {"metadata": {"finalizers": None}}, "application/merge-patch+json")
    lab.wait_condition("one", "StorageReady", "False", "ClaimLost")


def test_a_claim_of_the_name_that_the_operator_would_give_is_not_taken(lab: Cluster) -> None:
    lab.make_claim("one-data")
    lab.make("one", storage("1Gi"))
    said = lab.wait_condition("one", "Reconciled", "False", "NameTaken")
    assert "PersistentVolumeClaim one-data exists" in said["message"]


def make_class(lab: Cluster) -> None:
    """Have a storage class whose volumes can grow; nobody provides any."""
    body = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": CLASS},
        "provisioner": "example.org/none",
        "allowVolumeExpansion": True,
    }
    status, answer = lab.api.ask("POST", "/apis/storage.k8s.io/v1/storageclasses", body, "application/json")
    assert status in {201, 409}, answer
