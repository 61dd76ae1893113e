"""Pytest fixtures of the cluster: `pytest_plugins = ["tests.cluster.fixtures"]` in tests/conftest.py.

What this machine cannot run is skipped with the reason in one line; where the environment sets CI, it fails.
"""

import os
import sys
from collections.abc import Generator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, NoReturn, TypeVar

import pytest

from tests.cluster.assets import without
from tests.cluster.controlplane import ControlPlane, control_plane
from tests.cluster.errors import ClusterError, UnavailableError
from tests.cluster.node.node import Node, node

T = TypeVar("T")


@pytest.fixture(scope="session", name="control_plane")
def control_plane_fixture(pytestconfig: pytest.Config) -> Generator[ControlPlane]:
    """Yield one control plane for the whole session; tests use namespaces of their own."""
    with ExitStack() as stack:
        yield enter(control_plane(), stack, pytestconfig)


@pytest.fixture(scope="session")
def cluster_node(pytestconfig: pytest.Config) -> Generator[Node]:
    """Yield one full node of our own for the whole session; tests use namespaces of their own."""
    with ExitStack() as stack:
        yield enter(node(), stack, pytestconfig)


def enter(context: AbstractContextManager[T], stack: ExitStack, config: pytest.Config) -> T:
    """Return what `context` yields, or skip (in CI: fail) with the reason why this machine cannot run it.

    What it builds or waits for takes minutes, so people see at once what it says, and that it failed.
    """
    with aloud(config):
        try:
            return stack.enter_context(context)
        except UnavailableError as error:
            not_run(error)
        except ClusterError as error:
            print(f"cluster: {error}", file=sys.stderr, flush=True)
            raise


@contextmanager
def aloud(config: pytest.Config) -> Generator[None]:
    """Let standard error through to people while a fixture works."""
    capture: Any = config.pluginmanager.getplugin("capturemanager")
    if capture is None:
        yield
        return
    with capture.global_and_fixture_disabled():
        yield


def not_run(error: UnavailableError) -> NoReturn:
    """Skip, or in CI fail, with the reason in one line."""
    if os.environ.get("CI"):
        pytest.fail(str(error), pytrace=False)
    pytest.skip(str(error))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the components that the control plane ran without."""
    ran: list[pytest.TestReport] = terminalreporter.stats.get("passed", [])
    if not any("control_plane" in report.keywords for report in ran):
        return
    for name in without():
        line = f"NOT RUN: {name}: the folder of KUBEBUILDER_ASSETS has none"
        terminalreporter.write_line(line, red=True, bold=True)
