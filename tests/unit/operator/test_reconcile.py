"""What to do about one resource: children, status, events, next look."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from timestream_api.resource import Spec
from timestream_operator.conditions import Facts
from timestream_operator.manifests import Defaults, children
from timestream_operator.objects import AGGREGATION, Kind, Manifest
from timestream_operator.problems import Problem
from timestream_operator.reconcile import Resource, judge, judge_bad_spec, plan, read, refused
from timestream_operator.story import applied, event

NOW: Final = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
DEFAULTS: Final = Defaults("recorder:1")
MINIMAL: Final[Manifest] = {"address": "smurf", "storage": {"claimName": "data"}}
TEMPLATE: Final[Manifest] = {
    "address": "smurf",
    "storage": {"volumeClaimTemplate": {"spec": {"resources": {"requests": {"storage": "1Gi"}}}}},
}


def body_of(spec: Any = MINIMAL, status: Manifest | None = None) -> Manifest:
    metadata = {"name": "one", "namespace": "lab", "uid": "uid-1", "generation": 3}
    return {"metadata": metadata, "spec": spec, "status": status or {}}


def known(body: Manifest) -> tuple[Resource, Spec]:
    resource = read(body)
    assert resource.spec, resource.bad_spec
    return resource, resource.spec


def made(spec: Spec, resource: Resource) -> dict[Kind, Manifest]:
    return dict(children(resource.owner, spec, DEFAULTS, None))


def facts_of(spec: Spec, **more: Any) -> Facts:
    return replace(Facts(now=NOW, spec=spec, claim_name="data", claim=None, pod=None, report=None), **more)


def test_all_children_are_applied_in_the_order_in_which_they_need_each_other() -> None:
    resource, spec = known(body_of(TEMPLATE))
    decided = plan(resource.owner, spec, {}, DEFAULTS)
    order = [Kind.SERVICE_ACCOUNT, Kind.ROLE, Kind.ROLE_BINDING, Kind.CLAIM, Kind.STATEFUL_SET]
    assert [kind for kind, _ in decided.apply] == order
    assert not decided.troubles


def test_what_is_as_wanted_is_not_applied() -> None:
    resource, spec = known(body_of())
    assert not plan(resource.owner, spec, made(spec, resource), DEFAULTS).apply


@pytest.mark.parametrize("kind", [Kind.SERVICE_ACCOUNT, Kind.ROLE, Kind.ROLE_BINDING, Kind.STATEFUL_SET])
def test_what_is_missing_or_changed_is_applied_and_nothing_else(kind: Kind) -> None:
    resource, spec = known(body_of())
    seen = made(spec, resource)
    without = {other: child for other, child in seen.items() if other is not kind}
    assert [applied for applied, _ in plan(resource.owner, spec, without, DEFAULTS).apply] == [kind]
    metadata: Manifest = {**seen[kind]["metadata"], "labels": {}}
    changed: dict[Kind, Manifest] = {**seen, kind: {**seen[kind], "metadata": metadata}}
    assert [applied for applied, _ in plan(resource.owner, spec, changed, DEFAULTS).apply] == [kind]


def test_what_belongs_to_somebody_else_is_left_alone_and_told() -> None:
    resource, spec = known(body_of())
    foreign = {"metadata": {"name": "one", "ownerReferences": [{"uid": "other", "controller": True}]}}
    decided = plan(resource.owner, spec, {**made(spec, resource), Kind.ROLE: foreign}, DEFAULTS)
    assert not decided.apply
    assert [trouble.reason for trouble in decided.troubles] == ["NameTaken"]


def test_a_child_on_its_way_out_is_waited_for() -> None:
    resource, spec = known(body_of())
    seen = made(spec, resource)
    going = {
        **seen[Kind.ROLE],
        "metadata": {**seen[Kind.ROLE]["metadata"], "deletionTimestamp": "2026-11-23T12:00:00Z"},
    }
    decided = plan(resource.owner, spec, {**seen, Kind.ROLE: going}, DEFAULTS)
    assert not decided.apply
    assert [trouble.reason for trouble in decided.troubles] == ["Replacing"]


def test_a_claim_that_outlived_its_resource_is_taken_up_again_by_its_label() -> None:
    resource, spec = known(body_of(TEMPLATE))
    kept = {"metadata": {"name": "one-data", "labels": {AGGREGATION: "one"}}}
    assert Kind.CLAIM in dict(plan(resource.owner, spec, {Kind.CLAIM: kept}, DEFAULTS).apply)
    foreign: Manifest = {"metadata": {"name": "one-data", "labels": {}}}
    decided = plan(resource.owner, spec, {Kind.CLAIM: foreign}, DEFAULTS)
    assert Kind.CLAIM not in dict(decided.apply)
    assert [trouble.reason for trouble in decided.troubles] == ["NameTaken"]


def test_a_status_that_stands_there_already_is_not_written_again() -> None:
    resource, spec = known(body_of())
    first = judge(resource, facts_of(spec))
    assert first.status
    again, _ = known(body_of(status=first.status["status"]))
    later = judge(again, facts_of(spec, now=NOW + timedelta(hours=1)))
    assert later.status is None
    assert later.events == []


def test_the_status_is_the_operators_part_alone() -> None:
    resource, spec = known(body_of(status={"aggregator": {"time": "nonsense"}}))
    status = judge(resource, facts_of(spec)).status
    assert status
    assert status["status"].keys() == {"observedGeneration", "phase", "reason", "conditions"}
    assert status["metadata"].keys() == {"name", "namespace"}


def test_a_spec_that_is_not_understood_becomes_a_condition_and_is_not_looked_at_again() -> None:
    resource = read(body_of({**MINIMAL, "port": 0}))
    assert resource.spec is None
    verdict = judge_bad_spec(resource, NOW)
    assert verdict.status
    assert verdict.status["status"]["phase"] == "Failed"
    assert "spec.port" in verdict.events[0].message
    assert verdict.next_look is None
    again = read(body_of({**MINIMAL, "port": 0}, verdict.status["status"]))
    assert judge_bad_spec(again, NOW).events == []


def test_the_next_look_is_when_the_report_ends() -> None:
    when = (NOW - timedelta(seconds=100)).isoformat()
    connection = {"state": "Connected", "endpoint": "a:1", "since": when}
    report = {"time": when, "startedAt": when, "version": "1", "connection": connection}
    resource, spec = known(body_of(status={"aggregator": report}))
    pod = {"metadata": {"name": "one-0"}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    assert judge(resource, facts_of(spec, report=resource.report, pod=pod)).next_look == 81


@pytest.mark.parametrize(
    ("seen", "seconds"),
    [
        ({"started": NOW - timedelta(seconds=1)}, 10),
        ({"started": NOW - timedelta(seconds=60)}, 60),
        ({"started": NOW - timedelta(days=1)}, 300),
        ({"trouble": Problem("Forbidden", "x")}, 60),
        ({"trouble": Problem("NameTaken", "x", lasting=True)}, 300),
        ({}, None),
    ],
)
def test_trouble_is_looked_at_again_less_and_less_often(seen: dict[str, Any], seconds: float | None) -> None:
    resource, spec = known(body_of())
    assert judge(resource, facts_of(spec, **seen)).next_look == seconds


def test_a_refusal_names_the_child_and_what_the_api_server_said() -> None:
    problem = refused(Kind.CLAIM, "one-data", 403, "exceeded quota: q")
    assert problem.reason == "QuotaExceeded"
    assert problem.message == "PersistentVolumeClaim one-data is refused: exceeded quota: q."
    assert not problem.lasting
    assert refused(Kind.CLAIM, "one-data", 422, "immutable").lasting


def test_events_tell_what_changed_and_each_thing_once() -> None:
    resource, spec = known(body_of())
    first = judge(resource, facts_of(spec))
    assert [told.reason for told in first.events] == ["ClaimMissing"]
    assert first.status
    again, _ = known(body_of(status=first.status["status"]))
    bound = {"metadata": {"name": "data"}, "status": {"phase": "Bound"}}
    assert [(told.reason, told.is_warning) for told in judge(again, facts_of(spec, claim=bound)).events] == [
        ("Bound", False)
    ]


def test_applied_children_are_told_apart_as_new_and_put_right() -> None:
    told = applied([(Kind.ROLE, True), (Kind.STATEFUL_SET, False), (Kind.SERVICE_ACCOUNT, True)])
    assert [(event.reason, event.message) for event in told] == [
        ("Created", "Made: Role, ServiceAccount."),
        ("Updated", "Put right: StatefulSet."),
    ]


def test_an_event_is_about_the_resource_and_fits() -> None:
    resource, _ = known(body_of())
    told = applied([(Kind.ROLE, True)])[0]
    written = event(resource.owner, replace(told, message="x" * 5000), NOW, "pod", "abc")
    assert written["regarding"]["uid"] == "uid-1"
    assert len(written["note"]) <= 1024
    assert written["eventTime"] == "2026-11-23T12:00:00.000000Z"
