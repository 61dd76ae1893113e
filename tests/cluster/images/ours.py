"""The images of this project, built from the very Dockerfiles that users build."""

from pathlib import Path
from typing import Final

from tests.cluster import paths
from tests.cluster.images.base import make_base
from tests.cluster.images.buildah import Recipe, archive_of, build
from tests.cluster.packages import install_packages

# No registry is asked for names below localhost.
IMAGES: Final = {
    "localhost/timestream-operator:test": paths.REPOSITORY / "Dockerfile.operator",
    "localhost/timestream-aggregator:test": paths.REPOSITORY / "Dockerfile.aggregator",
}


def build_image(tag: str, dockerfile: Path, context: Path = paths.REPOSITORY) -> Path:
    """Return an OCI archive of the image of `dockerfile`, with its argument BASE_IMAGE set to our base.

    Only steps that changed are run again, and an image that is still the same is not written again.

    Raises:
        ClusterError: a step fails.
        UnavailableError: buildah is not there and cannot be installed.
    """
    install_packages()
    build(Recipe(tag, dockerfile, context, {"BASE_IMAGE": make_base()}))
    return archive_of(tag)
