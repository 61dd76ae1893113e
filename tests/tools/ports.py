"""Ports that nobody else on this machine is given while a test needs them."""

import socket
from typing import Final

_HELD: Final = list[socket.socket]()


def reserve() -> int:
    """Return a free port, which stays this test's own until its end, whoever listens on it meanwhile or not.

    A socket is bound to it and does not listen. The kernel then gives the port to nobody who asks for any, and
    lets listen on it who names it and sets SO_REUSEADDR, as servers do.
    """
    holder = socket.socket()
    _HELD.append(holder)
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind(("", 0))
    port: int = holder.getsockname()[1]
    return port


def let_go() -> None:
    """Give all ports back."""
    while _HELD:
        _HELD.pop().close()
