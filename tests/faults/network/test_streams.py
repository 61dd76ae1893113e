"""Streams that are wrong, slow or torn, beyond one piece of damage: what is kept of them, and what comes after."""

import struct
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from tests.faults.account import sent_bytes, settle
from tests.faults.network.relay import Relay
from tests.tools.frames import frame_bytes, split_frames
from tests.tools.raw_server import RawServer
from tests.tools.recorder import Recorder, published, quarantined
from tests.tools.sender import Sender, SentFrame
from timestream_api.ledger import Disconnected, Loss, Quarantined
from timestream_api.report import CloseReason

SESSION = 1_700_000_000
MOST_PIECES, LARGEST_PIECE = 100, 16 << 20


def scan(number: int, payload: int = 100) -> SentFrame:
    keys = {"frame_num": number, "session_id": SESSION}
    return sent_bytes(frame_bytes("S", keys, payload), session_id=SESSION, frame_num=number)


def data(*frames: SentFrame) -> bytes:
    return b"".join(frame.data or b"" for frame in frames)


def damaged(frame: SentFrame) -> bytes:
    """Return its bytes with one changed that the crc covers."""
    whole = bytearray(data(frame))
    whole[-20] ^= 1
    return bytes(whole)


def head(version: int = 1, entries: int = 1) -> bytes:
    return struct.pack("<BIiI", 1, version, entries, ord("S"))


GARBAGE = {
    "HTTP": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(32)),
    "SSH": b"SSH-2.0-OpenSSH_9.2p1\r\n",
    "zeros": bytes(200),
    "ones": b"\xff" * 200,
    "big endian": b"\0" + data(scan(900))[1:],
    "no version": head(version=256) + bytes(32),
    "a negative count": head(entries=-1) + bytes(32),
    "far too many entries": head(entries=(1 << 20) + 1) + bytes(32),
    "a name of 2 GiB": head() + struct.pack("<Q", 1 << 31) + b"n" * 2048,
    "a blob of 2^31": head() + struct.pack("<Q", 1) + b"n" + struct.pack("<Q", 1 << 31) + bytes(64),
    "a blob of 2^63": head() + struct.pack("<Q", 1) + b"n" + struct.pack("<Q", 1 << 63) + bytes(64),
}


def test_after_every_kind_of_garbage_the_next_good_stream_is_recorded_in_full(tmp_path: Path) -> None:
    sent = list[SentFrame]()
    with ExitStack() as stack:
        server = RawServer()
        recorder = stack.enter_context(Recorder(tmp_path, server.port))
        with server:
            for number, garbage in enumerate(GARBAGE.values()):
                sent.append(scan(number))
                server.play(data(sent[-1]) + garbage)
                recorder.wait_for(lambda report, found=number + 1: report.totals.quarantined == found)
        assert recorder.memory() < 80_000_000
        sender = stack.enter_context(Sender(port=server.port))
        sender.wait_for_clients(1)
        sent += sender.start_session() + sender.send_scans(20, payload=50_000) + sender.end_session()
        recorder.wait_for(lambda report: report.totals.frames == len(GARBAGE) + 23)
        assert recorder.stop() == 0

    account = settle(tmp_path, sent)
    account.assert_complete()
    assert quarantined(tmp_path) == list(GARBAGE.values())
    assert len(account.facts(Quarantined)) == len(GARBAGE)


def test_a_wrong_service_on_the_port_is_asked_ever_less_often(tmp_path: Path) -> None:
    with RawServer() as server, Recorder(tmp_path, server.port) as recorder:
        for number in range(3):
            server.play(GARBAGE["HTTP"])
            recorder.wait_for(lambda report, found=number + 1: report.totals.quarantined == found)
        server.play(data(scan(0)))
        recorder.recorded(1)
        server.play(GARBAGE["HTTP"])
        recorder.wait_for(lambda report: report.totals.quarantined == 4)
        server.play(data(scan(1)))
        recorder.recorded(2)
        recorder.stop()
    first, second, third, anew = (later - earlier for earlier, later in pairwise(server.arrivals))
    assert first > 0.8 - 0.05, "a pause of a second, up to a fifth shorter"
    assert second > first + 0.5
    assert third > second + 1
    assert anew < third - 1, "frames came: it begins anew"

    settle(tmp_path, [scan(0), scan(1)]).assert_complete()


def test_of_very_many_damaged_frames_the_first_are_kept_and_all_are_noted(tmp_path: Path) -> None:
    frames = [scan(number) for number in range(301)]
    stream = b"".join(damaged(frame) if place % 2 else data(frame) for place, frame in enumerate(frames))
    with RawServer() as server, Recorder(tmp_path, server.port) as recorder:
        server.play(stream)
        report = recorder.recorded(151, quarantined=150)
        assert report.totals.quarantined == 150
        assert report.totals.lost == 150
        assert server.connections == 1
        recorder.stop()

    account = settle(tmp_path, frames)
    account.assert_honest()
    assert account.noted == set(range(1, 300, 2))
    told = [fact for fact in account.facts(Quarantined) if isinstance(fact, Quarantined)]
    assert sum(fact.times or 1 for fact in told) == 150
    assert 0 < len(quarantined(tmp_path)) <= MOST_PIECES
    kept = [fact.kept for fact in told if fact.kept is not None]
    assert 20 <= len(kept) <= len(quarantined(tmp_path))


def test_of_a_huge_damaged_frame_only_the_beginning_is_kept(tmp_path: Path) -> None:
    frames = [scan(0), scan(1, payload=40 << 20), scan(2)]
    huge = damaged(frames[1])
    with RawServer() as server, Recorder(tmp_path, server.port) as recorder:
        server.play(data(frames[0]) + huge + data(frames[2]))
        recorder.recorded(2)
        recorder.stop()

    account = settle(tmp_path, frames)
    account.assert_honest()
    assert account.noted == {1}
    assert quarantined(tmp_path) == [huge[:LARGEST_PIECE]]


def test_a_frame_that_trickles_in_holds_no_file_open(tmp_path: Path) -> None:
    with RawServer() as server, Recorder(tmp_path, server.port, frame_gap=1, read_timeout=1) as recorder:
        slow = data(scan(1))
        server.play(data(scan(0)))
        server.play(slow, chunk=-(-len(slow) // 10), pause=0.3)
        report = recorder.wait_for(lambda report: report.totals.files == 1)
        assert report.totals.frames == 1, "it was closed by the end of the frame"
        assert report.last_file is not None
        assert report.last_file.reason is CloseReason.GAP
        recorder.recorded(2)
        assert server.connections == 1
        recorder.stop()

    settle(tmp_path, [scan(0), scan(1)]).assert_complete()
    assert len(published(tmp_path)) == 2


@pytest.mark.parametrize("end", ["reset", "half_close", "close"])
def test_a_frame_torn_by_the_end_of_its_connection_is_kept_aside_and_noted_when_the_stream_goes_on(
    tmp_path: Path, end: str
) -> None:
    frames = [scan(number, payload=10_000) for number in range(4)]
    with RawServer() as server, Recorder(tmp_path, server.port) as recorder:
        server.play(data(frames[0]) + data(frames[1])[:5000])
        server.hold(0.3)
        getattr(server, end)()
        recorder.wait_for(lambda report: report.totals.quarantined == 1)
        server.play(data(*frames[2:]))
        recorder.recorded(3)
        recorder.stop()

    account = settle(tmp_path, frames)
    account.assert_honest()
    assert account.noted == {1}
    assert quarantined(tmp_path) == [data(frames[1])[:5000]]
    assert account.facts(Disconnected)


@contextmanager
def on_a_bad_line(folder: Path, seed: int) -> Generator[tuple[Sender, Relay, Recorder]]:
    """A sender and a recorder that are connected through a relay."""
    with (
        Sender() as sender,
        Relay(sender.port, seed) as relay,
        Recorder(folder, relay.port) as recorder,
    ):
        recorder.connected()
        sender.wait_for_clients(1)
        yield sender, relay, recorder


def finish(recorder: Recorder, last: SentFrame) -> None:
    """Stop a recorder once it has recorded the frame `last`."""
    number = last.frame_num
    recorder.wait_for(lambda report: bool(report.acquisition and report.acquisition.last_frame_num == number))
    recorder.stop()


def test_a_stream_on_a_bad_line_loses_only_the_frames_that_were_changed_and_they_are_noted(
    tmp_path: Path,
) -> None:
    with on_a_bad_line(tmp_path, seed=4) as (sender, relay, recorder):
        sent = sender.start_session()
        for _ in range(8):
            relay.change_a_byte()
            sent += sender.send_scans(6, payload=200_000, interval=0.02)
        recorder.wait_for(lambda report: report.totals.quarantined == 8)
        sent += sender.send_scans(1)
        finish(recorder, sent[-1])

    account = settle(tmp_path, sent)
    account.assert_honest()
    assert len(account.noted) == 8
    assert sum(fact.count for fact in account.facts(Loss) if isinstance(fact, Loss)) == 8


def test_garbage_in_the_middle_of_a_stream_loses_what_follows_until_the_next_connection_and_no_more(
    tmp_path: Path,
) -> None:
    with on_a_bad_line(tmp_path, seed=5) as (sender, relay, recorder):
        sent = sender.start_session() + sender.send_scans(3, payload=100_000)
        recorder.recorded(5)
        relay.insert(b"\x16\x03\x01garbage" * 40)
        sent += sender.send_scans(4, payload=100_000)
        recorder.wait_for(lambda report: report.totals.quarantined >= 1)
        recorder.wait_for(lambda _: recorder.messages().count("connected") == 2)
        sent += sender.send_scans(5, payload=100_000)
        finish(recorder, sent[-1])

    account = settle(tmp_path, sent)
    account.assert_honest()
    assert {sent[place].frame_num for place in account.noted} <= set(range(5, 9))
    whole = [frame for path in published(tmp_path) for frame in split_frames(path.read_bytes())]
    assert len(whole) >= 10
