"""Where things stand in a data folder, and what files are called before they have their final names."""

import os
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote

from timestream_aggregator.core.naming import FileId

OWN_FOLDER: Final = ".timestream-aggregator"
PROBE: Final = "probe."  # how the name of a staged file begins that only tries what the file system can do


def own(root: Path, *names: str) -> Path:
    """Return the path of what is the recorder's own in the data folder `root`: no recording."""
    return root.joinpath(OWN_FOLDER, *names)


def staged_name(wanted: FileId, token: str) -> str:
    """Return the name of a file that is to become `wanted`; a new `token` makes it one that was never used."""
    return f"{quote(wanted.path, safe='')}.{os.getpid()}-{token}"


def wanted_path(staged: str) -> str:
    """Return the path, under the data folder, that the file with this staged name is to get."""
    return unquote(staged.rpartition(".")[0])
