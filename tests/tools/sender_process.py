"""The process behind `tests.tools.sender.Sender`: a real G3NetworkSender that obeys lines of JSON.

Each line on stdin is one command, each answer one line on stdout. `exit` lets the queues run dry first.
"""

import hashlib
import json
import sys
import threading
import time
from typing import Any, Final, Protocol, cast

import numpy as np
from spt3g import core as untyped_core

from timestream_aggregator.commands.simulate.faults import parse
from timestream_aggregator.commands.simulate.g3sender import core
from timestream_aggregator.commands.simulate.listener import Listener
from timestream_aggregator.commands.simulate.relay import Position, Relay

EXIT_SECONDS: Final = 10.0


class Serialisable(Protocol):
    """A G3Frame, as far as it is used here."""

    def __setitem__(self, name: str, value: object, /) -> None: ...
    @property
    def hash(self) -> bytes: ...  # spt3g's name for the serialised frame


class MoreG3(Protocol):
    G3VectorDouble: Any
    G3Frame: Any


more: Final = cast("MoreG3", untyped_core)


def make(kind: str, keys: dict[str, object], payload: int) -> Serialisable:
    """Return a frame; its payload is a vector of doubles, `payload` bytes to the next eight."""
    named = getattr(core.G3FrameType, kind, kind)
    frame = cast("Serialisable", more.G3Frame(named))
    for name, value in keys.items():
        frame[name] = core.G3Time(round(cast("float", value) * 1e8)) if name == "time" else value
    if payload:
        frame["data"] = more.G3VectorDouble(np.arange(-(-payload // 8), dtype=np.float64))
    return frame


def inner(sender: Listener | Relay) -> Listener:
    """Return the real sender, where a relay stands before it the one behind."""
    return sender.sender if isinstance(sender, Relay) else sender


def happen(sender: Listener | Relay, fault: str, position: Position = (None, None)) -> None:
    assert isinstance(sender, Relay), "this fault needs a relay"
    sender.happen(parse(fault), position)


def send(sender: Listener | Relay, order: dict[str, Any]) -> dict[str, object]:
    """Send one frame and say which bytes it has."""
    frame = make(order["kind"], order["keys"], order["payload"])
    data = bytes(frame.hash)
    if order["fault"]:
        position = (order["keys"].get("session_id"), order["keys"].get("frame_num"))
        happen(sender, order["fault"], position)
    sender.send(frame)
    told: dict[str, object] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    return told | ({"data": data.hex()} if order["want_bytes"] else {})


def obey(sender: Listener | Relay, order: dict[str, Any]) -> dict[str, object]:
    """Carry out one command other than `exit` and return the answer."""
    if order["do"] == "hang_up":
        inner(sender).drain(EXIT_SECONDS, threading.Event())  # what was sent before is on its way first
        inner(sender).hang_up()
        return {}
    if order["do"] == "happen":
        happen(sender, order["fault"])
        return {"inner_port": inner(sender).port}
    frames: list[dict[str, object]] = []
    for frame in order["frames"]:
        frames.append(send(sender, frame))
        time.sleep(order["interval"])
    return {"frames": frames}


def main() -> None:
    address, port, queue, relay = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "relay"
    sender = (Relay if relay else Listener)(address, port, queue)
    print(json.dumps({"port": sender.port, "inner_port": inner(sender).port}), flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        if order["do"] == "exit":
            drained = sender.drain(EXIT_SECONDS, threading.Event())
            sender.close()
            print(json.dumps({"drained": drained}), flush=True)
            return
        print(json.dumps(obey(sender, order)), flush=True)


if __name__ == "__main__":
    main()
