"""Fixtures of the tests against a real API server: the CRD in place, and a namespace for each test."""

from collections.abc import Iterator
from itertools import count

import pytest

from tests.api.aggregations import DryRun
from tests.api.cluster import Api, Cluster
from tests.api.operating import ACCOUNT, HOME, Operator, cluster_role
from tests.cluster.controlplane import ControlPlane
from tests.cluster.paths import CRD

_numbers = count(1)


@pytest.fixture(scope="session")
def plane(control_plane: ControlPlane) -> ControlPlane:
    """Return the control plane once the API server serves our resource."""
    control_plane.serve(CRD)
    return control_plane


@pytest.fixture
def namespace(plane: ControlPlane) -> Iterator[str]:
    """Yield a namespace of the test's own."""
    name = f"test-{next(_numbers)}"
    plane.kubectl("create", "namespace", name)
    yield name
    plane.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="session")
def dry_run(plane: ControlPlane) -> Iterator[DryRun]:
    """Yield a way to ask the API server about specs, as an administrator."""
    plane.kubectl("create", "serviceaccount", "asker", "--namespace=default")
    plane.kubectl(
        "create",
        "clusterrolebinding",
        "asker",
        "--clusterrole=cluster-admin",
        "--serviceaccount=default:asker",
    )
    asker = DryRun(plane, plane.token("default", "asker"))
    yield asker
    asker.close()


@pytest.fixture(scope="session")
def api(plane: ControlPlane) -> Iterator[Api]:
    """Yield plain requests to the API server; the account that the operator gets exists from now on."""
    api = Api(plane)
    plane.kubectl("create", "namespace", HOME)
    plane.kubectl("create", "serviceaccount", ACCOUNT, f"--namespace={HOME}")
    yield api
    api.close()


@pytest.fixture(scope="module")
def operator(plane: ControlPlane, api: Api, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """Yield an operator that runs for all tests of a module and looks after all namespaces."""
    plane.kubectl("apply", "-f", "-", input=cluster_role())
    operator = Operator(plane, tmp_path_factory.mktemp("operator"))
    operator.start()
    yield operator
    status = operator.stop()
    plane.kubectl("delete", "clusterrolebinding/operator", "clusterrole/operator")
    assert status == 0, operator.log


@pytest.fixture
def lab(plane: ControlPlane, api: Api, namespace: str) -> Cluster:
    """Return a namespace to try the operator in."""
    return Cluster(plane, api, namespace)
