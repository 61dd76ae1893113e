"""Which tests share a cluster, and which begin first, when several processes run them (`pytest --numprocesses`).

A group runs in one process, so that there is one control plane and one node. xdist's own `xdist_group` marks have no
effect with pytest 9.2 (pytest-xdist issue 1386), so a group is known by where its tests are.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Final

import pytest

# The group of the first beginning that fits. Two groups, since a control plane is there long before a node is.
GROUPS: Final[Mapping[str, str]] = {
    "tests/api/": "control_plane",
    "tests/chart/": "control_plane",
    "tests/cluster/test_controlplane.py": "control_plane",
    "tests/cluster/": "node",
    "tests/e2e/": "node",
}
NAMES: Final = ("control_plane", "node")  # each is also the marker of those that need it
SUITES: Final = (
    "tests/faults/",
    "tests/recorder/",
    "tests/fuzz/",
    "tests/machine/",
    "tests/unit/",
)  # longest first
ORDER: Final = (*GROUPS, *SUITES)


def group_of(nodeid: str) -> str | None:
    """Return the group of a test, such as `tests/api/test_crd.py::test_a`; None for one that needs no cluster."""
    return next((group for start, group in GROUPS.items() if nodeid.startswith(start)), None)


def arrange(items: list[pytest.Item]) -> None:
    """Put those tests first that take longest.

    Raises:
        pytest.UsageError: a test needs a cluster and is not in its group.
    """
    for item in items:
        needs = next((name for name in NAMES if item.get_closest_marker(name)), None)
        if needs not in {None, group_of(item.nodeid)}:
            raise pytest.UsageError(
                f"{item.nodeid} needs a {needs} and is elsewhere: see GROUPS in {__file__}"
            )
    items.sort(key=lambda item: _rank(item.nodeid))


def workers() -> int:
    """Return how many processes run tests: one for each core, and those that mostly wait for a cluster."""
    return (os.cpu_count() or 1) + len(NAMES)


def _rank(nodeid: str) -> int:
    order: Sequence[int] = [number for number, start in enumerate(ORDER) if nodeid.startswith(start)]
    return order[0] if order else len(ORDER)
