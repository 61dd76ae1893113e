"""From what is seen to conditions and phase: reports, silence, and pods that do not run."""

from datetime import UTC, datetime
from typing import Any, Final

import pytest

from tests.api.cluster import Cluster, Json, condition
from timestream_operator.objects import Kind

pytestmark = [pytest.mark.control_plane, pytest.mark.usefixtures("operator"), pytest.mark.timeout(120)]
MINIMAL: Final[Json] = {"storage": {"claimName": "data"}}
ALL: Final = {"Reconciled", "Ready", "Connected", "Recording", "StorageReady", "DataIntact"}


def running(lab: Cluster) -> None:
    lab.make_claim("data")
    lab.make("one", MINIMAL)
    lab.run_pod("one")
    lab.wait_condition("one", "Ready", "True", "PodReady")


def test_all_conditions_are_there_from_the_first_look_and_say_which_spec_they_speak_of(lab: Cluster) -> None:
    lab.make("one", MINIMAL)
    resource = lab.settled("one")
    conditions = resource["status"]["conditions"]
    assert {entry["type"] for entry in conditions} == ALL
    assert {entry["status"] for entry in conditions} <= {"True", "False", "Unknown"}
    assert {entry["observedGeneration"] for entry in conditions} == {resource["metadata"]["generation"]}
    assert all(entry["message"] for entry in conditions)


def test_a_report_turns_the_conditions_and_kubectl_can_wait_for_them(lab: Cluster) -> None:
    running(lab)
    lab.wait_phase("one", "Waiting")
    lab.report("one")
    for kind in ("Ready", "Connected", "Recording"):
        lab.plane.kubectl(
            "wait", "tsagg/one", f"--for=condition={kind}", f"--namespace={lab.namespace}", "--timeout=20s"
        )
    assert (
        lab.wait_phase("one", "Recording")["status"]["aggregator"]["connection"]["endpoint"] == "smurf:50000"
    )


@pytest.mark.parametrize(
    ("parts", "phase", "kind", "reason"),
    [
        ({"acquisition": None, "currentFile": None}, "Idle", "Recording", "NoFrames"),
        (
            {"connection": {"state": "Connecting", "endpoint": "smurf:50000", "lastError": "refused"}},
            "Waiting",
            "Connected",
            "NotConnected",
        ),
        (
            {"storage": {"capacityBytes": 1 << 30, "freeBytes": 0, "trouble": "No space left"}},
            "Degraded",
            "StorageReady",
            "DiskTrouble",
        ),
        (
            {"storage": {"capacityBytes": 1 << 30, "freeBytes": 1 << 20}},
            "Degraded",
            "StorageReady",
            "LowSpace",
        ),
        ({"buffer": {"stalled": True}}, "Degraded", "StorageReady", "Stalled"),
    ],
    ids=["idle", "not connected", "disk full", "little space", "held back"],
)
def test_what_the_recorder_reports_decides_the_phase(
    lab: Cluster, parts: dict[str, Any], phase: str, kind: str, reason: str
) -> None:
    running(lab)
    given = {name: part for name, part in parts.items() if part is not None}
    if "connection" in given:
        given["connection"]["since"] = datetime.now(UTC).isoformat()
    lab.report("one", without=[name for name, part in parts.items() if part is None], **given)
    lab.wait_condition("one", kind, "False", reason)
    assert lab.wait_phase("one", phase)["status"]["reason"] == reason


def test_frames_that_the_current_acquisition_lacks_are_told_while_recording_goes_on(lab: Cluster) -> None:
    running(lab)
    lab.report("one", acquisition={"baseName": "17955/a", "started": "2026-01-01T00:00:00Z", "lost": 7})
    assert "7 frames" in lab.wait_condition("one", "DataIntact", "False", "FramesLost")["message"]
    lab.wait_phase("one", "Recording")
    lab.report("one", totals={"lost": 7})
    lab.wait_condition("one", "DataIntact", "True", "NothingLost")


def test_a_report_that_is_too_old_says_nothing_about_now(lab: Cluster) -> None:
    running(lab)
    lab.report("one")
    since = lab.wait_condition("one", "Connected", "True", "Connected")["lastTransitionTime"]
    started = {"running": {"startedAt": "2020-01-01T00:00:00Z"}}
    lab.set_pod("one", started, ready=True)
    lab.report("one", age=200)
    said = lab.wait_condition("one", "Connected", "Unknown", "ReportStale")
    assert "last report is of" in said["message"]
    assert said["lastTransitionTime"] >= since
    lab.wait_condition("one", "Recording", "Unknown", "ReportStale")
    assert lab.wait_phase("one", "Degraded")["status"]["reason"] == "ReportStale"


def test_a_report_grows_too_old_by_itself(lab: Cluster) -> None:
    running(lab)
    lab.set_pod("one", {"running": {"startedAt": "2020-01-01T00:00:00Z"}}, ready=True)
    lab.report("one", age=175)
    lab.wait_condition("one", "Connected", "True", "Connected")
    lab.wait_condition("one", "Connected", "Unknown", "ReportStale")


def test_a_report_of_the_process_before_says_nothing_about_the_one_that_runs_now(lab: Cluster) -> None:
    running(lab)
    lab.report("one", age=100)
    lab.wait_condition("one", "Connected", "Unknown", "NoReport")


CRASHED: Final = {
    "terminated": {"exitCode": 2, "message": "starting\nno such folder: /data", "reason": "Error"}
}


@pytest.mark.parametrize(
    ("waiting", "last", "phase", "words"),
    [
        ({"reason": "CrashLoopBackOff"}, CRASHED, "Failed", "exit code 2: no such folder: /data"),
        ({"reason": "ImagePullBackOff", "message": "Back-off pulling"}, None, "Pending", "spec.image"),
        (
            {"reason": "CreateContainerConfigError", "message": 'secret "x" not found'},
            None,
            "Pending",
            'secret "x"',
        ),
    ],
    ids=["crashes", "no image", "no secret"],
)
def test_a_pod_that_does_not_run_says_why(
    lab: Cluster, waiting: Json, last: Json | None, phase: str, words: str
) -> None:
    lab.make_claim("data")
    lab.make("one", MINIMAL)
    lab.set_pod("one", {"waiting": waiting}, ready=False, last=last)
    said = lab.wait_condition("one", "Ready", "False", waiting["reason"])
    assert words in said["message"]
    lab.wait_condition("one", "Connected", "False", "NotRunning")
    assert lab.wait_phase("one", phase)["status"]["reason"] == waiting["reason"]


def test_a_pod_that_no_node_takes_says_why(lab: Cluster) -> None:
    lab.make_claim("data")
    lab.make("one", MINIMAL)
    lab.wait(Kind.POD, "one-0", lambda _: True)
    why = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "0/3 nodes are available",
    }
    lab.edit(Kind.POD, "one-0", {"status": {"conditions": [why]}}, "status")
    said = lab.wait_condition("one", "Ready", "False", "Unschedulable")
    assert "0/3 nodes are available" in said["message"]


def test_a_quota_that_forbids_the_pod_is_named(lab: Cluster) -> None:
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "none"},
        "spec": {"hard": {"pods": "0"}},
    }
    lab.api.send("POST", f"/api/v1/namespaces/{lab.namespace}/resourcequotas", quota)
    set_status = {"status": {"hard": {"pods": "0"}, "used": {"pods": "0"}}}
    path = f"/api/v1/namespaces/{lab.namespace}/resourcequotas/none/status"
    lab.api.send("PATCH", path, set_status, "application/merge-patch+json")
    lab.make_claim("data")
    lab.make("one", MINIMAL)
    said = lab.wait(
        Kind.AGGREGATION,
        "one",
        lambda it: condition(it, "Ready").get("reason") == "QuotaExceeded",
        seconds=40,
    )
    assert "exceeded quota: none" in condition(said, "Ready")["message"]


def test_what_the_operator_writes_is_put_back_and_the_report_is_left_alone(lab: Cluster) -> None:
    running(lab)
    lab.report("one")
    before = lab.wait_phase("one", "Recording")["status"]
    lab.edit(Kind.AGGREGATION, "one", {"status": {"phase": "Failed", "conditions": []}}, "status")
    after = lab.wait(Kind.AGGREGATION, "one", lambda it: len(it["status"].get("conditions", [])) == len(ALL))[
        "status"
    ]
    assert after["phase"] == "Recording"
    assert after["aggregator"] == before["aggregator"]


def test_the_transition_time_stays_while_the_status_stays(lab: Cluster) -> None:
    running(lab)
    lab.report("one")
    before = lab.wait_condition("one", "Recording", "True", "Recording")
    lab.edit(Kind.AGGREGATION, "one", {"spec": {"minFreeBytes": "2Gi"}})
    after = condition(lab.settled("one"), "Reconciled")
    assert after["lastTransitionTime"] <= before["lastTransitionTime"]
    assert after["observedGeneration"] == 2


def test_the_recorder_itself_may_report_and_nothing_else(lab: Cluster) -> None:
    running(lab)
    recorder = lab.plane.kubectl_as(lab.namespace, "one")
    can = ["auth", "can-i", "--namespace", lab.namespace]
    assert recorder(*can, "patch", "timestreamaggregations/one", "--subresource=status").strip() == "yes"
    for verb, what in (("patch", "timestreamaggregations/two"), ("get", "timestreamaggregations/one")):
        with pytest.raises(Exception, match="no"):
            recorder(*can, verb, what, *(["--subresource=status"] if verb == "patch" else []))
