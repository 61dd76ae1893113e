"""The configuration files of containerd, kubelet and kube-proxy; JSON is YAML, too."""

import json
import shutil
from pathlib import Path
from typing import Final

from tests.cluster.components import DOMAIN
from tests.cluster.node.layout import (
    CONTAINERD_SOCKET,
    DNS_SERVICE,
    NODE_ADDRESS,
    NODE_NAME,
    POD_RANGE,
    Layout,
)
from tests.cluster.node.network import CNI
from tests.cluster.parts import CNI_PLUGINS

PAUSE_IMAGE: Final = "localhost/pause:1"
# restrict_oom_score_adj and oom_score: not every root may lower that of a process.
CONTAINERD: Final = """\
version = 3
root = {root}
state = "/run/containerd"
oom_score = 0
disabled_plugins = ["io.containerd.nri.v1.nri"]
[grpc]
  address = {socket}
[plugins.'io.containerd.cri.v1.images']
  snapshotter = "overlayfs"
  [plugins.'io.containerd.cri.v1.images'.pinned_images]
    sandbox = {pause}
[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
  [plugins.'io.containerd.cri.v1.runtime'.containerd]
    default_runtime_name = "runc"
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
        BinaryName = "runc"
        SystemdCgroup = false
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = {plugins}
    conf_dir = {cni}
[plugins.'io.containerd.grpc.v1.cri']
  stream_server_address = "127.0.0.1"
"""


def write_all(layout: Layout) -> None:
    """Write every file below the state folder; the plugins are found on PATH."""
    cni = layout.state / "cni"
    cni.mkdir()
    _write(cni / "pods.conflist", CNI)
    (layout.state / "resolv.conf").write_text(f"nameserver {NODE_ADDRESS}\n")
    (layout.state / "containerd.toml").write_text(_containerd(layout, cni))
    _write(layout.state / "kubelet.json", _kubelet(layout))
    _write(layout.state / "proxy.json", _proxy(layout))


def _write(file: Path, document: object) -> None:
    file.write_text(json.dumps(document, indent=1))


def _containerd(layout: Layout, cni: Path) -> str:
    found = [shutil.which(plugin.name) for plugin in CNI_PLUGINS]
    return CONTAINERD.format(
        root=json.dumps(str(layout.containerd)),
        socket=json.dumps(CONTAINERD_SOCKET),
        pause=json.dumps(PAUSE_IMAGE),
        plugins=json.dumps([str(Path(plugin).parent) for plugin in found if plugin]),
        cni=json.dumps(str(cni)),
    )


def _kubelet(layout: Layout) -> dict[str, object]:
    enough = {"memory.available": "100Mi", **dict.fromkeys(("nodefs.available", "imagefs.available"), "1%")}
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": NODE_ADDRESS,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(layout.pki / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(layout.pki / "kubelet-serving.crt"),
        "tlsPrivateKeyFile": str(layout.pki / "kubelet-serving.key"),
        "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": False,
        "failSwapOn": False,
        "oomScoreAdj": 0,
        "maxOpenFiles": 20000,
        "clusterDNS": [DNS_SERVICE],
        "clusterDomain": DOMAIN,
        "resolvConf": str(layout.state / "resolv.conf"),
        "podLogsDir": str(layout.state / "pod-logs"),
        "volumePluginDir": str(layout.state / "volume-plugins"),
        "evictionHard": enough | {"nodefs.inodesFree": "1%"},
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "crashLoopBackOff": {"maxContainerRestartPeriod": "2s"},
        "nodeStatusUpdateFrequency": "5s",
    }


def _proxy(layout: Layout) -> dict[str, object]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": str(layout.pki / "proxy.kubeconfig")},
        "mode": "iptables",
        "clusterCIDR": POD_RANGE,
        "hostnameOverride": NODE_NAME,
        "bindAddress": NODE_ADDRESS,
        "healthzBindAddress": "127.0.0.1:10256",
        "metricsBindAddress": "127.0.0.1:10249",
        # The machine's limits of tracked connections are not ours to change.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    }
