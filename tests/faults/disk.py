"""Disks that fail in ways no real one can be asked for: the other end of `disk_process.py`, and small full ones."""

import json
import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from ctypes.util import find_library
from pathlib import Path
from typing import Final

import pytest

_PROCESS: Final = Path(__file__).with_name("disk_process.py")
needs_mounts = [
    pytest.mark.root,
    pytest.mark.skipif(
        os.geteuid() != 0 or not Path("/dev/fuse").exists() or not any(map(find_library, ("fuse3", "fuse"))),
        reason="disks that fail need root, mounts, /dev/fuse and fuse3: faults of the disk are not tested",
    ),
]


class StrangeDisk:
    """A mounted disk that stalls, fails, writes short, or loses its power, as it is told."""

    def __init__(self, mount: Path, process: "subprocess.Popen[str]") -> None:
        self.mount = mount
        self._process = process

    def be(
        self, *, stall: float = 0.0, longest_write: int = 1 << 30, failing: dict[str, str] | None = None
    ) -> None:
        """Stall for so many seconds, take at most so many bytes in a write, fail; without words, be well.

        With `math.inf` it stalls until it is told otherwise.
        """
        self._tell({"do": "temper", "stall": stall, "longest_write": longest_write, "failing": failing or {}})

    def lose_power(self, seed: int) -> None:
        """Forget what was not synced, but for some of it. Nobody may have a file open."""
        self._tell({"do": "lose power", "seed": seed})

    def forget(self) -> None:
        """Turn what was not synced into zeros, as a disk does that fails behind the system's back."""
        self._tell({"do": "forget"})

    def _tell(self, order: dict[str, object]) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "done\n", "the disk's process has ended"


@contextmanager
def strange_disk(mount: Path) -> Generator[StrangeDisk]:
    """Mount a strange disk at `mount`, until the end."""
    mount.mkdir()
    words = [sys.executable, str(_PROCESS), str(mount)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "mounted\n", "the disk's process has ended"
            yield StrangeDisk(mount, process)
        finally:
            subprocess.run(["umount", "-l", str(mount)], check=False)
            process.wait(60)


@contextmanager
def small_disk(mount: Path, size: str, kind: str = "tmpfs") -> Generator[Path]:
    """Mount a disk of `size` at `mount`, until the end."""
    mount.mkdir()
    subprocess.run(["mount", "-t", kind, "-o", f"size={size}", kind, str(mount)], check=True)
    try:
        yield mount
    finally:
        subprocess.run(["umount", "-l", str(mount)], check=True)


@contextmanager
def ext4_disk(mount: Path, size: str) -> Generator[Path]:
    """Mount an ext4 disk of `size` at `mount`, in a sparse file beside it, until the end; it can be frozen."""
    mount.mkdir()
    image = mount.with_name(f"{mount.name}.img")
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", str(image), size], check=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(mount)], check=True)
    try:
        yield mount
    finally:
        subprocess.run(["umount", "-l", str(mount)], check=True)
        image.unlink()


@contextmanager
def frozen(mount: Path) -> Generator[None]:
    """Let each write to a disk that can be frozen, and each sync of it, hang until the end."""
    subprocess.run(["fsfreeze", "--freeze", str(mount)], check=True)
    try:
        yield
    finally:
        subprocess.run(["fsfreeze", "--unfreeze", str(mount)], check=True)
