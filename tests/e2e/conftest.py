"""The chart installed on the node with our images, and for each test a sender and a stream of its own."""

import json
from collections.abc import Iterator
from itertools import count
from typing import Final

import pytest

from tests.cluster.node.node import Node
from tests.cluster.target import of_node
from tests.e2e.install import install
from tests.e2e.stream import Stream
from tests.tools.sender import Sender

NAMESPACE: Final = "timestream"
_numbers = count(1)


@pytest.fixture(scope="session")
def installed(cluster_node: Node) -> Node:
    """Return the node with both images imported and the chart installed, in a namespace that enforces `restricted`."""
    namespace = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": NAMESPACE, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
    }
    cluster_node.kubectl("apply", "-f", "-", input=json.dumps(namespace))
    install(of_node(cluster_node), NAMESPACE)
    return cluster_node


@pytest.fixture
def sender(installed: Node) -> Iterator[Sender]:
    """Yield a real G3NetworkSender that the pods reach at the node's address."""
    with Sender(address="0.0.0.0", prefix=installed.in_network([])) as sender:
        yield sender


@pytest.fixture
def stream(installed: Node) -> Iterator[Stream]:
    """Yield a stream with no resource yet; what a test leaves of it is deleted, files included."""
    stream = Stream(installed, NAMESPACE, f"stream-{next(_numbers)}")
    yield stream
    stream.run("delete", "tsagg", stream.name, "--ignore-not-found", "--timeout=90s")
    stream.run("delete", "pvc", f"{stream.name}-data", "--ignore-not-found", "--wait=false")
