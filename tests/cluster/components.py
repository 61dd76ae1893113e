"""The command lines of etcd, the API server and the controller manager, alike on both levels."""

import ssl
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.cluster.pki import SERVICE_NAMES, Pki

SERVICE_RANGE: Final = "10.96.0.0/24"
KUBERNETES_SERVICE: Final = "10.96.0.1"
DOMAIN: Final = "cluster.local"


@dataclass(frozen=True, slots=True)
class Place:
    """Where one control plane listens and keeps its files."""

    folder: Path
    bind: str
    advertise: str
    port: int
    etcd_port: int

    @property
    def etcd_url(self) -> str:
        """Return where etcd answers."""
        return f"http://127.0.0.1:{self.etcd_port}"


def flags(command: Path | str, options: Mapping[str, object]) -> list[str]:
    """Return a command line of `--name=value`."""
    return [str(command), *(f"--{name}={value}" for name, value in options.items())]


def control_plane_keys(pki: Pki, addresses: Sequence[str], server: str) -> None:
    """Make the keys of the API server, of the controller manager and of the administrator."""
    names = [*SERVICE_NAMES, f"{SERVICE_NAMES[-1]}.{DOMAIN}", "localhost"]
    ips = [KUBERNETES_SERVICE, "127.0.0.1", *addresses]
    pki.serve("apiserver", "/CN=kube-apiserver", [*(f"DNS:{n}" for n in names), *(f"IP:{i}" for i in ips)])
    pki.client("admin", "/O=system:masters/CN=admin")
    pki.client("controller-manager", "/CN=system:kube-controller-manager")
    for name in ("admin", "controller-manager"):
        pki.kubeconfig(name, server)


def etcd(command: Path | str, place: Place) -> list[str]:
    """Return the command of etcd: one member, forgotten at the end, so nothing is synced to disk."""
    peer = "http://127.0.0.1:0"  # there are no peers
    return flags(
        command,
        {
            "data-dir": place.folder / "etcd",
            "listen-client-urls": place.etcd_url,
            "advertise-client-urls": place.etcd_url,
            "listen-peer-urls": peer,
            "initial-advertise-peer-urls": peer,
            "initial-cluster": f"default={peer}",
            "unsafe-no-fsync": "true",
            "log-level": "warn",
        },
    )


def kube_apiserver(command: Path | str, place: Place, pki: Pki, more: Mapping[str, object]) -> list[str]:
    """Return the command of the API server, with the admission that a cluster has by default."""
    options: dict[str, object] = {
        "etcd-servers": place.etcd_url,
        "bind-address": place.bind,
        "advertise-address": place.advertise,
        "secure-port": place.port,
        "tls-cert-file": pki.certificate("apiserver"),
        "tls-private-key-file": pki.key("apiserver"),
        "client-ca-file": pki.ca,
        "authorization-mode": "Node,RBAC",
        "enable-admission-plugins": "NodeRestriction",
        "service-cluster-ip-range": SERVICE_RANGE,
        "service-account-issuer": f"https://{SERVICE_NAMES[-1]}.{DOMAIN}",
        "service-account-key-file": pki.folder / "service-accounts.pub",
        "service-account-signing-key-file": pki.key("service-accounts"),
        "allow-privileged": "true",
        "v": 1,
    }
    return flags(command, options | dict(more))


def kube_controller_manager(command: Path | str, pki: Pki, more: Mapping[str, object]) -> list[str]:
    """Return the command of the controller manager.

    Its default of 20 requests a second makes the default ServiceAccount of a new namespace come 5 s late.
    """
    kubeconfig = pki.folder / "controller-manager.kubeconfig"
    options: dict[str, object] = {
        "kubeconfig": kubeconfig,
        "authentication-kubeconfig": kubeconfig,
        "authorization-kubeconfig": kubeconfig,
        "root-ca-file": pki.ca,
        "service-account-private-key-file": pki.key("service-accounts"),
        "cluster-signing-cert-file": pki.ca,
        "cluster-signing-key-file": pki.key("ca"),
        "use-service-account-credentials": "true",
        "leader-elect": "false",
        "bind-address": "127.0.0.1",
        "kube-api-qps": 200,
        "kube-api-burst": 400,
        "v": 1,
    }
    return flags(command, options | dict(more))


def answers(url: str, ca: Path | None = None) -> bool:
    """Return whether a GET of `url` succeeds now."""
    trust = ssl.create_default_context(cafile=str(ca)) if ca else None
    no_proxy, https = urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trust)
    try:
        with urllib.request.build_opener(no_proxy, https).open(url, timeout=2) as response:
            return bool(response.status == 200)
    except OSError:
        return False
