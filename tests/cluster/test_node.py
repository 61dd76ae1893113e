"""The node runs real pods: restricted, with volumes, names and a network, from images that were built here."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from tests.cluster.commands import CommandError
from tests.cluster.images.ours import build_image
from tests.cluster.node.addons import TOOLS_IMAGE
from tests.cluster.node.node import Node
from tests.cluster.process import wait_for

pytestmark = [pytest.mark.node, pytest.mark.timeout(120, func_only=True)]

RESTRICTED = "pod-security.kubernetes.io/enforce=restricted"
SERVER = """
import socket
with socket.create_server(("0.0.0.0", 0)) as server:
    server.settimeout(60)
    print(server.getsockname()[1], flush=True)
    server.accept()[0].sendall(b"seen from a pod")
"""
DOCKERFILE = """
ARG BASE_IMAGE=python:3.11-slim-bookworm
FROM ${BASE_IMAGE}
RUN python -m venv /venv && /venv/bin/pip install --no-cache-dir iniconfig
USER 10001
ENTRYPOINT ["/venv/bin/python", "-c", "import iniconfig, os; print(iniconfig.__name__, os.getuid())"]
"""
CLAIM = {
    "apiVersion": "v1",
    "kind": "PersistentVolumeClaim",
    "metadata": {"name": "data"},
    "spec": {"accessModes": ["ReadWriteOncePod"], "resources": {"requests": {"storage": "10Mi"}}},
}


@pytest.fixture
def namespace(cluster_node: Node, request: pytest.FixtureRequest) -> str:
    """Make a namespace that admits restricted pods only."""
    name = request.node.name.replace("_", "-")[:63].strip("-")
    cluster_node.kubectl("create", "namespace", name)
    cluster_node.kubectl("label", "namespace", name, RESTRICTED)
    account = ("get", "serviceaccount", "default", f"--namespace={name}")
    wait_for("the account", lambda: "default" in cluster_node.kubectl(*account, "--ignore-not-found"), 10)
    return name


def pod(image: str, command: list[str] | None, *, claim: bool = False) -> str:
    container: dict[str, object] = {
        "name": "main",
        "image": image,
        "imagePullPolicy": "Never",
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    if command:
        container["command"] = command
    user = {"runAsUser": 10001, "runAsNonRoot": True, "fsGroup": 10001}
    spec: dict[str, object] = {
        "restartPolicy": "OnFailure",
        "securityContext": user | {"seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
    }
    if claim:
        container["volumeMounts"] = [{"name": "data", "mountPath": "/data"}]
        spec["volumes"] = [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "main"}, "spec": spec})


def run(node: Node, namespace: str, manifest: str) -> str:
    """Run a pod to its end and return what it printed."""
    start(node, namespace, manifest, "jsonpath={.status.phase}=Succeeded")
    return node.kubectl("logs", "main", f"--namespace={namespace}")


def start(node: Node, namespace: str, manifest: str, condition: str) -> None:
    node.kubectl("create", f"--namespace={namespace}", "--filename=-", input=manifest)
    node.kubectl("wait", "pod/main", f"--for={condition}", f"--namespace={namespace}", "--timeout=60s")


def status(node: Node, namespace: str) -> Mapping[str, object]:
    found = json.loads(node.kubectl("get", "pod", "main", f"--namespace={namespace}", "--output=json"))
    return {"uid": found["metadata"]["uid"], **found["status"]["containerStatuses"][0]}


def test_a_restricted_pod_writes_to_a_claim_of_its_own(cluster_node: Node, namespace: str) -> None:
    cluster_node.kubectl("create", f"--namespace={namespace}", "--filename=-", input=json.dumps(CLAIM))
    script = "id -u; echo kept > /data/file; cat /data/file"

    printed = run(cluster_node, namespace, pod(TOOLS_IMAGE, ["sh", "-c", script], claim=True))

    assert printed.split() == ["10001", "kept"]
    kept = list(cluster_node.layout.volumes.glob(f"*{namespace}*/file"))
    assert [file.read_text() for file in kept] == ["kept\n"]


def test_a_pod_that_is_not_restricted_is_refused(cluster_node: Node, namespace: str) -> None:
    with pytest.raises(CommandError, match="violates PodSecurity"):
        cluster_node.kubectl("run", "main", f"--image={TOOLS_IMAGE}", f"--namespace={namespace}")


def test_a_pod_finds_services_by_name(cluster_node: Node, namespace: str) -> None:
    command = ["nslookup", "kube-dns.kube-system.svc.cluster.local"]
    assert "10.96.0.10" in run(cluster_node, namespace, pod(TOOLS_IMAGE, command))


def test_a_pod_reaches_what_listens_on_the_node(cluster_node: Node, namespace: str) -> None:
    command = cluster_node.in_network([sys.executable, "-c", SERVER])
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        port = server.stdout.readline().strip()
        printed = run(cluster_node, namespace, pod(TOOLS_IMAGE, ["nc", cluster_node.address, port]))
    assert printed == "seen from a pod"


def test_a_process_of_a_pod_can_be_killed_from_outside_and_starts_again(
    cluster_node: Node, namespace: str
) -> None:
    script = "trap : TERM; while :; do sleep 1; done"
    start(cluster_node, namespace, pod(TOOLS_IMAGE, ["sh", "-c", script]), "condition=Ready")
    before = status(cluster_node, namespace)
    uid = str(before["uid"])

    for process in cluster_node.processes(uid):
        with suppress(FileNotFoundError, ProcessLookupError):  # its `sleep` comes and goes
            if b"trap" in Path(f"/proc/{process}/cmdline").read_bytes():
                os.kill(process, signal.SIGKILL)

    wait_for("the restart", lambda: status(cluster_node, namespace)["restartCount"] == 1, 30)


@pytest.fixture
def toy(cluster_node: Node, tmp_path: Path) -> str:
    """Build an image with a wheel, which may take minutes the first time, and return its name."""
    dockerfile = tmp_path / "Dockerfile"
    dockerfile.write_text(DOCKERFILE)
    cluster_node.load_image(build_image("localhost/toy:1", dockerfile, tmp_path))
    return "localhost/toy:1"


def test_an_image_with_wheels_is_built_and_runs(cluster_node: Node, namespace: str, toy: str) -> None:
    assert run(cluster_node, namespace, pod(toy, None)) == "iniconfig 10001\n"
