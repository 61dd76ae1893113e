"""The commands of all components of the node, in the order in which they start."""

from tests.cluster.components import (
    control_plane_keys,
    etcd,
    flags,
    kube_apiserver,
    kube_controller_manager,
)
from tests.cluster.node.layout import API_PORT, KUBELET, NODE_ADDRESS, NODE_NAME, Layout
from tests.cluster.pki import Pki

SERVER = f"https://{NODE_ADDRESS}:{API_PORT}"


def make_keys(layout: Layout) -> Pki:
    """Make the keys and kubeconfigs of every component."""
    pki = Pki(layout.pki)
    control_plane_keys(pki, [NODE_ADDRESS], SERVER)
    node = f"/O=system:nodes/CN=system:node:{NODE_NAME}"
    pki.serve("kubelet-serving", node, [f"DNS:{NODE_NAME}", f"IP:{NODE_ADDRESS}"])
    pki.client("apiserver-kubelet", "/O=system:masters/CN=kube-apiserver-kubelet-client")
    subjects = {"kubelet": node, "scheduler": "/CN=system:kube-scheduler", "proxy": "/CN=system:kube-proxy"}
    for name, subject in subjects.items():
        pki.client(name, subject)
        pki.kubeconfig(name, SERVER)
    return pki


def commands(layout: Layout, pki: Pki) -> dict[str, list[str]]:
    """Return each component's command by its name."""
    return {
        "containerd": ["containerd", "--config", str(layout.state / "containerd.toml")],
        "etcd": etcd("etcd", layout.place),
        "kube-apiserver": kube_apiserver("kube-apiserver", layout.place, pki, _to_kubelet(pki)),
        "kube-controller-manager": kube_controller_manager(
            "kube-controller-manager", pki, {"flex-volume-plugin-dir": layout.state / "volume-plugins"}
        ),
        "kube-scheduler": _scheduler(pki),
        "kubelet": _kubelet(layout),
        "kube-proxy": flags("kube-proxy", {"config": layout.state / "proxy.json"}),
    }


def _to_kubelet(pki: Pki) -> dict[str, object]:
    return {
        "kubelet-client-certificate": pki.certificate("apiserver-kubelet"),
        "kubelet-client-key": pki.key("apiserver-kubelet"),
        "kubelet-certificate-authority": pki.ca,
        "kubelet-preferred-address-types": "InternalIP",
    }


def _scheduler(pki: Pki) -> list[str]:
    kubeconfig = pki.folder / "scheduler.kubeconfig"
    names = ("kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig")
    options = dict.fromkeys(names, kubeconfig) | {"leader-elect": "false", "bind-address": "127.0.0.1"}
    return flags("kube-scheduler", options)


def _kubelet(layout: Layout) -> list[str]:
    options = {
        "config": layout.state / "kubelet.json",
        "kubeconfig": layout.pki / "kubelet.kubeconfig",
        "root-dir": KUBELET,
        "cert-dir": layout.state / "kubelet-keys",
        "hostname-override": NODE_NAME,
        "node-ip": NODE_ADDRESS,
        "v": 2,
    }
    return flags("kubelet", options)
