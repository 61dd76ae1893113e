"""The binaries of the control plane: built by us, or ready-made ones that KUBEBUILDER_ASSETS names."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.cluster.build import build
from tests.cluster.errors import ClusterError
from tests.cluster.parts import CONTROL_PLANE

READY_MADE: Final = "KUBEBUILDER_ASSETS"
NEEDED: Final = ("etcd", "kube-apiserver", "kubectl")
CONTROLLER_MANAGER: Final = "kube-controller-manager"


def control_plane_binaries() -> Mapping[str, Path]:
    """Return the binaries of the control plane by name; the controller manager may be missing.

    Raises:
        ClusterError: KUBEBUILDER_ASSETS names a folder without them, or the build fails.
        UnavailableError: there is nothing to build with.
    """
    folder = os.environ.get(READY_MADE)
    if folder:
        return _ready_made(Path(folder))
    built = build(CONTROL_PLANE)
    return {part.name: built[part.name] for part in CONTROL_PLANE}


def without() -> list[str]:
    """Return the components that the control plane lacks."""
    folder = os.environ.get(READY_MADE)
    return [CONTROLLER_MANAGER] if folder and not (Path(folder) / CONTROLLER_MANAGER).exists() else []


def _ready_made(folder: Path) -> Mapping[str, Path]:
    there = {name: folder / name for name in (*NEEDED, CONTROLLER_MANAGER) if (folder / name).exists()}
    missing = [name for name in NEEDED if name not in there]
    if missing:
        raise ClusterError(
            f"{READY_MADE}={folder}", why=f"it has no {', '.join(missing)}", fix="Correct it, or unset it"
        )
    return there
