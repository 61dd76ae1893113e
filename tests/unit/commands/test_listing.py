import argparse
import fcntl
import os
import time
from pathlib import Path

import pytest

from timestream_aggregator.commands import listing

AT = 1_700_000_600


def written(folder: Path, name: str, size: int = 10, changed: float = AT) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))
    os.utime(path, (changed, changed))
    return path


def run(path: Path) -> int:
    parser = argparse.ArgumentParser()
    listing.add_arguments(parser)
    return listing.run(parser.parse_args([str(path)]))


def rows(path: Path, capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    assert run(path) == 0
    return [line.split() for line in capsys.readouterr().out.splitlines()[1:]]


def test_files_with_one_base_name_are_one_acquisition(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(3):
        written(tmp_path, f"17000/2023-11-14-22-13-20_{number:03}.g3", 1000, AT + number)

    row, summary = rows(tmp_path, capsys)

    first, last = "2023-11-14T22:13:20", "2023-11-14T22:23:22"
    assert row == ["-", "3", "000-002", "3,000", "-", "-", first, last, "17000/2023-11-14-22-13-20"]
    assert summary == ["1", "acquisition,", "3", "files,", "3,000", "bytes"]


def test_a_session_is_known_from_the_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written(tmp_path, "17000/ufm_mv19/1700000000_000.g3")

    row, _ = rows(tmp_path, capsys)

    assert row[0] == "1700000000"
    assert row[6] == "2023-11-14T22:13:20"
    assert row[-1] == "17000/ufm_mv19/1700000000"


def test_absent_numbers_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in (0, 1, 4):
        written(tmp_path, f"17000/2023-11-14-22-13-20_{number:03}.g3")

    row, _ = rows(tmp_path, capsys)

    assert row[2] == "000-004"
    assert row[-2:] == ["(absent:", "002-003)"]


def test_acquisitions_are_in_order_and_others_are_marked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written(tmp_path, "17001/2023-11-26-03-59-59_000.g3")
    written(tmp_path, "17000/2023-11-14-22-13-20_000.g3")
    written(tmp_path, "17000/notes.txt", 7)

    *known, stranger, summary = rows(tmp_path, capsys)

    assert [row[-1] for row in known] == ["17000/2023-11-14-22-13-20", "17001/2023-11-26-03-59-59"]
    assert stranger == ["?", "1", "-", "7", "-", "-", "-", "2023-11-14T22:23:20", "17000/notes.txt"]
    assert summary[-4:] == ["1", "other", "file", "(?)"]


def test_a_locked_file_is_being_written_and_another_is_left_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    staging = ".timestream-aggregator/staging"
    growing = written(tmp_path, f"{staging}/17000%2F2023-11-14-22-13-20_001.g3.7-0a")
    written(tmp_path, f"{staging}/17000%2F2023-11-14-22-13-20_000.g3.5-0b", 44)
    with growing.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert run(tmp_path) == 0

    *_, summary, old, new = capsys.readouterr().out.splitlines()

    assert summary == "0 acquisitions, 0 files, 0 bytes"
    assert old.startswith(
        "left over: 17000/2023-11-14-22-13-20_000.g3, 44 bytes, last written 2023-11-14T22:23:20"
    )
    assert new.startswith("being written: 17000/2023-11-14-22-13-20_001.g3, 10 bytes")


@pytest.mark.timeout(10)
def test_no_file_is_opened(tmp_path: Path) -> None:
    for name in ("17000/2023-11-14-22-13-20_000.g3", ".timestream-aggregator/staging/17000%2Fa_000.g3.7-0a"):
        trap = tmp_path / name  # who opens a pipe that nobody writes to waits for ever
        trap.parent.mkdir(parents=True)
        os.mkfifo(trap)

    assert run(tmp_path) == 0


def test_a_folder_that_is_not_there_is_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path / "nowhere") == 2
    assert capsys.readouterr().err == f"ls: {tmp_path / 'nowhere'}: No such file or directory\n"


def test_ten_thousand_files_are_listed_in_a_second_or_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "17000"
    folder.mkdir()
    for number in range(10_000):
        (folder / f"2023-11-14-22-13-{number % 60:02}_{number // 60:03}.g3").touch()

    begun = time.process_time()
    *_, summary = rows(tmp_path, capsys)

    assert time.process_time() - begun < 2
    assert summary[:4] == ["60", "acquisitions,", "10,000", "files,"]
