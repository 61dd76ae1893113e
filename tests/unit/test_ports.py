import socket

import pytest

from tests.tools import ports


def test_a_reserved_port_is_given_to_nobody_else_until_it_is_let_go() -> None:
    port = ports.reserve()

    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", port))
    ports.let_go()
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))


def test_who_names_a_reserved_port_listens_on_it_again_and_again() -> None:
    port = ports.reserve()

    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::")) * 2:
        with (
            socket.create_server((address, port), family=family, dualstack_ipv6=family is socket.AF_INET6),
            socket.create_connection(("127.0.0.1", port)),
        ):
            pass


def test_who_calls_a_reserved_port_where_nobody_listens_is_refused() -> None:
    port = ports.reserve()

    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
