"""Where things are: the repository, and everything that is built or kept outside of it."""

import os
from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).resolve().parents[2]
TOOLS: Final = Path(__file__).resolve().parent / "tools"
REQUIREMENTS: Final = REPOSITORY / "requirements"
CRD: Final = REPOSITORY / "crds" / "timestream.dev_timestreamaggregations.yaml"


def cache() -> Path:
    """Return the folder of everything that is built once and kept; made when missing."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = home / "timestream-aggregator" / "cluster"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
