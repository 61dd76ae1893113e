import argparse
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from itertools import islice, pairwise, takewhile
from typing import Any, Final, cast

import numpy as np
import pytest

from tests.tools.frames import split_frames
from timestream_aggregator.commands import simulate
from timestream_aggregator.commands.simulate.listener import Listener
from timestream_aggregator.commands.simulate.schedule import Kind, Plan, Step, schedule
from timestream_aggregator.commands.simulate.streamer import Detectors, Streamer

SMALL: Final = Plan(channels=4, sample_rate=10, frame_time=0.5, session_time=2, pause=3, sessions=2)
SIMULATE: Final = (
    "import argparse, sys; from timestream_aggregator.commands import simulate as s;"
    "p = argparse.ArgumentParser('simulate'); s.add_arguments(p); sys.exit(s.run(p.parse_args()))"
)


@contextmanager
def simulator(*options: str) -> Generator[subprocess.Popen[str], None, None]:
    command = [sys.executable, "-c", SIMULATE, *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def port_of(process: subprocess.Popen[str]) -> int:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("listening on 127.0.0.1:"), line
    return int(line.rpartition(":")[2])


def received(client: socket.socket) -> bytes:
    data = bytearray()
    while piece := client.recv(1 << 20):
        data += piece
    return bytes(data)


def made(plan: Plan, kind: Kind, now: float = 1_700_000_000.0) -> Any:
    streamer = Streamer(plan)
    streamer.frame(Kind.START, now)
    return streamer.frame(kind, now)


def test_a_session_is_announced_described_filled_ended_and_cleansed() -> None:
    kinds = [step.kind for step in takewhile(lambda step: step.kind is not Kind.ALIVE, schedule(SMALL))]

    assert kinds == [
        Kind.START, Kind.OBSERVATION, Kind.STATUS, Kind.SCAN, Kind.SCAN, Kind.SCAN, Kind.SCAN,
        Kind.OBSERVATION_END, Kind.END, Kind.CLEANSE_OBSERVATION, Kind.CLEANSE_WIRING,
    ]  # fmt: skip


def test_between_two_sessions_there_is_an_alive_in_each_interval() -> None:
    alive = [step for step in schedule(SMALL) if step.kind is Kind.ALIVE]

    assert alive == [Step(due, Kind.ALIVE) for due in (3.0, 4.0, 5.0)]


def test_without_keep_alives_the_pause_is_silent() -> None:
    silent = Plan(session_time=2, pause=3, keep_alive=0, sessions=2)

    assert Kind.ALIVE not in {step.kind for step in schedule(silent)}
    assert [step.due for step in schedule(silent) if step.kind is Kind.START] == [0, 5]


def test_nothing_is_due_before_what_precedes_it_and_wiring_differences_come_now_and_then() -> None:
    steps = list(islice(schedule(Plan(session_time=25)), 500))

    assert all(a.due <= b.due for a, b in pairwise(steps))
    assert [step.due for step in steps if step.kind is Kind.DIFFERENCE][:3] == [10, 20, 45]


def test_a_plan_with_sessions_ends_after_the_last_one() -> None:
    kinds = [step.kind for step in schedule(SMALL)]

    assert kinds.count(Kind.START) == 2
    assert kinds[-1] is Kind.CLEANSE_WIRING


def test_flow_control_has_one_key_and_91_bytes() -> None:
    for kind, value in {Kind.ALIVE: 0, Kind.START: 1, Kind.END: 2, Kind.CLEANSE_WIRING: 3}.items():
        frame = made(SMALL, kind)

        assert list(frame.keys()) == ["sostream_flowcontrol"]
        assert frame["sostream_flowcontrol"] == value
        assert len(frame.hash) == 91


def test_each_frame_of_a_session_has_the_keys_of_a_smurf_streamer() -> None:
    for kind in (Kind.OBSERVATION, Kind.STATUS, Kind.SCAN, Kind.DIFFERENCE, Kind.OBSERVATION_END):
        frame = made(SMALL, kind, now=1_700_000_000.25)

        assert (frame["sostream_version"], frame["sostream_id"]) == (2, "simulated")
        assert (frame["session_id"], frame["frame_num"]) == (1_700_000_000, 0)
        assert frame["time"].time == 1_700_000_000_25_000_000


def test_observations_tell_their_place_and_wirings_whether_they_are_complete() -> None:
    assert made(SMALL, Kind.OBSERVATION)["stream_placement"] == "start"
    assert made(SMALL, Kind.OBSERVATION_END)["stream_placement"] == "end"
    assert made(SMALL, Kind.STATUS)["dump"] == 1
    assert made(SMALL, Kind.DIFFERENCE)["dump"] == 0


def test_every_frame_but_flow_control_is_counted_from_0_in_each_session() -> None:
    streamer = Streamer(SMALL)
    frames = [cast("Any", streamer.frame(step.kind, 1_700_000_000)) for step in schedule(SMALL) if step.kind]

    numbers = [frame["frame_num"] for frame in frames if "frame_num" in frame]

    assert numbers == 2 * list(range(7))


def test_a_session_id_is_never_used_twice_even_if_the_clock_stands_still() -> None:
    streamer, ids = Streamer(SMALL), list[int]()
    for _ in range(3):
        streamer.frame(Kind.START, 1_700_000_000)
        ids.append(cast("Any", streamer.frame(Kind.SCAN, 1_700_000_000))["session_id"])

    assert ids == [1_700_000_000, 1_700_000_001, 1_700_000_002]


def test_a_lost_frame_is_counted_and_not_made() -> None:
    streamer = Streamer(Plan(channels=1, lose_frame_nums=frozenset({1})))
    streamer.frame(Kind.START, 0)
    frames = [streamer.frame(Kind.SCAN, 0) for _ in range(3)]

    assert frames[1] is None
    assert [frame["frame_num"] for frame in frames if frame] == [0, 2]


def test_a_reader_can_compute_the_counts_from_the_seed() -> None:
    streamer = Streamer(SMALL)
    streamer.frame(Kind.START, 0)
    scans = [cast("Any", streamer.frame(Kind.SCAN, 0))["data"] for _ in range(20)]

    expected = Detectors(SMALL)
    for number, scan in enumerate(scans):
        assert list(scan.keys()) == ["r0000", "r0001", "r0002", "r0003"]
        np.testing.assert_array_equal(np.array([scan[name] for name in scan.keys()]), expected.read(number))  # noqa: SIM118
    assert (
        expected.read(0) != Detectors(Plan(channels=4, sample_rate=10, frame_time=0.5, seed=1)).read(0)
    ).any()


def test_the_times_of_a_scan_give_the_sample_rate_that_was_asked_for() -> None:
    scan = made(Plan(channels=2, sample_rate=200.0, frame_time=0.5), Kind.SCAN)["data"]

    assert scan.n_samples == 100
    assert scan.sample_rate * 1e8 == pytest.approx(200.0)  # spt3g's unit of time is 10 ns


def test_the_defaults_make_one_and_a_half_megabytes_a_second() -> None:
    scan = made(Plan(), Kind.SCAN)

    assert 1.4e6 < len(scan.hash) / Plan().frame_time < 1.6e6


def test_the_sender_listens_on_the_given_address_only() -> None:
    outlet = Listener("127.0.0.1", 0)
    try:
        socket.create_connection(("127.0.0.1", outlet.port), timeout=5).close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", outlet.port), timeout=5)
    finally:
        outlet.close()


def test_a_client_that_reads_nothing_does_not_hold_the_sender_when_it_closes() -> None:
    outlet = Listener("127.0.0.1", 0)
    with socket.create_connection(("127.0.0.1", outlet.port)) as client:
        for _ in range(20):
            outlet.send(made(Plan(), Kind.SCAN))
        assert not outlet.drain(0.2, threading.Event())

        outlet.close()

        assert 0 < len(received(client)) < 20 * 1.4e6


def test_a_taken_port_is_an_error_that_leaves_nothing_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        Listener("127.0.0.1", taken.getsockname()[1])


def test_a_client_gets_whole_sessions_and_then_the_end() -> None:
    options = (
        "--sessions",
        "2",
        "--session-time",
        "0.4",
        "--frame-time",
        "0.1",
        "--pause",
        "0.2",
        "--keep-alive",
        "0.1",
    )
    with simulator("--port", "0", "--channels", "8", *options) as process:
        with socket.create_connection(("127.0.0.1", port_of(process)), timeout=10) as client:
            frames = list(split_frames(received(client)))
        process.communicate()

    assert process.returncode == 0
    assert sum(b"stream_placement" in frame for frame in frames) in {3, 4}  # late for the very first, perhaps
    assert len(frames[-1]) == 91


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_at_once_though_a_client_stalls(number: signal.Signals) -> None:
    options = ("--port", "0", "--frame-time", "0.01", "--sample-rate", "20000")
    with (
        simulator(*options) as process,
        socket.create_connection(("127.0.0.1", port_of(process)), timeout=10) as client,
    ):
        assert client.recv(1)
        time.sleep(0.3)  # frames of 1.4 MB, 100 a second: soon no buffer takes more
        told = time.monotonic()
        process.send_signal(number)
        out, err = process.communicate(timeout=10)

    assert (process.returncode, out) == (0, "")
    assert [json.loads(line)["message"] for line in err.splitlines()] == ["session begins"]
    assert time.monotonic() - told < 2


@pytest.mark.parametrize("line", [[], ["--fault", "crc@1000"]], ids=["alone", "relayed"])
def test_a_client_that_is_too_slow_for_the_last_frames_is_told_of(line: list[str]) -> None:
    options = ("--port", "0", "--frame-time", "0.01", "--sample-rate", "20000", "--frames", "30", *line)
    with (
        simulator(*options) as process,
        socket.create_connection(("127.0.0.1", port_of(process)), timeout=10) as client,
    ):
        assert client.recv(1)
        _, err = process.communicate(timeout=30)

    assert process.returncode == 0
    assert json.loads(err.splitlines()[-1])["message"] == "a client was too slow for the last frames"


def test_a_taken_port_is_said_in_one_line_and_exit_code_1() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with simulator("--port", str(port)) as process:
            _, err = process.communicate(timeout=30)

    assert process.returncode == 1
    assert err.startswith(f"simulate: cannot listen on 127.0.0.1 port {port}: Address already in use")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "wrong",
    [
        ["--port", "65536"], ["--port", "http"], ["--channels", "0"], ["--sample-rate", "0"],
        ["--frame-time", "nan"], ["--pause", "-1"], ["--sessions", "-1"], ["--lose-frame-nums", "one"],
    ],
)  # fmt: skip
def test_a_wrong_value_is_refused_with_exit_code_2(
    wrong: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    parser = argparse.ArgumentParser()
    simulate.add_arguments(parser)

    with pytest.raises(SystemExit) as end:
        parser.parse_args(wrong)

    assert end.value.code == 2
    assert wrong[0] in capsys.readouterr().err


def test_the_other_commands_do_not_load_spt3g_when_they_ask_for_the_options() -> None:
    check = "import sys; from timestream_aggregator.commands import simulate, verify; sys.exit('spt3g' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
