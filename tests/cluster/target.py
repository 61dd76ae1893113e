"""The cluster that the demo and the end-to-end tests use, whichever it is: named, of kind, or our own node.

Every command is given a kubeconfig file of its own, so no context is touched but the one that KUBE_CONTEXT
names. kind is used as its documentation says; nobody has yet run these tests with it.
"""

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.cluster import paths
from tests.cluster.build import build
from tests.cluster.clients import version_of_server
from tests.cluster.commands import Command, aimed_at
from tests.cluster.errors import ClusterError, UnavailableError
from tests.cluster.images.ours import build_image
from tests.cluster.node.layout import Layout
from tests.cluster.node.node import Node, attach, start_node
from tests.cluster.parts import HELM, named

CONTEXT: Final = "KUBE_CONTEXT"
KIND_CLUSTER: Final = "timestream-aggregator"
AddImage = Callable[[str, Path, Path], None]


@dataclass(frozen=True, slots=True)
class Target:
    """A cluster: `title` is what people call it, `node` is there when it is our own."""

    title: str
    kubeconfig: Path
    kubectl: Command
    helm: Command
    add: AddImage
    node: Node | None = None

    def add_image(self, tag: str, dockerfile: Path, context: Path = paths.REPOSITORY) -> None:
        """Build the image of `dockerfile` and have it at hand in the cluster, under the name `tag`.

        Raises:
            ClusterError: it does not build.
            UnavailableError: we have no way to bring an image into this cluster.
        """
        self.add(tag, dockerfile, context)


def up(layout: Layout) -> Target:
    """Return the cluster for people, started if it does not run; it stays when we end."""
    if other := _other():
        return other
    return of_node(attach(layout) or start_node(layout, tied=False)[1])


def kind_at_hand() -> bool:
    """Return whether there are kind and a Docker daemon that answers."""
    return bool(shutil.which("kind") and shutil.which("docker")) and _ok(["docker", "info"])


def kind_down() -> None:
    """Delete the cluster that we made with kind, if there is one."""
    _run(["kind", "delete", "cluster", "--name", KIND_CLUSTER, "--kubeconfig", str(_kubeconfig("kind"))])


def of_node(running: Node) -> Target:
    """Return our own node as a target."""

    def add(tag: str, dockerfile: Path, context: Path) -> None:
        running.load_image(build_image(tag, dockerfile, context))

    return Target("our own node", running.kubeconfig, running.kubectl, running.helm, add, running)


def _other() -> Target | None:
    if context := os.environ.get(CONTEXT):
        return _of_context(context)
    return _of_kind() if kind_at_hand() else None


def _of_context(context: str) -> Target:
    """Return the cluster of a context of the user's kubeconfig, copied so that nothing in it can change."""
    file = _kubeconfig("context")
    view = ["config", "view", "--minify", "--flatten", "--raw", f"--context={context}"]
    file.write_text(_run([str(_any_kubectl()), *view]))
    if context.startswith("kind-") and kind_at_hand():
        return _aimed(f"the context {context}", file, _kind_loader(context.removeprefix("kind-")))
    return _aimed(f"the context {context}", file, _no_loader)


def _of_kind() -> Target:
    file = _kubeconfig("kind")
    options = ["--name", KIND_CLUSTER, "--kubeconfig", str(file)]
    if KIND_CLUSTER in _run(["kind", "get", "clusters"]).split():
        _run(["kind", "export", "kubeconfig", *options])
    else:
        _run(["kind", "create", "cluster", "--wait=180s", *options])
    return _aimed("a cluster of kind", file, _kind_loader(KIND_CLUSTER))


def _kind_loader(cluster: str) -> AddImage:
    def add(tag: str, dockerfile: Path, context: Path) -> None:
        _run(["docker", "build", "--tag", tag, "--file", str(dockerfile), str(context)])
        _run(["kind", "load", "docker-image", tag, "--name", cluster])

    return add


def _no_loader(tag: str, dockerfile: Path, _: Path) -> None:
    raise UnavailableError(
        f"the image {tag} is not in the cluster of {CONTEXT}",
        why="only its own registry brings images there",
        fix=f"Build {dockerfile.name}, push it there under the chart's name for it, and set IMAGE_REGISTRY",
    )


def _aimed(title: str, kubeconfig: Path, add: AddImage) -> Target:
    binaries = build([named("kubectl"), HELM], version_of_server(_any_kubectl(), kubeconfig))
    home = kubeconfig.parent / "home"
    kubectl, helm = (aimed_at(binaries[name], kubeconfig, home) for name in ("kubectl", "helm"))
    return Target(title, kubeconfig, kubectl, helm, add)


def _any_kubectl() -> Path:
    """Return the machine's kubectl whatever its version, else ours: enough to ask for versions and contexts."""
    found = shutil.which("kubectl")
    return Path(found) if found else build([named("kubectl")])["kubectl"]


def _kubeconfig(kind: str) -> Path:
    folder = paths.cache() / "targets"
    folder.mkdir(exist_ok=True)
    file = folder / f"{kind}.kubeconfig"
    file.touch(mode=0o600)
    return file


def _ok(command: list[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, timeout=20, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        words = " ".join(command[:3])
        raise ClusterError(f"`{words}` failed", why=done.stderr, fix="Run it by hand to see more")
    return done.stdout
