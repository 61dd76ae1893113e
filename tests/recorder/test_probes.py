"""Where the recorder answers probes, beside whom, and what it does when it cannot."""

import socket
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.tools.recorder import Recorder, assert_recorded, published
from tests.tools.sender import Sender

MANY = 40


def test_beside_clients_that_are_slow_each_probe_has_its_answer(tmp_path: Path) -> None:
    with Recorder(tmp_path, 1) as recorder, ExitStack() as stack:
        slow = [
            stack.enter_context(socket.create_connection(("127.0.0.1", recorder.http_port)))
            for _ in range(MANY)
        ]
        for _ in range(10):
            for client in slow:
                with suppress(OSError):  # its time is over
                    client.send(b"G")
            assert recorder.probe("/healthz") == 200
            time.sleep(0.3)


def test_a_port_that_is_taken_keeps_nobody_from_recording(tmp_path: Path) -> None:
    with Sender() as sender, socket.create_server(("127.0.0.1", 0)) as other, ExitStack() as stack:
        recorder = Recorder(tmp_path, sender.port, http_port=other.getsockname()[1])
        stack.push(recorder.__exit__)
        sender.wait_for_clients(1)
        sent = sender.start_session() + sender.send_scans(3) + sender.end_session()
        while not published(tmp_path):
            assert recorder.process.poll() is None, recorder.logged()
            time.sleep(0.02)
        assert "recording without probes and metrics, trying on" in recorder.messages()
        assert recorder.stop() == 0

    assert_recorded(tmp_path, sent)


@pytest.mark.parametrize(
    ("environment", "everybody"), [({}, False), ({"TIMESTREAM_HTTP_ADDRESS": "::"}, True)]
)
def test_only_who_is_told_to_listens_for_other_hosts(
    tmp_path: Path, environment: dict[str, str], *, everybody: bool
) -> None:
    with Recorder(tmp_path, 1, environment=environment) as recorder:
        table = [line.split() for name in ("tcp", "tcp6") for line in _sockets(name)]
        port = f"{recorder.http_port:04X}"
        (local,) = [row[1] for row in table if row[3] == "0A" and row[1].endswith(f":{port}")]

    assert (set(local.partition(":")[0]) == {"0"}) is everybody


def _sockets(kind: str) -> list[str]:
    """Return the lines of the kernel's list of sockets."""
    return Path(f"/proc/net/{kind}").read_text().splitlines()[1:]
