"""Moves a tools module to another version: `python -m tests.cluster.pin MODULE VERSION`, such as `helm v4.3.1`.

The packages are those of parts.py. Kubernetes' own staging modules are replaced by their published versions, which
its go.mod does by folders that a dependent does not have. For Kubernetes, set KUBERNETES in parts.py to it first.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.cluster import paths
from tests.cluster.golang import Go, environment, find_go
from tests.cluster.parts import NODE

HOME = "timestream.dev/cluster-tools"


def pin(module: str, version: str) -> None:
    """Write go.mod and go.sum of one tools module anew.

    Raises:
        subprocess.CalledProcessError: Go finds no such version.
    """
    folder = paths.TOOLS / module
    folder.mkdir(exist_ok=True)
    go = find_go()
    (folder / "go.mod").write_text(f"module {HOME}/{module}\n\ngo 1.26.0\n")
    (folder / "go.sum").unlink(missing_ok=True)
    if module == "kubernetes":
        _replace_staging(go, folder, version)
    for part in NODE:
        if part.module == module:
            _go(go, folder, ["get", "-tool", f"{part.package}@{version}"])
    _go(go, folder, ["mod", "tidy"])


def _replace_staging(go: Go, folder: Path, version: str) -> None:
    published = version.replace("v1.", "v0.", 1)
    downloaded = _json(go, folder, ["mod", "download", "-json", f"k8s.io/kubernetes@{version}"])
    theirs = _json(go, folder, ["mod", "edit", "-json", downloaded["GoMod"]])
    staged = [
        line["Old"]["Path"] for line in theirs["Replace"] if line["New"]["Path"].startswith("./staging")
    ]
    _go(go, folder, ["mod", "edit", *(f"-replace={path}={path}@{published}" for path in staged)])


def _json(go: Go, folder: Path, arguments: Sequence[str]) -> dict[str, Any]:
    return json.loads(_go(go, folder, arguments))


def _go(go: Go, folder: Path, arguments: Sequence[str]) -> str:
    command = [go.command, *arguments]
    environ = environment(static=True)
    return subprocess.run(
        command, cwd=folder, env=environ, stdout=subprocess.PIPE, text=True, check=True
    ).stdout


if __name__ == "__main__":
    pin(sys.argv[1], sys.argv[2])
