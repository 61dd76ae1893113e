"""For all tests: the cluster's fixtures and groups, leaks as failures, one loud line for all that could not run."""

import gc
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from tests import groups
from tests.tools import ports
from tests.tools.long import size

pytest_plugins = ["tests.cluster.fixtures"]
settings.register_profile("project", deadline=None, print_blob=True, max_examples=size(100, 1000))
settings.load_profile("project")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest."""
    groups.arrange(items)


class Grouped(LoadScopeScheduling):
    """Gives each process one test after another, but a whole group to one process; groups begin first."""

    def _split_scope(self, nodeid: str) -> str:
        return groups.group_of(nodeid) or nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Grouped:
    """Have what shares a cluster run in one process."""
    return Grouped(config, log)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Say how many processes `--numprocesses=auto` means."""
    return groups.workers()


def open_descriptors() -> set[str]:
    """Return what this process has open, as `number -> target`, without the listing's own descriptor."""
    found: set[str] = set()
    for number in Path("/proc/self/fd").iterdir():
        try:
            found.add(f"{number.name} -> {number.readlink()}")
        except FileNotFoundError:
            continue
    return found


@pytest.fixture(autouse=True)
def no_leaks(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a unit test that leaves a thread or a descriptor behind."""
    if not {"unit", "machine"} & set(request.path.parts):
        yield
        return
    threads, descriptors = set(threading.enumerate()), open_descriptors()
    yield
    if set(threading.enumerate()) - threads or open_descriptors() - descriptors:
        gc.collect()
    for thread in set(threading.enumerate()) - threads:
        thread.join(2)
    assert not {t.name for t in set(threading.enumerate()) - threads if t.is_alive()}, "threads left behind"
    assert not open_descriptors() - descriptors, "descriptors left open"


@pytest.fixture(autouse=True)
def ports_let_go(no_leaks: None) -> Iterator[None]:
    """Keep the ports that a test reserves until its end."""
    yield
    ports.let_go()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name what did not run, one line each, so that nobody takes silence for success."""
    skipped: list[pytest.TestReport] = terminalreporter.stats.get("skipped", [])
    reasons = Counter(str(report.longrepr[2]) for report in skipped if isinstance(report.longrepr, tuple))
    for reason, count in reasons.items():
        terminalreporter.write_line(
            f"NOT RUN: {count} tests: {reason.removeprefix('Skipped: ')}", red=True, bold=True
        )
