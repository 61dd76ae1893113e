"""The node's own network: one address on a pair of devices that leads nowhere, and a bridge for the pods."""

import subprocess
from pathlib import Path
from typing import Final

from tests.cluster.node.layout import GATEWAY, NODE_ADDRESS, NODE_NAME, POD_RANGE

DEVICE: Final = "node0"
CNI: Final = {
    "cniVersion": "1.0.0",
    "name": "pods",
    "plugins": [
        {
            "type": "bridge",
            "bridge": "cni0",
            "isGateway": True,
            "ipMasq": True,
            "hairpinMode": True,
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": POD_RANGE}]],
                "routes": [{"dst": "0.0.0.0/0"}],
                "dataDir": "/run/cni-addresses",
            },
        },
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ],
}


def set_up() -> None:
    """Name the host, give the node its address and a default route, and let it forward for its pods."""
    subprocess.run(["hostname", NODE_NAME], check=True)
    _ip("link", "set", "lo", "up")
    _ip("link", "add", DEVICE, "type", "veth", "peer", "name", f"{DEVICE}-peer")
    _ip("address", "add", f"{NODE_ADDRESS}/24", "dev", DEVICE)
    for device in (DEVICE, f"{DEVICE}-peer"):
        _ip("link", "set", device, "up")
    _ip("route", "add", "default", "via", GATEWAY, "dev", DEVICE)
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)
