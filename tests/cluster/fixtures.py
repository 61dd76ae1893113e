"""Pytest fixtures of the cluster: `pytest_plugins = ["tests.cluster.fixtures"]` in tests/conftest.py.

What this machine cannot run is skipped with the reason in one line; where the environment sets CI, it fails.
"""

import os
from collections.abc import Generator
from contextlib import AbstractContextManager, ExitStack
from typing import NoReturn, TypeVar

import pytest

from tests.cluster.controlplane import ControlPlane, control_plane
from tests.cluster.errors import UnavailableError
from tests.cluster.node.node import Node, node
from tests.cluster.target import CONTEXT, Target, kind_at_hand, of_node, target

T = TypeVar("T")
MISSING = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session", name="control_plane")
def control_plane_fixture(pytestconfig: pytest.Config) -> Generator[ControlPlane]:
    """Yield one control plane for the whole session; tests use namespaces of their own."""
    with ExitStack() as stack:
        plane = enter(control_plane(), stack)
        pytestconfig.stash[MISSING] = plane.without
        yield plane


@pytest.fixture(scope="session")
def cluster_node() -> Generator[Node]:
    """Yield one full node of our own for the whole session; tests use namespaces of their own."""
    with ExitStack() as stack:
        yield enter(node(), stack)


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Generator[Target]:
    """Yield a cluster that runs pods: the one KUBE_CONTEXT names, else one of kind, else `cluster_node`."""
    if not os.environ.get(CONTEXT) and not kind_at_hand():
        yield of_node(request.getfixturevalue("cluster_node"))
        return
    with ExitStack() as stack:
        yield enter(target(), stack)


def enter(context: AbstractContextManager[T], stack: ExitStack) -> T:
    """Return what `context` yields, or skip (in CI: fail) with the reason why this machine cannot run it."""
    try:
        return stack.enter_context(context)
    except UnavailableError as error:
        not_run(error)


def not_run(error: UnavailableError) -> NoReturn:
    """Skip, or in CI fail, with the reason in one line."""
    if os.environ.get("CI"):
        pytest.fail(str(error), pytrace=False)
    pytest.skip(str(error))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Name the components that the control plane ran without."""
    for name in config.stash.get(MISSING, list[str]()):
        line = f"NOT RUN: {name}: the folder of KUBEBUILDER_ASSETS has none"
        terminalreporter.write_line(line, red=True, bold=True)
