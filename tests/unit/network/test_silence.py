"""When a silent connection is replaced, by what earlier silences have taught."""

import math
import socket
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing

import pytest

from timestream_aggregator.network.link import Link
from timestream_aggregator.network.silence import LONGEST, UNHEARD_AT_MOST, Silences
from timestream_aggregator.network.sockets import Target

READ_TIMEOUT, HEARD = 5.0, 100.0


@pytest.fixture
def heard() -> Generator[Link]:
    """A connection that has delivered."""
    with closing(socket.socket()) as sock:
        yield Link(1, sock, Target(socket.AF_INET, ("127.0.0.1", 1)), HEARD, began=HEARD)


@pytest.fixture
def waiting(heard: Link) -> Generator[Link]:
    """Its successor, on which nothing has come."""
    with ExitStack() as stack:
        sock = stack.enter_context(socket.socket())
        link = Link(2, sock, heard.target, HEARD)
        link.succeed(heard)
        stack.callback(link.close)
        yield link


def test_a_connection_that_has_delivered_is_replaced_after_the_read_timeout(heard: Link) -> None:
    assert Silences(READ_TIMEOUT).due(heard) == HEARD + READ_TIMEOUT


def test_silences_that_end_by_themselves_are_borne_longer_each_time(heard: Link) -> None:
    silences, patience = Silences(READ_TIMEOUT), list[float]()
    for _ in range(12):
        silences.note_end(alive=True)
        patience.append(silences.due(heard) - HEARD)
    assert patience[:3] == [2 * READ_TIMEOUT, 4 * READ_TIMEOUT, 8 * READ_TIMEOUT]
    assert patience[-1] == LONGEST


def test_a_connection_that_was_let_go_in_silence_makes_the_next_one_watched_as_at_first(heard: Link) -> None:
    silences = Silences(READ_TIMEOUT)
    silences.note_end(alive=True)
    silences.note_end(alive=False)
    assert silences.due(heard) == HEARD + READ_TIMEOUT


def test_what_waits_in_the_backlog_of_a_sender_with_metadata_waits_for_ever(waiting: Link) -> None:
    silences = Silences(READ_TIMEOUT)
    silences.replays = True
    assert silences.due(waiting) == math.inf


def test_what_waits_in_the_backlog_of_a_sender_of_scans_alone_is_replaced_as_well(waiting: Link) -> None:
    assert Silences(READ_TIMEOUT).due(waiting) == HEARD + READ_TIMEOUT


def test_while_nothing_has_ever_come_the_wait_doubles_until_a_new_frame_comes(waiting: Link) -> None:
    waiting.close()
    waiting.before = None
    silences, patience = Silences(READ_TIMEOUT), list[float]()
    for _ in range(8):
        silences.note_replaced(waiting)
        patience.append(silences.due(waiting) - HEARD)
    assert patience[:2] == [2 * READ_TIMEOUT, 4 * READ_TIMEOUT]
    assert patience[-1] == UNHEARD_AT_MOST
    silences.note_new_frame()
    assert silences.due(waiting) == HEARD + READ_TIMEOUT


def test_bytes_that_did_not_come_on_the_connection_before_and_stop_are_followed_by_a_look_soon(
    heard: Link,
) -> None:
    heard.suspect = True
    assert Silences(60).due(heard) == HEARD + 2


def send(sender: socket.socket) -> None:
    sender.send(b"a frame")


@pytest.mark.parametrize(
    ("fate", "let_go"), [(send, False), (socket.socket.close, False), (socket.socket.fileno, True)],
    ids=["goes on receiving", "ends", "stands and receives nothing"],
)  # fmt: skip
def test_a_silent_connection_was_let_go_if_it_stands_and_receives_nothing_while_its_successor_does(
    fate: Callable[[socket.socket], object], *, let_go: bool
) -> None:
    ours, sender = socket.socketpair()
    ours.setblocking(False)
    with ours, sender, socket.socket() as successor:
        target = Target(socket.AF_INET, ("127.0.0.1", 1))
        link = Link(2, successor, target, HEARD)
        link.succeed(Link(1, ours, target, HEARD, began=HEARD))
        assert sender.recv(1) == b""  # the FIN
        fate(sender)
        assert link.before_was_let_go() is let_go
        assert ours.fileno() == -1
