"""The control plane level: etcd, API server and controller manager on loopback, in seconds, without root.

Pods stay Pending: there is no node. Everything else of the API is real: CRDs, server-side apply, RBAC,
admission policies, garbage collection, StatefulSets.
"""

import json
import tempfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from tests.cluster.assets import CONTROLLER_MANAGER, control_plane_binaries
from tests.cluster.commands import Command, CommandError, aimed_at
from tests.cluster.components import (
    Place,
    answers,
    control_plane_keys,
    etcd,
    kube_apiserver,
    kube_controller_manager,
)
from tests.cluster.leash import Leash
from tests.cluster.pki import Pki, write_kubeconfig
from tests.cluster.process import Daemon, free_port, wait_for, without_proxies

LOOPBACK: Final = "127.0.0.1"
START_SECONDS: Final = 60.0


class ControlPlane:
    """A running control plane."""

    def __init__(
        self, folder: Path, binaries: Mapping[str, Path], leash: Leash, plugins: Sequence[str]
    ) -> None:
        """Prepare keys and command lines in `folder`; nothing is started yet."""
        self._leash = leash
        self._folder = folder
        self._place = Place(folder, LOOPBACK, LOOPBACK, free_port(), free_port())
        self._pki = Pki(folder / "pki")
        control_plane_keys(self._pki, [], self.server)
        self._daemons = _daemons(self._place, self._pki, binaries, plugins)
        self.kubectl: Command = aimed_at(binaries["kubectl"], self.kubeconfig, folder / "home")

    @property
    def server(self) -> str:
        """Return the URL of the API server."""
        return f"https://{LOOPBACK}:{self._place.port}"

    @property
    def ca(self) -> Path:
        """Return the certificate that the API server's is signed with."""
        return self._pki.ca

    @property
    def kubeconfig(self) -> Path:
        """Return the administrator's kubeconfig."""
        return self._pki.folder / "admin.kubeconfig"

    @property
    def logs(self) -> Path:
        """Return the folder of the components' logs."""
        return self._folder

    def start(self) -> None:
        """Start everything and wait until a namespace is usable.

        Raises:
            ClusterError: a component died or is not ready in time.
        """
        store = self._daemons["etcd"]
        self._run(store)
        wait_for("etcd", lambda: answers(f"{self._place.etcd_url}/readyz"), START_SECONDS, [store])
        self.start_api_server()
        if CONTROLLER_MANAGER in self._daemons:
            manager = self._daemons[CONTROLLER_MANAGER]
            self._run(manager)
            wait_for("the default ServiceAccount", self._usable, START_SECONDS, [manager])

    def start_api_server(self) -> None:
        """Start the API server, on the same port as before, and wait until it is ready."""
        server = self._daemons["kube-apiserver"]
        if not server.alive():
            self._run(server)
        wait_for("the API server", lambda: answers(f"{self.server}/readyz", self.ca), START_SECONDS, [server])

    def stop_api_server(self) -> None:
        """End the API server: connections to its port are refused until it is started again."""
        self._end(self._daemons["kube-apiserver"], grace=1)  # it would wait for its watchers

    def stop(self) -> None:
        """End everything. Safe to repeat."""
        for daemon in reversed(list(self._daemons.values())):
            self._end(daemon)

    def serve(self, crd: Path) -> None:
        """Have the API server serve the resource of `crd`; what it defines is usable afterwards."""
        self.kubectl("apply", "--server-side", "-f", str(crd))
        wait_for("the CRD", lambda: self._is_served(crd), START_SECONDS)

    def _is_served(self, crd: Path) -> bool:
        """A new CRD has no conditions for a moment, which neither `kubectl wait` nor a JSONPath can bear."""
        found = json.loads(self.kubectl("get", "-f", str(crd), "--output=json"))
        conditions: list[dict[str, str]] = found.get("status", {}).get("conditions") or []
        return any(c["type"] == "Established" and c["status"] == "True" for c in conditions)

    def token(self, namespace: str, account: str, seconds: int = 3600) -> str:
        """Return a token of a ServiceAccount, valid for `seconds` (600 at least)."""
        return self.kubectl(
            "create", "token", account, f"--namespace={namespace}", f"--duration={seconds}s"
        ).strip()

    def kubeconfig_of(self, namespace: str, account: str) -> Path:
        """Write and return a kubeconfig that can do what the ServiceAccount may, for an hour."""
        file = self._folder / f"{namespace}.{account}.kubeconfig"
        return write_kubeconfig(file, self.server, self.ca, {"token": self.token(namespace, account)})

    def kubectl_as(self, namespace: str, account: str) -> Command:
        """Return a kubectl that acts as the ServiceAccount."""
        return aimed_at(self.kubectl.program, self.kubeconfig_of(namespace, account), self._folder / "home")

    def _usable(self) -> bool:
        try:
            self.kubectl("get", "serviceaccount", "default", "--namespace=default")
        except CommandError:
            return False
        return True

    def _run(self, daemon: Daemon) -> None:
        daemon.start()
        self._leash.hold(daemon.pid)

    def _end(self, daemon: Daemon, grace: float = 5) -> None:
        group = daemon.pid
        daemon.stop(grace)
        if group:
            self._leash.release(group)


@contextmanager
def control_plane(admission_plugins: Sequence[str] = ()) -> Generator[ControlPlane]:
    """Run a control plane of one's own until the end of the block, and leave nothing behind.

    Args:
        admission_plugins: more than a cluster has by default, such as `OwnerReferencesPermissionEnforcement`.

    Raises:
        ClusterError: it does not start.
        UnavailableError: this machine has neither its binaries nor what it takes to build them.
    """
    binaries = control_plane_binaries()
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="timestream-control-plane-"))
        plane = ControlPlane(folder, binaries, stack.enter_context(Leash(folder)), admission_plugins)
        stack.callback(plane.stop)
        plane.start()
        yield plane


def _daemons(
    place: Place, pki: Pki, binaries: Mapping[str, Path], plugins: Sequence[str]
) -> Mapping[str, Daemon]:
    admission = {"enable-admission-plugins": ",".join(["NodeRestriction", *plugins])}
    alone = {"endpoint-reconciler-type": "none"}  # a loopback address can be no endpoint
    commands = {
        "etcd": etcd(binaries["etcd"], place),
        "kube-apiserver": kube_apiserver(binaries["kube-apiserver"], place, pki, admission | alone),
    }
    if CONTROLLER_MANAGER in binaries:
        ports = {"secure-port": free_port()}
        commands[CONTROLLER_MANAGER] = kube_controller_manager(binaries[CONTROLLER_MANAGER], pki, ports)
    return {
        name: Daemon(name, command, place.folder / f"{name}.log", without_proxies())
        for name, command in commands.items()
    }
