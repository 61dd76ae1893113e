"""One recorded stream of the end-to-end tests: its sender, its resource, its files on the volume."""

import hashlib
import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from tests.cluster.commands import CommandError
from tests.cluster.node.node import Node
from tests.tools.frames import read_frames, spt3g_reads
from tests.tools.sender import Sender, SentFrame
from timestream_aggregator.ledger.file import lines
from timestream_api.ledger import Verified

OWN_FOLDER: Final = ".timestream-aggregator"
PATIENCE: Final = 90.0


class Stream:
    """A TimestreamAggregation that records `sender`, seen as its user sees it: through kubectl and on the volume."""

    def __init__(self, node: Node, namespace: str, name: str) -> None:
        self.node, self.namespace, self.name = node, namespace, name

    def apply(self, sender: Sender, **spec: object) -> None:
        """Create or change the resource."""
        wanted: dict[str, object] = {
            "address": self.node.address,
            "port": sender.port,
            "timePerFile": "3s",
            "minFreeBytes": 0,
            "storage": {"volumeClaimTemplate": {"spec": {"resources": {"requests": {"storage": "1Gi"}}}}},
        }
        manifest = {
            "apiVersion": "timestream.dev/v1alpha1",
            "kind": "TimestreamAggregation",
            "metadata": {"name": self.name, "namespace": self.namespace},
            "spec": wanted | spec,
        }
        self.run("apply", "-f", "-", stdin=json.dumps(manifest))

    def connect(self, sender: Sender, **spec: object) -> None:
        """Create the resource and wait until its recorder is connected."""
        self.apply(sender, **spec)
        self.wait_for("Connected")
        sender.wait_for_clients(1)

    def run(self, *arguments: str, stdin: str | None = None) -> str:
        """Return what kubectl says, in the stream's namespace."""
        return self.node.kubectl("--namespace", self.namespace, *arguments, input=stdin)

    def wait_for(self, *conditions: str, timeout: float = PATIENCE) -> None:
        """Wait as users do, for `Recording` or `Connected=False`; AssertionError that tells all if it does not come."""
        for condition in conditions:
            try:
                self.run(
                    "wait", f"--for=condition={condition}", f"--timeout={timeout:.0f}s", f"tsagg/{self.name}"
                )
            except CommandError as error:
                raise AssertionError(
                    f"{error}\n{json.dumps(self.status(), indent=1)}\n{self.logs()}"
                ) from None

    def status(self) -> dict[str, Any]:
        """Return the resource's status."""
        found: dict[str, Any] = json.loads(self.run("get", "tsagg", self.name, "-o", "json"))
        return found.get("status", {})

    def report(self) -> dict[str, Any]:
        """Return what the recorder reports; empty before its first report."""
        return self.status().get("aggregator", {})

    def all_verified(self) -> bool:
        """Return whether every published file was read back, as the ledger tells, and is good."""
        told = (line.fact for line in lines(self.folder()))
        good = {fact.path for fact in told if isinstance(fact, Verified) and fact.good}
        return good == {str(path.relative_to(self.folder())) for path in self.published()}

    def wait_for_end(self) -> None:
        """Wait until the session's END has published the last file."""
        eventually("END published a file", lambda: self.report().get("lastFile", {}).get("reason") == "End")

    def logs(self) -> str:
        """Return the end of the recorder's log, or why there is none."""
        try:
            return self.run("logs", f"{self.name}-0", "--tail=30")
        except CommandError as error:
            return str(error)

    def pod(self) -> dict[str, Any] | None:
        """Return the recorder's pod, if there is one."""
        said = self.run("get", "pod", f"{self.name}-0", "-o", "json", "--ignore-not-found")
        return json.loads(said) if said else None

    def folder(self) -> Path:
        """Return the data folder, as this machine sees it."""
        volume = self.run("get", "pvc", f"{self.name}-data", "-o", "jsonpath={.spec.volumeName}")
        path = self.run("get", "pv", volume, "-o", "jsonpath={.spec.local.path}{.spec.hostPath.path}")
        return Path(path)

    def published(self) -> list[Path]:
        """Return the published files in the order of their names; there is nothing else in the data folders."""
        files = [p for p in self.folder().rglob("*") if p.is_file() and OWN_FOLDER not in p.parts]
        assert all(path.suffix == ".g3" for path in files), files
        return sorted(files)

    def staged(self) -> list[Path]:
        """Return the files that are being written or were left by a crash."""
        return sorted((self.folder() / OWN_FOLDER / "staging").glob("*"))

    def assert_holds(self, sent: Sequence[SentFrame]) -> None:
        """Assert that spt3g reads each file, and that each frame is there once, byte for byte, and nothing else.

        Metadata may be there again, by design: an Observation begins each later file (R10), and a sender replays
        its last Observation and Wiring to a recorder that starts anew.
        """
        found: Counter[str] = Counter()
        for path in self.published():
            frames = read_frames(path)
            assert spt3g_reads(path) == len(frames) > 0
            found.update(hashlib.sha256(frame).hexdigest() for frame in frames)
        wanted = Counter(frame.sha256 for frame in sent if frame.recorded)
        repeatable = {frame.sha256 for frame in sent if frame.kind in {"Observation", "Wiring"}}
        assert not wanted - found, f"{(wanted - found).total()} of {wanted.total()} frames are missing"
        assert set(found - wanted) <= repeatable, "frames that nobody sent, or twice"

    def kill_recorder(self) -> None:
        """Send SIGKILL to the recorder's process, known by the cgroup of its pod."""
        pod = self.pod()
        assert pod is not None
        for number in self.node.processes(str(pod["metadata"]["uid"])):
            if "record" in Path(f"/proc/{number}/cmdline").read_text().split("\0"):
                os.kill(number, signal.SIGKILL)
                return
        raise AssertionError("the pod has no recorder process")


def eventually(what: str, holds: Callable[[], object], timeout: float = PATIENCE) -> None:
    """Wait until `holds()`; AssertionError that names `what` when it does not come."""
    deadline = time.monotonic() + timeout
    while not holds():
        assert time.monotonic() < deadline, f"not within {timeout:.0f} s: {what}"
        time.sleep(0.2)
