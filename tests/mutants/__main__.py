"""Plants one fault at a time into a copy of the tree and runs the tests that have to notice it.

    python -m tests.mutants [-k NAME] [-j N]

Exit: 0 each fault is noticed, 1 some are not, 2 the table does not fit the code, or a test fails without any fault.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.mutants.table import REPOSITORY, TABLE, Mutant, mutants

LONGEST: Final = 120  # seconds; a fault that makes its tests hang is noticed
_PASSED, _FAILED = 0, 1  # pytest's exit codes
_NOTICED: Final = re.compile(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", re.MULTILINE)


class BrokenError(Exception):
    """A run that tells nothing about the fault."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Who noticed a fault, None if nobody did, and after how many seconds."""

    mutant: Mutant
    by: str | None
    seconds: float

    def __str__(self) -> str:
        """Return it in one line."""
        return f"{'killed' if self.by else 'SURVIVES':8} {self.seconds:5.1f} s  {self.mutant.name}  {self.by or ''}"


@contextmanager
def copied() -> Generator[Path]:
    """Give a copy of the tree, as far as tests need it."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as place:
        copy = Path(place, "tree")
        shutil.copytree(REPOSITORY, copy, ignore=shutil.ignore_patterns(".*", "dist"), symlinks=True)
        yield copy


def run(tree: Path, tests: Iterable[str], *options: str) -> tuple[int, str]:
    """Return exit code and output of pytest in that copy. TimeoutExpired: it hangs."""
    packages = [str(tree / "aggregator"), str(tree / "operator")]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.mutants.witness", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, *options, *tests],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(packages), "PYTEST_ADDOPTS": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LONGEST if "-x" in options else None,
        check=False,
    )
    return done.returncode, done.stdout


def judge(mutant: Mutant) -> Verdict:
    """Return whether the tests of a fault notice it. BrokenError: they did not even begin."""
    with copied() as tree:
        path, began = tree / mutant.file, time.monotonic()
        text = mutant.planted(path.read_text())
        path.unlink()  # with what it was compiled to
        for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*"):
            compiled.unlink()
        path.write_text(text)
        try:
            code, output = run(tree, mutant.tests, "-x", "--tb=no")
        except subprocess.TimeoutExpired:
            code, output = _FAILED, "FAILED hangs"
    if code not in {_PASSED, _FAILED}:
        raise BrokenError(f"{mutant.name}: pytest ends with {code}\n{output}")
    found = _NOTICED.search(output)
    return Verdict(mutant, (found[1] if found else "?") if code else None, time.monotonic() - began)


def check(chosen: Sequence[Mutant], jobs: int) -> None:
    """BrokenError unless each fault has its place, and all tests pass without any."""
    try:
        for mutant in chosen:
            mutant.planted((REPOSITORY / mutant.file).read_text())
    except (OSError, ValueError) as error:
        raise BrokenError(f"the table does not fit the code: {error}. Change {TABLE.name}.") from error
    tests = list(dict.fromkeys(test for mutant in chosen for test in mutant.tests))
    with copied() as tree:
        code, output = run(tree, tests, f"--numprocesses={jobs}")
    if code != _PASSED:
        raise BrokenError(f"the tests fail without any fault:\n{output}")


def main() -> int:
    """Judge all faults, or those that are asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutants", description="Do the tests notice faults?"
    )
    parser.add_argument("-k", metavar="NAME", default="", help="only faults with this in their names")
    parser.add_argument("-j", metavar="N", type=int, default=os.cpu_count() or 1, help="so many at a time")
    parser.add_argument("--table", type=Path, default=TABLE, help=argparse.SUPPRESS)
    given = parser.parse_args()
    try:
        chosen = [mutant for mutant in mutants(given.table) if given.k in mutant.name]
        if not chosen:
            raise BrokenError(f"no fault has {given.k} in its name")  # noqa: TRY301
        check(chosen, given.j)
        verdicts: list[Verdict] = []
        with ThreadPoolExecutor(given.j) as pool:
            for verdict in pool.map(judge, chosen):
                print(verdict, flush=True)
                verdicts.append(verdict)
    except (BrokenError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    survivors = [verdict.mutant.name for verdict in verdicts if verdict.by is None]
    print(f"{len(verdicts)} faults, {len(survivors)} survive", *survivors, sep="\n  ")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
