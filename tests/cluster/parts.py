"""The parts of a cluster: which package of which tools module each binary is, and how long it builds."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

KUBERNETES: Final = "v1.37.2"
MAJOR, MINOR = KUBERNETES.removeprefix("v").split(".")[:2]


@dataclass(frozen=True, slots=True)
class Part:
    """One binary. `seconds` is its cold build on two cores, after the parts that stand before it."""

    name: str
    module: str
    package: str
    seconds: int
    static: bool = True
    ldflags: str = ""
    tags: str = ""

    @property
    def binary(self) -> str:
        """Return what `go build` calls it: the last word of its package that is not a version."""
        return next(word for word in reversed(self.package.split("/")) if not re.fullmatch(r"v\d+", word))


def _kubernetes(name: str, seconds: int) -> Part:
    # Without a version kubectl and helm cannot tell what the server supports.
    version = "k8s.io/component-base/version.git"
    values = {"Version": KUBERNETES, "Major": MAJOR, "Minor": MINOR}
    ldflags = " ".join(f"-X {version}{key}={value}" for key, value in values.items())
    return Part(name, "kubernetes", f"k8s.io/kubernetes/cmd/{name}", seconds, static=False, ldflags=ldflags)


def _containerd(name: str, seconds: int) -> Part:
    package = f"github.com/containerd/containerd/v2/cmd/{name}"
    return Part(name, "containerd", package, seconds, tags="no_btrfs,no_zfs,no_devmapper")


def _cni(kind: str, name: str, seconds: int) -> Part:
    return Part(name, "cni", f"github.com/containernetworking/plugins/plugins/{kind}/{name}", seconds)


CONTROL_PLANE: Final[Sequence[Part]] = (
    Part("etcd", "etcd", "go.etcd.io/etcd/server/v3", 45, static=False),
    _kubernetes("kube-apiserver", 320),
    _kubernetes("kube-controller-manager", 90),
    _kubernetes("kubectl", 26),
)
CNI_PLUGINS: Final[Sequence[Part]] = (
    _cni("main", "bridge", 8),
    _cni("main", "loopback", 1),
    _cni("ipam", "host-local", 1),
    _cni("meta", "portmap", 1),
)
COREDNS: Final = Part("coredns", "coredns", "github.com/coredns/coredns", 108)
PROVISIONER: Final = Part(
    "local-path-provisioner", "local-path-provisioner", "github.com/rancher/local-path-provisioner", 79
)
HELM: Final = Part("helm", "helm", "helm.sh/helm/v4/cmd/helm", 111)
NODE: Final[Sequence[Part]] = (
    *CONTROL_PLANE,
    _kubernetes("kubelet", 40),
    _kubernetes("kube-scheduler", 14),
    _kubernetes("kube-proxy", 26),
    _containerd("containerd", 66),
    _containerd("containerd-shim-runc-v2", 1),
    _containerd("ctr", 4),
    *CNI_PLUGINS,
    HELM,
    PROVISIONER,
    COREDNS,
)


def named(name: str) -> Part:
    """Return the part called `name`."""
    return next(part for part in NODE if part.name == name)
