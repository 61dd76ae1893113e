from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tools.made_frames import g3_string, raw_frame
from tests.unit.core.decisions import ALIVE, CLEANSE, END, EPOCH, START, Decisions, flow, make, moment
from timestream_aggregator.core.acquisition import Recording
from timestream_aggregator.core.actions import Close, Noted, Open, Write
from timestream_aggregator.core.files import Rules
from timestream_aggregator.core.progress import Event, IllegalTransitionError, State, advance
from timestream_aggregator.core.sessions import KnownSession
from timestream_aggregator.g3.parser import Frame, Parser
from timestream_api.ledger import Line, Loss, Renamed, UnknownFlowControl, decode
from timestream_api.report import AcquisitionReport, CloseReason, LossCause
from timestream_api.settings import RecorderSettings
from timestream_api.values import Layout

FIRST = "17000/2023-11-14-22-13-20"
O1, W1 = make("O1", session=7), make("W1", session=7)
S1, S2, S3, S4 = (make(f"S{number}", session=7) for number in (1, 2, 3, 4))


def loss(desk: Decisions, number: int) -> object:
    """Return the cause of the loss that a Scan with this number shows."""
    data = make(f"S{number}", session=7, num=number)
    (note,) = (action for action in desk.recording.receive(data, moment(1)) if isinstance(action, Noted))
    assert isinstance(note, Loss)
    return note.cause


def test_the_first_frame_to_record_opens_a_file() -> None:
    desk = Decisions()

    assert desk.all(flow(ALIVE), flow(START)) == []
    assert desk.receive(O1) == [f"open {FIRST}_000.g3", "write O1"]
    assert desk.receive(S1, at=1) == ["write S1"]


def test_an_observation_has_bytes_of_its_own() -> None:
    memory = bytearray(b"observation")
    frame = Frame("O", (memoryview(memory),), len(memory), 0, session_id=7, frame_num=0)
    *_, write = Recording(Rules(time_per_file=600, frame_gap=5)).receive(frame, moment(0))
    memory[:] = b"other bytes"

    assert isinstance(write, Write)
    assert b"".join(write.frame.parts) == b"observation"


@pytest.mark.parametrize("value", [ALIVE, CLEANSE])
def test_keep_alives_and_cleansing_do_nothing(value: int) -> None:
    desk = Decisions()
    desk.receive(S1)

    assert desk.all(flow(value), flow(value, "O"), flow(value, "W")) == []


def test_a_cleansing_observation_does_not_head_later_files() -> None:
    desk = Decisions(Rules(time_per_file=10, frame_gap=50))
    desk.all(O1, S1, make("Ocleanse", CLEANSE))

    assert desk.receive(S2, at=10) == ["close TimeLimit", f"open {FIRST}_001.g3", "head O1", "write S2"]


def test_pipeline_info_is_not_recorded_and_a_none_frame_without_flow_control_is() -> None:
    desk = Decisions()

    assert desk.receive(make("P")) == []
    assert desk.receive(make("N1")) == [f"open {FIRST}_000.g3", "write N1"]


def test_an_unknown_flow_control_value_is_noted_and_dropped() -> None:
    desk = Decisions()

    assert desk.recording.receive(flow(17), moment(0)) == [UnknownFlowControl(value=17)]


def test_flow_control_that_is_no_integer_is_noted_and_dropped() -> None:
    (item,) = Parser(1 << 20).feed(memoryview(raw_frame("N", {b"sostream_flowcontrol": g3_string("START")})))
    assert isinstance(item, Frame)

    assert Decisions().receive(item) == ["note unknownFlowControl"]


def test_start_ends_the_running_acquisition_and_the_next_frame_begins_another() -> None:
    desk = Decisions()
    desk.all(O1, S1)

    assert desk.receive(flow(START), at=1) == ["close Start"]
    assert desk.receive(S2, at=2) == ["open 17000/2023-11-14-22-13-22_000.g3", "write S2"]


def test_end_ends_the_acquisition_and_forgets_its_metadata() -> None:
    desk = Decisions()
    desk.all(O1, S1)

    assert desk.receive(flow(END), at=1) == ["close End"]
    assert desk.receive(S2, at=2) == ["open 17000/2023-11-14-22-13-22_000.g3", "write S2"]


def test_a_frame_of_another_session_opens_a_file_beside_the_first_without_its_metadata() -> None:
    desk = Decisions()
    desk.all(O1, S1)

    assert desk.receive(make("S1", session=8), at=1) == ["open 17000/2023-11-14-22-13-21_000.g3", "write S1"]
    assert desk.receive(S2, at=2) == ["write S2"]


def test_where_one_file_may_be_open_a_change_of_session_ends_the_acquisition() -> None:
    desk = Decisions(Rules(time_per_file=600, frame_gap=5, most_open=1))
    desk.all(O1, S1)

    assert desk.receive(make("S1", session=8), at=1) == [
        "close SessionChanged",
        "open 17000/2023-11-14-22-13-21_000.g3",
        "write S1",
    ]


def test_a_frame_that_names_no_session_belongs_to_the_running_one() -> None:
    desk = Decisions()
    desk.all(O1, S1)

    assert desk.receive(make("H1"), at=1) == ["write H1"]
    assert desk.receive(S2, at=2) == ["write S2"]


def test_a_pause_ends_the_acquisition_when_it_is_over_long_not_at_the_next_frame() -> None:
    desk = Decisions()
    desk.receive(S1)

    assert desk.deadline() == 5
    assert desk.tick(4.999) == []
    assert desk.tick(5) == ["close Gap", "note gap"]
    assert desk.deadline() is None


def test_a_pause_ends_the_acquisition_also_while_keep_alives_arrive() -> None:
    desk = Decisions()
    desk.receive(S1)

    said = [(at, word) for at in range(1, 9) for word in desk.receive(flow(ALIVE), at)]

    assert said == [(5, "close Gap"), (5, "note gap")]


def test_the_first_frame_after_a_pause_in_a_session_finds_the_metadata_before_it() -> None:
    desk = Decisions()
    desk.all(O1, S1)

    assert desk.receive(S2, at=100) == [
        "close Gap",
        "note gap",
        "open 17000/2023-11-14-22-15-00_000.g3",
        "head O1",
        "write S2",
    ]


def test_metadata_that_comes_first_anyway_is_not_put_before_itself() -> None:
    desk = Decisions()
    desk.all(O1, S1)
    desk.tick(10)

    assert desk.receive(make("O2", session=7), at=20) == ["open 17000/2023-11-14-22-13-40_000.g3", "write O2"]


def test_the_latest_metadata_heads_the_next_file_byte_for_byte() -> None:
    desk, latest = Decisions(Rules(time_per_file=3, frame_gap=5)), make("O2", session=7)
    desk.all(O1, S1, latest)

    heads = [
        action for action in desk.recording.receive(S2, moment(3)) if not isinstance(action, (Open, Close))
    ]

    assert getattr(heads[0], "data", None) == b"".join(latest.parts)


def test_a_file_is_closed_at_its_time_limit_when_no_frame_comes() -> None:
    desk = Decisions(Rules(time_per_file=10, frame_gap=60))
    desk.receive(S1)
    desk.receive(S2, at=9)

    assert desk.deadline() == 10
    assert desk.tick(9.999) == []
    assert desk.tick(10) == ["close TimeLimit"]
    assert desk.deadline() == 69


def test_a_frame_soon_after_an_idle_rotation_goes_into_the_next_file_of_its_acquisition() -> None:
    desk = Decisions(Rules(time_per_file=10, frame_gap=60))
    desk.all(O1, S1)
    desk.tick(10)

    assert desk.receive(S2, at=30) == [f"open {FIRST}_001.g3", "head O1", "write S2"]


def test_a_pause_after_an_idle_rotation_ends_the_acquisition_without_a_file_to_close() -> None:
    desk = Decisions(Rules(time_per_file=10, frame_gap=60))
    desk.receive(S1)

    assert desk.tick(10) == ["close TimeLimit"]
    assert desk.tick(60) == ["note gap"]
    assert desk.receive(S2, at=61) == ["open 17000/2023-11-14-22-14-21_000.g3", "write S2"]


def test_limits_that_passed_unseen_are_met_in_their_order() -> None:
    desk = Decisions(Rules(time_per_file=10, frame_gap=60))
    desk.receive(S1)

    assert desk.tick(1000) == ["close TimeLimit", "note gap"]


def test_the_frame_at_the_time_limit_begins_the_next_file() -> None:
    desk = Decisions(Rules(time_per_file=3, frame_gap=5))
    desk.all(O1, S1)

    assert desk.receive(S2, at=2.999) == ["write S2"]
    assert desk.receive(S3, at=3) == ["close TimeLimit", f"open {FIRST}_001.g3", "head O1", "write S3"]
    assert desk.receive(S4, at=5.9) == ["write S4"]


def test_a_file_limited_in_size_is_followed_by_the_next() -> None:
    desk = Decisions(Rules(time_per_file=600, frame_gap=5, max_file_bytes=O1.size + 2 * S1.size))

    assert desk.all(O1, S1, S2, S3)[-4:] == ["close SizeLimit", f"open {FIRST}_001.g3", "head O1", "write S3"]


def test_a_frame_larger_than_the_limit_has_a_file_of_its_own() -> None:
    desk = Decisions(Rules(time_per_file=600, frame_gap=5, max_file_bytes=S1.size - 1))

    assert desk.all(S1, S2) == [
        f"open {FIRST}_000.g3",
        "write S1",
        "close SizeLimit",
        f"open {FIRST}_001.g3",
        "write S2",
    ]


def test_the_folder_stays_that_of_the_start_across_midnight_and_a_new_prefix() -> None:
    desk = Decisions(Rules(time_per_file=3600, frame_gap=10_000))
    desk.receive(S1)

    assert desk.receive(S2, at=100_000 - 1)[-2:] == ["open 17000/2023-11-16-01-59-59_000.g3", "write S2"]
    assert desk.receive(S3, at=104_000)[-2:] == ["open 17000/2023-11-16-01-59-59_001.g3", "write S3"]


def test_two_acquisitions_in_one_second_go_on_with_the_numbers() -> None:
    desk = Decisions()

    assert desk.all(S1, flow(END), S2) == [
        f"open {FIRST}_000.g3",
        "write S1",
        "close End",
        f"open {FIRST}_001.g3",
        "write S2",
    ]


def test_a_session_that_comes_back_goes_on_with_its_numbers() -> None:
    desk = Decisions(Rules(time_per_file=600, frame_gap=5, layout=Layout.SESSION, most_open=1))
    desk.receive(make("S1", session=7))
    desk.receive(make("S1", session=8), at=1)

    assert desk.receive(S2, at=2)[1:] == ["open 7/stream/7_001.g3", "write S2"]


def test_the_session_layout_takes_the_streamers_names() -> None:
    desk = Decisions(Rules(time_per_file=600, frame_gap=5, layout=Layout.SESSION))

    assert desk.receive(make("O", session=1_699_999_999, stream="ufm_mv19")) == [
        "open 16999/ufm_mv19/1699999999_000.g3",
        "write O",
    ]


def test_the_session_layout_without_the_streamers_keys_takes_configured_name_and_arrival() -> None:
    desk = Decisions(Rules(time_per_file=600, frame_gap=5, layout=Layout.SESSION, stream_id="sat1"))

    assert desk.receive(make("S")) == ["open 17000/sat1/1700000000_000.g3", "write S"]


@pytest.mark.parametrize(("stream", "session"), [("../../etc", 7), ("ufm", -7)])
def test_a_name_that_had_to_be_changed_is_told(stream: str, session: int) -> None:
    desk = Decisions(Rules(time_per_file=600, frame_gap=5, layout=Layout.SESSION))

    note, opened, _ = desk.recording.receive(make("S", session=session, stream=stream), moment(0))

    assert isinstance(note, Noted)
    assert isinstance(opened, Open)
    assert note == Renamed(base=opened.file.path, stream_id=stream, session_id=session)
    assert ".." not in opened.file.path.split("/")


def test_the_end_of_the_connection_ends_the_acquisition_once() -> None:
    desk = Decisions()
    desk.receive(S1)

    assert desk.finish(CloseReason.STOPPED) == ["close Stopped"]
    assert desk.finish(CloseReason.STOPPED) == []


def test_a_jump_of_frame_num_within_a_session_is_noted_with_its_bounds() -> None:
    desk = Decisions()
    desk.all(make("S0", session=7, num=0), make("S1", session=7, num=1))

    note, _ = desk.recording.receive(make("S5", session=7, num=5), moment(1))

    assert note == Loss(count=3, session_id=7, first=2, last=4, cause=LossCause.SENDER)


INT64 = st.integers(-(2**63), 2**63 - 1)


@given(
    st.lists(
        st.tuples(st.sampled_from("OST"), st.none() | INT64, st.none() | INT64, st.none() | st.text()),
        max_size=6,
    ),
    INT64,
)
def test_whatever_a_frame_holds_makes_lines_that_say_all_of_it(
    frames: list[tuple[str, int | None, int | None, str | None]], value: int
) -> None:
    desk = Decisions(Rules(time_per_file=600, frame_gap=5, layout=Layout.SESSION))
    made = [make(kind, None, session, num, stream) for kind, session, num, stream in frames]
    actions = [
        action for one in [*made, *made, flow(value)] for action in desk.recording.receive(one, moment(0))
    ]

    for note in (action for action in actions if isinstance(action, Noted)):
        line = Line(time=datetime.now(UTC), stream="a", run="b", fact=note)
        assert decode(line.encode().decode()) == line


def test_frame_num_begins_again_with_each_session() -> None:
    desk = Decisions()
    desk.all(make("S9", session=7, num=9), make("S0", session=8, num=0), make("S3", session=9, num=3))

    assert desk.receive(make("S4", session=9, num=4)) == ["write S4"]


def test_a_loss_while_disconnected_is_noted_when_the_session_goes_on() -> None:
    desk = Decisions()
    desk.receive(make("S1", session=7, num=1))
    desk.finish()
    desk.recording.connected()

    assert desk.receive(make("S4", session=7, num=4), at=60)[0] == "note loss"


@pytest.mark.parametrize(
    ("happens", "cause"),
    [
        (Recording.report, LossCause.SENDER),
        (Recording.connected, LossCause.RECONNECT),
        (Recording.damaged, LossCause.DAMAGED),
    ],
)
def test_a_loss_has_the_cause_that_is_most_probable(
    happens: Callable[[Recording], object], cause: LossCause
) -> None:
    desk = Decisions()
    desk.receive(make("S1", session=7, num=1))
    happens(desk.recording)
    first, second = (loss(desk, number) for number in (3, 5))

    assert (first, second) == (cause, LossCause.SENDER)


def test_what_a_session_sent_while_no_recorder_ran_is_counted_from_what_the_last_one_recorded() -> None:
    desk = Decisions()
    desk.recording.resume([KnownSession(7, None, 10)], None, EPOCH)
    desk.recording.connected()
    desk.receive(make("O0", session=7, num=0))

    assert loss(desk, 14) == LossCause.RESTART
    assert report(desk).lost == 3


def test_a_scan_that_comes_again_is_noted_and_not_written_again() -> None:
    desk = Decisions()
    desk.all(make("S1", session=7, num=1), make("S2", session=7, num=2))

    assert desk.all(make("S1", session=7, num=1), make("S2", session=7, num=2)) == ["note duplicate"] * 2
    assert desk.receive(make("S3", session=7, num=3)) == ["write S3"]


def test_a_scan_that_has_an_old_number_and_is_another_frame_is_written_and_counting_goes_on_from_there() -> (
    None
):
    desk = Decisions()
    desk.all(make("S1", session=7, num=1), make("S5", session=7, num=2))

    assert desk.receive(make("S9", session=7, num=1)) == ["note renumbered", "write S9"]
    assert desk.receive(make("S8", session=7, num=2)) == ["write S8"]
    assert loss(desk, 5) == LossCause.SENDER


def test_two_frames_of_one_number_are_both_written_and_that_is_told() -> None:
    desk = Decisions()
    desk.all(make("S1", session=7, num=1))

    assert desk.receive(make("S9", session=7, num=1)) == ["note renumbered", "write S9"]


def test_an_acquisition_counts_the_frames_that_it_lacks_also_ahead_of_its_first() -> None:
    desk = Decisions()
    desk.all(make("S1", session=7, num=1), make("S5", session=7, num=5))
    first = report(desk).lost
    desk.finish()
    desk.receive(make("S8", session=7, num=8), at=60)

    assert (first, report(desk).lost) == (3, 2)


def report(desk: Decisions) -> AcquisitionReport:
    told = desk.recording.report()
    assert told is not None
    return told


def test_the_report_tells_of_the_acquisition_over_all_its_files_and_of_none_that_is_over() -> None:
    desk = Decisions(Rules(time_per_file=3, frame_gap=5))
    head, one, two = make("O", session=7, num=0), make("S1", session=7, num=1), make("S2", session=7, num=2)
    assert desk.recording.report() is None
    desk.all(head, one)
    desk.receive(two, at=3.5)

    so_far = report(desk)
    desk.finish()

    assert so_far.base_name == FIRST
    assert (so_far.frames, so_far.bytes) == (3, head.size + one.size + two.size)
    assert (so_far.first_frame_num, so_far.last_frame_num) == (0, 2)
    assert so_far.started == datetime.fromtimestamp(EPOCH, UTC)
    assert desk.recording.report() is None


def test_a_report_does_not_change_afterwards() -> None:
    desk = Decisions()
    desk.receive(S1)
    before = report(desk)
    desk.receive(S2)

    assert before.frames == 1


def test_rules_come_from_the_recorders_settings() -> None:
    settings = RecorderSettings(
        time_per_file=7, frame_gap=3, stream_id="x", layout=Layout.SESSION, max_file_bytes=1 << 20
    )

    assert Rules.from_settings(settings) == Rules(7, 3, "x", Layout.SESSION, 1 << 20)


def test_a_file_cannot_be_filled_that_is_not_open() -> None:
    with pytest.raises(IllegalTransitionError, match="impossible while idle"):
        advance(State.IDLE, Event.FILLED)
