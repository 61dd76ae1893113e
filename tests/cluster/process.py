"""Long-running processes of a cluster: started in a group of their own, ended by their own ids."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.cluster.errors import ClusterError

POLL_SECONDS: Final = 0.05
PROXIES: Final = frozenset({"http_proxy", "https_proxy", "all_proxy", "no_proxy"})


@dataclass(slots=True)
class Daemon:
    """One component: its command, its log, and its process while it runs."""

    name: str
    command: Sequence[str]
    log: Path
    environment: Mapping[str, str] | None = None
    pass_fds: Sequence[int] = ()
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def start(self) -> None:
        """Start it; its log is continued."""
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                self.command,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                pass_fds=self.pass_fds,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Return its process id, which is also its group's; 0 while it is not started."""
        return self.process.pid if self.process else 0

    def alive(self) -> bool:
        """Return whether it runs."""
        return self.process is not None and self.process.poll() is None

    def stop(self, grace: float = 5.0) -> None:
        """End it: asked first, killed after `grace` seconds. Safe to repeat."""
        if self.process is None:
            return
        end_group(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(grace)
        except subprocess.TimeoutExpired:
            end_group(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.process = None

    def last_words(self) -> str:
        """Return the last line of its log that says something."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return next((line.strip() for line in reversed(lines) if line.strip()), "nothing")


def end_group(group: int, number: signal.Signals) -> None:
    """Send a signal to a process group of ours; one that is gone already is fine."""
    with suppress(ProcessLookupError):
        os.killpg(group, number)


def wait_for(what: str, ready: Callable[[], bool], seconds: float, needs: Sequence[Daemon] = ()) -> None:
    """Wait until `ready()`.

    Raises:
        ClusterError: not within `seconds`, or one of the daemons that it needs has died.
    """
    deadline = time.monotonic() + seconds
    while not ready():
        for daemon in needs:
            if not daemon.alive():
                raise ClusterError(
                    f"{daemon.name} died", why=daemon.last_words(), fix=f"Its log is {daemon.log}"
                )
        if time.monotonic() > deadline:
            logs = ", ".join(str(daemon.log) for daemon in needs) or "none"
            raise ClusterError(
                f"{what} is not ready", why=f"{seconds:.0f} s have passed", fix=f"Logs: {logs}"
            )
        time.sleep(POLL_SECONDS)


def free_port() -> int:
    """Return a TCP port of the loopback interface that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def without_proxies(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return our environment less the settings of HTTP proxies, plus `more`: no cluster is behind one."""
    own = {key: value for key, value in os.environ.items() if key.lower() not in PROXIES}
    return own | dict(more or {})
