"""The process behind `tests.faults.warm.Warm`: it has imported everything and forks one command after another.

A child waits for SIGUSR1 before it begins, so that strace can be there from its first call on.
"""

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Final

from timestream_aggregator.__main__ import COMMANDS, main

_GO: Final = signal.SIGUSR1


def become(words: Sequence[str], log: str, user: int) -> None:
    """Be the command, and this user, until its end; `log` gets all that it says."""
    for number, path, flags in ((0, os.devnull, os.O_RDONLY), (1, log, os.O_WRONLY), (2, log, os.O_WRONLY)):
        os.dup2(os.open(path, flags | os.O_CREAT | os.O_APPEND, 0o644), number)
    if user:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    signal.sigwait({_GO})
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {_GO})
    code = 70
    try:
        code = main(words)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    finally:
        sys.stderr.flush()
        os._exit(code)


def start(order: dict[str, Any]) -> dict[str, object]:
    """Fork a command."""
    pid = os.fork()
    if not pid:
        become(order["words"], order["log"], order["user"])
    return {"pid": pid}


def wait(order: dict[str, Any]) -> dict[str, object]:
    """Return the exit code of a child, -N if signal N ended it; none if it still runs after so many seconds."""
    deadline = time.monotonic() + order["seconds"]
    while True:
        pid, status = os.waitpid(order["pid"], os.WNOHANG)
        if pid:
            return {"code": os.waitstatus_to_exitcode(status)}
        if time.monotonic() > deadline:
            return {"code": None}
        time.sleep(0.003)


def serve() -> None:
    for module, _ in COMMANDS.values():
        import_module(f"timestream_aggregator.commands.{module}")
    socket.getaddrinfo("127.0.0.1", 80)  # what the first look-up loads
    signal.pthread_sigmask(signal.SIG_BLOCK, {_GO})
    for line in sys.stdin:
        order = json.loads(line)
        print(json.dumps({"start": start, "wait": wait}[order.pop("do")](order)), flush=True)


if __name__ == "__main__":
    serve()
