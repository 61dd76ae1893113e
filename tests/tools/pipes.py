"""Pipes and terminals whose other end a test holds."""

import os
import pty
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass


@dataclass
class Pair:
    """The two ends of a pipe or terminal: what is written to one is read from the other."""

    reader: int
    writer: int

    def fill(self) -> None:
        """Write until nothing more finds room."""
        os.set_blocking(self.writer, False)
        for size in (4096, 1):
            with suppress(BlockingIOError):
                while True:
                    os.write(self.writer, b"." * size)
        os.set_blocking(self.writer, True)

    def read_all(self) -> str:
        """Return what can be read, up to the end, and close both ends: whoever else writes has to end, too."""
        self.close_writer()
        pieces = list[bytes]()
        with suppress(OSError):  # of a terminal that has no other end any more
            while piece := os.read(self.reader, 1 << 16):
                pieces.append(piece)
        return b"".join(pieces).decode()

    def close_writer(self) -> None:
        """Close the end that is written to."""
        if self.writer >= 0:
            os.close(self.writer)
            self.writer = -1

    def close_reader(self) -> None:
        """Close the end that is read from: nobody reads any more."""
        if self.reader >= 0:
            os.close(self.reader)
            self.reader = -1


@contextmanager
def pipe() -> Generator[Pair]:
    """Yield a pipe."""
    pair = Pair(*os.pipe())
    try:
        yield pair
    finally:
        pair.close_writer()
        pair.close_reader()


@contextmanager
def terminal() -> Generator[Pair]:
    """Yield a terminal."""
    pair = Pair(*pty.openpty())
    try:
        yield pair
    finally:
        pair.close_writer()
        pair.close_reader()
