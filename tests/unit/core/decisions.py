"""A desk to try the recorder's decisions at: frames and times go in, short words for the actions come out.

Frames are real bytes through the real parser. A frame is called by its type and its data, `S1`, in the words.
"""

from functools import cache
from typing import Final

from tests.tools.made_frames import frame
from timestream_aggregator.core.acquisition import Recording
from timestream_aggregator.core.actions import Action, Close, Moment, Open, Write, WriteHead
from timestream_aggregator.core.files import Rules
from timestream_aggregator.g3.parser import Frame, Parser
from timestream_api.report import CloseReason

EPOCH: Final = 1_700_000_000.0  # 2023-11-14 22:13:20 UTC
ALIVE, START, END, CLEANSE = 0, 1, 2, 3


@cache
def make(
    name: str,
    flow: int | None = None,
    session: int | None = None,
    num: int | None = None,
    stream: str | None = None,
) -> Frame:
    """Return the frame called `name`: its type is the first letter."""
    data = frame(name[0], flow=flow, session=session, num=num, stream=stream, data=name[1:].encode())
    (read,) = Parser(1 << 20).feed(memoryview(data))
    assert isinstance(read, Frame)
    return read


def flow(value: int, kind: str = "N") -> Frame:
    return make(kind, value)


def moment(seconds: float) -> Moment:
    """Return the time `seconds` after the beginning of the test."""
    return Moment(1000 + seconds, EPOCH + seconds)


def name(data: bytes) -> str:
    """Return what the frame with these bytes is called."""
    (read,) = Parser(1 << 20).feed(memoryview(data))
    at = data.index(b"data") + 4
    size = int.from_bytes(data[at : at + 8], "little")
    return f"{read.type if isinstance(read, Frame) else '?'}{data[at + 8 : at + 8 + size].decode()}"


def word(action: Action) -> str:
    """Return an action in a few words."""
    match action:
        case Open():
            return f"open {action.file.path}"
        case WriteHead():
            return f"head {name(action.data)}"
        case Write():
            return f"write {name(b''.join(action.frame.parts))}"
        case Close():
            return f"close {action.reason}"
        case _:
            return f"note {action.kind}"


class Decisions:
    """One recording, told in seconds since the beginning of the test."""

    def __init__(self, rules: Rules | None = None) -> None:
        self.recording = Recording(rules or Rules(time_per_file=600, frame_gap=5))

    def receive(self, item: Frame, at: float = 0) -> list[str]:
        return [word(action) for action in self.recording.receive(item, moment(at))]

    def all(self, *items: Frame, at: float = 0) -> list[str]:
        return [said for item in items for said in self.receive(item, at)]

    def tick(self, at: float) -> list[str]:
        return [word(action) for action in self.recording.tick(moment(at))]

    def finish(self, reason: CloseReason = CloseReason.DISCONNECTED) -> list[str]:
        return [word(action) for action in self.recording.finish(reason)]

    def deadline(self) -> float | None:
        """Return the deadline in seconds since the beginning of the test."""
        deadline = self.recording.deadline()
        return None if deadline is None else deadline - 1000
