"""The images that the node itself needs: one static binary each on top of nothing."""

import hashlib
import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from tests.cluster import paths
from tests.cluster.build import Binaries
from tests.cluster.errors import ClusterError
from tests.cluster.golang import environment, find_go
from tests.cluster.images.buildah import Recipe, archive_file, build, write_archive
from tests.cluster.node.addons import COREDNS_IMAGE, PROVISIONER_IMAGE, TOOLS_IMAGE
from tests.cluster.node.config import PAUSE_IMAGE
from tests.cluster.parts import KUBERNETES

PAUSE_VERSION: Final = "3.10"
BUSYBOX: Final = Path("/bin/busybox")
APPLETS: Final = (
    *("sh", "cat", "dd", "df", "id", "kill", "ls", "mkdir", "mv", "nc", "nslookup", "ps"),
    *("rm", "sha256sum", "sleep", "stat", "touch", "true", "wget"),
)

DOCKERFILE: Final = 'FROM scratch\nCOPY root /\nENV PATH=/bin\nENTRYPOINT ["/bin/{entry}"]\n'


def make_small_images(binaries: Binaries) -> list[Path]:
    """Return the archives of pause, CoreDNS, the volume provisioner and the tools image."""
    coredns, provisioner = binaries["coredns"], binaries["local-path-provisioner"]
    return [
        _image(PAUSE_IMAGE, f"{KUBERNETES}-{PAUSE_VERSION}", _compile_pause, ["pause"]),
        _image(COREDNS_IMAGE, _content(coredns), _copy(coredns), ["coredns"]),
        _image(PROVISIONER_IMAGE, _content(provisioner), _copy(provisioner), ["local-path-provisioner"]),
        _image(TOOLS_IMAGE, _content(BUSYBOX, *APPLETS), _copy(BUSYBOX), APPLETS),
    ]


def _image(tag: str, key: str, fill: Callable[[Path], None], commands: Sequence[str]) -> Path:
    """Return the archive of an image with `commands` in /bin; those that `fill` leaves out are busybox's."""
    archive = archive_file(tag, key)
    if not archive.exists():
        with tempfile.TemporaryDirectory(dir=paths.cache()) as folder:
            _fill(Path(folder) / "root", fill, commands)
            dockerfile = Path(folder) / "Dockerfile"
            dockerfile.write_text(DOCKERFILE.format(entry=commands[0]))
            build(Recipe(tag, dockerfile, Path(folder)))
        write_archive(tag, archive)
    return archive


def _fill(root: Path, fill: Callable[[Path], None], commands: Sequence[str]) -> None:
    for name in ("bin", "tmp", "etc"):
        (root / name).mkdir(parents=True)
    fill(root / "bin")
    for name in commands:
        if not (root / "bin" / name).exists():
            (root / "bin" / name).symlink_to(BUSYBOX.name)


def _content(file: Path, *more: str) -> str:
    return hashlib.sha256(file.read_bytes() + " ".join(more).encode()).hexdigest()[:12]


def _copy(file: Path) -> Callable[[Path], None]:
    def fill(folder: Path) -> None:
        shutil.copy(file, folder)

    return fill


def _compile_pause(folder: Path) -> None:
    """Compile the pause program from its source in the pinned Kubernetes module."""
    go = find_go()
    module = json.loads(
        subprocess.run(
            [go.command, "list", "-m", "-json", "k8s.io/kubernetes"],
            cwd=paths.TOOLS / "kubernetes",
            env=environment(static=True),
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    )
    source = Path(module["Dir"]) / "build" / "pause" / "linux" / "pause.c"
    options = ["-Os", "-static", "-s", f"-DVERSION={PAUSE_VERSION}"]
    done = subprocess.run(
        ["gcc", *options, "-o", folder / "pause", source], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ClusterError("pause does not compile", why=done.stderr, fix="gcc and libc6-dev are needed")
