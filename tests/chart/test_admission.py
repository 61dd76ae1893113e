"""The admission policy, against the real token of a recorder: its own part of the status, nothing more."""

import json
import time
from typing import Any

import pytest

from tests.chart.rendering import NAMESPACE, Chart, as_json, of_kind
from tests.cluster.commands import Command, CommandError
from tests.cluster.controlplane import ControlPlane
from tests.cluster.paths import CRD

pytestmark = pytest.mark.control_plane
NAME = "ufm-mv19"
RECORDER = f"system:serviceaccount:{NAMESPACE}:{NAME}"
SENTENCE = "a recorder writes status.aggregator alone"
NOW = "2026-01-01T00:00:00Z"
REPORT = {
    "time": NOW,
    "startedAt": NOW,
    "version": "0.1.0",
    "connection": {"state": "Connecting", "endpoint": "a:1", "since": NOW},
}
READY = {"type": "Ready", "status": "True", "reason": "Running", "message": "ok", "lastTransitionTime": NOW}
AS_OPERATOR = "--field-manager=timestream-operator"
SPEC = {"address": "smurf-srv20", "storage": {"claimName": "telescope-data"}}
OPERATORS = {"phase": "Waiting", "reason": "Running", "observedGeneration": 1, "conditions": [READY]}


def stream(name: str = NAME, **parts: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": NAMESPACE}
    return {
        "apiVersion": "timestream.dev/v1alpha1",
        "kind": "TimestreamAggregation",
        "metadata": metadata,
        **parts,
    }


def role() -> list[dict[str, Any]]:
    metadata = {"name": NAME, "namespace": NAMESPACE}
    api = "rbac.authorization.k8s.io"
    rule = {
        "apiGroups": ["timestream.dev"],
        "resources": ["timestreamaggregations/status"],
        "verbs": ["patch"],
        "resourceNames": [NAME],
    }
    account = {"kind": "ServiceAccount", "name": NAME, "namespace": NAMESPACE}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
        {"apiVersion": f"{api}/v1", "kind": "Role", "metadata": metadata, "rules": [rule]},
        {"apiVersion": f"{api}/v1", "kind": "RoleBinding", "metadata": metadata, "subjects": [account],
         "roleRef": {"apiGroup": api, "kind": "Role", "name": NAME}},
    ]  # fmt: skip


def applied(who: Command, status: dict[str, Any], *options: str, name: str = NAME) -> str:
    return who(
        "apply", "--server-side", "--subresource=status", f"--namespace={NAMESPACE}", *options, "-f", "-",
        input=json.dumps(stream(name, status=status)),
    )  # fmt: skip


def read(plane: ControlPlane) -> dict[str, Any]:
    return json.loads(plane.kubectl("get", "tsagg", NAME, f"--namespace={NAMESPACE}", "-o", "json"))["status"]


@pytest.fixture(scope="module")
def recorder(plane: ControlPlane, chart: Chart) -> Command:
    """Return a kubectl with the token of a recorder, whose resource has a status of the operator's."""
    plane.serve(CRD)
    plane.kubectl("create", "namespace", NAMESPACE)
    policy = of_kind(chart.render({}), "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")
    plane.kubectl("apply", "-f", "-", input=as_json([*policy, *role(), stream(spec=SPEC)]))
    applied(plane.kubectl, OPERATORS, AS_OPERATOR)
    who = plane.kubectl_as(NAMESPACE, NAME)
    wait_until_enforced(who)
    return who


def wait_until_enforced(who: Command) -> None:
    """A new policy takes a second or two to be in force."""
    for _ in range(100):
        try:
            applied(who, {"phase": "Failed"}, "--force-conflicts", "--dry-run=server")
        except CommandError as error:
            if SENTENCE in error.said:
                return
            raise
        time.sleep(0.1)
    raise AssertionError("the policy is not enforced within 10 s")


def test_the_policy_has_no_complaint_about_its_own_types(plane: ControlPlane, recorder: Command) -> None:
    plane.kubectl(
        "wait",
        "validatingadmissionpolicy",
        "--all",
        "--for=jsonpath={.status.observedGeneration}=1",
        "--timeout=20s",
    )
    status = plane.kubectl(
        "get", "validatingadmissionpolicy", "-o", "jsonpath={.items[*].status.typeChecking}"
    )

    assert not json.loads(status or "{}").get("expressionWarnings")


def test_a_recorder_reports_and_the_operators_part_stays(plane: ControlPlane, recorder: Command) -> None:
    applied(recorder, {"aggregator": REPORT}, "--field-manager=recorder")

    assert read(plane) == {**OPERATORS, "aggregator": read(plane)["aggregator"]}
    assert read(plane)["aggregator"]["connection"]["state"] == "Connecting"


@pytest.mark.parametrize(
    "wrong",
    [
        {"phase": "Recording"},
        {"reason": "Fine"},
        {"observedGeneration": 2},
        {"conditions": [{**READY, "status": "False"}]},
        {"conditions": [READY, {**READY, "type": "DataIntact"}]},
        {"conditions": [{**READY, "message": "changed"}]},
    ],
    ids=str,
)
def test_a_recorder_changes_nothing_of_the_operators(
    plane: ControlPlane, recorder: Command, wrong: dict[str, Any]
) -> None:
    with pytest.raises(CommandError, match=SENTENCE):
        applied(recorder, {"aggregator": REPORT, **wrong}, "--force-conflicts")

    assert {key: read(plane)[key] for key in OPERATORS} == OPERATORS


@pytest.mark.parametrize("field", list(OPERATORS))
def test_a_recorder_removes_nothing_of_the_operators(
    plane: ControlPlane, recorder: Command, field: str
) -> None:
    """What a manager leaves out of its next apply is removed, and anybody can call himself by its name."""
    others = {key: value for key, value in OPERATORS.items() if key != field}
    with pytest.raises(CommandError, match=SENTENCE):
        applied(recorder, others, AS_OPERATOR)

    assert read(plane)[field] == OPERATORS[field]


def test_a_recorder_does_not_begin_a_status_that_the_operator_has_not_yet_written(
    plane: ControlPlane, recorder: Command
) -> None:
    plane.kubectl("delete", "tsagg", NAME, f"--namespace={NAMESPACE}")
    plane.kubectl("apply", "-f", "-", input=json.dumps(stream(spec=SPEC)))

    with pytest.raises(CommandError, match=SENTENCE):
        applied(recorder, {"phase": "Recording"})
    applied(recorder, {"aggregator": REPORT})
    applied(plane.kubectl, OPERATORS, AS_OPERATOR)


def test_the_resource_itself_and_its_neighbours_are_out_of_reach(
    plane: ControlPlane, recorder: Command
) -> None:
    plane.kubectl("apply", "-f", "-", input=json.dumps(stream("ufm-mv22", spec=SPEC)))

    with pytest.raises(CommandError, match='cannot patch resource "timestreamaggregations"'):
        recorder("apply", "--server-side", "-f", "-", input=json.dumps(stream(spec=SPEC)))
    with pytest.raises(CommandError, match='cannot patch resource "timestreamaggregations/status"'):
        applied(recorder, {"aggregator": REPORT}, name="ufm-mv22")


def test_the_operator_and_people_are_not_held_back(plane: ControlPlane, recorder: Command) -> None:
    applied(plane.kubectl, {**OPERATORS, "phase": "Recording"}, AS_OPERATOR)

    assert read(plane)["phase"] == "Recording"
    applied(plane.kubectl, OPERATORS, AS_OPERATOR)
