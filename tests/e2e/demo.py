"""`make demo`: a cluster, the chart, a simulated stream, and what was recorded of it."""

import json
import subprocess
import sys
import time
from typing import Any, Final

from tests.cluster import paths
from tests.cluster.commands import Command, CommandError
from tests.cluster.errors import ClusterError
from tests.cluster.node.layout import Layout
from tests.cluster.process import without_proxies
from tests.cluster.target import Target, up
from tests.e2e.install import install

NAMESPACE: Final = "timestream-demo"
EXAMPLE: Final = paths.REPOSITORY / "examples" / "quickstart.yaml"
STREAM: Final = "quickstart"
FILES: Final = 4
RECORD_SECONDS: Final = 180.0


def main() -> int:
    """Show the whole line, each step with its time; 1 with one clear line when it cannot be shown."""
    began = time.monotonic()

    def step(what: str) -> None:
        print(f"\n\033[1m[{time.monotonic() - began:4.0f} s] {what}\033[0m", flush=True)

    try:
        step("A cluster (the first time its parts are built: about 15 minutes on 2 cores)")
        cluster = up(Layout("people"))
        print(f"Using {cluster.title}.")
        step("Our images and our chart, with a simulated SMuRF stream")
        install(cluster, NAMESPACE, "simulator.enabled=true")
        _show(cluster.kubectl, "get", "pods")
        step(f"kubectl apply -f {EXAMPLE.relative_to(paths.REPOSITORY)}; kubectl get tsagg --watch")
        _show(cluster.kubectl, "apply", "-f", str(EXAMPLE))
        if not _watch(cluster):
            return 1
        print(
            "LOST counts what its session had sent before the recorder joined: the streamer numbers its frames."
        )
        step("What the recorder tells of it: kubectl describe tsagg quickstart")
        _show(cluster.kubectl, "describe", "tsagg", STREAM)
        step("The files, read back by spt3g: timestream-aggregator ls and verify, in the recorder's pod")
        pod = ("exec", f"{STREAM}-0", "--", "timestream-aggregator")
        _show(cluster.kubectl, *pod, "ls", "/data")
        _show(cluster.kubectl, *pod, "verify", "/data")
        step("Done")
        _tell_how_to_go_on(cluster)
    except (ClusterError, CommandError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    return 0


def _watch(cluster: Target) -> bool:
    """Show `kubectl get --watch` until some files are published; return whether they are."""
    kubectl = cluster.kubectl
    command = [
        str(kubectl.program),
        *kubectl.arguments,
        "--namespace",
        NAMESPACE,
        "get",
        "tsagg",
        STREAM,
        "--watch",
    ]
    with subprocess.Popen(command, env=without_proxies(kubectl.environment)) as watch:
        try:
            return _wait_for_files(kubectl)
        finally:
            watch.terminate()


def _wait_for_files(kubectl: Command) -> bool:
    deadline = time.monotonic() + RECORD_SECONDS
    status: dict[str, Any] = {}
    while time.monotonic() < deadline:
        said = kubectl("--namespace", NAMESPACE, "get", "tsagg", STREAM, "-o", "json")
        status = json.loads(said).get("status", {})
        if status.get("aggregator", {}).get("totals", {}).get("files", 0) >= FILES:
            return True
        time.sleep(1)
    print(
        f"demo: not {FILES} files within {RECORD_SECONDS:.0f} s: {json.dumps(status, indent=1)}",
        file=sys.stderr,
    )
    return False


def _show(kubectl: Command, *arguments: str) -> None:
    """Run kubectl in the demo's namespace and print what it says."""
    print(kubectl("--namespace", NAMESPACE, *arguments), end="", flush=True)


def _tell_how_to_go_on(cluster: Target) -> None:
    print(f"""It goes on recording. To look around:

    make cluster-shell              # kubectl and helm for {cluster.title}
    kubectl -n {NAMESPACE} get tsagg --watch
    kubectl -n {NAMESPACE} patch tsagg {STREAM} --type merge -p '{{"spec":{{"suspend":true}}}}'

And to clean up: the stream (its files stay on their claim), the operator, or everything:

    kubectl -n {NAMESPACE} delete tsagg {STREAM}
    helm -n {NAMESPACE} uninstall timestream-aggregator
    make cluster-down""")


if __name__ == "__main__":
    sys.exit(main())
