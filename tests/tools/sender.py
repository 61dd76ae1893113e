"""A real G3NetworkSender in a process of its own, driven by the tests.

`sender_process.py` is that process, `frames.py` reads what was recorded, `raw_server.py` plays bytes that no
real sender would send.
"""

import json
import select
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from tests.tools.frames import Value
from tests.tools.patience import PATIENCE
from tests.tools.ports import reserve

ALIVE, START, END, CLEANSE = range(4)
FLOW_CONTROL: Final = "sostream_flowcontrol"
_PROCESS: Final = Path(__file__).with_name("sender_process.py")
_ESTABLISHED: Final = "01"
_ANSWER_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class SentFrame:
    """A frame as the sender put it on the wire; `data` only if it was asked for."""

    kind: str
    size: int
    sha256: str
    frame_num: int | None
    flow_control: int | None
    data: bytes | None = None
    session_id: int | None = None

    @property
    def recorded(self) -> bool:
        """Whether a recorder must keep it."""
        return self.flow_control is None and self.kind != "PipelineInfo"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A frame to send."""

    kind: str
    keys: Mapping[str, Value]
    payload: int = 0
    fault: str = ""


class Sender:
    """Sends what a test says. Each sending method returns once all its frames are in the sender's queues."""

    def __init__(
        self,
        port: int = 0,
        address: str = "127.0.0.1",
        queue: int = 0,
        stream_id: str = "ufm_test",
        prefix: Sequence[str] = (),
        *,
        relay: bool = False,
    ) -> None:
        """Start the process; `prefix` is a command that runs it in another network, such as nsenter.

        With `relay` there is one before the sender, which can damage frames and let the line fail.
        """
        self.stream_id = stream_id
        self.session_id = 0
        self.frame_num = 0
        self._process = subprocess.Popen(
            [
                *prefix,
                sys.executable,
                str(_PROCESS),
                address,
                str(port or reserve()),
                str(queue),
                "relay" if relay else "",
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            listening = self._answer()
        except BaseException:
            self.kill()
            raise
        self.port: int = listening["port"]
        self._inner_port: int = listening["inner_port"]

    @property
    def pid(self) -> int:
        return self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def wait_for_clients(self, count: int, timeout: float = PATIENCE) -> None:
        """Return when exactly `count` connections to the port stand, accepted by the sender or not yet."""
        deadline = time.monotonic() + timeout
        while (found := self.clients()) != count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{found} clients after {timeout} s, expected {count}")
            time.sleep(0.01)

    def clients(self) -> int:
        """Return how many connections to the port stand, by the kernel's table of the sender's network."""
        ending, found = f":{self._inner_port:04X}", 0
        for table in ("tcp", "tcp6"):
            lines = Path(f"/proc/{self.pid}/net/{table}").read_text().splitlines()[1:]
            rows = (line.split() for line in lines)
            found += sum(row[1].endswith(ending) and row[3] == _ESTABLISHED for row in rows)
        return found

    def start_session(self, session_id: int | None = None) -> list[SentFrame]:
        """Send START, Observation (start) and Wiring (full status)."""
        self.session_id = max(int(time.time()), self.session_id + 1) if session_id is None else session_id
        self.frame_num = 0
        return self._send(
            [
                Wanted("none", {FLOW_CONTROL: START}),
                self._counted("Observation", {"stream_placement": "start"}),
                self._counted("Wiring", {"status": "full status", "dump": 1}),
            ]
        )

    def send_scan(self, payload: int = 1000, frame_num: int | None = None, fault: str = "") -> SentFrame:
        """Send a Scan; counting goes on after `frame_num`. `fault`, as `crc@0` or `torn@0:500`, needs a relay."""
        self.frame_num = self.frame_num if frame_num is None else frame_num
        return self._send([self._counted("Scan", {}, payload, fault)])[0]

    def happen(self, fault: str) -> None:
        """Let the relay's line, or the sender behind it, fail now: `down@0:2`, `vanish@0:5`, `restart@0:1`."""
        self._inner_port = self._tell({"do": "happen", "fault": fault})["inner_port"]

    def send_scans(self, count: int, payload: int = 1000, interval: float = 0.0) -> list[SentFrame]:
        """Send `count` Scans, `interval` seconds apart."""
        return self._send([self._counted("Scan", {}, payload) for _ in range(count)], interval)

    def wiring(self) -> SentFrame:
        """Send a Wiring difference."""
        return self._send([self._counted("Wiring", {"status": "difference", "dump": 0})])[0]

    def skip(self, count: int) -> None:
        """Count `count` frames that are never sent: a loss."""
        self.frame_num += count

    def end_session(self) -> list[SentFrame]:
        """Send Observation (end), END and two CLEANSE."""
        return self._send(
            [
                self._counted("Observation", {"stream_placement": "end"}),
                Wanted("none", {FLOW_CONTROL: END}),
                Wanted("Observation", {FLOW_CONTROL: CLEANSE}),
                Wanted("Wiring", {FLOW_CONTROL: CLEANSE}),
            ]
        )

    def alive(self) -> SentFrame:
        """Send a keep-alive: without any frame the sender accepts nobody."""
        return self.flow_control(ALIVE)

    def flow_control(self, value: int, kind: str = "none") -> SentFrame:
        """Send a flow-control frame, which has no other key."""
        return self.send(kind, {FLOW_CONTROL: value})

    def send(
        self, kind: str, keys: Mapping[str, Value], payload: int = 0, *, want_bytes: bool = False
    ) -> SentFrame:
        """Send a frame with these keys and no others: spt3g's name of the type, or up to four characters."""
        return self._send([Wanted(kind, keys, payload)], want_bytes=want_bytes)[0]

    def hang_up(self) -> None:
        """Send FIN to all clients after what was sent, while the process lives, as a proxy in between would."""
        self._tell({"do": "hang_up"})

    def exit(self) -> None:
        """End the process once the clients have what is queued; AssertionError if that takes them 10 s."""
        answer = self._tell({"do": "exit"})
        assert self._process.wait(10) == 0
        assert answer["drained"], "a client did not fetch what was queued for it"
        self.kill()

    def kill(self) -> None:
        """SIGKILL, unless it has ended. Safe to repeat."""
        self._process.kill()
        self._process.wait(10)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def _counted(self, kind: str, keys: Mapping[str, Value], payload: int = 0, fault: str = "") -> Wanted:
        """Return a frame of the session, with its number."""
        session: dict[str, Value] = {
            "sostream_version": 2,
            "sostream_id": self.stream_id,
            "session_id": self.session_id,
            "frame_num": self.frame_num,
            "time": time.time(),
        }
        self.frame_num += 1
        return Wanted(kind, session | dict(keys), payload, fault)

    def _send(
        self, frames: Sequence[Wanted], interval: float = 0.0, *, want_bytes: bool = False
    ) -> list[SentFrame]:
        """Have `frames` sent, and return them as they were."""
        orders = [
            {
                "kind": f.kind,
                "keys": dict(f.keys),
                "payload": f.payload,
                "want_bytes": want_bytes,
                "fault": f.fault,
            }
            for f in frames
        ]
        answer = self._tell({"do": "send", "frames": orders, "interval": interval}, len(frames) * interval)
        return [_sent(frame, told) for frame, told in zip(frames, answer["frames"], strict=True)]

    def _tell(self, order: Mapping[str, object], seconds: float = 0.0) -> dict[str, Any]:
        """Give one command, which takes `seconds` by itself, and return the answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return self._answer(seconds)

    def _answer(self, seconds: float = 0.0) -> dict[str, Any]:
        """Return the process's next answer; AssertionError if it ended or is silent."""
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], seconds + _ANSWER_SECONDS)
        line = self._process.stdout.readline() if ready else ""
        assert line, f"the sender's process does not answer (exit code {self._process.poll()})"
        answer: dict[str, Any] = json.loads(line)
        return answer


def _sent(frame: Wanted, told: Mapping[str, Any]) -> SentFrame:
    """Return what became of `frame`."""
    number, flow = frame.keys.get("frame_num"), frame.keys.get(FLOW_CONTROL)
    session = frame.keys.get("session_id")
    return SentFrame(
        kind=frame.kind,
        size=told["size"],
        sha256=told["sha256"],
        frame_num=number if isinstance(number, int) else None,
        flow_control=flow if isinstance(flow, int) else None,
        data=bytes.fromhex(told["data"]) if "data" in told else None,
        session_id=session if isinstance(session, int) else None,
    )
