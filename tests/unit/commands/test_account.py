"""The night's account, of a ledger that was written by hand."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.tools.recorder import ledger_of
from tests.unit.commands.recordings import SESSION, published, told
from timestream_aggregator.__main__ import main
from timestream_api import ledger


def account(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> list[dict[str, Any]]:
    assert main(["account", "--json", *words]) == code
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def night(folder: Path, *facts: ledger.Fact) -> None:
    told(
        folder,
        ledger.Joined(session_id=SESSION, first=5, count=5),
        published("17000/a_000.g3", b"1234", frames=10, first_frame_num=5, last_frame_num=14),
        ledger.Verified(path="17000/a_000.g3", good=True),
        published("17000/a_001.g3", b"123", frames=9, repeated=1, first_frame_num=18, last_frame_num=25),
        *facts,
    )


def test_what_was_sent_was_recorded_lost_or_missed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    night(tmp_path, ledger.Loss(count=3, session_id=SESSION, first=15, last=17, cause="Disk", why="full"))

    (one,) = account(capsys, str(tmp_path))

    assert (one["sent"], one["recorded"], one["lost"], one["missed"]) == (26, 18, {"Disk": 3}, 5)
    assert (one["sessions"], one["files"], one["verified"], one["bytes"]) == (1, 2, 1, 7)
    assert main(["account", str(tmp_path)]) == 0
    _, row, lost, missed = capsys.readouterr().out.splitlines()
    assert row.split()[:9] == ["ufm_test", "1", "26", "18", "3", "5", "2", "1", "7"]
    assert lost == "  lost: 3 Disk"
    assert missed == "  missed: 5 frames that had been sent before the recorder joined"


def test_a_frame_that_nothing_tells_of_is_trouble(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    night(tmp_path, ledger.Loss(count=2, session_id=SESSION, first=15, last=16, cause="Disk"))

    (one,) = account(capsys, str(tmp_path), code=1)

    assert one["unexplained"] == 1
    main(["account", str(tmp_path)])
    assert "TROUBLE: of 1 frame that were sent nothing tells" in capsys.readouterr().out


def test_so_is_one_that_is_lost_and_in_a_file_and_a_file_that_is_damaged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    night(tmp_path, ledger.Loss(count=4, session_id=SESSION, first=15, last=18, cause="Disk"))

    one, finding = account(capsys, str(tmp_path), code=1)

    assert (finding["finding"], finding["first"], finding["last"]) == ("told as lost and in a file", 18, 18)
    other = tmp_path / "other"
    told(
        other,
        published("17000/a_000.g3", b""),
        ledger.Verified(path="17000/a_000.g3", good=False, why="torn"),
    )
    (one,) = account(capsys, str(other), code=1)
    assert one["damaged"] == 1


def test_what_recover_tells_of_a_file_is_of_the_stream_that_began_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "17000/a_000.g3"
    told(tmp_path, ledger.Opened(path=name))
    told(
        tmp_path,
        ledger.Recovered(
            path=name,
            bytes=9,
            frames=2,
            crc32c="0" * 8,
            session_id=SESSION,
            first_frame_num=0,
            last_frame_num=1,
        ),
        ledger.Loss(count=1, session_id=SESSION, first=2, last=2, cause="Disk", path=name),
        stream="recover",
    )

    (one,) = account(capsys, str(tmp_path))

    assert (one["stream"], one["sent"], one["recorded"], one["lost"]) == ("ufm_test", 3, 2, {"Disk": 1})


def test_nothing_older_than_since_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    night(tmp_path, ledger.Loss(count=3, session_id=SESSION, first=15, last=17, cause="Disk"))
    path = ledger_of(tmp_path)
    joined, first, *rest = path.read_bytes().splitlines(keepends=True)
    today = f"{datetime.now(UTC):%Y-%m-%d}".encode()
    path.write_bytes((joined + first).replace(today, b"2020-01-01") + b"".join(rest))

    assert account(capsys, "--since", "24h", str(tmp_path))[0]["recorded"] == 8
    assert account(capsys, "--since", "2019-12-31", str(tmp_path))[0]["recorded"] == 18
    with pytest.raises(SystemExit) as ended:
        main(["account", "--since", "yesterday", str(tmp_path)])
    assert ended.value.code == 2
    assert "'yesterday' is neither a time" in capsys.readouterr().err


def test_a_folder_without_a_ledger_has_no_account(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["account", str(tmp_path)]) == 2
    assert f"account: {tmp_path}: no ledger is there" in capsys.readouterr().err
