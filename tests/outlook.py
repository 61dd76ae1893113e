"""`make test` begins with this: how many tests there are, about how long they take, what cannot run here and why."""

import contextlib
import os
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Final

import pytest

from tests.cluster.build import missing
from tests.cluster.errors import ClusterError
from tests.cluster.packages import require_root
from tests.cluster.parts import CONTROL_PLANE, NODE, Part
from tests.groups import group_of

TESTS_MINUTES: Final = 7  # on two cores, with the cluster built


class Collected:
    """A plugin of pytest that keeps what was collected."""

    items: Sequence[pytest.Item] = ()

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Keep the tests."""
        self.items = session.items


def main() -> None:
    """Print it."""
    tests = Collected()
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):  # noqa: PTH123
        pytest.main(["--collect-only", "-qq", "-p", "no:cacheprovider"], plugins=[tests])
    groups = Counter(group_of(item.nodeid) for item in tests.items)
    out = Counter(reason for item in tests.items if (reason := _skipped(item)))
    parts, refused = _cluster()
    for group, why in refused.items():
        out[why] += groups[group]
    print(f"make test: {len(tests.items)} tests, about {TESTS_MINUTES} minutes on 2 cores{_of_build(parts)}")
    for reason, count in out.items():
        print(f"make test: cannot run here: {count} tests: {reason}")
    sys.stdout.flush()


def _skipped(item: pytest.Item) -> str | None:
    """Return why a test is marked not to run here."""
    return next(
        (str(mark.kwargs["reason"]) for mark in item.iter_markers("skipif") if mark.args[0] is True), None
    )


def _cluster() -> tuple[Sequence[Part], dict[str, str]]:
    """Return the parts of the cluster that will be built, and for each group that cannot run the reason."""
    refused: dict[str, str] = {}
    try:
        require_root()
    except ClusterError as error:
        refused["node"] = str(error)
    try:
        return missing(CONTROL_PLANE if refused else NODE), refused
    except ClusterError as error:
        return [], refused | {"control_plane": str(error)}


def _of_build(parts: Sequence[Part]) -> str:
    if not parts:
        return "; the cluster is built"
    minutes = sum(part.seconds for part in parts) / 60
    return f"; beside them the cluster is built, {len(parts)} of its parts, about {minutes:.0f} minutes, once"


if __name__ == "__main__":
    main()
