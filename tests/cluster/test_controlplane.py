"""The control plane answers, knows who asks, collects garbage, and can be away for a while."""

import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.cluster import paths
from tests.cluster.clients import serves
from tests.cluster.commands import Command, CommandError
from tests.cluster.controlplane import ControlPlane, control_plane
from tests.cluster.process import wait_for

pytestmark = [pytest.mark.control_plane, pytest.mark.timeout(60, func_only=True)]

STARTER = """
import time
from tests.cluster.controlplane import control_plane
with control_plane() as plane:
    print(plane.logs, flush=True)
    time.sleep(600)
"""


def config_map(name: str, owner_uid: str = "") -> str:
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner_uid}
    metadata = {"name": name, "ownerReferences": [owner] if owner_uid else []}
    return json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})


def succeeds(command: Command, *arguments: str) -> bool:
    try:
        command(*arguments)
    except CommandError:
        return False
    return True


def test_the_api_server_answers_in_a_version_that_kubectl_serves(control_plane: ControlPlane) -> None:
    answer = json.loads(control_plane.kubectl("version", "--output=json"))
    server, client = (answer[side]["gitVersion"] for side in ("serverVersion", "clientVersion"))
    assert server.startswith("v1.")
    assert serves("kubectl", client, server)


def test_a_service_account_may_do_only_what_it_is_allowed(control_plane: ControlPlane) -> None:
    control_plane.kubectl("create", "namespace", "accounts")
    control_plane.kubectl("create", "serviceaccount", "reader", "--namespace=accounts")
    as_reader = control_plane.kubectl_as("accounts", "reader")

    with pytest.raises(CommandError, match="forbidden"):
        as_reader("get", "secrets", "--namespace=accounts")
    binding = ["--clusterrole=view", "--serviceaccount=accounts:reader"]
    control_plane.kubectl("create", "rolebinding", "view", *binding, "--namespace=accounts")
    wait_for("the role", lambda: succeeds(as_reader, "get", "pods", "--namespace=accounts"), 10)
    with pytest.raises(CommandError, match="forbidden"):
        as_reader("get", "secrets", "--namespace=accounts")


def test_children_go_with_their_owner(control_plane: ControlPlane) -> None:
    kubectl = control_plane.kubectl
    kubectl("create", "namespace", "family")
    kubectl("create", "--namespace=family", "-f", "-", input=config_map("owner"))
    uid = kubectl("get", "configmap", "owner", "--namespace=family", "--output=jsonpath={.metadata.uid}")
    kubectl("create", "--namespace=family", "-f", "-", input=config_map("child", uid))

    kubectl("delete", "configmap", "owner", "--namespace=family")

    child = ("get", "configmap", "child", "--namespace=family")
    wait_for("the garbage collector", lambda: not succeeds(kubectl, *child), 30)


def test_the_api_server_can_be_away_and_keeps_what_it_knew() -> None:
    with control_plane() as plane:
        plane.kubectl("create", "namespace", "kept")
        plane.stop_api_server()
        with pytest.raises(CommandError, match="refused"):
            plane.kubectl("get", "namespaces")

        plane.start_api_server()

        assert "kept" in plane.kubectl("get", "namespaces")


def test_nothing_is_left_when_the_starter_is_killed() -> None:
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTER], cwd=paths.REPOSITORY, stdout=subprocess.PIPE, text=True
    )
    assert starter.stdout
    folder = starter.stdout.readline().strip()
    assert processes_with(folder)

    starter.kill()
    starter.communicate()

    wait_for("the end", lambda: not processes_with(folder) and not Path(folder).exists(), 10)


def processes_with(word: str) -> list[int]:
    """Return the processes whose command line has `word`."""
    found: list[int] = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if word.encode() in file.read_bytes():
                found.append(int(file.parent.name))
    return found
