"""Conditions and phase from what was seen."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timestream_api.report import LedgerReport, Report
from timestream_api.resource import Condition, ConditionStatus, ConditionType, Phase, Spec
from timestream_operator.conditions import (
    Facts,
    Finding,
    findings,
    findings_of_bad_spec,
    phase_of,
    with_times,
)
from timestream_operator.objects import Manifest
from timestream_operator.problems import Problem, of_refusal

NOW: Final = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
SPEC: Final = Spec.model_validate({"address": "smurf", "storage": {"claimName": "data"}})
BOUND: Final[Manifest] = {"metadata": {"name": "data"}, "status": {"phase": "Bound"}}


def report_of(age: float = 10, **parts: Any) -> Report:
    then = NOW - timedelta(seconds=age)
    connected = {"state": "Connected", "endpoint": "smurf:50000", "since": then}
    document = {"time": then, "startedAt": then, "version": "1", "connection": connected}
    acquisition = {"baseName": "17955/a", "started": then}
    return Report.model_validate({**document, "acquisition": acquisition, **parts})


def pod_of(ready: str = "True", **container: Any) -> Manifest:
    running = {"state": {"running": {"startedAt": "2026-11-23T11:00:00Z"}}, "started": True}
    return {
        "metadata": {"name": "one-0"},
        "status": {
            "conditions": [{"type": "Ready", "status": ready}],
            "containerStatuses": [{**running, **container}],
        },
    }


def facts_of(**more: Any) -> Facts:
    facts = Facts(now=NOW, spec=SPEC, claim_name="data", claim=BOUND, pod=pod_of(), report=report_of())
    return replace(facts, **more)


def look(**more: Any) -> tuple[dict[ConditionType, Finding], Phase, str]:
    facts = facts_of(**more)
    found = findings(facts)
    return dict(found), *phase_of(found, facts)


def test_all_goes_well() -> None:
    found, phase, reason = look()
    assert {finding.status for finding in found.values()} == {ConditionStatus.TRUE}
    assert (phase, reason) == (Phase.RECORDING, "Recording")


def suspended() -> Spec:
    return SPEC.model_copy(update={"suspend": True})


CASES: Final[dict[str, tuple[dict[str, Any], Phase, str]]] = {
    "nothing yet": ({"pod": None, "claim": None, "report": None}, Phase.PENDING, "ClaimMissing"),
    "no pod": ({"pod": None, "report": None}, Phase.PENDING, "Starting"),
    "starting": (
        {"pod": pod_of("False", started=False, state={}), "report": None},
        Phase.PENDING,
        "Starting",
    ),
    "cannot write": ({"pod": pod_of("False")}, Phase.PENDING, "NotReady"),
    "no report yet": ({"report": None}, Phase.WAITING, "NoReport"),
    "report of an earlier process": ({"report": report_of(7200)}, Phase.WAITING, "NoReport"),
    "stale report": ({"report": report_of(181)}, Phase.DEGRADED, "ReportStale"),
    "report from the future": ({"report": report_of(-181)}, Phase.DEGRADED, "ReportStale"),
    "no frames": ({"report": report_of(acquisition=None)}, Phase.IDLE, "NoFrames"),
    "lost claim": ({"claim": {**BOUND, "status": {"phase": "Lost"}}}, Phase.DEGRADED, "ClaimLost"),
    "suspended": ({"spec": suspended(), "pod": None}, Phase.SUSPENDED, "Suspended"),
    "suspended with an old pod": ({"spec": suspended()}, Phase.SUSPENDED, "Suspended"),
    "name taken": (
        {"pod": None, "trouble": Problem("NameTaken", "x", lasting=True)},
        Phase.FAILED,
        "NameTaken",
    ),
    "refused while it records": (
        {"trouble": Problem("Invalid", "x", lasting=True)},
        Phase.RECORDING,
        "Recording",
    ),
    "file damaged": (
        {"report": report_of(totals={"badFiles": 1}, lastBadFile="17955/a_000.g3")},
        Phase.DEGRADED,
        "FileDamaged",
    ),
    "quota": (
        {"pod": None, "report": None, "pod_warning": "pods one-0 is forbidden: exceeded quota: q"},
        Phase.PENDING,
        "QuotaExceeded",
    ),
}


@pytest.mark.parametrize(("seen", "phase", "reason"), CASES.values(), ids=CASES.keys())
def test_the_phase_is_the_first_row_that_holds(seen: dict[str, Any], phase: Phase, reason: str) -> None:
    assert look(**seen)[1:] == (phase, reason)


def test_without_reporting_nobody_knows_about_the_connection() -> None:
    found, phase, reason = look(spec=SPEC.model_copy(update={"status_reporting": False}), report=None)
    assert found[ConditionType.CONNECTED].status is ConditionStatus.UNKNOWN
    assert (phase, reason) == (Phase.WAITING, "ReportingOff")


def test_a_crash_is_told_with_its_exit_code_and_last_line() -> None:
    crash = {
        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}},
    }
    found, phase, _ = look(pod=pod_of("False", **crash))
    assert "exit code 137: OOMKilled" in found[ConditionType.READY].message
    assert phase is Phase.FAILED


def test_a_stale_report_says_nothing_about_the_disk_and_its_losses_stay_known() -> None:
    lossy = {"baseName": "17955/a", "started": NOW, "lost": 3}
    old = report_of(200, acquisition=lossy, storage={"capacityBytes": 1, "freeBytes": 0, "trouble": "full"})
    found, *_ = look(report=old)
    assert found[ConditionType.STORAGE_READY].status is ConditionStatus.TRUE
    assert found[ConditionType.DATA_INTACT].status is ConditionStatus.FALSE


def test_a_loss_is_told_with_its_numbers_and_its_cause() -> None:
    loss = {"time": NOW, "count": 3, "cause": "Reconnect", "session": 7, "first": 4, "last": 6}
    lossy = report_of(acquisition={"baseName": "17955/a", "started": NOW, "lost": 5}, lastLoss=loss)
    found, *_ = look(report=lossy)

    assert found[ConditionType.DATA_INTACT].reason == "FramesLost"
    assert found[ConditionType.DATA_INTACT].message == (
        "The current acquisition lacks 5 frames that its sender counted. The last loss was 3 frames, frame_num 4 to 6 "
        "of session 7: sent while there was no connection. The ledger has all."
    )


def test_what_was_sent_before_the_recorder_joined_is_no_loss() -> None:
    joined = {"baseName": "17955/a", "started": NOW, "missed": 50}
    found, *_ = look(report=report_of(acquisition=joined, totals={"missed": 50}))

    assert found[ConditionType.DATA_INTACT].status is ConditionStatus.TRUE


def test_of_one_lost_frame_the_message_speaks_in_the_singular() -> None:
    loss = {"time": NOW, "count": 1, "cause": "Reconnect"}
    found, *_ = look(
        report=report_of(acquisition={"baseName": "17955/a", "started": NOW, "lost": 1}, lastLoss=loss)
    )

    assert "lacks 1 frame that" in found[ConditionType.DATA_INTACT].message
    assert "The last loss was 1 frame: " in found[ConditionType.DATA_INTACT].message


def test_what_the_disk_did_not_keep_of_the_current_acquisition_is_a_loss_and_of_an_earlier_one_not() -> None:
    loss = {"time": NOW, "count": 3, "cause": "Disk"}
    now = {"baseName": "17955/a", "started": NOW - timedelta(seconds=5)}
    later = {"baseName": "17955/b", "started": NOW + timedelta(seconds=5)}
    reasons = [
        look(report=report_of(acquisition=each, lastLoss=loss))[0][ConditionType.DATA_INTACT].reason
        for each in (now, later)
    ]

    assert reasons == ["FramesLost", "NothingLost"]


def test_what_is_steady_is_told_in_the_same_words() -> None:
    first = findings(facts_of(report=report_of(50, totals={"files": 1, "frames": 10})))
    later = findings(facts_of(now=NOW + timedelta(seconds=60), report=report_of(-50, totals={"files": 9})))
    assert first == later


@given(
    st.sampled_from(
        [None, pod_of(), pod_of("False"), pod_of("False", state={"waiting": {"reason": "ErrImagePull"}})]
    ),
    st.sampled_from([None, BOUND, {"metadata": {}, "status": {}}]),
    st.sampled_from([None, report_of(), report_of(500), report_of(acquisition=None, totals={"lost": 1})]),
    st.sampled_from([None, Problem("Forbidden", "no")]),
    st.booleans(),
)
def test_whatever_is_seen_every_condition_has_a_reason_and_a_message(
    pod: Manifest | None,
    claim: Manifest | None,
    report: Report | None,
    trouble: Problem | None,
    suspend: bool,  # noqa: FBT001
) -> None:
    spec = SPEC.model_copy(update={"suspend": suspend})
    facts = facts_of(pod=pod, claim=claim, report=report, trouble=trouble, spec=spec)
    found = findings(facts)
    assert set(found) == set(ConditionType)
    assert all(
        finding.reason.isalnum() and finding.message.endswith((".", "!")) for finding in found.values()
    )
    conditions = with_times((), found, 1, NOW)
    assert [condition.type for condition in conditions] == list(ConditionType)
    phase, reason = phase_of(found, facts)
    assert phase in Phase
    assert reason


def test_the_transition_time_moves_only_with_the_status() -> None:
    earlier = NOW - timedelta(hours=1)
    old = with_times((), findings(facts_of(report=report_of(acquisition=None))), 1, earlier)
    new = {condition.type: condition for condition in with_times(old, findings(facts_of()), 2, NOW)}
    assert new["Ready"].last_transition_time == earlier
    assert new["Recording"].last_transition_time == NOW
    assert {condition.observed_generation for condition in new.values()} == {2}


def test_a_message_fits_the_schema() -> None:
    found = {
        **findings(facts_of()),
        ConditionType.READY: Finding(ConditionStatus.FALSE, "R" * 500, "x" * 9000),
    }
    assert all(isinstance(condition, Condition) for condition in with_times((), found, 1, NOW))


def test_a_bad_spec_is_told_and_nothing_else_is_claimed() -> None:
    found = findings_of_bad_spec("spec.port: too big")
    assert found[ConditionType.RECONCILED].message == "spec.port: too big. Correct the spec."
    assert {kind for kind, finding in found.items() if finding.status is ConditionStatus.UNKNOWN} == set(
        ConditionType
    ) - {ConditionType.RECONCILED}


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ('pods "x" is forbidden: exceeded quota: q', "QuotaExceeded"),
        ('pods "x" is forbidden: violates PodSecurity "restricted:latest"', "PodSecurity"),
        ("MountVolume.SetUp failed for volume", "VolumeNotMounted"),
        ("something else", "Refused"),
    ],
)
def test_a_refusal_gets_a_reason(said: str, reason: str) -> None:
    assert of_refusal(said) == reason


def put_aside(seconds_ago: float, **more: Any) -> Report:
    piece = {
        "time": NOW - timedelta(seconds=seconds_ago),
        "bytes": 5,
        "why": "a frame of type 'C' is odd: x.",
    }
    return report_of(0, lastPutAside=piece, **more)


def test_what_was_put_aside_on_this_connection_is_told_with_what_is_wrong_and_where_it_is() -> None:
    since = NOW - timedelta(seconds=60)
    connection = {"state": "Connected", "endpoint": "smurf:50000", "since": since}
    found, phase, _ = look(report=put_aside(30, connection=connection))

    intact = found[ConditionType.DATA_INTACT]
    assert (intact.status, intact.reason) == (ConditionStatus.FALSE, "FramePutAside")
    assert "5 bytes that the sender gave are in no file: a frame of type 'C' is odd: x." in intact.message
    assert ".timestream-aggregator/quarantine" in intact.message
    assert phase is Phase.RECORDING


def test_what_was_put_aside_on_an_earlier_connection_is_told_as_long_as_its_acquisition_runs() -> None:
    connection = {"state": "Connected", "endpoint": "smurf:50000", "since": NOW - timedelta(seconds=10)}
    running = {"baseName": "17955/a", "started": NOW - timedelta(seconds=60)}

    reasons = [
        look(report=put_aside(30, connection=connection, acquisition=acquisition))[0][
            ConditionType.DATA_INTACT
        ].reason
        for acquisition in (running, None)
    ]

    assert reasons == ["FramePutAside", "NothingLost"]


def test_a_ledger_that_cannot_be_written_is_told() -> None:
    report = report_of(ledger=LedgerReport(pending=3, dropped=2, trouble="Permission denied"))

    found, phase, reason = look(report=report)

    storage = found[ConditionType.STORAGE_READY]
    assert (storage.status, phase, reason) == (ConditionStatus.FALSE, Phase.DEGRADED, "LedgerTrouble")
    assert "2 of its lines are lost: Permission denied" in storage.message
