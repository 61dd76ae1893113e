import argparse
import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.tools.recorder import ledger_of
from tests.unit.commands.recordings import GOOD, SESSION, published, recorded, told, written
from timestream_aggregator.commands import listing, telling
from timestream_api import ledger

FIRST = datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
LAST = datetime(2023, 11, 14, 22, 23, 20, tzinfo=UTC)
DATA = b"".join(GOOD)


def listed(folder: Path, capsys: pytest.CaptureFixture[str], *options: str, code: int = 0) -> list[str]:
    parser = argparse.ArgumentParser()
    listing.add_arguments(parser)
    assert listing.run(parser.parse_args([str(folder), *options])) == code
    return capsys.readouterr().out.splitlines()


def entry(name: str, **other: Any) -> ledger.Published:
    times = {"first_frame_time": FIRST, "last_frame_time": LAST}
    return published(name, DATA, **(times | other))


def session(folder: Path, *names: str, **other: Any) -> None:
    told(folder, *(entry(name, **other) for name in names))
    for name in names:
        written(folder, DATA, name)


def test_frames_and_times_come_from_the_ledger(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    session(tmp_path, "17000/a_000.g3")
    session(tmp_path, "17000/a_001.g3", repeated=1)

    _, row, summary = listed(tmp_path, capsys)

    size = f"{2 * len(DATA):,}"
    assert row.split() == [
        str(SESSION), "2", "000-001", size, "11", "0", "2023-11-14T22:13:20", "2023-11-14T22:23:20", "17000/a",
    ]  # fmt: skip
    assert summary == f"1 acquisition, 2 files, {size} bytes, 11 frames, 0 lost, 2 not read back (run verify)"


def test_losses_stand_with_the_acquisition_that_they_happened_in(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    session(tmp_path, "17000/a_000.g3", first_frame_num=0, last_frame_num=50)
    session(tmp_path, "17000/b_000.g3", first_frame_num=60, last_frame_num=99)
    session(tmp_path, "17000/c_000.g3", session_id=SESSION + 1000)
    losses = [(3, 4), (51, 59), (100, 101)]
    told(
        tmp_path,
        *(ledger.Loss(count=b - a + 1, session_id=SESSION, first=a, last=b) for a, b in losses),
        ledger.Loss(count=7, session_id=5),
        ledger.Duplicate(type="S", session_id=SESSION + 1000, frame_num=3),
    )

    _, *rows, _, elsewhere = listed(tmp_path, capsys)

    assert [row.split()[5] for row in rows] == ["2", "11", "0"]
    assert rows[2].endswith("17000/c  (1 duplicate)")
    assert elsewhere == "lost outside of these acquisitions: 7 frames"


def test_two_streams_with_one_session_id_have_their_own_losses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    session(tmp_path, "17000/b_000.g3", last_frame_num=7)  # of the stream ufm_test, as the loss
    told(tmp_path, ledger.Loss(count=2, session_id=SESSION, first=3, last=4), stream="ufm_test")
    told(tmp_path, entry("17000/a_000.g3"), stream="other")
    written(tmp_path, DATA, "17000/a_000.g3")

    _, other, own, _ = listed(tmp_path, capsys)

    assert (other.split()[5], own.split()[5]) == ("0", "2")


def test_what_is_not_as_it_should_be_stands_at_the_end_of_the_row(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"17000/a_{n:03}.g3" for n in range(6)]
    session(tmp_path, *names)
    (tmp_path / names[1]).unlink()
    written(tmp_path, DATA[:-1], names[2])
    told(tmp_path, *(ledger.Verified(path=name, good=name != names[3]) for name in names[:5]))
    written(tmp_path, DATA, "17000/a_006.g3")
    written(tmp_path, DATA, "17000/a_009.g3")

    _, row, _ = listed(tmp_path, capsys)

    _, _, remarks = row.partition("17000/a  ")
    assert remarks == "(absent: 001, 007-008, 1 DAMAGED, 1 OTHER SIZE, 2 not in the ledger, 2 verified)"


def test_a_file_that_was_read_back_and_one_that_was_recovered_say_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    session(tmp_path, "17000/a_000.g3")
    told(tmp_path, ledger.Verified(path="17000/a_000.g3", good=True))
    recovered = ledger.Recovered(path="17000/b_000.g3", bytes=len(DATA), frames=6, crc32c="00000000")
    told(tmp_path, recovered)
    written(tmp_path, DATA, "17000/b_000.g3")

    _, first, second, _ = listed(tmp_path, capsys)

    assert first.endswith("17000/a  (verified)")
    assert second.endswith("17000/b  (1 recovered)")


def test_the_number_of_a_left_file_without_frames_is_not_missed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    session(tmp_path, "17000/a_000.g3", "17000/a_002.g3")
    told(tmp_path, ledger.Removed(path="17000/a_001.g3", cut=5))

    assert "absent" not in listed(tmp_path, capsys)[1]


def test_acquisitions_that_are_all_gone_are_listed_on_demand(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    session(tmp_path, "17000/a_000.g3")
    told(tmp_path, *(entry(f"16000/old_{n:03}.g3") for n in range(3)))

    *short, gone = listed(tmp_path, capsys)
    full = listed(tmp_path, capsys, "--all")

    assert [len(short), len(full)] == [3, 4]
    assert gone == "published and gone: 1 acquisition, 3 files (--all lists them)"
    assert full[1].endswith("16000/old  (absent: 000-002)")
    assert full[1].split()[1:5] == ["0", "000-002", "0", "-"]


def test_each_file_has_a_row_on_demand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    session(tmp_path, "17000/a_000.g3", "17000/a_001.g3")
    (tmp_path / "17000/a_000.g3").unlink()
    written(tmp_path, DATA, "17000/a_002.g3")

    _, _, head, *rows, _ = listed(tmp_path, capsys, "--files")

    crc = published("", DATA).crc32c
    times = ["2023-11-14T22:13:20", "2023-11-14T22:23:20"]
    assert head.split()[:3] == ["STATE", "BYTES", "FRAMES"]
    assert [row.split() for row in rows[:2]] == [
        ["absent", f"{len(DATA):,}", "6", "0-5", *times, crc, "17000/a_000.g3"],
        ["published", f"{len(DATA):,}", "6", "0-5", *times, crc, "17000/a_001.g3"],
    ]
    assert rows[2].split()[:6] == ["not", "in", "the", "ledger", f"{len(DATA):,}", "-"]


def test_json_has_an_object_for_each_thing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    session(tmp_path, "17000/a_000.g3", "17000/a_001.g3", last_frame_num=6)
    (tmp_path / "17000/a_001.g3").unlink()
    told(
        tmp_path,
        ledger.Quarantined(bytes=5, why="bad crc"),
        ledger.Loss(count=1, session_id=SESSION, first=3, last=3),
    )
    written(tmp_path, b"", "notes.txt")
    left = written(tmp_path, DATA, ".timestream-aggregator/staging/17000%2Fa_002.g3.5-0b")
    os.utime(left, (SESSION, SESSION))

    found = [json.loads(line) for line in listed(tmp_path, capsys, "--json", "--files")]

    acquisition, first, second, stranger, staged, summary = found
    assert (acquisition["acquisition"], acquisition["absent"], acquisition["lost"]) == (
        "17000/a",
        [[1, 1]],
        1,
    )
    assert acquisition["states"] == {"absent": 1, "published": 1}
    assert [first["state"], second["state"], second["bytes"]] == ["published", "absent", None]
    assert stranger["stranger"] == "notes.txt"
    assert (staged["staged"], staged["state"]) == ("17000/a_002.g3", "left over")
    assert summary["summary"]["quarantined_pieces"] == 1


def test_what_a_killed_recorder_left_comes_with_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    left = written(tmp_path, DATA, ".timestream-aggregator/staging/17000%2Fa_002.g3.5-0b")
    os.utime(left, (SESSION, SESSION))
    fresh = written(tmp_path, DATA, ".timestream-aggregator/staging/17000%2Fb_002.g3.5-0b")
    os.utime(fresh)

    *_, old, new = listed(tmp_path, capsys)

    assert old.startswith("left over: 17000/a_002.g3")
    assert old.endswith(
        f"`timestream-aggregator recover {tmp_path}`, or the recorder's next start, publishes it"
    )
    assert new.startswith("unfinished: 17000/b_002.g3")


def test_a_torn_line_and_one_of_a_later_version_are_told_and_hide_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded(tmp_path)
    summary = ledger_of(tmp_path)
    later = summary.read_text().replace('"v":1', '"v":2').replace("a_000", "later_000")
    torn = later[:40]
    summary.write_text(torn + "\n" + later + summary.read_text() + torn)

    _, row, _, trouble = listed(tmp_path, capsys, code=1)

    assert row.split()[-1] == "17000/a"
    assert trouble == "TROUBLE: damaged, or of a later version: 1 line of the ledger"


def test_a_ledger_of_ten_thousand_files_takes_a_moment(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"17000/{n % 50:02}_{n // 50:03}.g3" for n in range(10_000)]
    facts = [
        fact
        for name in names
        for fact in (ledger.Opened(path=name), entry(name), ledger.Verified(path=name, good=True))
    ]
    for at in range(0, len(facts), 900):
        told(tmp_path, *facts[at : at + 900])
    (tmp_path / "17000").mkdir()
    for name in names:
        (tmp_path / name).touch()

    begun = time.process_time()
    *_, summary = listed(tmp_path, capsys)

    assert time.process_time() - begun < 3
    assert summary.startswith("50 acquisitions, 10,000 files, 0 bytes, 60,000 frames")


def test_of_many_acquisitions_those_of_a_time_or_a_session_or_the_last_are_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for day in range(1, 6):
        at = datetime(2025, 11, day, 8, tzinfo=UTC)
        about = {"session_id": SESSION + day, "first_frame_time": at, "last_frame_time": at}
        session(tmp_path, f"17000/{day}_000.g3", **about)

    def names(*options: str) -> list[str]:
        rows = listed(tmp_path, capsys, "--json", *options)
        return [one["acquisition"][6:] for one in map(json.loads, rows) if "acquisition" in one]

    assert names() == ["1", "2", "3", "4", "5"]
    assert names("--since", "2025-11-04") == ["4", "5"]
    assert names("--since", "2025-11-04T09:00+01:00") == ["4", "5"]
    assert names("--since", "2025-11-04T08:00:01Z") == ["5"]
    assert names("--since", "90m") == []
    assert names("--last", "2") == ["4", "5"]
    assert names("--session", str(SESSION + 2)) == ["2"]
    assert names("--session", "7") == []
    assert listed(tmp_path, capsys, "--last", "2")[-1].startswith("2 acquisitions, 2 files")


@pytest.mark.parametrize("name", ["9" * 60, f"{10**11}", "0000-99-99-99-99-99", "2023-11-14-22-13-20"])
@pytest.mark.parametrize("number", ["000", "999999999999999999"])
def test_no_name_of_a_file_ends_the_listing_or_holds_it_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, number: str
) -> None:
    path = written(tmp_path, DATA, f"17000/{name}_{number}.g3")
    os.utime(path, (1 << 40, 1 << 40))
    told(tmp_path, ledger.Removed(path=f"17000/{name}_001.g3"))

    assert f"17000/{name}" in listed(tmp_path, capsys)[1]


@pytest.mark.parametrize(
    ("number", "said"), [(0, "0 files"), (1, "1 file"), (2, "2 files"), (10_000, "10,000 files")]
)
def test_one_file_is_no_files(number: int, said: str) -> None:
    assert telling.counted(number, "file") == said
