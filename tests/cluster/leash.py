"""Ends a starter's processes when the starter is gone, however it went: run as its own small process.

It reads lines from standard input: `end GROUP` for a process group to end, `spare GROUP` for one that ended,
`delete FOLDER` for what to remove. The input ends when the starter closes it or dies, kill -9 included.
"""

import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from tests.cluster import paths
from tests.cluster.process import end_group


class Leash:
    """The starter's end: tells the leash what to end should the starter die."""

    def __init__(self, folder: Path) -> None:
        """Start the process; `folder` is deleted at the end in any case."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.cluster.leash"],
            cwd=paths.REPOSITORY,
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        self._say(f"delete {folder}")

    def hold(self, group: int) -> None:
        """Have the process group `group` ended at the end. One that is gone by then is fine."""
        self._say(f"end {group}")

    def release(self, group: int) -> None:
        """Forget a group that has ended, so that whoever gets its number next is left alone."""
        self._say(f"spare {group}")

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let the leash do its work, and wait for it."""
        self._input.close()
        self._process.wait()

    @property
    def _input(self) -> IO[bytes]:
        assert self._process.stdin is not None
        return self._process.stdin

    def _say(self, line: str) -> None:
        self._input.write(f"{line}\n".encode())
        self._input.flush()


def main(lines: IO[str]) -> None:
    """Read until the starter is gone, then end and delete what it named."""
    groups: set[int] = set()
    folders: list[Path] = []
    for line in lines:
        match line.rstrip("\n").split(" ", 1):
            case ["end", group]:
                groups.add(int(group))
            case ["spare", group]:
                groups.discard(int(group))
            case ["delete", folder]:
                folders.append(Path(folder))
            case _:
                raise ValueError(line)
    for group in groups:
        end_group(group, signal.SIGKILL)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the starter
    main(sys.stdin)
