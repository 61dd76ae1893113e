"""Start of the operator: `python -m timestream_operator`. Settings, logging, the parts put together."""

import logging
import os
import platform
import sys
from typing import Final

from timestream_api.log_lines import JsonLines, TextLines
from timestream_operator.cache import Cache
from timestream_operator.cluster import Cluster, UnavailableError
from timestream_operator.controller import Controller
from timestream_operator.manifests import Defaults
from timestream_operator.objects import Key
from timestream_operator.queue import WorkQueue
from timestream_operator.settings import in_pod, read_settings
from timestream_operator.watch import Watch

# kopf tells of each event, and of each start and stop of a watch.
CHATTY: Final = ("kopf", "aiohttp", "asyncio", "urllib3")


def main() -> int:
    """Run until SIGTERM; return the exit status."""
    settings = read_settings(sys.argv[1:], os.environ)
    _log(settings.log_level, as_json=in_pod())
    try:
        cluster = Cluster.connect(settings.workers + 1)
    except UnavailableError as error:
        sys.stderr.write(f"No API server: {error}. Set KUBECONFIG, or run in a pod.\n")
        return 1
    cache = Cache()
    defaults = Defaults(settings.recorder_image, settings.recorder_image_pull_policy)
    controller = Controller(cluster, cache, defaults, platform.node())
    queue = WorkQueue[Key](controller.reconcile, settings.workers)
    Watch(cache, controller, queue, settings.namespace).run(settings.health_port)
    return 0


def _log(level: str, *, as_json: bool) -> None:
    """Send log lines of at least `level` to standard error: JSON in a pod, for people elsewhere."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if as_json else TextLines())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)


if __name__ == "__main__":
    sys.exit(main())
