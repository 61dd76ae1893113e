"""The import rules of pyproject.toml catch what they are there to catch: violations are planted in a copy."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
PLANTS: Final = {  # contract: (module it is planted in, the line, a module that the rules name)
    "1": [
        ("timestream_api.values", "import kopf"),
        ("timestream_api.values", "import timestream_aggregator.clock"),
        ("timestream_api.report", "import timestream_operator.queue"),
    ],
    "2": [
        ("timestream_operator.queue", "import timestream_aggregator.clock"),
        ("timestream_aggregator.clock", "import timestream_operator.objects"),
    ],
    "3a": [("timestream_operator.controller", "import kopf")],
    "3b": [("timestream_operator.controller", "import kubernetes")],
    "3c": [("timestream_aggregator.writing.writer", "import spt3g")],
    "3d": [
        ("timestream_aggregator.writing.writer", "import socket"),
        ("timestream_aggregator.readback.reading", "import http.client"),
    ],
    "3e": [
        ("timestream_aggregator.network.source", "import timestream_aggregator.disk.folder"),
        ("timestream_aggregator.network.dialer", "import timestream_aggregator.ledger.file"),
    ],
    "4": [
        ("timestream_aggregator.core.new", "import os"),
        ("timestream_aggregator.core.naming", "import random"),
        ("timestream_aggregator.g3.format", "import pathlib"),
        ("timestream_aggregator.core.replay", "import logging"),
        ("timestream_operator.reconcile", "import time"),
    ],
    "5o": [
        ("timestream_operator.objects", "import timestream_operator.queue"),
        ("timestream_operator.new", "import timestream_operator.objects"),
    ],
    "5r": [
        ("timestream_aggregator.recovery.recovery", "import timestream_aggregator.network.sockets"),
        ("timestream_aggregator.readback.readback", "import timestream_aggregator.writing.writer"),
        ("timestream_aggregator.disk.folder", "import timestream_aggregator.ledger.file"),
        ("timestream_aggregator.new_room", "import timestream_aggregator.clock"),
    ],
    "5a": [("timestream_api.values", "import timestream_api.resource")],
}


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return what the checker says of a tree in which every rule is broken."""
    tree = tmp_path_factory.mktemp("planted")
    for package in (
        "operator/timestream_operator",
        "aggregator/timestream_api",
        "aggregator/timestream_aggregator",
    ):
        shutil.copytree(
            ROOT / package, tree / Path(package).name, ignore=shutil.ignore_patterns("__pycache__")
        )
    shutil.copy(ROOT / "pyproject.toml", tree)
    for plants in PLANTS.values():
        for module, line in plants:
            path = tree / f"{module.replace('.', '/')}.py"
            path.write_text((path.read_text() if path.exists() else '"""New."""\n') + f"\n{line}\n")
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [linter, "--no-logo", "--no-cache"],
        cwd=tree,
        env={"PYTHONPATH": str(tree), "PATH": "/usr/bin:/bin", "COLUMNS": "400"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("module", "line"),
    [
        pytest.param(*plant, id=f"{rule}: {plant[0]}: {plant[1]}")
        for rule, plants in PLANTS.items()
        for plant in plants
    ],
)
def test_a_planted_violation_is_caught(said: str, module: str, line: str) -> None:
    broken = said.partition("Broken contracts")[2]
    target = line.removeprefix("import ")
    named = re.escape(target if target.startswith("timestream") else target.partition(".")[0])
    alone = module.rpartition(".")[2]
    found = re.search(rf"{re.escape(module)} -> {named}\b", broken) or (
        alone in {"new", "new_room"} and re.search(rf"\b{alone}\b", broken)
    )
    assert found, broken


def test_no_contract_is_kept_in_that_tree(said: str) -> None:
    kept = [line for line in said.splitlines() if line.endswith(" KEPT") or " KEPT (" in line]
    assert not kept
