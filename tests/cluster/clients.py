"""The machine's own kubectl and helm, where their versions serve: nothing is compiled in their place."""

import json
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Final

from tests.cluster.errors import ClusterError
from tests.cluster.parts import KUBERNETES

Version = tuple[int, int]
SKEW: Final = 1  # Kubernetes supports a kubectl one minor version older or newer than the API server
OLDEST_HELM: Final = (3, 16)  # without a cluster it takes 1.31 for granted, the oldest that the chart is for
NEWEST_HELM: Final = 4  # the major version; the chart's tests pass with 3.22 and 4.3
ASK: Final = {
    "kubectl": ("version", "--client", "--output=json"),
    "helm": ("version", "--template={{.Version}}"),
}


def on_path(name: str, server: str = KUBERNETES) -> Path | None:
    """Return the program on PATH, if it is kubectl or helm and serves a cluster of version `server`."""
    program = shutil.which(name) if name in ASK else None
    said = _ask(program, *ASK[name]) if program else ""
    return Path(program) if program and serves(name, said, server) else None


def serves(name: str, said: str, server: str) -> bool:
    """Return whether the kubectl or helm that says `said` of its version serves a cluster of version `server`."""
    client, cluster = version_in(said), version_in(server)
    if client is None or cluster is None:
        return False
    if name == "helm":
        return client >= OLDEST_HELM and client[0] <= NEWEST_HELM
    return client[0] == cluster[0] and abs(client[1] - cluster[1]) <= SKEW


def version_in(text: str) -> Version | None:
    """Return major and minor of the first version in `text`, such as `v1.37.2`."""
    found = re.search(r"\bv(\d+)\.(\d+)\.\d+", text)
    return (int(found[1]), int(found[2])) if found else None


def version_of_server(kubectl: Path, kubeconfig: Path) -> str:
    """Return the version of the cluster of `kubeconfig`, such as `v1.37.2`; any kubectl can ask for it.

    Raises:
        ClusterError: the cluster does not answer.
    """
    asked = subprocess.run(
        [kubectl, f"--kubeconfig={kubeconfig}", "version", "--output=json", "--request-timeout=20s"],
        capture_output=True,
        text=True,
        check=False,
    )
    if asked.returncode:
        raise ClusterError("the cluster does not answer", why=asked.stderr, fix="Try it with kubectl")
    answer: str = json.loads(asked.stdout)["serverVersion"]["gitVersion"]
    return answer


@cache
def _ask(program: str, *words: str) -> str:
    asked = subprocess.run([program, *words], capture_output=True, text=True, check=False)
    return asked.stdout if asked.returncode == 0 else ""
