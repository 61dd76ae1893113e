"""The node's first process: prepares its namespaces, starts the components, stays until it is told to stop.

Run by `enter` as `python -m tests.cluster.node.inside NAME DOOR LEASH`. DOOR is the inherited socket of the
door. LEASH is an inherited pipe whose end (its writer closed it, or died) means stop, or -1.
"""

import os
import select
import signal
import sys
from contextlib import suppress
from typing import Final

from tests.cluster.components import answers
from tests.cluster.node import config, mounts, network
from tests.cluster.node.components import SERVER, commands, make_keys
from tests.cluster.node.layout import API_PORT, NODE_ADDRESS, Layout
from tests.cluster.process import Daemon, wait_for

START_SECONDS: Final = 120.0
STOP_FIRST: Final = ("kubelet", "containerd")  # the others may die with the namespace


def main(name: str, door: int, leash: int) -> None:
    """Live as long as the node does."""
    wake = _wake_on_signals()
    layout = Layout(name)
    for folder in ("pod-logs", "volume-plugins", "volumes"):
        (layout.state / folder).mkdir()
    mounts.mount_all(layout)
    network.set_up()
    config.write_all(layout)
    daemons = _start(layout, door)
    layout.started.touch()
    _stay(daemons, wake, leash)
    for each in STOP_FIRST:
        daemons[each].stop()


def _wake_on_signals() -> int:
    """Return a pipe that becomes readable at SIGTERM and at every end of a child."""
    reading, writing = os.pipe2(os.O_NONBLOCK)
    signal.set_wakeup_fd(writing)
    for number in (signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, lambda _number, _frame: None)
    return reading


def _start(layout: Layout, door: int) -> dict[str, Daemon]:
    pki = make_keys(layout)
    daemons = {
        name: Daemon(name, command, layout.logs / f"{name}.log")
        for name, command in commands(layout, pki).items()
    }
    listening = [sys.executable, "-m", "tests.cluster.node.door", str(door), NODE_ADDRESS, str(API_PORT)]
    daemons["door"] = Daemon("door", listening, layout.logs / "door.log", pass_fds=[door])
    ready = {
        "etcd": lambda: answers(f"{layout.place.etcd_url}/readyz"),
        "kube-apiserver": lambda: answers(f"{SERVER}/readyz", pki.ca),
    }
    for name, daemon in daemons.items():
        daemon.start()
        if name in ready:
            wait_for(name, ready[name], START_SECONDS, [daemon])
    return daemons


def _stay(daemons: dict[str, Daemon], wake: int, leash: int) -> None:
    """Reap whatever ends in here, until SIGTERM comes or the leash is let go."""
    watched = [wake, leash] if leash >= 0 else [wake]
    while True:
        readable, _, _ = select.select(watched, [], [])
        if leash in readable:
            return
        if signal.SIGTERM in os.read(wake, 4096):
            return
        _reap(daemons)


def _reap(daemons: dict[str, Daemon]) -> None:
    """Collect the dead: orphans of containers here, our own components through their Popen."""
    own = {daemon.pid: daemon for daemon in daemons.values()}
    with suppress(ChildProcessError):
        while dead := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            daemon = own.get(dead.si_pid)
            if daemon is None:
                os.waitpid(dead.si_pid, 0)
            elif not daemon.alive():
                print(f"{daemon.name} died: {daemon.last_words()}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
