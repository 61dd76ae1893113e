"""One running node: kubectl and helm aimed at it, images brought into it, and its inner network."""

import subprocess
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.cluster.build import Binaries, build
from tests.cluster.commands import Command, CommandError, aimed_at
from tests.cluster.components import answers
from tests.cluster.errors import ClusterError
from tests.cluster.images.small import make_small_images
from tests.cluster.node import addons, cgroups, instance
from tests.cluster.node.layout import CONTAINERD_SOCKET, NODE_ADDRESS, NODE_NAME, Layout
from tests.cluster.node.record import Record
from tests.cluster.packages import install_packages, require_root
from tests.cluster.parts import NODE
from tests.cluster.pki import retarget
from tests.cluster.process import Daemon, wait_for

START_SECONDS: Final = 120.0
READY: Final = 'jsonpath={.status.conditions[?(@.type=="Ready")].status}'


class Node:
    """A node that runs. `address` is its own, which its pods reach; see `in_network`."""

    address: Final = NODE_ADDRESS

    def __init__(self, layout: Layout, record: Record, binaries: Binaries) -> None:
        """Aim kubectl and helm at the node of `record`."""
        self.layout = layout
        self.server = f"https://127.0.0.1:{record.port}"
        self._record = record
        self._binaries = binaries
        home = layout.state / "home"
        self.kubectl: Command = aimed_at(binaries["kubectl"], self.kubeconfig, home)
        self.helm: Command = aimed_at(binaries["helm"], self.kubeconfig, home)

    @property
    def kubeconfig(self) -> Path:
        """Return the administrator's kubeconfig, for use from this machine."""
        return self.layout.state / "admin.kubeconfig"

    @property
    def ca(self) -> Path:
        """Return the certificate that the API server's is signed with."""
        return self.layout.pki / "ca.crt"

    def in_network(self, command: Sequence[str]) -> list[str]:
        """Return `command` as it runs in the node's network, with this machine's files and our folder.

        What listens there on all addresses is reached by pods at `address`.
        """
        return ["nsenter", f"--target={self._wall}", "--net", "--", *command]

    def load_image(self, archive: Path) -> None:
        """Import an OCI archive, unless this very archive has been imported before.

        Raises:
            ClusterError: containerd refuses it.
        """
        mark = self.layout.containerd / f".imported.{archive.stem}"
        if mark.exists():
            return
        done = self._ctr("images", "import", str(archive))
        if done.returncode:
            raise ClusterError(
                f"{archive.name} is not imported", why=done.stderr, fix=f"Logs: {self.layout.logs}"
            )
        for older in mark.parent.glob(f"{mark.name.partition('@')[0]}@*"):
            older.unlink()
        mark.touch()

    def processes(self, pod_uid: str) -> list[int]:
        """Return the processes of a pod by this machine's numbers, for signals from outside."""
        return cgroups.processes(self._record.folders(), pod_uid)

    def containerd_answers(self) -> bool:
        """Return whether containerd can be asked."""
        return self._ctr("version").returncode == 0

    @property
    def _wall(self) -> int:
        assert self._record.wall
        return self._record.wall.pid

    def _ctr(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        inside = ["nsenter", f"--target={self._wall}", "--net", "--mount", "--", str(self._binaries["ctr"])]
        command = [*inside, f"--address={CONTAINERD_SOCKET}", "--namespace=k8s.io", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)


@contextmanager
def node(layout: Layout | None = None) -> Generator[Node]:
    """Run a full node until the end of the block, or of this process; leave nothing behind but its images.

    Raises:
        ClusterError: it does not start, or runs already.
        UnavailableError: this machine cannot run it.
    """
    started, running = start_node(layout or Layout.of_tests(), tied=True)
    try:
        yield running
    finally:
        started.stop()


def start_node(layout: Layout, *, tied: bool) -> tuple[instance.Instance, Node]:
    """Build what is missing, start the node and return it when pods with volumes can run on it."""
    require_root()
    install_packages()
    binaries = build(NODE)
    images = make_small_images(binaries)
    started = instance.start(layout, binaries, tied=tied)
    try:
        running = Node(layout, started.record, binaries)
        _bring_up(running, images, started.wall)
    except BaseException:
        started.stop()
        raise
    return started, running


def attach(layout: Layout) -> Node | None:
    """Return the node if it runs already."""
    record = instance.running(layout)
    return Node(layout, record, build(NODE)) if record else None


def _bring_up(running: Node, images: Sequence[Path], wall: Daemon) -> None:
    wait_for("containerd", running.containerd_answers, START_SECONDS, [wall])
    for archive in images:
        running.load_image(archive)
    wait_for("the node's start", running.layout.started.exists, START_SECONDS, [wall])
    retarget(running.layout.pki / "admin.kubeconfig", running.server, running.kubeconfig)
    wait_for("the API server", lambda: answers(f"{running.server}/readyz", running.ca), START_SECONDS, [wall])
    running.kubectl("apply", "--server-side", "--filename=-", input=addons.manifests(running.layout))
    wait_for("the node", lambda: _ready(running), START_SECONDS, [wall])
    for name in (addons.DNS, addons.STORAGE):
        running.kubectl(
            "rollout", "status", f"deployment/{name}", "--namespace=kube-system", "--timeout=120s"
        )


def _ready(running: Node) -> bool:
    try:
        said = running.kubectl("get", "node", NODE_NAME, f"--output={READY}")
    except CommandError:
        return False
    return said == "True"
