"""Debian's packages of requirements/apt.txt: installs those that are missing, where that is possible."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from typing import Final

from tests.cluster import paths
from tests.cluster.errors import ClusterError, UnavailableError

APT: Final = ("apt-get", "-o", "DPkg::Lock::Timeout=300", "-qq")


def require_root() -> None:
    """Say in one line what needs root, and what works without.

    Raises:
        UnavailableError: we are not root.
    """
    if os.geteuid() != 0:
        raise UnavailableError(
            "the full node is not started",
            why="its namespaces, mounts and packages need root",
            fix="Run as root; for the demo name a cluster with KUBE_CONTEXT, or install docker and kind",
        )


def install_packages() -> None:
    """Install what is missing of requirements/apt.txt. Does nothing, quickly, when all of it is there."""
    missing = _missing(_wanted())
    if not missing:
        return
    require_root()
    print(f"cluster: installing {', '.join(missing)}", flush=True)
    if _install(missing) and (_apt("update") or _install(missing)):
        raise ClusterError(
            f"Debian's packages {', '.join(missing)} cannot be installed",
            why="apt-get refuses them",
            fix="Run `apt-get install` with these names to see why",
        )


def _wanted() -> list[str]:
    lines = (paths.REQUIREMENTS / "apt.txt").read_text().splitlines()
    return [name for line in lines if (name := line.partition("#")[0].strip())]


def _missing(names: Sequence[str]) -> list[str]:
    if not shutil.which("dpkg-query"):
        raise UnavailableError(
            "the full node is not started",
            why="it needs a Debian or a relative with apt",
            fix="For the demo name a cluster with KUBE_CONTEXT, or install docker and kind",
        )
    asked = subprocess.run(
        ["dpkg-query", "--show", "--showformat", "${Package} ${db:Status-Status}\n", *names],
        capture_output=True,
        text=True,
        check=False,
    )
    there = {line.split()[0] for line in asked.stdout.splitlines() if line.endswith(" installed")}
    return [name for name in names if name not in there]


def _install(names: Sequence[str]) -> int:
    return _apt("install", "--yes", "--no-install-recommends", *names)


def _apt(*arguments: str) -> int:
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    return subprocess.run(
        [*APT, *arguments], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False
    ).returncode
