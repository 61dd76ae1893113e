"""One short recording with all that happens to files: opened, synced, full, ended by the session, ended by SIGTERM.

Frames come one by one, so that the writer makes the same calls in each run.
"""

import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from tests.faults.account import sent_bytes
from tests.faults.warm import Command, Warm
from tests.tools.frames import flow_control, frame_bytes
from tests.tools.patience import PATIENCE
from tests.tools.raw_server import RawServer
from tests.tools.recorder import OWN_FOLDER
from tests.tools.sender import END, START, SentFrame

_NAMES: Final = {"O": "Observation", "W": "Wiring", "S": "Scan"}
_OPTIONS: Final = {
    "address": "127.0.0.1",
    "http-port": 0,
    "max-file-bytes": 1 << 20,
    "sync-interval": 0.02,
    "min-free-bytes": 0,
    "verify": "false",
}


def session(session_id: int, scans: int, payload: int = 400_000, first: int = 0) -> list[SentFrame]:
    """Return the frames of a session from number `first` on; the first two are metadata."""
    kinds = ["O", "W", *("S" for _ in range(scans))]
    return [_counted(kind, session_id, number, payload) for number, kind in enumerate(kinds)][first:]


def _counted(kind: str, session_id: int, number: int, payload: int) -> SentFrame:
    keys = {"session_id": session_id, "frame_num": number, "sostream_id": "ufm_test"}
    data = frame_bytes(kind, keys, payload if kind == "S" else 100)
    return sent_bytes(data, _NAMES[kind], session_id, number)


def with_flow_control(frames: Sequence[SentFrame]) -> list[bytes]:
    """Return the bytes of a session from its START to its END."""
    return [flow_control(START), *(frame.data or b"" for frame in frames), flow_control(END)]


FIRST: Final = session(1_700_000_000, scans=5)  # three files
SECOND: Final = session(1_700_000_100, scans=2, payload=1_000)  # one, which SIGTERM ends
SENT: Final = [*FIRST, *SECOND]


def record(
    warm: Warm, folder: Path, port: int, log: Path | None = None, user: int = 0, **options: object
) -> Command:
    """Return a recorder of what a server on `port` sends, which waits for `go()`; `log` gets its messages."""
    chosen = _OPTIONS | {"data-dir": folder, "port": port}
    chosen |= {name.replace("_", "-"): value for name, value in options.items()}
    words = [f"--{name}={value}" for name, value in chosen.items()]
    return warm.command(log or folder.with_name(f"{folder.name}.log"), "record", *words, user=user)


def play(server: RawServer, pause: float = 0.01) -> None:
    """Have a server send both sessions, the second without its end."""
    for data in [*with_flow_control(FIRST), *with_flow_control(SECOND)[:-1]]:
        server.play(data, pause=pause)


def await_last(recorder: Command, folder: Path, timeout: float = PATIENCE) -> bool:
    """Return whether the last frame came to stand in a file; False if the recorder ended or time is up."""
    return (
        until(lambda: not recorder.running() or is_staged(folder, SECOND[-1]), timeout) and recorder.running()
    )


def until(condition: Callable[[], bool], timeout: float = PATIENCE) -> bool:
    """Return whether `condition` came to hold within `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not (held := condition()) and time.monotonic() < deadline:
        time.sleep(0.005)
    return held


def is_staged(folder: Path, frame: SentFrame) -> bool:
    """Return whether an unfinished file ends in `frame`."""
    try:
        return any(
            _content(path).endswith(frame.data or b"") for path in (folder / OWN_FOLDER / "staging").iterdir()
        )
    except FileNotFoundError:  # the folder is not there yet, or the file has got its final name
        return False


def _content(path: Path) -> bytes:
    """Return what is in a file, also of a disk where each close fails."""
    fd = os.open(path, os.O_RDONLY)
    try:
        return b"".join(iter(lambda: os.read(fd, 1 << 20), b""))
    finally:
        with suppress(OSError):
            os.close(fd)
