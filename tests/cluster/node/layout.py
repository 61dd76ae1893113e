"""Where one node keeps its files, and the addresses in its network: what both sides of its wall agree on."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.cluster import paths
from tests.cluster.components import Place
from tests.cluster.errors import ClusterError

NODE_NAME: Final = "node1"
NODE_ADDRESS: Final = "10.99.0.2"
GATEWAY: Final = "10.99.0.1"  # nobody is there: a default route has to lead somewhere
POD_RANGE: Final = "10.244.0.0/24"
DNS_SERVICE: Final = "10.96.0.10"
API_PORT: Final = 6443
CONTAINERD_SOCKET: Final = "/run/containerd/containerd.sock"
KUBELET: Final = Path("/run/kubelet")  # its folder, as the node sees it
COVERED: Final = ("/run", "/var/lib", "/var/log")  # the node puts its own over these


@dataclass(frozen=True, slots=True)
class Layout:
    """The folders of the node called `name`."""

    name: str

    @classmethod
    def of_tests(cls) -> "Layout":
        """Return the node of test sessions; TIMESTREAM_NODE names another, to run two sessions at a time."""
        return cls(os.environ.get("TIMESTREAM_NODE", "test"))

    @property
    def home(self) -> Path:
        """Return the folder of everything that belongs to this node."""
        return paths.cache() / "node" / self.name

    @property
    def state(self) -> Path:
        """Return what is made anew at each start: objects, keys, volumes."""
        return self.home / "state"

    @property
    def containerd(self) -> Path:
        """Return the images and their layers, kept between starts."""
        return self.home / "containerd"

    @property
    def logs(self) -> Path:
        """Return the logs of the components, of this start and no earlier one."""
        return self.state / "logs"

    @property
    def pki(self) -> Path:
        """Return the keys of this start."""
        return self.state / "pki"

    @property
    def volumes(self) -> Path:
        """Return the folder of the claims' volumes."""
        return self.state / "volumes"

    @property
    def started(self) -> Path:
        """Return the file that appears when all components have been started."""
        return self.state / "started"

    @property
    def record(self) -> Path:
        """Return the file that says which processes and cgroups to look for."""
        return self.home / "node.json"

    @property
    def place(self) -> Place:
        """Return where the control plane listens inside."""
        return Place(self.state, "0.0.0.0", NODE_ADDRESS, API_PORT, 2379)

    def check(self) -> None:
        """Refuse a home that the node would hide from itself.

        Raises:
            ClusterError: the cache is in one of the folders that the node covers.
        """
        if any(self.home.resolve().is_relative_to(folder) for folder in COVERED):
            raise ClusterError(
                f"no node can be kept in {self.home}",
                why=f"it covers {', '.join(COVERED)} with its own",
                fix="Set XDG_CACHE_HOME to another folder",
            )
