"""What is in a data folder: links to folders, hidden ones, and those that cannot be read."""

import os
from pathlib import Path

import pytest

from tests.unit.commands.recordings import GOOD, written
from timestream_aggregator.__main__ import main
from timestream_aggregator.commands.inventory import files


def names(folder: Path) -> tuple[list[str], list[str]]:
    """Return the files, and the folders that were refused."""
    refused = list[OSError]()
    found = [file.path for file in files(folder, refused.append)]
    return found, [Path(str(error.filename)).name for error in refused]


def test_folders_behind_links_are_looked_into_once_each(tmp_path: Path) -> None:
    data, other = tmp_path / "data", tmp_path / "other"
    for folder in (data / "17000", other / "16000"):
        folder.mkdir(parents=True)
        (folder / "a_000.g3").write_bytes(b"x")
    (data / "16000").symlink_to(other / "16000")
    (data / "17000" / "up").symlink_to(data)

    assert names(data) == (["16000/a_000.g3", "17000/a_000.g3"], [])


def test_what_is_hidden_is_passed_over_unless_it_is_named(tmp_path: Path) -> None:
    for folder in (".snapshot/hourly/17000", "17000"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "a_000.g3").write_bytes(b"x")

    assert names(tmp_path)[0] == ["17000/a_000.g3"]
    assert names(tmp_path / ".snapshot")[0] == ["hourly/17000/a_000.g3"]


def test_what_cannot_be_looked_at_is_a_note_and_not_the_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written(tmp_path, b"".join(GOOD))
    (tmp_path / "loop").symlink_to("loop")

    assert names(tmp_path)[1] == ["loop"]
    assert main(["verify", str(tmp_path)]) == 0
    assert f"verify: not looked at: {tmp_path / 'loop'}: " in capsys.readouterr().err
    assert main(["ls", str(tmp_path)]) == 0


def test_a_name_that_spt3g_does_not_take_is_told_and_the_files_after_it_are_verified(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, b"".join(GOOD))
    path.rename(os.fsdecode(os.fsencode(path.parent) + b"/a-\xfc.g3"))
    written(tmp_path, GOOD[0], "b.g3")

    assert main(["verify", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert "no path that is not UTF-8" in out
    assert "b.g3" in out
