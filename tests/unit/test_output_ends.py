"""What the commands do when nobody reads what they write, or there is no room for it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.commands.recordings import recorded

COMMAND = [sys.executable, "-m", "timestream_aggregator"]
WRITING = [
    (["--help"], ""),
    (["--help"], "1"),
    (["record", "--help"], ""),
    (["simulate", "--port=0"], ""),
    (["ls", "."], ""),
    (["ls", "--json", "."], "1"),
    (["verify", "."], ""),
    (["recover", "."], ""),
]
"""What each command has to be told, and PYTHONUNBUFFERED: writing then fails at once, not only at the end."""


def ended(words: list[str], folder: Path, stdout: int) -> tuple[int, str]:
    """Return a command's exit code and what it said on the standard error."""
    done = subprocess.run(
        [*COMMAND, *words],
        cwd=folder,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=50,
        check=False,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize(("words", "unbuffered"), WRITING)
def test_a_command_whose_reader_has_gone_ends_without_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], unbuffered: str
) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    recorded(tmp_path)
    reader, writer = os.pipe()
    os.close(reader)
    try:
        assert ended(words, tmp_path, writer) == (141, "")
    finally:
        os.close(writer)


@pytest.mark.parametrize(("words", "unbuffered"), WRITING[1:7])
def test_output_that_finds_no_room_is_one_line_and_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], unbuffered: str
) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    recorded(tmp_path)
    with Path("/dev/full").open("w") as full:
        code, said = ended(words, tmp_path, full.fileno())

    assert said == "timestream-aggregator: cannot write the output: No space left on device\n"
    assert code == 74


def test_of_a_long_list_a_reader_may_take_the_first_line_alone(tmp_path: Path) -> None:
    for number in range(2000):
        (tmp_path / f"no recording of ours, with a name that is long enough {number}").touch()
    with subprocess.Popen(
        [*COMMAND, "ls", tmp_path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as listing:
        assert listing.stdout is not None
        assert listing.stderr is not None
        assert listing.stdout.readline().startswith("SESSION")
        listing.stdout.close()
        assert listing.stderr.read() == ""
    assert listing.returncode == 141


def test_a_command_whose_output_was_closed_before_it_began_works(tmp_path: Path) -> None:
    recorded(tmp_path)
    line = f"exec {sys.executable} -m timestream_aggregator verify . >&-"

    assert subprocess.run(["sh", "-c", line], cwd=tmp_path, capture_output=True, check=True).stderr == b""
