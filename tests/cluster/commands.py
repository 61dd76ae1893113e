"""kubectl and helm, aimed at one cluster and no other."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.cluster.process import without_proxies


class CommandError(Exception):
    """A command of ours failed; the message is what it said."""

    def __init__(self, command: Sequence[str], status: int, said: str) -> None:
        """Keep what the command said, for tests that ask for it."""
        super().__init__(f"{' '.join(command)}: exit {status}: {said.strip()}")
        self.said = said


@dataclass(frozen=True, slots=True)
class Command:
    """A program with the arguments and the environment that aim it at one cluster."""

    program: Path
    arguments: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict[str, str])

    def __call__(self, *arguments: str, input: str | None = None, timeout: float = 120) -> str:  # noqa: A002
        """Run it and return what it prints.

        Raises:
            CommandError: it failed; the message is its standard error.
            subprocess.TimeoutExpired: it took longer than `timeout` seconds.
        """
        command = [str(self.program), *self.arguments, *arguments]
        done = subprocess.run(
            command,
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            env=without_proxies(self.environment),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if done.returncode:
            raise CommandError([self.program.name, *arguments], done.returncode, done.stderr or done.stdout)
        return done.stdout


def aimed_at(program: Path, kubeconfig: Path, home: Path) -> Command:
    """Return `program` (kubectl or helm) aimed at `kubeconfig`, with its caches and settings below `home`."""
    environment = {
        "KUBECONFIG": str(kubeconfig),
        "KUBECACHEDIR": str(home / "kube"),
        "HELM_CACHE_HOME": str(home / "helm-cache"),
        "HELM_CONFIG_HOME": str(home / "helm-config"),
        "HELM_DATA_HOME": str(home / "helm-data"),
        "PATH": os.pathsep.join([str(program.parent), os.environ.get("PATH", os.defpath)]),
    }
    return Command(program, (), environment)
