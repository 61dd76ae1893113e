"""Two hosts on a wire of their own, network namespaces with a virtual cable that can be unplugged; a small disk.

Nothing outside is touched, and nothing stays behind: what is made here ends with the `with` block.
"""

import ctypes
import os
import secrets
import shutil
import socket
import subprocess
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

NEEDS_ROOT: Final = [
    pytest.mark.root,
    pytest.mark.skipif(
        os.geteuid() != 0 or not all(map(shutil.which, ("ip", "iptables", "nsenter"))),
        reason="networks and small disks of the tests need root on Linux, ip, iptables and nsenter",
    ),
]
NAMED: Final = Path("/run/netns")
_CLONE_NEWNET: Final = 0x40000000
_HERE: Final = Path("/proc/thread-self/ns/net")


def run(*words: str) -> None:
    """Run a command; AssertionError with what it says if it fails."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"


@dataclass(frozen=True, slots=True)
class Host:
    """One network namespace, with loopback and one end of the cable."""

    name: str
    device: str

    @property
    def prefix(self) -> Sequence[str]:
        """The command that runs another one here."""
        return ("nsenter", f"--net={NAMED / self.name}")

    def plug(self, *, plugged: bool) -> None:
        """Put the cable in, or take it out."""
        self._ip("link", "set", self.device, "up" if plugged else "down")

    def add_address(self, address: str) -> None:
        self._ip("addr", "add", f"{address}/24", "dev", self.device)

    def remove_address(self, address: str) -> None:
        self._ip("addr", "del", f"{address}/24", "dev", self.device)

    def partition(self, *, parted: bool) -> None:
        """Drop what comes by the cable, without a word to anybody, or let it in again."""
        run(*self.prefix, "iptables", "-A" if parted else "-D", "INPUT", "-i", self.device, "-j", "DROP")

    def open_socket(self, kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:
        """Return a socket that belongs to this host, wherever it is used."""
        with _HERE.open("rb") as home, (NAMED / self.name).open("rb") as there:
            _enter(there.fileno())
            try:
                return socket.socket(socket.AF_INET, kind)
            finally:
                _enter(home.fileno())

    def dial(self, port: int) -> socket.socket:
        """Return a connection to this host's loopback."""
        made = self.open_socket()
        try:
            made.settimeout(5)
            made.connect(("127.0.0.1", port))
        except OSError:
            made.close()
            raise
        return made

    def socket_for_names(self) -> socket.socket:
        """Return the socket of a name service on this host's loopback."""
        made = self.open_socket(socket.SOCK_DGRAM)
        made.bind(("127.0.0.1", 53))
        return made

    def _ip(self, *words: str) -> None:
        run("ip", "-n", self.name, *words)


@contextmanager
def two_hosts(*addresses: str) -> Generator[tuple[Host, Host]]:
    """Yield two hosts with these addresses, one each, on one wire."""
    mark = f"tsa{os.getpid() % 10_000_000}{secrets.token_hex(2)}"
    hosts = [Host(f"{mark}-{letter}", f"wire-{letter}") for letter in "ab"]
    made = list[Host]()
    try:
        for host in hosts:
            run("ip", "netns", "add", host.name)
            made.append(host)
            run("ip", "-n", host.name, "link", "set", "lo", "up")
        one, other = hosts
        peer = ("peer", "name", other.device, "netns", other.name)
        run("ip", "-n", one.name, "link", "add", one.device, "type", "veth", *peer)
        for host, address in zip(hosts, addresses, strict=True):
            host.add_address(address)
            host.plug(plugged=True)
        yield one, other
    finally:
        for host in made:
            run("ip", "netns", "del", host.name)


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Generator[Path]:
    """Yield `folder` with a disk of that size mounted there."""
    folder.mkdir()
    run("mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "none", str(folder))
    try:
        yield folder
    finally:
        run("umount", "--lazy", str(folder))


def enlarge(folder: Path, megabytes: int) -> None:
    """Give the small disk at `folder` another size."""
    run("mount", "-o", f"remount,size={megabytes}m", str(folder))


def _enter(descriptor: int) -> None:
    """Let this thread make sockets in another namespace."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
