"""The one door to buildah: builds in a storage of our own, and writes archives that a node can import."""

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.cluster import paths
from tests.cluster.errors import ClusterError

ISOLATION: Final = ("--isolation=chroot", "--network=host", "--layers", "--pull-never")


@dataclass(frozen=True, slots=True)
class Recipe:
    """A Dockerfile, its context, and the name of what comes out."""

    tag: str
    dockerfile: Path
    context: Path
    arguments: Mapping[str, str] = field(default_factory=dict[str, str])


def exists(tag: str) -> bool:
    """Return whether there is an image of that name."""
    return _run(["inspect", "--type=image", tag]).returncode == 0


def build(recipe: Recipe) -> None:
    """Build an image; steps that have not changed come from the cache.

    Raises:
        ClusterError: a step fails.
    """
    arguments = [f"--build-arg={name}={value}" for name, value in recipe.arguments.items()]
    files = ["--file", str(recipe.dockerfile), "--tag", recipe.tag]
    _buildah(["bud", *ISOLATION, *arguments, *files, str(recipe.context)], recipe.tag)


def archive_of(tag: str) -> Path:
    """Return an OCI archive of an image that was built; the one at hand if the image is still the same."""
    identity = _buildah(["inspect", "--type=image", "--format={{.FromImageID}}", tag], tag).strip()
    archive = archive_file(tag, identity[:12])
    if not archive.exists():
        write_archive(tag, archive)
    return archive


def archive_file(tag: str, key: str) -> Path:
    """Return where the archive of an image with that content belongs."""
    return archives() / f"{re.sub(r'[^a-zA-Z0-9.-]+', '_', tag)}@{key}.tar"


def archives() -> Path:
    """Return the folder of the archives."""
    folder = paths.cache() / "images"
    folder.mkdir(exist_ok=True)
    return folder


def write_archive(tag: str, archive: Path) -> None:
    """Write the archive, and delete those of the same name's earlier images."""
    unfinished = archive.with_suffix(f".{os.getpid()}")
    try:
        _buildah(["push", "--quiet", tag, f"oci-archive:{unfinished}:{tag}"], tag)
        for file in archives().glob(f"{archive.name.partition('@')[0]}@*.tar"):
            file.unlink(missing_ok=True)
        unfinished.rename(archive)
    finally:
        unfinished.unlink(missing_ok=True)


def _buildah(arguments: Sequence[str], tag: str) -> str:
    done = _run(arguments)
    if done.returncode:
        log = paths.cache() / "buildah.failed.log"
        log.write_text(done.stdout + done.stderr)
        last = next(reversed((done.stderr or done.stdout).strip().splitlines()), "no message")
        raise ClusterError(f"the image {tag} does not build", why=last, fix=f"The whole message is in {log}")
    return done.stdout


def _run(arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    home = paths.cache() / "buildah"
    storage = ["--root", str(home / "storage"), "--runroot", str(home / "run"), "--storage-driver", "overlay"]
    return subprocess.run(["buildah", *storage, *arguments], capture_output=True, text=True, check=False)
