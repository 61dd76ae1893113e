"""The soak's account: it finds each thing that it is there to find, and deletes only what has been read back."""

from pathlib import Path

from crc32c import crc32c

from tests.faults.account import sent_bytes
from tests.faults.network.soak_account import RunningAccount
from tests.tools.frames import frame_bytes
from timestream_api.ledger import Fact, Line, Loss, Published, Verified
from timestream_api.report import CloseReason

SESSION = 1_700_000_000
SENT = [
    sent_bytes(
        frame_bytes("S", {"session_id": SESSION, "frame_num": n}, 100), session_id=SESSION, frame_num=n
    )
    for n in range(6)
]


def begin(folder: Path) -> RunningAccount:
    (folder / ".timestream-aggregator").mkdir()
    (folder / ".timestream-aggregator" / "ledger.jsonl").touch()
    account = RunningAccount(folder)
    account.add(SENT)
    return account


def note(folder: Path, fact: Fact) -> None:
    line = Line.model_validate({"time": "2026-01-01T00:00:00Z", "stream": "s", "run": "r", "fact": fact})
    with (folder / ".timestream-aggregator" / "ledger.jsonl").open("ab") as ledger:
        ledger.write(line.encode())


def publish(folder: Path, name: str, frames: range) -> None:
    data = b"".join(SENT[number].data or b"" for number in frames)
    (folder / name).write_bytes(data)
    told = {"bytes": len(data), "frames": len(frames), "crc32c": f"{crc32c(data):08x}"}
    note(folder, Published.model_validate({"path": name, "reason": CloseReason.END, **told}))


def missing(account: RunningAccount) -> list[int]:
    account.check(at_the_end=True)
    return [place.number for place in account.unnoted()]


def test_frames_in_files_and_noted_losses_are_all_accounted_for(tmp_path: Path) -> None:
    account = begin(tmp_path)
    publish(tmp_path, "a.g3", range(3))
    note(tmp_path, Loss(count=2, session_id=SESSION, first=3, last=4))
    publish(tmp_path, "b.g3", range(5, 6))

    assert missing(account) == []
    assert account.troubles == []
    assert account.told_wrongly() == 0
    assert list(tmp_path.glob("*.g3")) == []


def test_a_frame_that_is_nowhere_is_found(tmp_path: Path) -> None:
    account = begin(tmp_path)
    publish(tmp_path, "a.g3", range(5))

    assert missing(account) == [5]


def test_a_frame_that_is_noted_as_lost_and_is_in_a_file_is_found(tmp_path: Path) -> None:
    account = begin(tmp_path)
    publish(tmp_path, "a.g3", range(6))
    note(tmp_path, Loss(count=1, session_id=SESSION, first=2, last=2))

    assert missing(account) == []
    assert account.told_wrongly() == 1


def test_a_loss_that_is_told_twice_or_counted_otherwise_than_numbered_is_found(tmp_path: Path) -> None:
    account = begin(tmp_path)
    publish(tmp_path, "a.g3", range(3))
    note(tmp_path, Loss(count=2, session_id=SESSION, first=3, last=4))
    note(tmp_path, Loss(count=3, session_id=SESSION, first=4, last=5))

    assert missing(account) == []
    assert [trouble.split(":")[0] for trouble in account.troubles] == [
        "counted otherwise than numbered",
        "told twice as lost",
    ]


def test_a_frame_that_is_in_two_files_is_found(tmp_path: Path) -> None:
    account = begin(tmp_path)
    publish(tmp_path, "a.g3", range(4))
    publish(tmp_path, "b.g3", range(3, 6))

    assert missing(account) == []
    assert "an earlier file holds" in account.troubles[0]


def test_a_file_that_is_not_what_the_ledger_says_is_found(tmp_path: Path) -> None:
    account = begin(tmp_path)
    publish(tmp_path, "a.g3", range(6))
    (tmp_path / "a.g3").write_bytes(b"".join(frame.data or b"" for frame in SENT[:5]))

    assert missing(account) == [5]
    assert "is not what the ledger says" in account.troubles[0]


def test_a_file_stays_until_it_has_been_read_back(tmp_path: Path) -> None:
    account = begin(tmp_path)
    publish(tmp_path, "a.g3", range(6))
    account.check()
    assert (tmp_path / "a.g3").exists()

    note(tmp_path, Verified(path="a.g3", good=False, why="as a test"))
    account.check()
    assert account.backlog == 1
    assert "not good" in account.troubles[0]
