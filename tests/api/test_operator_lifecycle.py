"""The operator as a process: started, stopped, restarted, away, and confined to namespaces."""

import json
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.api.cluster import CHILDREN, Api, Cluster, Json
from tests.api.operating import HOME, Operator, operator_rules, role_of
from tests.cluster.controlplane import ControlPlane
from timestream_operator.objects import Kind

pytestmark = [pytest.mark.control_plane, pytest.mark.timeout(150)]
MINIMAL: Final[Json] = {"storage": {"claimName": "data"}}
STEADY: Final = 4.0


@pytest.fixture(name="confined")
def confined_fixture(lab: Cluster) -> Cluster:
    """Return the lab once the operator's account has a Role there, and nothing elsewhere."""
    meta: Json = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": "operator"}}
    role = {**meta, "kind": "Role", "rules": operator_rules()}
    binding = {**meta, "kind": "RoleBinding", **role_of("Role")}
    both = json.dumps({"kind": "List", "apiVersion": "v1", "items": [role, binding]})
    lab.plane.kubectl("apply", f"--namespace={lab.namespace}", "-f", "-", input=both)
    return lab


@contextmanager
def operating(lab: Cluster, folder: Path) -> Generator[Operator]:
    """Run an operator that looks after one namespace; it must end well."""
    operator = Operator(lab.plane, folder, f"--namespace={lab.namespace}")
    operator.start()
    try:
        yield operator
    finally:
        status = operator.stop()
    assert status == 0, operator.log
    assert "Traceback" not in operator.log


def recording(lab: Cluster) -> None:
    lab.make_claim("data")
    lab.make("one", MINIMAL)
    lab.run_pod("one")
    lab.report("one")
    lab.wait_phase("one", "Recording")


def test_it_works_with_roles_in_its_namespaces_alone_and_sees_no_others(
    confined: Cluster, plane: ControlPlane, api: Api, tmp_path: Path
) -> None:
    elsewhere = Cluster(plane, api, HOME)
    with operating(confined, tmp_path):
        elsewhere.make("one", MINIMAL)
        recording(confined)
        assert all(confined.get(kind, "one") for kind in CHILDREN)
    assert not elsewhere.get(Kind.STATEFUL_SET, "one")
    elsewhere.delete(Kind.AGGREGATION, "one")


def test_a_steady_stream_costs_no_write_and_neither_does_a_restart_of_the_operator(
    confined: Cluster, tmp_path: Path
) -> None:
    with operating(confined, tmp_path):
        recording(confined)
        time.sleep(1)
        before = confined.versions()
        time.sleep(STEADY)
        assert confined.versions() == before
    with operating(confined, tmp_path) as operator:
        time.sleep(STEADY)
        assert confined.versions() == before, operator.log
        confined.edit(Kind.STATEFUL_SET, "one", {"spec": {"replicas": 2}})  # it is awake all the same
        confined.wait(Kind.STATEFUL_SET, "one", lambda it: it["spec"]["replicas"] == 1)


def test_a_further_report_costs_no_write_of_the_operator(confined: Cluster, tmp_path: Path) -> None:
    with operating(confined, tmp_path) as operator:
        recording(confined)
        time.sleep(1)
        lines = operator.log.count("reconciled")
        before = confined.versions()
        confined.report("one", totals={"files": 3, "frames": 1000})
        time.sleep(2)
        after = confined.versions()
        mine = confined.get(Kind.AGGREGATION, "one")
        assert mine
        assert mine["status"]["aggregator"]["totals"]["files"] == 3
        assert {name for name in after if after[name] != before.get(name)} == {"TimestreamAggregation/one"}
        assert operator.log.count("reconciled") == lines


def test_a_resource_is_deleted_whole_while_the_operator_is_away(confined: Cluster, tmp_path: Path) -> None:
    with operating(confined, tmp_path):
        recording(confined)
    confined.delete(Kind.AGGREGATION, "one")
    confined.wait_gone(Kind.AGGREGATION, "one", seconds=2)
    for kind in CHILDREN:
        confined.wait_gone(kind, "one")
    assert confined.get(Kind.CLAIM, "data")


def test_what_happened_while_the_operator_was_away_is_made_good_when_it_is_back(
    confined: Cluster, tmp_path: Path
) -> None:
    with operating(confined, tmp_path):
        recording(confined)
    confined.delete(Kind.ROLE, "one")
    confined.edit(Kind.AGGREGATION, "one", {"spec": {"timePerFile": "90s"}})
    confined.make("two", MINIMAL)
    with operating(confined, tmp_path):
        confined.wait(Kind.ROLE, "one", lambda _: True)
        confined.wait(Kind.STATEFUL_SET, "two", lambda _: True)
        confined.wait(
            Kind.STATEFUL_SET,
            "one",
            lambda it: "--time-per-file=90" in it["spec"]["template"]["spec"]["containers"][0]["args"],
        )


def test_it_goes_on_after_the_api_server_was_away(confined: Cluster, tmp_path: Path) -> None:
    with operating(confined, tmp_path) as operator:
        recording(confined)
        confined.plane.stop_api_server()
        time.sleep(3)
        confined.plane.start_api_server()
        confined.edit(Kind.AGGREGATION, "one", {"spec": {"timePerFile": "90s"}})
        confined.settled("one")
        assert operator.daemon.alive()


def test_it_says_in_one_line_what_it_may_not_do_and_starts_when_it_may(lab: Cluster, tmp_path: Path) -> None:
    operator = Operator(lab.plane, tmp_path, f"--namespace={lab.namespace}")
    operator.daemon.start()
    try:
        end = time.monotonic() + 20
        while not (operator.daemon.log.exists() and "cannot look at the cluster" in operator.log):
            assert time.monotonic() < end, operator.log
            time.sleep(0.2)
        assert "Traceback" not in operator.log
        assert "forbidden" in operator.log
    finally:
        operator.stop()
