"""The operator as a process of its own, with the rights that the chart gives it."""

import json
import re
import sys
from pathlib import Path
from typing import Final
from urllib.request import urlopen

import yaml

from tests.api.cluster import IMAGE, Json
from tests.cluster.controlplane import ControlPlane
from tests.cluster.process import Daemon, free_port, wait_for, without_proxies

CHART: Final = Path(__file__).parents[2] / "charts" / "timestream-aggregator"
ACCOUNT: Final = "operator"
HOME: Final = "operator-home"


class Operator:
    """The operator as a process of its own, as the account of the chart."""

    def __init__(self, plane: ControlPlane, folder: Path, *arguments: str) -> None:
        self._port = free_port()
        self._kubeconfig = plane.kubeconfig_of(HOME, ACCOUNT)
        command = [sys.executable, "-m", "timestream_operator", f"--health-port={self._port}"]
        self.daemon = Daemon(
            "the operator",
            [*command, f"--recorder-image={IMAGE}", *arguments],
            folder / "operator.log",
            without_proxies({"KUBECONFIG": str(self._kubeconfig), "USER": "operator"}),
        )

    def start(self) -> None:
        """Start it and wait until it is healthy."""
        self.daemon.start()
        wait_for("the operator", self._is_healthy, 60, [self.daemon])

    def stop(self) -> int:
        """End it as a kubelet does; return its exit status. Safe to repeat."""
        process = self.daemon.process
        self.daemon.stop(grace=20)
        return process.returncode if process else 0

    @property
    def log(self) -> str:
        """What it has written."""
        return self.daemon.log.read_text()

    def _is_healthy(self) -> bool:
        try:
            with urlopen(f"http://127.0.0.1:{self._port}/healthz", timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False


def operator_rules() -> list[Json]:
    """Return the rules of the chart's role for the operator: the very ones that it is installed with."""
    text = (CHART / "templates" / "_rules.tpl").read_text()
    found = re.search(r'define "tsagg.operatorRules" -}}\n(.*?){{- end', text, re.DOTALL)
    assert found, "the chart has no operatorRules"
    return yaml.safe_load(found[1])


def cluster_role() -> str:
    """Return the manifests that let the operator's account do its work in all namespaces."""
    meta: Json = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": "operator"}}
    role = {**meta, "kind": "ClusterRole", "rules": operator_rules()}
    binding = {**meta, "kind": "ClusterRoleBinding", **role_of("ClusterRole")}
    return json.dumps({"kind": "List", "apiVersion": "v1", "items": [role, binding]})


def role_of(kind: str) -> Json:
    """Return what a binding says to give the operator's account the role `operator`."""
    return {
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": "operator"},
        "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": HOME}],
    }
