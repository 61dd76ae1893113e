"""The face of the cluster for people and for make: `python -m tests.cluster --help`."""

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

from tests.cluster import paths
from tests.cluster.build import build
from tests.cluster.controlplane import control_plane
from tests.cluster.errors import ClusterError
from tests.cluster.images.ours import IMAGES, build_image
from tests.cluster.node import instance
from tests.cluster.node.layout import Layout
from tests.cluster.node.node import attach
from tests.cluster.parts import CONTROL_PLANE, NODE
from tests.cluster.target import KIND_CLUSTER, Target, kind_at_hand, kind_down, up

LAYOUT = Layout("people")


def cmd_build(arguments: argparse.Namespace) -> int:
    """Build what is missing of the parts, and nothing else."""
    parts = CONTROL_PLANE if arguments.control_plane else NODE
    build(parts)
    print(f"cluster: all {len(parts)} parts are in {paths.cache()}")
    return 0


def cmd_up(_: argparse.Namespace) -> int:
    """Start the cluster unless it runs; it stays until `down`."""
    began = time.monotonic()
    cluster = up(LAYOUT)
    print(f"cluster: {cluster.title} is ready after {time.monotonic() - began:.0f} s")
    print(f"cluster: export KUBECONFIG={cluster.kubeconfig}")
    return 0


def cmd_down(_: argparse.Namespace) -> int:
    """End the cluster that `up` started, and remove what it left; images stay in the cache."""
    instance.end(LAYOUT)
    if kind_at_hand():
        kind_down()
    print("cluster: down")
    return 0


def cmd_shell(_: argparse.Namespace) -> int:
    """Open a shell with kubectl and helm aimed at the cluster, started if need be."""
    cluster = up(LAYOUT)
    shell = os.environ.get("SHELL") or shutil.which("bash") or "/bin/sh"
    print(f"cluster: kubectl and helm reach {cluster.title}; leave with exit")
    return subprocess.run([shell], env=_environment(cluster), check=False).returncode


def cmd_status(_: argparse.Namespace) -> int:
    """Say whether the node runs; the exit status is 1 if it does not."""
    running = attach(LAYOUT)
    if not running:
        print(f"cluster: no node of ours runs (kind's would be called {KIND_CLUSTER})")
        return 1
    print(f"cluster: our own node runs at {running.server}; logs in {running.layout.logs}")
    print(running.kubectl("get", "nodes,pods", "--all-namespaces"), end="")
    return 0


def cmd_images(_: argparse.Namespace) -> int:
    """Build the project's images and say where their OCI archives are; `skopeo copy` brings them to a registry."""
    for tag, dockerfile in IMAGES.items():
        print(f"cluster: {tag}: oci-archive:{build_image(tag, dockerfile)}", flush=True)
    return 0


def cmd_run_in(arguments: argparse.Namespace) -> int:
    """Run a command in the network of our own node, where pods and services answer."""
    running = attach(LAYOUT)
    if not running:
        raise ClusterError(
            "no node of ours runs", why="run-in needs its network", fix="Run `python -m tests.cluster up`"
        )
    return subprocess.run(running.in_network(arguments.command), check=False).returncode


def cmd_control_plane(_: argparse.Namespace) -> int:
    """Run a control plane without a node until Ctrl-C or Ctrl-D."""
    with control_plane() as plane:
        print(f"export KUBECONFIG={plane.kubeconfig}", flush=True)
        sys.stdin.read()
    return 0


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "build": cmd_build,
    "up": cmd_up,
    "down": cmd_down,
    "shell": cmd_shell,
    "status": cmd_status,
    "images": cmd_images,
    "run-in": cmd_run_in,
    "control-plane": cmd_control_plane,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; what goes wrong is said in one line."""
    chosen = _parser().parse_args(arguments)
    try:
        return COMMANDS[chosen.name](chosen)
    except ClusterError as error:
        print(f"cluster: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.cluster", description=__doc__)
    commands = parser.add_subparsers(dest="name", required=True, metavar="COMMAND")
    for name, function in COMMANDS.items():
        command = commands.add_parser(name, help=function.__doc__, description=function.__doc__)
        if name == "build":
            command.add_argument("--control-plane", action="store_true", help="only what that level needs")
        if name == "run-in":
            command.add_argument("command", nargs=argparse.REMAINDER)
    return parser


def _environment(cluster: Target) -> dict[str, str]:
    """Return our environment with kubectl and helm first on PATH."""
    tools = [str(command.program.parent) for command in (cluster.kubectl, cluster.helm)]
    path = os.pathsep.join([*tools, os.environ.get("PATH", os.defpath)])
    return os.environ | dict(cluster.kubectl.environment) | {"PATH": path}


if __name__ == "__main__":
    sys.exit(main())
