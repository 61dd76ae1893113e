import json
import os
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from crc32c import crc32c

from tests.unit.commands.recordings import GOOD, SESSION, frame, published, recorded, told, verified, written
from tests.unit.commands.recordings import run_verify as run
from timestream_aggregator.readback.file_report import LedgerVerdict as Says
from timestream_api import ledger


def test_what_the_ledger_says_of_a_file_is_checked(tmp_path: Path) -> None:
    path = recorded(tmp_path)

    report = verified(path)

    assert (report.ledger, report.trouble, report.notes) == (Says.AGREES, [], [])


def test_the_ledger_is_found_from_a_relative_path_and_through_a_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded(tmp_path / "data")
    (tmp_path / "link").symlink_to(tmp_path / "data" / "17000")
    monkeypatch.chdir(tmp_path / "data" / "17000")

    assert verified(Path("a_000.g3")).ledger is Says.AGREES
    assert verified(tmp_path / "link" / "a_000.g3").ledger is Says.AGREES


def test_a_file_outside_of_data_folders_has_no_ledger(tmp_path: Path) -> None:
    assert verified(written(tmp_path, GOOD[0])).ledger is None


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"bytes": 7}, "bytes {size}, in the ledger 7"),
        ({"frames": 5}, "frames 6, in the ledger 5"),
        ({"crc32c": "00000000"}, "crc32c {crc}, in the ledger 00000000"),
        ({"first_frame_num": 1}, "first frame_num 0, in the ledger 1"),
        ({"last_frame_num": 4}, "last frame_num 5, in the ledger 4"),
    ],
)
def test_a_good_file_that_is_not_the_recorded_one_is_trouble(
    other: dict[str, Any], said: str, tmp_path: Path
) -> None:
    data = b"".join(GOOD)

    report = verified(recorded(tmp_path, data=data, **other))

    assert report.ledger is Says.DIFFERS
    assert report.trouble == [
        f"not what was recorded: {said.format(size=len(data), crc=f'{crc32c(data):08x}')}"
    ]


def test_the_sha256_of_the_read_back_is_checked_where_there_is_one(tmp_path: Path) -> None:
    path, other = recorded(tmp_path), recorded(tmp_path, "17000/b_000.g3")
    right, wrong = sha256(path.read_bytes()).hexdigest(), "0" * 64
    told(
        tmp_path,
        *(
            ledger.Verified(path=f"17000/{n}_000.g3", good=True, sha256=s)
            for n, s in (("a", right), ("b", wrong))
        ),
    )

    assert (verified(path).sha256, verified(path).ledger) == (right, Says.AGREES)
    assert verified(other).trouble == [f"not what was recorded: sha256 {right}, in the ledger {wrong}"]


def test_a_frame_repeated_for_readers_is_not_among_the_numbers_of_the_ledger(tmp_path: Path) -> None:
    data = GOOD[0] + b"".join(GOOD[3:])

    path = recorded(tmp_path, data=data, frames=4, repeated=1, first_frame_num=3)

    assert verified(path).trouble == []


def test_a_file_with_a_line_before_and_one_after_a_crash_is_good(tmp_path: Path) -> None:
    data = GOOD[0] + b"".join(GOOD[3:])
    path = recorded(tmp_path, data=data, frames=4, repeated=1, first_frame_num=3)
    told(
        tmp_path,
        ledger.Recovered(
            path="17000/a_000.g3",
            bytes=len(data),
            frames=4,
            crc32c=f"{crc32c(data):08x}",
            first_frame_num=0,
            last_frame_num=5,
        ),
    )

    report = verified(path)

    assert (report.ledger, report.trouble) == (Says.AGREES, [])
    assert report.notes[0].startswith("recovered on")


def test_a_recovered_file_is_what_recovery_left_of_it(tmp_path: Path) -> None:
    data = b"".join(GOOD[:2])
    path = written(tmp_path, data, "17000/a_000.g3")
    told(
        tmp_path,
        ledger.Recovered(
            path="17000/a_000.g3",
            bytes=len(data),
            frames=2,
            crc32c=f"{crc32c(data):08x}",
            first_frame_num=0,
            last_frame_num=1,
            cut=20,
        ),
    )

    assert verified(path).ledger is Says.AGREES


def test_a_missing_number_that_the_ledger_tells_of_is_known(tmp_path: Path) -> None:
    data = frame("S", 2) + frame("S", 5) + frame("S", 9)
    path = recorded(tmp_path, data=data, frames=3, first_frame_num=2, last_frame_num=9)
    told(
        tmp_path,
        ledger.Loss(count=2, session_id=SESSION, first=3, last=4, cause="sender's queue"),
        ledger.Loss(count=1, session_id=SESSION, first=6, last=6),
        ledger.Loss(count=3, session_id=SESSION + 1, first=6, last=8),
    )

    report = verified(path)

    assert (report.missing, report.known) == ([(3, 4), (6, 8)], [(3, 4), (6, 8)])
    assert report.trouble == ["frame_num 7 to 8 are missing"]
    assert report.notes[0].startswith("frame_num 3 to 4 are missing: known, noted on ")
    assert report.notes[0].endswith("UTC, sender's queue")


def test_a_count_that_went_back_is_known_if_the_ledger_tells_of_it(tmp_path: Path) -> None:
    data = b"".join(frame("S", number) for number in (7, 8, 2, 3, 5, 1))
    path = recorded(tmp_path, data=data, first_frame_num=7, last_frame_num=1)
    told(tmp_path, ledger.Renumbered(session_id=SESSION, last=8, first=2))

    report = verified(path)

    assert report.missing == [(4, 4)]
    assert report.trouble == ["frame_num 4 is missing", "frame_num goes back from 5 to 1"]
    assert report.notes == ["frame_num goes back from 8 to 2: known, the streamer counted so"]


def test_a_file_without_a_line_is_a_note_and_named_below(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded(tmp_path)
    written(tmp_path, GOOD[0], "17000/foreign.g3")

    assert run(tmp_path) == 0

    out = capsys.readouterr().out
    assert "(the ledger has no line of it)" in out
    assert "Here and without a line in the ledger: 1 file (" in out
    assert "  17000/foreign.g3\n" in out


def test_published_files_that_are_gone_are_trouble_unless_they_may_be_fetched_away(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded(tmp_path)
    told(tmp_path, *(published(f"17000/gone_{n:03}.g3", GOOD[0]) for n in (0, 1, 2, 5)))

    assert run(tmp_path) == 1
    assert run(tmp_path, options=("--moved-is-fine",)) == 0

    strict, lenient = capsys.readouterr().out.split("file, 6 frames")[:2]
    assert "Published and not here any more: 4 files (with --moved-is-fine" in strict
    assert "  17000/gone: 000-002, 005\n" in strict
    assert "4 files\n" in lenient


def test_in_a_folder_below_only_what_belongs_there_is_missed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded(tmp_path)
    told(tmp_path, published("17001/gone_000.g3", GOOD[0]), ledger.Loss(count=1))

    assert run(tmp_path / "17000") == 0
    assert "gone" not in capsys.readouterr().out


def test_what_is_in_no_file_is_a_table_and_no_trouble(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded(tmp_path)
    told(
        tmp_path,
        ledger.Loss(count=2, session_id=SESSION, first=8, last=9, cause="reconnect"),
        *(ledger.Duplicate(type="S", session_id=SESSION, frame_num=n) for n in (3, 4, 5)),
        ledger.Quarantined(bytes=1234, why="its crc is wrong", kept="x.g3part"),
    )

    assert run(tmp_path) == 0

    out = capsys.readouterr().out
    rows = [line.split() for line in out.partition("In no file")[2].splitlines()]
    assert "2 frames lost, 3 duplicates not written again, 1 piece quarantined (1,234 bytes)" in out
    assert rows[2][:4] + rows[2][5:] == ["lost", str(SESSION), "8-9", "2", "reconnect"]
    assert rows[3][:5] == ["duplicate", "S", str(SESSION), "3-5", "3"]
    assert rows[4][:4] == ["quarantined", "-", "1,234", "bytes"]
    assert "x.g3part" in rows[4]


def test_what_a_killed_recorder_left_is_trouble_and_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded(tmp_path)
    left = written(tmp_path, GOOD[0], ".timestream-aggregator/staging/17000%2Fa_001.g3.5-0b")
    os.utime(left, (SESSION, SESSION))

    assert run(tmp_path) == 1

    out = capsys.readouterr().out
    assert f"left over: 17000/a_001.g3, {len(GOOD[0])} bytes" in out
    assert f"`timestream-aggregator recover {tmp_path}`" in out
    assert out.endswith(": 1 left over\n")


def test_json_tells_all_of_a_data_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recorded(tmp_path)
    told(
        tmp_path,
        published("17000/gone_003.g3", GOOD[0]),
        ledger.Loss(count=2, session_id=SESSION, first=8, last=9),
    )

    assert run(tmp_path, options=("--json",)) == 1

    file, folder, summary = map(json.loads, capsys.readouterr().out.splitlines())
    assert file["ledger"] == "agrees"
    assert folder["absent"] == {"17000/gone": [[3, 3]]}
    assert [(loss["first"], loss["last"], loss["count"]) for loss in folder["losses"]] == [(8, 9, 2)]
    assert summary["summary"]["absent"] == 1


def test_a_ledger_that_cannot_be_read_is_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written(tmp_path, GOOD[0], "17000/a_000.g3")
    (tmp_path / ".timestream-aggregator" / "ledger.jsonl").mkdir(parents=True)

    assert run(tmp_path) == 2
    assert "ledger.jsonl: Is a directory" in capsys.readouterr().err


def test_thousands_of_files_are_verified_in_seconds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, names = b"".join(GOOD), [f"17000/{n % 25:02}_{n // 25:03}.g3" for n in range(1000)]
    told(tmp_path, *(published(name, data) for name in names[:900]))
    told(tmp_path, *(published(name, data) for name in names[900:]))
    for name in names:
        written(tmp_path, data, name)

    begun = time.process_time()

    assert run(tmp_path) == 0
    assert time.process_time() - begun < 5
    assert capsys.readouterr().out.endswith(
        f"1,000 files, 6,000 frames, {1000 * len(data):,} bytes: all good\n"
    )
