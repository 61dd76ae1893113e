"""Status and spec, operator and recorder: who may write what, and what `kubectl get` shows of it."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.api.aggregations import SMALLEST, aggregation, apply, get
from tests.cluster.commands import CommandError
from tests.cluster.controlplane import ControlPlane
from timestream_api.names import API_VERSION, KIND
from timestream_api.report import (
    CloseReason,
    Connection,
    ConnectionState,
    CurrentFile,
    LastFile,
    Report,
    Totals,
)
from timestream_api.resource import Condition, ConditionStatus, ConditionType, Phase, Status

pytestmark = [pytest.mark.control_plane, pytest.mark.timeout(60, func_only=True)]

NOW = datetime.now(UTC)
CONNECTION = Connection(
    state=ConnectionState.CONNECTED, endpoint="smurf:50000", since=NOW, last_frame_time=NOW
)
LAST_FILE = LastFile(
    path="17957/last_000.g3",
    frames=9,
    bytes=900,
    crc32c="0a1b2c3d",
    closed=NOW,
    reason=CloseReason.TIME_LIMIT,
)
RECORDING = Report(
    time=NOW,
    started_at=NOW,
    version="1",
    pod="stream-0",
    node="rack7",
    connection=CONNECTION,
    current_file=CurrentFile(path="17957/current_001.g3", opened=NOW),
    last_file=LAST_FILE,
    totals=Totals(files=3, lost=17, frames=4321),
)
IDLE = RECORDING.model_copy(update={"current_file": None})
OPERATOR = Status(
    observed_generation=1,
    phase=Phase.RECORDING,
    reason="FramesArrive",
    conditions=tuple(
        Condition(
            type=kind,
            status=ConditionStatus.TRUE,
            last_transition_time=NOW,
            reason="Fine",
            message="All is well.",
        )
        for kind in ConditionType
    ),
)


def tell(plane: ControlPlane, namespace: str, manager: str, status: dict[str, Any], **more: Any) -> None:
    """Apply `status` as `manager`, as operator and recorder do."""
    document = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": "stream"},
        "status": status,
    } | more
    plane.kubectl(
        "apply", "--server-side", "--subresource=status", f"--field-manager={manager}",
        f"--namespace={namespace}", "-f", "-", input=json.dumps(document),
    )  # fmt: skip


def report(plane: ControlPlane, namespace: str, what: Report) -> None:
    """Report as a recorder does."""
    tell(plane, namespace, "recorder", {"aggregator": what.to_json()})


def table(plane: ControlPlane, namespace: str, *options: str) -> dict[str, str]:
    """Return the one row of `kubectl get tsagg` as columns by their titles."""
    lines = plane.kubectl("get", "tsagg", f"--namespace={namespace}", *options).splitlines()
    titles = [part for part in lines[0].split("  ") if part]
    starts = [lines[0].index(title) for title in titles]
    ends = [*starts[1:], None]
    cells = [lines[1][start:end].strip() for start, end in zip(starts, ends, strict=True)]
    return dict(zip([title.strip() for title in titles], cells, strict=True))


@pytest.fixture
def stream(plane: ControlPlane, namespace: str) -> str:
    """Return the namespace of a resource called stream."""
    apply(plane, namespace, aggregation(SMALLEST))
    return namespace


def test_a_status_that_comes_with_the_spec_is_ignored(plane: ControlPlane, namespace: str) -> None:
    manifest = aggregation(SMALLEST) | {"status": OPERATOR.to_json()}

    plane.kubectl("create", f"--namespace={namespace}", "-f", "-", input=json.dumps(manifest))

    assert "status" not in get(plane, namespace)


def test_a_change_of_the_spec_leaves_the_status_alone(plane: ControlPlane, stream: str) -> None:
    tell(plane, stream, "operator", OPERATOR.to_json())
    before = get(plane, stream)

    apply(plane, stream, aggregation(SMALLEST | {"timePerFile": "1m"}))

    after = get(plane, stream)
    assert after["status"] == before["status"]
    assert after["metadata"]["generation"] == before["metadata"]["generation"] + 1


def test_a_spec_that_comes_with_the_status_is_ignored(plane: ControlPlane, stream: str) -> None:
    before = get(plane, stream)

    tell(
        plane, stream, "recorder", {"aggregator": IDLE.to_json()}, spec=dict(SMALLEST) | {"address": "other"}
    )

    after = get(plane, stream)
    assert after["spec"] == before["spec"]
    assert after["metadata"]["generation"] == before["metadata"]["generation"]
    assert after["status"]["aggregator"]["node"] == "rack7"


def test_operator_and_recorder_do_not_touch_each_others_part(plane: ControlPlane, stream: str) -> None:
    tell(plane, stream, "operator", OPERATOR.to_json())
    report(plane, stream, RECORDING)
    tell(plane, stream, "operator", OPERATOR.model_copy(update={"phase": Phase.DEGRADED}).to_json())
    report(plane, stream, IDLE)

    status = get(plane, stream)["status"]

    assert Status.model_validate(status).aggregator == IDLE
    assert status["phase"] == "Degraded"
    assert {condition["type"] for condition in status["conditions"]} == set(ConditionType)


def test_the_managers_own_what_they_wrote_and_no_more(plane: ControlPlane, stream: str) -> None:
    tell(plane, stream, "operator", OPERATOR.to_json())
    report(plane, stream, RECORDING)

    managed = get(plane, stream)["metadata"]["managedFields"]

    owned = {entry["manager"]: set(entry["fieldsV1"].get("f:status", {})) for entry in managed}
    assert owned["recorder"] == {"f:aggregator"}
    assert owned["operator"] == {"f:conditions", "f:observedGeneration", "f:phase", "f:reason"}


def test_a_later_report_replaces_the_whole_one_before(plane: ControlPlane, stream: str) -> None:
    report(plane, stream, RECORDING)

    report(plane, stream, IDLE)

    assert get(plane, stream)["status"]["aggregator"] == IDLE.to_json()


@pytest.mark.parametrize(
    "status",
    [
        {"phase": "Sleeping"},
        {"conditions": [{"type": "Ready", "status": "true"}]},
        {"aggregator": RECORDING.to_json() | {"pod": "p" * 256}},
        {"aggregator": RECORDING.to_json() | {"colour": "red"}},
    ],
    ids=["phase", "condition", "length", "unknown"],
)
def test_a_status_of_the_wrong_form_is_refused(
    plane: ControlPlane, stream: str, status: dict[str, Any]
) -> None:
    with pytest.raises(CommandError):
        tell(plane, stream, "somebody", status)


def test_kubectl_get_shows_the_state_the_file_and_the_losses(plane: ControlPlane, stream: str) -> None:
    tell(plane, stream, "operator", OPERATOR.to_json())
    report(plane, stream, RECORDING)

    row = table(plane, stream)

    assert list(row) == ["NAME", "PHASE", "READY", "ADDRESS", "FILE", "FILES", "LOST", "AGE"]
    assert list(row.values())[:7] == [
        "stream",
        "Recording",
        "True",
        "smurf",
        "17957/current_001.g3",
        "3",
        "17",
    ]


def test_the_wide_table_adds_port_frames_missed_node_last_frame_and_reason(
    plane: ControlPlane, stream: str
) -> None:
    tell(plane, stream, "operator", OPERATOR.to_json())
    report(plane, stream, RECORDING)

    row = table(plane, stream, "--output=wide")

    assert list(row)[8:] == ["PORT", "FRAMES", "MISSED", "NODE", "LAST FRAME", "REASON"]
    assert [row[name] for name in ("PORT", "FRAMES", "NODE", "REASON")] == [
        "50000",
        "4321",
        "rack7",
        "FramesArrive",
    ]
    assert row["LAST FRAME"].endswith(("s", "m"))


def test_between_files_the_table_shows_the_last_one(plane: ControlPlane, stream: str) -> None:
    report(plane, stream, IDLE)

    assert table(plane, stream)["FILE"] == "17957/last_000.g3"


def test_a_resource_without_status_is_listed_too(plane: ControlPlane, stream: str) -> None:
    row = table(plane, stream)

    assert (row["NAME"], row["PHASE"], row["FILE"], row["LOST"]) == ("stream", "", "", "")


@pytest.mark.parametrize("kind", ["Ready", "Connected", "Recording"])
def test_kubectl_can_wait_for_a_condition(plane: ControlPlane, stream: str, kind: str) -> None:
    tell(plane, stream, "operator", OPERATOR.to_json())

    said = plane.kubectl(
        "wait", f"--for=condition={kind}", "--timeout=10s", "tsagg/stream", f"--namespace={stream}"
    )

    assert "condition met" in said
