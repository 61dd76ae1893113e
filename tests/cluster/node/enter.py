"""The way in: joins the node's cgroups, then becomes `unshare`, whose child is the node's first process.

Run as `python -m tests.cluster.node.enter CGROUP... -- COMMAND...`.
"""

import os
import sys
from pathlib import Path
from typing import Final

from tests.cluster.node.cgroups import join

UNSHARE: Final = (
    *("unshare", "--cgroup", "--mount", "--net", "--pid", "--uts", "--ipc"),
    *("--fork", "--kill-child", "--propagation", "private"),
)


def main(arguments: list[str]) -> None:
    """Join the cgroups before the `--`, and run the command after it inside."""
    border = arguments.index("--")
    join((Path(folder) for folder in arguments[:border]), os.getpid())
    os.execvp(UNSHARE[0], [*UNSHARE, "--", *arguments[border + 1 :]])


if __name__ == "__main__":
    main(sys.argv[1:])
