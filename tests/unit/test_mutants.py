"""The table of planted faults fits the code, and what judges them tells what is noticed from what is not."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutants.table import REPOSITORY, Mutant, mutants

FILE = "aggregator/timestream_aggregator/core/naming.py"
TEST = "tests/unit/core/test_naming.py::{}"
FAULT = """
[[part]]
name = "{}"
file = "{}"
old = '''{}'''
new = '''{}'''
tests = ["{}"]
"""


@pytest.mark.parametrize("mutant", mutants(), ids=lambda mutant: mutant.name)
def test_each_planted_fault_has_one_place_and_tests_that_are_there(mutant: Mutant) -> None:
    planted = mutant.planted((REPOSITORY / mutant.file).read_text())

    compile(planted, mutant.file, "exec")
    for test in mutant.tests:
        file, name = test.split("::")
        assert f"def {name}(" in (REPOSITORY / file).read_text(), f"there is no {test}: change the table"


def judged(table: Path, text: str) -> tuple[int, str]:
    table.write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "tests.mutants", "-j", "1", "--table", str(table)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_a_fault_that_no_test_notices_is_told(tmp_path: Path) -> None:
    test = TEST.format("test_numbers_have_at_least_three_digits")
    noticed = FAULT.format("noticed", FILE, ":03d}{SUFFIX}", ":02d}{SUFFIX}", test)
    same = FAULT.format(
        "of-no-effect", FILE, "Return the file's path relative", "Return its path relative", test
    )

    code, said = judged(tmp_path / "table.toml", noticed + same)

    assert code == 1, said
    assert "killed" in said.splitlines()[0]
    assert said.splitlines()[0].endswith(test)
    assert said.splitlines()[-2:] == ["2 faults, 1 survive", "  of-no-effect"]


def test_a_fault_whose_place_is_gone_is_told(tmp_path: Path) -> None:
    code, said = judged(
        tmp_path / "table.toml", FAULT.format("gone", FILE, "not there", "", TEST.format("x"))
    )

    assert code == 2
    assert "gone: its old text occurs 0 times" in said
