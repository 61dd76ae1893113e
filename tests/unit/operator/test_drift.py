"""Drift: what the API server adds is none, what a person changes is."""

import copy
from typing import Any, Final

import pytest

from timestream_operator.drift import as_number, is_as_wanted, sealed

WANTED: Final[dict[str, Any]] = {
    "metadata": {"labels": {"a": "b"}, "ownerReferences": [{"uid": "1", "controller": True}]},
    "spec": {
        "replicas": 0,
        "template": {
            "containers": [
                {
                    "name": "recorder",
                    "args": ["record", "--port=1"],
                    "env": [{"name": "A", "value": ""}],
                    "resources": {"limits": {"memory": "1024Mi", "cpu": 1}, "requests": {"cpu": "0.5"}},
                }
            ]
        },
    },
    "rules": [{"verbs": ["patch"]}],
}


def as_served() -> dict[str, Any]:
    """Return the object as an API server gives it back: defaults, canonical quantities, others' additions."""
    served = copy.deepcopy(WANTED)
    served["metadata"]["labels"]["other"] = "x"
    served["metadata"]["ownerReferences"].append({"uid": "2"})
    container = served["spec"]["template"]["containers"][0]
    container["imagePullPolicy"] = "Always"
    container["env"] = [{"name": "B", "value": "b"}, {"name": "A"}]
    container["resources"] = {"limits": {"memory": "1Gi", "cpu": "1"}, "requests": {"cpu": "500m"}}
    served["spec"]["template"]["containers"].insert(0, {"name": "sidecar"})
    served["status"] = {"replicas": 1}
    return served


def test_what_the_api_server_and_others_add_is_no_drift() -> None:
    assert is_as_wanted(WANTED, as_served())


def change_args(served: dict[str, Any]) -> None:
    served["spec"]["template"]["containers"][1]["args"].append("--more")


def drop_env(served: dict[str, Any]) -> None:
    served["spec"]["template"]["containers"][1]["env"] = []


def raise_replicas(served: dict[str, Any]) -> None:
    served["spec"]["replicas"] = 2


def drop_label(served: dict[str, Any]) -> None:
    del served["metadata"]["labels"]["a"]


def add_rule(served: dict[str, Any]) -> None:
    served["rules"].append({"verbs": ["*"]})


def disown(served: dict[str, Any]) -> None:
    served["metadata"]["ownerReferences"] = []


def lower_limit(served: dict[str, Any]) -> None:
    served["spec"]["template"]["containers"][1]["resources"]["limits"]["memory"] = "1023Mi"


def drop_container(served: dict[str, Any]) -> None:
    served["spec"]["template"]["containers"].pop()


@pytest.mark.parametrize(
    "edit",
    [change_args, drop_env, raise_replicas, drop_label, add_rule, disown, lower_limit, drop_container],
    ids=lambda edit: edit.__name__,
)
def test_what_a_person_changes_is_drift(edit: Any) -> None:
    served = as_served()
    edit(served)
    assert not is_as_wanted(WANTED, served)


def test_rules_that_are_taken_away_are_drift_though_none_is_wanted() -> None:
    assert is_as_wanted({"rules": []}, {})
    assert not is_as_wanted({"rules": []}, {"rules": [{"verbs": ["patch"]}]})


def test_the_seal_leaves_the_manifest_alone() -> None:
    manifest = {"metadata": {"name": "a", "annotations": {"x": "y"}}}
    assert len(sealed(manifest)["metadata"]["annotations"]) == 2
    assert manifest == {"metadata": {"name": "a", "annotations": {"x": "y"}}}


@pytest.mark.parametrize(
    ("one", "other"), [("1Gi", "1024Mi"), ("1e3", 1000), ("500m", "0.5"), ("1k", "1000")]
)
def test_equal_quantities_are_equal_however_they_are_written(one: object, other: object) -> None:
    assert as_number(one) == as_number(other)
