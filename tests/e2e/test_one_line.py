"""From `kubectl apply` to published files and back to the status, with everything real."""

import json
import time

import pytest

from tests.cluster.node.node import Node
from tests.e2e.conftest import NAMESPACE
from tests.e2e.stream import Stream, eventually
from tests.tools.sender import Sender, SentFrame

pytestmark = [pytest.mark.node, pytest.mark.timeout(600)]
OPERATOR = "deployment/timestream-aggregator-operator"


def test_a_stream_is_recorded_into_files_and_the_status_tells(stream: Stream, sender: Sender) -> None:
    stream.connect(sender)
    sent = sender.start_session()
    sent += sender.send_scans(60, payload=200_000, interval=0.2)
    stream.wait_for("Recording", "Ready", "StorageReady", "Reconciled")
    row = stream.run("get", "tsagg", stream.name)
    sent += sender.end_session()

    eventually("four files", lambda: stream.report().get("totals", {}).get("files", 0) >= 4)
    stream.wait_for_end()
    last = stream.report()["lastFile"]
    assert {"Recording", "True"} <= set(row.split()), row
    assert str(stream.published()[-1]).endswith(last["path"])
    stream.assert_holds(sent)
    assert not stream.staged()


def test_a_recorder_killed_with_sigkill_goes_on_and_what_it_left_is_published(
    stream: Stream, sender: Sender
) -> None:
    stream.connect(sender, timePerFile="4s")  # killed 6 s after the first frame
    sent = sender.start_session() + sender.send_scans(25, payload=50_000, interval=0.2)
    eventually("a file is published", stream.published)
    before = {path: path.read_bytes() for path in stream.published()}
    time.sleep(1)  # what was received reaches the kernel within a second

    stream.kill_recorder()
    eventually("the kernel lets the old connection go", lambda: sender.clients() == 0)
    sender.alive()
    sender.wait_for_clients(1, timeout=60)
    sent += sender.send_scans(10, payload=50_000, interval=0.2) + sender.end_session()

    stream.wait_for_end()
    eventually("what the killed one left is published", lambda: not stream.staged())
    eventually("all files are read back", stream.all_verified)
    assert stream.report()["totals"]["recovered"] == 1
    assert all(path.read_bytes() == content for path, content in before.items())
    assert stream.published()[-1].stem.split("_")[0] != max(before).stem.split("_")[0]
    stream.assert_holds(sent)


def test_a_sender_that_goes_away_and_comes_back_is_recorded_again(
    stream: Stream, sender: Sender, installed: Node
) -> None:
    stream.connect(sender)
    sent = sender.start_session() + sender.send_scans(10, interval=0.1)
    stream.wait_for("Recording")

    sender.exit()
    stream.wait_for("Connected=False")
    phase = stream.status()["phase"]
    with Sender(port=sender.port, address="0.0.0.0", prefix=installed.in_network([])) as successor:
        stream.wait_for("Connected")
        successor.wait_for_clients(1)
        sent += successor.start_session() + successor.send_scans(10, interval=0.1) + successor.end_session()
        stream.wait_for_end()

    assert len(_acquisitions(stream)) == 2
    assert phase == "Waiting"
    stream.assert_holds(sent)


def test_suspending_publishes_what_there_is_and_resuming_records_again(
    stream: Stream, sender: Sender
) -> None:
    stream.connect(sender)
    sent = sender.start_session() + sender.send_scans(10, interval=0.1)
    stream.wait_for("Recording")

    stream.apply(sender, suspend=True)
    eventually("the pod is gone", lambda: stream.pod() is None)
    eventually("it says so", lambda: stream.status()["phase"] == "Suspended")
    staged, published = stream.staged(), stream.published()
    stream.apply(sender, suspend=False)
    stream.wait_for("Connected")
    eventually("the old connection is gone", lambda: sender.clients() == 1)
    sent += sender.send_scans(10, interval=0.1) + sender.end_session()
    stream.wait_for_end()

    assert published
    assert not staged
    stream.assert_holds(sent)


def test_an_edit_of_the_time_per_file_reaches_the_recorder_and_loses_nothing_published(
    stream: Stream, sender: Sender
) -> None:
    stream.connect(sender, timePerFile="1h")
    sent: list[SentFrame] = sender.start_session() + sender.send_scans(5, interval=0.1)
    stream.wait_for("Recording")
    pod = stream.pod()
    assert pod is not None
    old = pod["metadata"]["uid"]

    stream.apply(sender, timePerFile="2s")
    eventually(
        "the pod is replaced", lambda: (pod := stream.pod()) is not None and pod["metadata"]["uid"] != old
    )
    stream.wait_for("Ready", "Connected")
    eventually("the new recorder is connected, the old one gone", lambda: sender.clients() == 1)
    before = len(stream.published())
    sent += sender.send_scans(30, interval=0.2) + sender.end_session()

    stream.wait_for_end()
    assert len(stream.published()) >= before + 3
    stream.assert_holds(sent)


def test_a_resource_is_deleted_without_the_operator_and_its_files_stay(
    stream: Stream, sender: Sender
) -> None:
    stream.connect(sender)
    sent = sender.start_session() + sender.send_scans(10, interval=0.1) + sender.end_session()
    eventually("a file is published", stream.published)

    stream.run("scale", OPERATOR, "--replicas=0")
    stream.run("rollout", "status", OPERATOR, "--timeout=60s")
    try:
        stream.run("delete", "tsagg", stream.name, "--timeout=60s")
        eventually("its children are gone", lambda: not _children(stream))
    finally:
        stream.run("scale", OPERATOR, "--replicas=1")
        stream.run("rollout", "status", OPERATOR, "--timeout=90s")

    assert stream.run("get", "pvc", f"{stream.name}-data", "-o", "name")
    stream.assert_holds(sent)


def test_both_images_run_in_a_namespace_that_enforces_restricted(stream: Stream, sender: Sender) -> None:
    stream.apply(sender)
    stream.wait_for("Ready")
    pods = json.loads(stream.run("get", "pods", "-o", "json"))["items"]
    level = stream.node.kubectl("get", "namespace", NAMESPACE, "-o", "jsonpath={.metadata.labels}")

    assert '"pod-security.kubernetes.io/enforce":"restricted"' in level
    running = [c["name"] for pod in pods for c in pod["status"]["containerStatuses"] if c["ready"]]
    assert {"operator", "recorder"} <= set(running)


@pytest.mark.parametrize(
    ("workload", "present", "absent"),
    [(OPERATOR, "kopf, kubernetes", "spt3g"), ("statefulset", "spt3g.core", "kopf kubernetes")],
)
def test_an_image_holds_what_its_side_needs_and_nothing_of_the_other(
    stream: Stream, sender: Sender, workload: str, present: str, absent: str
) -> None:
    stream.apply(sender)
    stream.wait_for("Ready")
    target = f"statefulset/{stream.name}" if workload == "statefulset" else workload
    script = f"import {present}, importlib.util as u; print([m for m in {absent.split()} if u.find_spec(m)])"

    assert stream.run("exec", target, "--", "python", "-c", script).strip() == "[]"


def _acquisitions(stream: Stream) -> set[str]:
    return {path.stem.rpartition("_")[0] for path in stream.published()}


def _children(stream: Stream) -> str:
    kinds = "statefulset,pod,serviceaccount,role,rolebinding"
    return stream.run("get", kinds, "-l", f"app.kubernetes.io/instance={stream.name}", "-o", "name")
