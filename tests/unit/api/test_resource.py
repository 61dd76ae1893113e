"""The resource's models: what a spec may say, and the recorder's settings that follow from it."""

from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from timestream_api.report import CloseReason, Connection, ConnectionState, LastFile, Report
from timestream_api.resource import Condition, Spec, Status, TimestreamAggregation
from timestream_api.rules import parse_quantity
from timestream_api.settings import Address, RecorderSettings

SMALLEST: Final[dict[str, Any]] = {"address": "smurf", "storage": {"claimName": "data"}}
NOW: Final = "2026-11-23T08:00:00Z"


def spec(**fields: Any) -> Spec:
    return Spec.model_validate(SMALLEST | fields)


def test_the_smallest_spec_gives_the_recorders_own_defaults() -> None:
    settings = spec().settings("stream", "lab")

    assert settings == RecorderSettings(
        address="smurf", stream_id="stream", report_to="lab/stream", http_address="::"
    )
    assert settings.data_dir == Path("/data")


def test_each_setting_of_the_spec_reaches_the_recorder() -> None:
    wanted = {
        "port": 4536,
        "timePerFile": "1h30m",
        "streamId": "ufm_mv5",
        "layout": "Session",
        "frameGap": 7,
        "readTimeout": "1m",
        "maxFileBytes": "2Gi",
        "minFreeBytes": "500M",
        "maxStall": "2h",
        "verify": False,
        "httpPort": 0,
        "logLevel": "debug",
        "statusReporting": False,
    }

    assert spec(**wanted).settings("stream", "lab").to_json() == {
        "address": "smurf",
        "dataDir": "/data",
        "port": 4536,
        "timePerFile": 5400,
        "streamId": "ufm_mv5",
        "layout": "Session",
        "frameGap": 7,
        "readTimeout": 60,
        "maxFileBytes": 2 << 30,
        "minFreeBytes": 500_000_000,
        "maxStall": 7200,
        "verify": False,
        "httpPort": 0,
        "httpAddress": "::",
        "logLevel": "debug",
        "maxFrameBytes": 256 << 20,
        "bufferBytes": 256 << 20,
        "syncInterval": 5,
    }


def test_a_spec_that_was_stored_with_defaults_means_the_same_as_before() -> None:
    stored: dict[str, Any] = SMALLEST | {
        "timePerFile": "10m",
        "minFreeBytes": "1Gi",
        "imagePullSecrets": [],
        "port": 50000.0,
    }

    assert Spec.model_validate(stored) == spec()


@given(st.integers(0, 167), st.integers(0, 59), st.integers(0, 59))
def test_hours_minutes_and_seconds_add_up(hours: int, minutes: int, seconds: int) -> None:
    total = 3600 * hours + 60 * minutes + seconds
    written = f"{hours}h{minutes}m{seconds}s"

    if total:
        assert spec(timePerFile=written).time_per_file == spec(timePerFile=total).time_per_file == total
    else:
        with pytest.raises(ValidationError, match="must be a time from 1s to 168h"):
            spec(timePerFile=written)


@pytest.mark.parametrize(
    ("written", "meant"),
    [("2Gi", 2 << 30), ("2G", 2_000_000_000), ("1.5Mi", 3 << 19), (1 << 20, 1 << 20), ("1048576.1", 1048577)],
)
def test_a_size_is_in_bytes_and_rounded_up(written: int | str, meant: int) -> None:
    assert spec(maxFileBytes=written).max_file_bytes == meant


@pytest.mark.parametrize(
    ("written", "meant"), [("100m", 0.1), ("2k", 2e3), ("1Ki", 1024), ("3P", 3e15), (7, 7), ("1Ti", 1 << 40)]
)
def test_a_quantity_is_what_kubernetes_takes_it_for(written: int | str, meant: float) -> None:
    assert float(parse_quantity(written)) == meant


@pytest.mark.parametrize("written", ["", "1 Gi", "Gi", "1KiB", "-1", "1e3", True, None])
def test_what_is_no_quantity_is_refused(written: object) -> None:
    with pytest.raises(ValueError, match="no quantity"):
        parse_quantity(written)


@pytest.mark.parametrize("host", ["smurf", "smurf-srv_15.lab", "10.0.0.3", "::1", "fe80::1%eth0"])
def test_host_names_and_addresses_are_hosts(host: str) -> None:
    assert TypeAdapter(Address).validate_python(host) == host


@pytest.mark.parametrize(
    "host", ["", "tcp://smurf", "smurf:50000", "10.0.0.3:50000", "10.0.0.300", "a b", "fe80::1%"]
)
def test_urls_and_hosts_with_a_port_are_none(host: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Address).validate_python(host)


@pytest.mark.parametrize(
    "storage",
    [
        {},
        {
            "claimName": "data",
            "volumeClaimTemplate": {"spec": {"resources": {"requests": {"storage": "1Gi"}}}},
        },
        {"claimName": "data", "reclaimPolicy": "Delete"},
    ],
)
def test_a_place_that_is_none_or_two_or_not_ours_to_delete_is_refused(storage: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        spec(storage=storage)


def test_pod_settings_are_handed_on_as_kubernetes_writes_them() -> None:
    toleration = {"key": "daq", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 60}
    variable = {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "lab", "key": "token"}}}
    resources = {"limits": {"cpu": 2, "memory": "1Gi"}}
    affinity: dict[str, Any] = {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}}
    given_spec = spec(tolerations=[toleration], env=[variable], resources=resources, affinity=affinity)

    assert [t.to_json() for t in given_spec.tolerations] == [toleration]
    assert [v.to_json() for v in given_spec.env] == [variable]
    assert given_spec.resources.to_json() == resources
    assert given_spec.affinity is not None
    assert given_spec.affinity.to_json() == affinity


def test_the_size_of_a_claim_is_handed_on_as_it_was_written() -> None:
    template = {
        "spec": {"accessModes": ["ReadWriteOncePod"], "resources": {"requests": {"storage": "0.5Ti"}}}
    }
    claim = spec(storage={"volumeClaimTemplate": template}).storage.volume_claim_template

    assert claim is not None
    assert claim.to_json() == template


def test_a_mistyped_field_is_refused() -> None:
    with pytest.raises(ValidationError, match="adress"):
        spec(adress="smurf")


@pytest.mark.parametrize("name", ["n" * 53, "lab.stream", "Stream", ""])
def test_a_name_that_pods_cannot_carry_is_refused(name: str) -> None:
    manifest = {
        "apiVersion": "timestream.dev/v1alpha1",
        "kind": "TimestreamAggregation",
        "metadata": {"name": name},
        "spec": SMALLEST,
    }

    with pytest.raises(ValidationError):
        TimestreamAggregation.model_validate(manifest)


def test_a_status_is_read_back_as_it_was_written() -> None:
    condition = Condition.model_validate(
        {"type": "Ready", "status": "True", "lastTransitionTime": NOW, "reason": "Fine", "message": ""}
    )
    last = LastFile.model_validate(
        {
            "path": "1/a.g3",
            "frames": 1,
            "bytes": 2,
            "crc32c": "00c0ffee",
            "closed": NOW,
            "reason": CloseReason.GAP,
        }
    )
    connection = Connection.model_validate(
        {"state": ConnectionState.CONNECTED, "endpoint": "smurf:1", "since": NOW}
    )
    report = Report.model_validate(
        {"time": NOW, "startedAt": NOW, "version": "1", "connection": connection, "lastFile": last}
    )
    status = Status(conditions=(condition,), aggregator=report)

    assert Status.model_validate(status.to_json()) == status
    assert status.to_json()["aggregator"]["lastFile"]["crc32c"] == "00c0ffee"


def test_the_examples_are_valid_and_applying_one_leaves_the_others_as_they_are() -> None:
    folder = Path(__file__).parents[3] / "examples"
    documents = [
        document for path in folder.glob("*.yaml") for document in yaml.safe_load_all(path.read_text())
    ]
    names = [document["metadata"]["name"] for document in documents]

    assert all(Spec.model_validate(document["spec"]) for document in documents)
    assert len(documents) >= 5
    assert sorted(set(names)) == sorted(names)
