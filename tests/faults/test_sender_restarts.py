"""A sender that is restarted again and again: nothing is missing that it gave away, and nothing piles up."""

import time
from pathlib import Path

import pytest

from tests.faults.account import assert_spt3g_reads, settle
from tests.faults.network.process import Holdings
from tests.tools.long import size
from tests.tools.ports import reserve
from tests.tools.recorder import Recorder
from tests.tools.sender import Sender, SentFrame
from timestream_api.ledger import Connected, Disconnected
from timestream_api.report import ConnectionState

RESTARTS = size(12, 100)
SETTLED = 5  # lives after which the recorder holds what it will always hold
SESSION = 1_700_000_000


def live(port: int, number: int, *, killed: bool) -> list[SentFrame]:
    """Return what a sender sent in a short life that ends in order, or by SIGKILL when all is on its way."""
    with Sender(port=port) as sender:
        sender.wait_for_clients(1)
        sent = sender.start_session(session_id=SESSION + number) + sender.send_scans(6, payload=50_000)
        if not killed:
            sent += sender.end_session()
            sender.exit()
        else:
            time.sleep(0.2)
    return sent


@pytest.mark.timeout(60 + 5 * RESTARTS)
def test_a_sender_that_is_restarted_many_times_loses_nothing_and_nothing_piles_up(tmp_path: Path) -> None:
    port = reserve()
    sent, early = list[SentFrame](), None
    with Recorder(tmp_path, port) as recorder:
        for number in range(RESTARTS):
            sent += live(port, number, killed=number % 3 == 2)
            recorder.recorded(sum(frame.recorded for frame in sent))
            recorder.wait_for(lambda report, files=number + 1: report.totals.files >= files)
            if number == SETTLED:
                early = Holdings.settled(recorder.process.pid)
        recorder.wait_for(lambda report: report.connection.state is ConnectionState.CONNECTING)
        late = Holdings.settled(recorder.process.pid)
        assert recorder.stop() == 0

    account = settle(tmp_path, sent)
    account.assert_complete()
    assert assert_spt3g_reads([tmp_path]) == RESTARTS
    assert len(account.facts(Connected)) == len(account.facts(Disconnected)) == RESTARTS
    assert early is not None
    assert late.descriptors <= early.descriptors + 1, (early, late)
    assert late.threads <= early.threads, (early, late)
    assert late.memory < early.memory + 8_000_000, (early, late)
