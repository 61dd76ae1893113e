"""What a folder costs that has been recorded into for long: 100,000 files in one folder, a ledger of a million lines.

A start counts from the process's beginning until it has connected, first without a state file, as after an
upgrade, then with one.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO, Final

from timestream_aggregator.disk.layout import OWN_FOLDER
from timestream_api.ledger import Connected, Fact, Line, Opened, Published, Verified
from timestream_api.report import CloseReason

FILES: Final = 100_000
LINES: Final = 1_000_000
YEAR: Final = timedelta(days=365)
_COMMAND: Final = (sys.executable, "-m", "timestream_aggregator")
_WHEN: Final = datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
_PATIENCE: Final = 300.0  # seconds


def main(scratch: Path) -> None:
    """Make such a folder under `scratch`, and print what starts and commands take."""
    print(f"\n{FILES:,} files in one folder, {LINES:,} lines of ledger")
    with TemporaryDirectory(dir=scratch) as name:
        root = Path(name)
        _fill(root)
        _tell("record, from the ledger, to connected", *_start(root))
        _tell("record, from its state, to connected", *_start(root))
        for words in (["ls"], ["ls", "--last", "1"], ["account"], ["recover"]):
            _tell(" ".join(words), *_run([*words, name]))


def _tell(what: str, seconds: float, peak: int) -> None:
    print(f"  {what:38} {seconds:6.2f} s  peak {peak / 1e6:4.0f} MB", flush=True)


def _start(root: Path) -> tuple[float, int]:
    """Return how long a recorder takes to connect, and the most memory it had by then."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(_PATIENCE)
        words = ["record", "--address=127.0.0.1", f"--port={server.getsockname()[1]}", f"--data-dir={root}"]
        begin = time.monotonic()
        with subprocess.Popen(
            [*_COMMAND, *words, "--http-port=0", "--stream-id=crate1"], stderr=subprocess.DEVNULL
        ) as process:
            client, _ = server.accept()
            seconds, peak = time.monotonic() - begin, _peak(process.pid)
            process.send_signal(signal.SIGTERM)
            client.close()
            process.wait(_PATIENCE)
    return seconds, peak


def _run(words: list[str]) -> tuple[float, int]:
    """Return how long a command takes, and the most memory it had."""
    begin = time.monotonic()
    process = subprocess.Popen([*_COMMAND, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, _, used = os.wait4(process.pid, 0)
    process.returncode = 0
    return time.monotonic() - begin, used.ru_maxrss * 1024


def _peak(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def _fill(root: Path) -> None:
    """Make the files, and a ledger of a file a month that tells of them."""
    folder, own = root / "17000", root / OWN_FOLDER
    folder.mkdir()
    own.mkdir()
    for number in range(FILES):
        (folder / f"2023-11-14-22-13-20_{number:03}.g3").write_bytes(b"x" * 100)
    with ExitStack() as stack:
        months = dict[str, BinaryIO]()
        for at, line in enumerate(_lines()):
            when = _WHEN + YEAR * at / LINES
            month = f"{when:%Y-%m}"
            if month not in months:
                months[month] = stack.enter_context((own / f"ledger-{month}.jsonl").open("wb"))
            months[month].write(line.replace(b"2023-11-14T22:13:20Z", f"{when:%FT%TZ}".encode()))


def _lines() -> Iterator[bytes]:
    """Yield lines, all of one moment: for each file four about it, and as many connections as are wanted beside."""
    path = "17000/2023-11-14-22-13-20_000.g3"
    published = Published(
        path=path, bytes=100, frames=2, crc32c="0000000a", session_id=1_700_000_000, first_frame_num=0,
        last_frame_num=1, first_frame_time=_WHEN, last_frame_time=_WHEN, reason=CloseReason.TIME_LIMIT,
    )  # fmt: skip
    about: list[Fact] = [Opened(path=path), published, Verified(path=path, good=True, sha256="0" * 64)]
    texts = [Line(time=_WHEN, stream="crate1", run="cafe", fact=fact).encode() for fact in about]
    beside = Line(time=_WHEN, stream="crate1", run="cafe", fact=Connected(endpoint="127.0.0.1:1")).encode()
    for number in range(FILES):
        for text in texts:
            yield text.replace(b"_000.g3", b"_%03d.g3" % number).replace(
                b'"firstFrameNum":0,"lastFrameNum":1',
                b'"firstFrameNum":%d,"lastFrameNum":%d' % (2 * number, 2 * number + 1),
            )
        for _ in range(LINES // FILES - len(texts)):
            yield beside
