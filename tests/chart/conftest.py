"""Fixtures of the chart's tests: helm, the rendered chart, a control plane of their own."""

from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.chart.rendering import Chart, Manifest
from tests.chart.variants import VARIANTS
from tests.cluster.build import build
from tests.cluster.commands import Command, aimed_at
from tests.cluster.controlplane import ControlPlane, control_plane
from tests.cluster.fixtures import enter
from tests.cluster.parts import HELM


@contextmanager
def _built_helm() -> Generator[Path]:
    yield build([HELM])[HELM.name]


@pytest.fixture(scope="session")
def helm(pytestconfig: pytest.Config) -> Generator[Path]:
    """Return the machine's helm where it serves, else the project's."""
    with ExitStack() as stack:
        yield enter(_built_helm(), stack, pytestconfig)


@pytest.fixture(scope="session")
def chart(helm: Path, tmp_path_factory: pytest.TempPathFactory) -> Chart:
    """Return the chart, for rendering without any cluster."""
    home = tmp_path_factory.mktemp("helm")
    return Chart(aimed_at(helm, home / "no-kubeconfig", home))


@pytest.fixture(params=VARIANTS.values(), ids=list(VARIANTS))
def values(request: pytest.FixtureRequest) -> Mapping[str, Any]:
    """Return each variant of the values in turn."""
    return request.param


@pytest.fixture
def rendered(chart: Chart, values: Mapping[str, Any]) -> list[Manifest]:
    """Return what the chart makes of each variant."""
    return chart.render(values)


@pytest.fixture(scope="module")
def plane(pytestconfig: pytest.Config) -> Generator[ControlPlane]:
    """Return a control plane of the module's own, since the chart installs things that are cluster-wide."""
    with ExitStack() as stack:
        yield enter(control_plane(), stack, pytestconfig)


@pytest.fixture(scope="module")
def installer(plane: ControlPlane, helm: Path, tmp_path_factory: pytest.TempPathFactory) -> Command:
    """Return the helm that installs into `plane`."""
    return aimed_at(helm, plane.kubeconfig, tmp_path_factory.mktemp("installer"))
