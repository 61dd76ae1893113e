"""A sender's host that vanishes without a word, is cut off, or comes back elsewhere: real networks, real senders."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.account import settle
from tests.faults.network.hosts import NEEDS_ROOT, Host, two_hosts
from tests.faults.network.names import NameService, asking
from tests.tools.recorder import Recorder
from tests.tools.sender import Sender, SentFrame
from timestream_api.ledger import Disconnected, Loss
from timestream_api.report import ConnectionState, Report

pytestmark = NEEDS_ROOT
HERE, THERE, ELSEWHERE = "10.99.7.1", "10.99.7.2", "10.99.7.3"
READ_TIMEOUT = 2
SOON = READ_TIMEOUT + 5.0  # "readTimeout plus a few seconds"


def is_away(report: Report) -> bool:
    return report.connection.state is ConnectionState.CONNECTING and report.current_file is None


def record_at(host: Host, folder: Path, port: int, address: str = THERE) -> Recorder:
    return Recorder(
        folder, port, address=address, prefix=host.prefix, dial=host.dial, read_timeout=READ_TIMEOUT
    )


def lose(sender: Sender, recorder: Recorder) -> list[SentFrame]:
    """Return frames that are sent into the dark until the recorder has noticed; AssertionError if it is late."""
    sent, begin = sender.send_scans(3), time.monotonic()
    recorder.wait_for(is_away, timeout=SOON)
    assert time.monotonic() - begin <= SOON
    return sent + sender.send_scans(4)


def assert_noted(folder: Path, sent: list[SentFrame], lost: list[SentFrame]) -> None:
    """AssertionError unless exactly `lost` is missing of `sent`, and the ledger has it by its numbers."""
    account = settle(folder, sent)
    account.assert_honest()
    assert [sent[place] for place in sorted(account.noted)] == lost
    assert [(fact.first, fact.last) for fact in account.facts(Loss) if isinstance(fact, Loss)] == [
        (lost[0].frame_num, lost[-1].frame_num)
    ]


def vanish(_here: Host, there: Host, *, away: bool) -> None:
    there.plug(plugged=not away)


def part(here: Host, _there: Host, *, away: bool) -> None:
    here.partition(parted=away)


@pytest.mark.parametrize("cut_off", [vanish, part])
def test_a_host_that_is_away_is_noticed_in_time_and_what_was_sent_meanwhile_is_noted(
    tmp_path: Path, cut_off: Callable[..., None]
) -> None:
    with (
        two_hosts(HERE, THERE) as (here, there),
        Sender(address=THERE, prefix=there.prefix) as sender,
        record_at(here, tmp_path, sender.port) as recorder,
    ):
        recorder.connected()
        sent = sender.start_session() + sender.send_scans(5)
        recorder.recorded(7)
        cut_off(here, there, away=True)
        lost = lose(sender, recorder)
        assert recorder.probe("/healthz") == 200
        cut_off(here, there, away=False)
        recorder.connected()
        later = sender.send_scans(5)
        recorder.recorded(12)
        assert recorder.stop() == 0

    assert_noted(tmp_path, sent + lost + later, lost)
    assert settle(tmp_path, sent).facts(Disconnected)


def test_a_partition_that_is_short_loses_nothing(tmp_path: Path) -> None:
    with (
        two_hosts(HERE, THERE) as (here, there),
        Sender(address=THERE, prefix=there.prefix) as sender,
        record_at(here, tmp_path, sender.port) as recorder,
    ):
        recorder.connected()
        sent = sender.start_session() + sender.send_scans(5)
        recorder.recorded(7)
        there.partition(parted=True)
        sent += sender.send_scans(5)
        time.sleep(READ_TIMEOUT / 2)
        there.partition(parted=False)
        sent += sender.send_scans(5)
        recorder.recorded(17)
        assert recorder.stop() == 0

    settle(tmp_path, sent).assert_complete()


def test_a_host_that_comes_back_with_another_address_is_found_by_its_name(tmp_path: Path) -> None:
    with two_hosts(HERE, THERE) as (here, there):
        server = here.socket_for_names()
        with (
            NameService(server, address=THERE) as names,
            Sender(address="0.0.0.0", prefix=there.prefix) as sender,
            Recorder(
                tmp_path, sender.port, address="crate1.test", read_timeout=READ_TIMEOUT, dial=here.dial,
                prefix=[*here.prefix, *asking("127.0.0.1", tmp_path.parent)],
            ) as recorder,
        ):  # fmt: skip
            recorder.connected()
            sent = sender.start_session() + sender.send_scans(5)
            recorder.recorded(7)
            there.plug(plugged=False)
            lost = lose(sender, recorder)
            there.remove_address(THERE)
            there.add_address(ELSEWHERE)
            there.plug(plugged=True)
            names.address = ELSEWHERE
            report = recorder.connected()
            assert report.connection.endpoint == f"crate1.test:{sender.port} ({ELSEWHERE}:{sender.port})"
            later = sender.send_scans(5)
            recorder.recorded(12)
            assert recorder.stop() == 0

    assert_noted(tmp_path, sent + lost + later, lost)


def test_a_host_that_answers_nothing_from_the_beginning_is_met_when_it_does(tmp_path: Path) -> None:
    with (
        two_hosts(HERE, THERE) as (here, there),
        Sender(address=THERE, prefix=there.prefix) as sender,
    ):
        there.partition(parted=True)
        with record_at(here, tmp_path, sender.port) as recorder:
            report = recorder.wait_for(lambda report: report.connection.last_error is not None)
            assert report.connection.last_error in {"no answer within 5 s", "Connection timed out"}
            assert (recorder.probe("/healthz"), recorder.probe("/readyz")) == (200, 200)
            there.partition(parted=False)
            recorder.connected()
            sent = sender.start_session() + sender.send_scans(5) + sender.end_session()
            recorder.wait_for(lambda report: report.totals.files == 1)
            assert recorder.stop() == 0

    settle(tmp_path, sent).assert_complete()
