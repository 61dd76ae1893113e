import argparse
from itertools import islice
from pathlib import Path

import pytest

from timestream_aggregator.commands import simulate
from timestream_aggregator.commands.simulate.faults import ABOUT, Fault, FaultKind, Garbage, parse
from timestream_aggregator.commands.simulate.schedule import Kind, Plan, Step, schedule

ENOUGH = 300


def steps(*faults: str, **plan: float) -> list[Step]:
    """Return the steps of two sessions of 20 s, a Scan each second, and a pause of 5 s between them."""
    shape = {"session_time": 20, "pause": 5, "sessions": 2} | plan
    return list(islice(schedule(Plan(**shape, faults=tuple(map(parse, faults)))), ENOUGH))  # type: ignore[arg-type]


def due(found: list[Step], kind: Kind | None) -> list[float]:
    return [step.due for step in found if step.kind is kind]


def kinds(found: list[Step]) -> list[Kind | None]:
    return [step.kind for step in found]


def affected(found: list[Step], kind: FaultKind) -> list[float]:
    return [step.due for step in found if kind in {fault.kind for fault in step.faults}]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("pause@5", Fault(FaultKind.PAUSE, 5, 10)),
        ("pause@5:0.5", Fault(FaultKind.PAUSE, 5, 0.5)),
        ("crc@1.5:3", Fault(FaultKind.CRC, 1.5, 3)),
        ("stop@9", Fault(FaultKind.STOP, 9)),
        ("torn@9:100", Fault(FaultKind.TORN, 9, 100)),
        ("garbage@9", Fault(FaultKind.GARBAGE, 9)),
        ("garbage@9:big-endian", Fault(FaultKind.GARBAGE, 9, garbage=Garbage.BIG_ENDIAN)),
    ],
)
def test_a_fault_is_a_kind_a_time_and_an_argument(text: str, fault: Fault) -> None:
    assert parse(text) == fault


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("burn@5", "'burn' is none of pause, gap"),
        ("pause", "'' is no number; write pause@SECONDS"),
        ("pause@-1", "-1 is less than 0"),
        ("pause@nan", "nan is less than 0 or no number"),
        ("lost@5:0", "0 is less than 1 or no number; write lost@SECONDS:FRAMES"),
        ("stop@5:1", "stop takes no argument"),
        ("garbage@5:mud", "'mud' is none of http, tls"),
    ],
)
def test_what_is_no_fault_is_refused_with_the_reason(
    text: str, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = argparse.ArgumentParser()
    simulate.add_arguments(parser)

    with pytest.raises(SystemExit) as end:
        parser.parse_args([f"--fault={text}"])

    assert end.value.code == 2
    assert why in capsys.readouterr().err


def test_help_explains_every_fault() -> None:
    parser = argparse.ArgumentParser()
    simulate.add_arguments(parser)

    text = parser.format_help()

    assert all(f"\n  {kind} " in text and about.what in text for kind, about in ABOUT.items())


def test_the_document_explains_every_fault() -> None:
    text = (Path(__file__).parents[3] / "docs" / "rehearsing.md").read_text()

    assert all(
        f"| `{kind}` | {about.argument}" in text and f"| {about.what} |" in text
        for kind, about in ABOUT.items()
    )


def test_without_faults_the_schedule_is_as_planned() -> None:
    assert not any(step.faults for step in steps())
    assert due(steps(), Kind.START) == [0, 25]


def test_after_a_pause_the_session_goes_on_where_it_was() -> None:
    found = steps("pause@4.5:30")

    assert due(found, Kind.SCAN)[:7] == [1, 2, 3, 4, 35, 36, 37]
    assert due(found, Kind.START) == [0, 55]
    assert kinds(found) == kinds(steps())


def test_in_a_gap_there_are_keep_alives_and_nothing_else() -> None:
    found = steps("gap@4.5:3")

    assert due(found, Kind.ALIVE)[:3] == [5.5, 6.5, 7.5]
    assert due(found, Kind.SCAN)[:6] == [1, 2, 3, 4, 8, 9]


def test_times_of_faults_are_those_of_the_clock_on_the_wall() -> None:
    found = steps("pause@4.5:30", "lost@36:2", "lost@10")

    assert affected(found, FaultKind.LOST) == [35, 36, 37]


@pytest.mark.parametrize("kind", ["lost", "duplicate", "crc"])
def test_a_fault_of_frames_happens_to_as_many_scans_as_it_takes(kind: str) -> None:
    found = steps(f"{kind}@9.5:3")

    assert affected(found, FaultKind(kind)) == [10, 11, 12]
    assert {step.kind for step in found if step.faults} == {Kind.SCAN}


@pytest.mark.parametrize("kind", ["torn", "garbage", "trickle"])
def test_a_fault_of_a_frame_happens_to_the_first_scan_from_then_on(kind: str) -> None:
    assert affected(steps(f"{kind}@20.5"), FaultKind(kind)) == [26]


def test_a_burst_is_scans_beyond_those_that_are_due() -> None:
    assert due(steps("burst@2:50"), Kind.SCAN)[:54] == [1, *[2] * 51, 3, 4]


def test_a_new_session_begins_without_an_end_of_the_running_one() -> None:
    found = steps("session@4.5")

    assert due(found, Kind.START) == [0, 4.5, 29.5]
    assert due(found, Kind.END) == [24.5, 49.5]
    assert due(found, Kind.SCAN)[:6] == [1, 2, 3, 4, 5.5, 6.5]


def test_a_restarted_sender_is_away_and_begins_a_session() -> None:
    found = steps("restart@4.5:3")

    assert affected(found, FaultKind.RESTART) == [4.5]
    assert due(found, Kind.START) == [0, 7.5, 32.5]


def test_each_of_several_breaks_happens_and_one_where_a_session_begins_anyway_is_none() -> None:
    assert due(steps("session@0", "session@3", "restart@6:2", "session@7", "session@9"), Kind.START) == [
        0, 3, 8, 9, 34,
    ]  # fmt: skip


def test_a_new_session_may_begin_in_a_pause() -> None:
    found = steps("session@21.5")

    assert due(found, Kind.START) == [0, 21.5]
    assert due(found, Kind.END) == [20, 41.5]


def test_nothing_comes_after_a_stop() -> None:
    found = steps("stop@4.5", "lost@6")

    assert found[-1] == Step(4.5, None, (parse("stop@4.5"),))
    assert Kind.END not in kinds(found)


@pytest.mark.parametrize("kind", ["down", "vanish"])
def test_the_line_fails_between_frames_and_the_stream_goes_on(kind: str) -> None:
    found = steps(f"{kind}@4.5:3")

    assert affected(found, FaultKind(kind)) == [4.5]
    assert [step for step in found if step.kind] == steps()


def test_steps_are_in_order_whatever_happens() -> None:
    faults = [f"{kind}@{at}" for at in (3, 9.5, 22, 31) for kind in FaultKind if kind is not FaultKind.STOP]

    found = steps(*faults, sessions=5)

    assert [step.due for step in found] == sorted(step.due for step in found)
    assert {fault.kind for step in found for fault in step.faults} >= {
        FaultKind.LOST, FaultKind.RESTART, FaultKind.VANISH, FaultKind.TORN,
    }  # fmt: skip
