"""A sender's name that does not resolve, for any of the reasons that there are, and then does."""

import time
from collections.abc import Generator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from tests.faults.account import settle
from tests.faults.network.hosts import NEEDS_ROOT, two_hosts
from tests.faults.network.names import NXDOMAIN, REFUSED, SERVFAIL, NameService, asking
from tests.tools.recorder import Recorder
from tests.tools.sender import Sender

pytestmark = NEEDS_ROOT
HERE, THERE = "10.99.8.1", "10.99.8.2"
LONGEST_WAIT = 5.5  # seconds between two attempts: 5, and what asking takes


@contextmanager
def nameless_sender(folder: Path, failure: int | None) -> Generator[tuple[NameService, Sender, Recorder]]:
    """A recorder of a sender whose name does not resolve, until the name service gets its address."""
    with (
        two_hosts(HERE, THERE) as (here, there), NameService(here.socket_for_names(), failure=failure) as names,
        Sender(address=THERE, prefix=there.prefix) as sender,
        Recorder(
            folder, sender.port, address="crate1.test", dial=here.dial,
            prefix=[*here.prefix, *asking("127.0.0.1", folder.parent)],
        ) as recorder,
    ):  # fmt: skip
        yield names, sender, recorder


def record_a_session(sender: Sender, recorder: Recorder) -> None:
    """Send a session; AssertionError unless all of it is in a file."""
    sent = sender.start_session() + sender.send_scans(5) + sender.end_session()
    recorder.wait_for(lambda report: report.totals.files == 1)
    assert recorder.stop() == 0
    settle(recorder.folder, sent).assert_complete()


def test_a_name_that_does_not_resolve_is_asked_for_ever_slower_and_met_soon_when_it_does(
    tmp_path: Path,
) -> None:
    with nameless_sender(tmp_path, NXDOMAIN) as (names, sender, recorder):
        report = recorder.wait_for(lambda report: report.connection.attempts >= 6, timeout=20)
        assert "the name crate1.test does not resolve" in str(report.connection.last_error)
        waits = [later - earlier for earlier, later in pairwise(names.asked)]
        assert waits == sorted(waits)
        assert waits[0] < 1.5
        assert 3 < waits[-1] <= LONGEST_WAIT
        names.address, known = THERE, time.monotonic()
        recorder.connected()
        assert time.monotonic() - known < LONGEST_WAIT + 0.5
        record_a_session(sender, recorder)


@pytest.mark.parametrize("failure", [SERVFAIL, REFUSED, None], ids=["SERVFAIL", "REFUSED", "no answer"])
def test_a_name_service_that_fails_holds_up_nothing_but_the_connection(
    tmp_path: Path, failure: int | None
) -> None:
    with nameless_sender(tmp_path, failure) as (names, sender, recorder):
        recorder.wait_for(lambda _: recorder.probe("/readyz") == 200)
        deadline = time.monotonic() + 2
        while time.monotonic() < deadline:
            begin = time.monotonic()
            assert (recorder.probe("/healthz"), recorder.probe("/readyz")) == (200, 200)
            assert time.monotonic() - begin < 1
            time.sleep(0.2)
        names.address = THERE
        recorder.connected()
        record_a_session(sender, recorder)


def test_a_name_service_that_hangs_in_a_silence_delays_nothing_that_comes_on_the_old_connection(
    tmp_path: Path,
) -> None:
    with (
        two_hosts(HERE, THERE) as (here, there),
        NameService(here.socket_for_names(), address=THERE) as names,
        Sender(address=THERE, prefix=there.prefix) as sender,
        Recorder(
            tmp_path, sender.port, address="crate1.test", dial=here.dial, read_timeout=1,
            prefix=[*here.prefix, *asking("127.0.0.1", tmp_path.parent, patience=30)],
        ) as recorder,
    ):  # fmt: skip
        recorder.connected()
        sent = sender.start_session() + sender.send_scans(3)
        recorder.recorded(5)
        names.address, names.failure, known = None, None, len(names.asked)
        recorder.wait_for(lambda _: len(names.asked) > known)
        sent += sender.send_scans(3, interval=0.1)
        recorder.recorded(8, timeout=10)
        assert recorder.stop(timeout=5) == 0

    settle(tmp_path, sent).assert_complete()
