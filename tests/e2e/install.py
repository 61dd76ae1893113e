"""Our images into a cluster, and our chart from them: the same for the demo and the end-to-end tests."""

import os
from typing import Final

from tests.cluster import paths
from tests.cluster.images.ours import IMAGES
from tests.cluster.target import Target

CHART: Final = paths.REPOSITORY / "charts" / "timestream-aggregator"
RELEASE: Final = "timestream-aggregator"
REGISTRY: Final = "IMAGE_REGISTRY"  # the user has pushed both images there, under the chart's own names
OUR_IMAGES: Final = (
    "image.registry=localhost",
    "operator.image.repository=timestream-operator",
    "operator.image.tag=test",
    "recorder.image.tag=test",
)


def install(cluster: Target, namespace: str, *values: str) -> None:
    """Build both images, bring them into `cluster`, and install the chart or bring it up to date.

    Args:
        cluster: where.
        namespace: of the release, made where it is missing.
        values: settings of the chart, as NAME=VALUE.

    Raises:
        ClusterError: an image does not build.
        UnavailableError: we have no way to bring images into this cluster.
        CommandError: helm fails.
    """
    settings = [f"--set={value}" for value in (*_bring_images(cluster), *values)]
    where = ["--namespace", namespace, "--create-namespace", "--reset-values", "--wait", "--timeout=180s"]
    cluster.helm("upgrade", "--install", RELEASE, str(CHART), *where, *settings, timeout=240)


def _bring_images(cluster: Target) -> tuple[str, ...]:
    """Have both images at hand in `cluster`; return the settings of the chart that name them."""
    if registry := os.environ.get(REGISTRY):
        return (f"image.registry={registry}",)
    for tag, dockerfile in IMAGES.items():
        print(
            f"Building {tag} from {dockerfile.name}: a minute or two the first time, then seconds.",
            flush=True,
        )
        cluster.add_image(tag, dockerfile)
    return OUR_IMAGES
