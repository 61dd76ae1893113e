"""Values that the chart is rendered with in the tests: each option at least once."""

from collections.abc import Mapping
from typing import Any, Final

AGGREGATION: Final = {
    "name": "ufm-mv19",
    "labels": {"telescope": "lat"},
    "annotations": {"example.org/owner": "daq"},
    "spec": {"address": "smurf-srv20", "storage": {"claimName": "telescope-data"}},
}
_PLACEMENT: Final = {
    "nodeSelector": {"kubernetes.io/os": "linux"},
    "tolerations": [{"key": "daq", "operator": "Equal", "value": "only", "effect": "NoSchedule"}],
    "affinity": {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{"matchExpressions": [{"key": "rack", "operator": "Exists"}]}]
            }
        }
    },
}
VARIANTS: Final[Mapping[str, Mapping[str, Any]]] = {
    "defaults": {},
    "two namespaces": {"watchNamespaces": ["lat", "sat-1"]},
    "everything off": {
        "crds": {"install": False},
        "admissionPolicy": {"enabled": False},
        "rbac": {"aggregateToUserRoles": False},
    },
    "crd that goes with the release": {"crds": {"keep": False}},
    "simulator": {"simulator": {"enabled": True, "frameTime": 0.5, "pause": 0}},
    "own names, labels and registry": {
        "fullnameOverride": "daq",
        "labels": {"site": "atacama"},
        "image": {"registry": "registry.example.org/daq/", "pullSecrets": ["registry"]},
        "operator": {"image": {"tag": "1.2.3", "pullPolicy": "Always"}},
        "recorder": {"image": {"repository": "recorder", "tag": "4.5.6"}},
        "simulator": {"enabled": True},
    },
    "placed operator": {
        "operator": {
            **_PLACEMENT,
            "logLevel": "debug",
            "priorityClassName": "system-cluster-critical",
            "podAnnotations": {"example.org/scrape": "true"},
            "extraEnv": [
                {"name": "WORKERS", "value": "2"},
                {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
            ],
            "resources": {"limits": {"cpu": 1, "memory": "1Gi"}},
        }
    },
    "streams": {"aggregations": [AGGREGATION, {**AGGREGATION, "name": "ufm-mv22", "namespace": "lat"}]},
}
