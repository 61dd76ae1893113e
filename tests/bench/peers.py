"""The commands that are compared: each records what one TCP server sends, and ends by itself or by SIGTERM."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

RECV_AND_WRITE: Final = """
import os, socket, sys
port, folder = int(sys.argv[1]), sys.argv[2]
with socket.create_connection(("127.0.0.1", port)) as stream, open(folder + "/raw.g3", "wb", buffering=0) as out:
    segment = memoryview(bytearray(2 << 20))
    while n := stream.recv_into(segment):
        out.write(segment[:n])
"""
READER_TO_WRITER: Final = """
import sys
from spt3g import core
reader, writer = core.G3Reader("tcp://127.0.0.1:" + sys.argv[1]), core.G3Writer(sys.argv[2] + "/spt3g.g3")
try:
    while frames := reader.Process(None):
        for frame in frames:
            writer.Process(frame)
        writer.flush()
except RuntimeError:  # its way to say that the sender closed the connection
    pass
"""


@dataclass(frozen=True, slots=True)
class Peer:
    """A way to record: its name for people and its command for a port and a folder."""

    name: str
    command: Callable[[int, Path], list[str]]
    ends_by_itself: bool = True


def _script(text: str) -> Callable[[int, Path], list[str]]:
    return lambda port, folder: [sys.executable, "-c", text, str(port), str(folder)]


def _recorder(port: int, folder: Path) -> list[str]:
    options = [
        "--address=127.0.0.1",
        f"--port={port}",
        f"--data-dir={folder}",
        "--http-port=0",
        "--verify=false",
    ]
    return [sys.executable, "-m", "timestream_aggregator", "record", *options]


RECORDER: Final = Peer("timestream-aggregator record", _recorder, ends_by_itself=False)
BARE: Final = Peer("recv_into + write", _script(RECV_AND_WRITE))
SPT3G: Final = Peer("G3Reader -> G3Writer, a flush per frame", _script(READER_TO_WRITER))
