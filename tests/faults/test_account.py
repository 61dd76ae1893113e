"""The account itself: it finds each thing that it is there to find."""

from collections.abc import Callable
from pathlib import Path

import pytest
from crc32c import crc32c

from tests.faults.account import (
    assert_spt3g_reads,
    assert_untouched,
    contents,
    sent_bytes,
    settle,
    whole_frames,
)
from tests.tools.frames import frame_bytes
from timestream_api.ledger import Fact, Joined, Line, Loss, Published, Recovered
from timestream_api.report import CloseReason

SESSION = 1_700_000_000
SENT = [
    sent_bytes(
        frame_bytes("S", {"session_id": SESSION, "frame_num": number}, 100),
        session_id=SESSION,
        frame_num=number,
    )
    for number in range(6)
]
FRAMES = [frame.data or b"" for frame in SENT]


def note(folder: Path, fact: Fact) -> None:
    own = folder / ".timestream-aggregator"
    own.mkdir(exist_ok=True)
    with (own / "ledger.jsonl").open("ab") as ledger:
        ledger.write(Line(time="2026-01-01T00:00:00Z", stream="s", run="r", fact=fact).encode())  # pyright: ignore[reportArgumentType]


def add(folder: Path, name: str, frames: list[bytes], *, noted: bool = True) -> None:
    data = b"".join(frames)
    (folder / name).write_bytes(data)
    if noted:
        told = {"bytes": len(data), "frames": len(frames), "crc32c": f"{crc32c(data):08x}"}
        note(folder, Published.model_validate({"path": name, "reason": CloseReason.END, **told}))


def torn(folder: Path) -> None:
    add(folder, "b.g3", [FRAMES[3], FRAMES[4], FRAMES[5][:50]])


def twice(folder: Path) -> None:
    add(folder, "b.g3", FRAMES[2:])


def foreign(folder: Path) -> None:
    add(folder, "b.g3", [*FRAMES[3:], frame_bytes("S", {"x": 1})])


def disorder(folder: Path) -> None:
    add(folder, "b.g3", [FRAMES[4], FRAMES[3], FRAMES[5]])


def not_in_the_ledger(folder: Path) -> None:
    add(folder, "b.g3", FRAMES[3:], noted=False)


def changed(folder: Path) -> None:
    add(folder, "b.g3", FRAMES[3:])
    (folder / "b.g3").write_bytes(b"".join(FRAMES[3:5]))


def gone(folder: Path) -> None:
    add(folder, "b.g3", FRAMES[3:])
    (folder / "b.g3").unlink()


def named_twice(folder: Path) -> None:
    add(folder, "b.g3", FRAMES[3:])
    add(folder, "b.g3", FRAMES[3:])


def lost_and_there(folder: Path) -> None:
    add(folder, "b.g3", FRAMES[3:])
    note(folder, Loss(count=1, session_id=SESSION, first=4, last=4))


def fetched_and_named_again(folder: Path) -> None:
    add(folder, "b.g3", FRAMES[3:5])
    add(folder, "b.g3", FRAMES[3:], noted=False)
    data = b"".join(FRAMES[3:])
    told = {"bytes": len(data), "frames": 3, "crc32c": f"{crc32c(data):08x}"}
    note(folder, Recovered.model_validate({"path": "b.g3", **told}))


def missed_and_there(folder: Path) -> None:
    add(folder, "b.g3", FRAMES[3:])
    note(folder, Joined(session_id=SESSION, first=5, count=2))


def lost_twice(folder: Path) -> None:
    add(folder, "b.g3", FRAMES[4:])
    for _ in range(2):
        note(folder, Loss(count=1, session_id=SESSION, first=3, last=3))


def lost_in_part_twice(folder: Path) -> None:
    add(folder, "b.g3", FRAMES[5:])
    note(folder, Loss(count=2, session_id=SESSION, first=3, last=4))
    note(folder, Loss(count=1, session_id=SESSION, first=4, last=4))


def lost_and_missed(folder: Path) -> None:
    add(folder, "b.g3", FRAMES[5:])
    note(folder, Loss(count=2, session_id=SESSION, first=3, last=4))
    note(folder, Joined(session_id=SESSION, first=4, count=1))


def counted_otherwise(folder: Path) -> None:
    add(folder, "b.g3", FRAMES[4:])
    note(folder, Loss(count=2, session_id=SESSION, first=3, last=3))


def missing(folder: Path) -> None:
    add(folder, "b.g3", FRAMES[4:])


def too_many_lost(folder: Path) -> None:
    add(folder, "b.g3", FRAMES[4:])
    note(folder, Loss(count=2))


@pytest.mark.parametrize(
    "fault",
    [
        torn, twice, foreign, disorder, not_in_the_ledger, changed, gone, named_twice, fetched_and_named_again,
        lost_and_there, missed_and_there, lost_twice, lost_in_part_twice, lost_and_missed, counted_otherwise, missing,
        too_many_lost,
    ],
)  # fmt: skip
def test_an_account_finds(tmp_path: Path, fault: Callable[[Path], None]) -> None:
    add(tmp_path, "a.g3", FRAMES[:3])
    fault(tmp_path)

    with pytest.raises(AssertionError):
        settle(tmp_path, SENT).assert_honest()


def test_an_account_of_all_frames_is_complete(tmp_path: Path) -> None:
    add(tmp_path, "a.g3", FRAMES[:3])
    add(tmp_path, "b.g3", FRAMES[3:])

    settle(tmp_path, SENT).assert_complete()
    assert assert_spt3g_reads([tmp_path]) == 2


@pytest.mark.parametrize("loss", [Loss(count=1), Loss(count=1, session_id=SESSION, first=3, last=3)])
def test_a_loss_in_the_ledger_is_honest_and_not_complete(tmp_path: Path, loss: Loss) -> None:
    add(tmp_path, "a.g3", FRAMES[:3])
    add(tmp_path, "b.g3", FRAMES[4:])
    note(tmp_path, loss)

    account = settle(tmp_path, SENT)
    account.assert_honest()
    with pytest.raises(AssertionError):
        account.assert_complete()
    with pytest.raises(AssertionError):
        account.assert_lost_in_one_piece(SENT)
    account.assert_lost_in_one_piece(SENT[:4])


def test_what_was_in_flight_need_not_be_anywhere(tmp_path: Path) -> None:
    add(tmp_path, "a.g3", FRAMES[:4])

    account = settle(tmp_path, SENT)
    account.assert_honest(in_flight=SENT[4:])
    with pytest.raises(AssertionError):
        account.assert_honest(in_flight=SENT[5:])


def test_what_was_whole_on_the_disk_has_to_stay(tmp_path: Path) -> None:
    add(tmp_path, "a.g3", FRAMES[:4])
    before = whole_frames([tmp_path / "a.g3"])
    (tmp_path / "a.g3").unlink()
    add(tmp_path, "b.g3", FRAMES[:3])

    account = settle(tmp_path, SENT)
    account.assert_kept(before[:3])
    with pytest.raises(AssertionError, match="in no file: 3"):
        account.assert_kept(before)


def test_a_file_that_changes_after_it_was_published_is_found(tmp_path: Path) -> None:
    add(tmp_path, "a.g3", FRAMES)
    before = contents(tmp_path)
    assert_untouched(tmp_path, before)
    (tmp_path / "a.g3").write_bytes(FRAMES[0])
    with pytest.raises(AssertionError):
        assert_untouched(tmp_path, before)


def test_a_file_that_spt3g_cannot_read_is_found(tmp_path: Path) -> None:
    bad = FRAMES[0][:-1] + bytes([FRAMES[0][-1] ^ 1])
    (tmp_path / "a.g3").write_bytes(FRAMES[1])
    (tmp_path / "b.g3").write_bytes(bad)
    with pytest.raises(AssertionError, match="spt3g says"):
        assert_spt3g_reads([tmp_path])
