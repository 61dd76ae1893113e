"""The operator in a cluster that guards owner references, as OpenShift does."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Final

import pytest

from tests.api.aggregations import with_claim
from tests.api.cluster import Api, Cluster
from tests.api.operating import ACCOUNT, HOME, Operator, cluster_role
from tests.cluster.controlplane import control_plane
from tests.cluster.fixtures import enter
from tests.cluster.paths import CRD
from timestream_operator.objects import Kind

pytestmark = [pytest.mark.control_plane, pytest.mark.timeout(120)]
PLUGIN: Final = "OwnerReferencesPermissionEnforcement"


@pytest.fixture(name="guarded", scope="module")
def guarded_fixture(
    tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Iterator[Cluster]:
    """Yield a namespace of such a cluster, looked after by the operator."""
    with ExitStack() as stack:
        plane = enter(control_plane([PLUGIN]), stack, pytestconfig)
        plane.serve(CRD)
        for namespace in (HOME, "lab"):
            plane.kubectl("create", "namespace", namespace)
        plane.kubectl("create", "serviceaccount", ACCOUNT, f"--namespace={HOME}")
        plane.kubectl("apply", "-f", "-", input=cluster_role())
        api = Api(plane)
        stack.callback(api.close)
        operator = Operator(plane, tmp_path_factory.mktemp("operator"))
        stack.callback(operator.stop)
        operator.start()
        yield Cluster(plane, api, "lab")  # one namespace: the names of the resources differ


def test_children_are_made_owned_and_put_back_there_too(guarded: Cluster) -> None:
    guarded.make("one", {"storage": {**with_claim("1Gi"), "reclaimPolicy": "Delete"}})
    guarded.wait_condition("one", "Reconciled", "True", "AsAsked")
    old = guarded.wait(Kind.STATEFUL_SET, "one", lambda _: True)["metadata"]["uid"]
    guarded.delete(Kind.STATEFUL_SET, "one")
    guarded.wait(Kind.STATEFUL_SET, "one", lambda it: it["metadata"]["uid"] != old)
    guarded.wait_condition("one", "Reconciled", "True", "AsAsked")


def test_a_reclaim_policy_that_the_cluster_does_not_let_us_change_is_told(guarded: Cluster) -> None:
    guarded.make("two", {"storage": {**with_claim("1Gi"), "reclaimPolicy": "Delete"}})
    guarded.wait_condition("two", "Reconciled", "True", "AsAsked")
    guarded.edit(Kind.AGGREGATION, "two", {"spec": {"storage": {"reclaimPolicy": "Retain"}}})
    said = guarded.wait_condition("two", "Reconciled", "False", "Forbidden")
    assert "PersistentVolumeClaim two-data is refused" in said["message"]
    assert "ownerRef" in said["message"]
