"""helm install, upgrade and uninstall on a real API server, and what the installed accounts may do there."""

import json
import time
from collections.abc import Callable

import pytest

from tests.chart.rendering import CHART, NAMESPACE, RELEASE
from tests.chart.variants import AGGREGATION
from tests.cluster.commands import Command, CommandError
from tests.cluster.controlplane import ControlPlane

pytestmark = [pytest.mark.control_plane, pytest.mark.timeout(120)]
STREAMS = json.dumps({"aggregations": [AGGREGATION]})
RECORDERS_RULE = {
    "apiGroups": ["timestream.dev"],
    "resources": ["timestreamaggregations/status"],
    "verbs": ["patch"],
    "resourceNames": ["ufm-mv19"],
}


def role(**changed: list[str]) -> str:
    metadata = {"name": "ufm-mv19", "namespace": NAMESPACE}
    kind = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": metadata}
    return json.dumps({**kind, "rules": [{**RECORDERS_RULE, **changed}]})


def run(installer: Command, verb: str, values: str = "{}") -> str:
    # Without --reset-values an upgrade with no values keeps the last ones.
    options = ("--create-namespace",) if verb == "install" else ("--reset-values",)
    place = (RELEASE, str(CHART), f"--namespace={NAMESPACE}")
    return installer(verb, *place, *options, "--values=-", input=values)


@pytest.fixture(scope="module", autouse=True)
def installed(installer: Command) -> str:
    """Install on a bare cluster; a first install with streams says what to do instead."""
    with pytest.raises(CommandError, match="Install it without `aggregations`, then run `helm upgrade`"):
        run(installer, "install", STREAMS)
    return run(installer, "install")


def may(
    plane: ControlPlane, account: str, verb: str, what: str, *options: str, namespace: str = NAMESPACE
) -> bool:
    user = f"--as=system:serviceaccount:{NAMESPACE}:{account}"
    try:
        plane.kubectl("auth", "can-i", verb, what, user, f"--namespace={namespace}", *options)
    except CommandError as error:
        if error.said.strip() == "no":
            return False
        raise
    return True


def in_time(holds: Callable[[], bool], seconds: float = 20) -> bool:
    """Return whether it holds soon: the cluster aggregates roles in its own time."""
    end = time.monotonic() + seconds
    while not (held := holds()) and time.monotonic() < end:
        time.sleep(0.2)
    return held


def test_the_notes_name_the_next_command(installed: str) -> None:
    assert f"kubectl -n {NAMESPACE} rollout status deployment/{RELEASE}-operator" in installed
    assert "kubectl get tsagg" in installed


def test_streams_come_with_an_upgrade_and_a_repeated_one_changes_nothing(
    plane: ControlPlane, installer: Command
) -> None:
    def generation() -> str:
        return plane.kubectl(
            "get", "tsagg", "ufm-mv19", f"--namespace={NAMESPACE}", "-o", "jsonpath={.metadata.generation}"
        )

    run(installer, "upgrade", STREAMS)
    before = generation()
    run(installer, "upgrade", STREAMS)

    assert (before, generation()) == ("1", "1")


def test_the_operator_may_hand_a_recorder_its_role_and_no_other(plane: ControlPlane) -> None:
    operator = plane.kubectl_as(NAMESPACE, f"{RELEASE}-operator")
    tried = ("apply", "--server-side", "--dry-run=server", "-f", "-")

    assert "serverside-applied" in operator(*tried, input=role())
    with pytest.raises(CommandError, match="attempting to grant RBAC permissions not currently held"):
        operator(*tried, input=role(verbs=["patch", "delete"]))


def test_the_operator_may_do_nothing_else(plane: ControlPlane) -> None:
    account = f"{RELEASE}-operator"

    assert may(plane, account, "watch", "timestreamaggregations", namespace="default")
    assert not may(plane, account, "get", "secrets")
    assert not may(plane, account, "delete", "timestreamaggregations")
    assert not may(plane, account, "patch", "timestreamaggregations")
    assert not may(plane, account, "create", "pods")


def test_in_named_namespaces_it_may_do_nothing_outside(plane: ControlPlane, installer: Command) -> None:
    plane.kubectl("create", "namespace", "lat")
    account = f"{RELEASE}-operator"
    run(installer, "upgrade", json.dumps({"watchNamespaces": ["lat"]}))

    assert may(plane, account, "watch", "timestreamaggregations", namespace="lat")
    assert not may(plane, account, "watch", "timestreamaggregations", namespace="default")
    assert not may(plane, account, "list", "timestreamaggregations", "--all-namespaces")


def test_people_with_view_see_streams_and_those_with_edit_change_them(
    plane: ControlPlane, installer: Command
) -> None:
    run(installer, "upgrade")
    for role in ("view", "edit"):
        here = (role, f"--namespace={NAMESPACE}")
        plane.kubectl("create", "serviceaccount", *here)
        plane.kubectl(
            "create", "rolebinding", *here, f"--clusterrole={role}", f"--serviceaccount={NAMESPACE}:{role}"
        )

    assert in_time(lambda: may(plane, "view", "list", "timestreamaggregations"))
    assert in_time(lambda: may(plane, "edit", "create", "timestreamaggregations"))
    assert not may(plane, "view", "create", "timestreamaggregations")
    assert may(plane, "edit", "list", "timestreamaggregations")
    assert not may(plane, "edit", "patch", "timestreamaggregations", "--subresource=status")


def test_uninstalling_leaves_the_resource_and_nothing_else(plane: ControlPlane, installer: Command) -> None:
    installer("uninstall", RELEASE, f"--namespace={NAMESPACE}")

    left = plane.kubectl(
        "get", "crd,deployment,clusterrole,clusterrolebinding,serviceaccount,validatingadmissionpolicy",
        "-A", "-l", "app.kubernetes.io/managed-by=Helm", "-o", "name",
    )  # fmt: skip
    assert left.split() == [
        "customresourcedefinition.apiextensions.k8s.io/timestreamaggregations.timestream.dev"
    ]
