"""The node's own view of the file system: nothing that it mounts or writes there reaches the machine."""

import subprocess
from pathlib import Path
from typing import Final

from tests.cluster.node.layout import KUBELET, Layout

CGROUPS: Final = Path("/sys/fs/cgroup")
# kubelet insists on these and would write them for the whole machine.
SYSCTLS: Final = {"vm/overcommit_memory": "1", "kernel/panic": "10", "kernel/panic_on_oops": "1"}


def mount_all(layout: Layout) -> None:
    """Mount everything; called once, by the first process of the mount namespace."""
    _mount("-t", "proc", "proc", "/proc")
    _mount_cgroups()
    _mount("--make-rshared", "/")  # volumes that kubelet mounts are seen by containers
    _mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
    _bind_kubelet(layout.state / "kubelet")
    _cover_var_lib()
    _mount("-t", "tmpfs", "tmpfs", "/var/log")
    _bind_sysctls(layout.state / "sysctl")


def _mount_cgroups() -> None:
    hierarchies = [line.split(":")[1] for line in Path("/proc/self/cgroup").read_text().splitlines()]
    subprocess.run(["umount", "-l", CGROUPS], check=True)
    _mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", str(CGROUPS))
    for controllers in filter(None, hierarchies):
        named = controllers.startswith("name=")
        folder = CGROUPS / controllers.removeprefix("name=")
        folder.mkdir()
        _mount("-t", "cgroup", "-o", f"none,{controllers}" if named else controllers, "cgroup", str(folder))
        for one in controllers.split(",") if "," in controllers else ():
            (CGROUPS / one).symlink_to(controllers)


def _cover_var_lib() -> None:
    """Put a layer over /var/lib: kubelet and the network plugins have fixed places in it."""
    upper, work = Path("/run/cover/upper"), Path("/run/cover/work")
    for folder in (upper, work):
        folder.mkdir(parents=True)
    options = f"lowerdir=/var/lib,upperdir={upper},workdir={work}"
    _mount("-t", "overlay", "-o", options, "overlay", "/var/lib")


def _bind_kubelet(folder: Path) -> None:
    """Give kubelet a short path: it puts sockets there, whose paths may have 107 bytes, however long our home's is."""
    folder.mkdir()
    KUBELET.mkdir()
    _mount("--bind", str(folder), str(KUBELET))
    _mount("--make-private", str(KUBELET))  # what is mounted below is to be seen there alone,
    _mount("--make-rshared", str(KUBELET))  # and by containers


def _bind_sysctls(folder: Path) -> None:
    folder.mkdir()
    for name, value in SYSCTLS.items():
        file = folder / name.replace("/", ".")
        file.write_text(f"{value}\n")
        _mount("--bind", str(file), f"/proc/sys/{name}")


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)
