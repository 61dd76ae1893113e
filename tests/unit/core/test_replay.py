from tests.unit.core.decisions import ALIVE, CLEANSE, END, START, Decisions, flow, make
from timestream_aggregator.core.replay import Oddities
from timestream_api.report import CloseReason

O1, O2 = make("O1", session=7), make("O2", session=7)
W1, W2 = make("W1", session=7), make("W2", session=7)
S1, S2, S3 = make("S1", session=7), make("S2", session=7), make("S3", session=7)


def reconnected() -> Decisions:
    """Return a desk that received O1, W1 and S1, lost the connection and has another."""
    desk = Decisions()
    desk.all(O1, W1, S1)
    desk.finish(CloseReason.DISCONNECTED)
    desk.recording.connected()
    return desk


def test_metadata_seen_before_opens_no_file_at_a_reconnect() -> None:
    desk = reconnected()

    assert desk.all(flow(ALIVE), O1, W1, at=60) == []
    assert desk.receive(S2, at=61) == ["open 17000/2023-11-14-22-14-21_000.g3", "head O1", "write S2"]


def test_an_idle_sender_leaves_no_file_at_any_of_many_reconnects() -> None:
    desk = reconnected()
    for minute in range(1, 10):
        desk.recording.connected()
        assert desk.all(flow(ALIVE), O1, W1, at=60 * minute) == []


def test_metadata_not_seen_before_is_recorded_at_a_reconnect() -> None:
    desk = reconnected()

    assert desk.all(O1, W2, S2, at=60) == [
        "open 17000/2023-11-14-22-14-20_000.g3",
        "head O1",
        "write W2",
        "write S2",
    ]


def test_what_is_replayed_to_a_recorder_that_has_seen_nothing_is_recorded() -> None:
    desk = Decisions()
    desk.recording.connected()

    assert desk.all(flow(START), O1, W1, S1)[1:] == ["write O1", "write W1", "write S1"]


def test_flow_control_that_is_replayed_ends_nothing() -> None:
    desk = Decisions()
    desk.recording.connected()
    desk.receive(O1)

    assert desk.receive(flow(END)) == []
    assert desk.receive(flow(END)) == ["close End"]


def test_the_second_frame_of_a_type_is_new_and_ends_the_replay() -> None:
    desk = reconnected()

    assert desk.all(O1, W1) == []
    assert desk.receive(W2)[1:] == ["head O1", "write W2"]
    assert desk.receive(flow(END)) == ["close End"]


def test_a_scan_ends_the_replay_and_what_equals_the_last_is_recorded_again() -> None:
    desk = reconnected()

    assert desk.all(S2, O1, W1)[2:] == ["write S2", "write O1", "write W1"]


def test_cleansed_metadata_at_a_reconnect_opens_no_file_and_heads_none() -> None:
    desk = reconnected()

    assert desk.all(flow(ALIVE), make("O", CLEANSE), make("W", CLEANSE)) == []
    assert desk.receive(S2)[1:] == ["head O1", "write S2"]


def test_metadata_of_another_session_at_a_reconnect_replaces_the_old() -> None:
    desk = reconnected()

    said = desk.all(make("O1", session=8), make("S1", session=8), at=60)

    assert said == ["open 17000/2023-11-14-22-14-20_000.g3", "write O1", "write S1"]


def test_a_sender_of_ever_new_types_does_not_stay_in_its_replay() -> None:
    desk = Decisions()
    desk.recording.connected()
    kinds = [chr(code) for code in range(0x21, 0x7F) if chr(code) not in "NPSTO"]
    desk.all(*(make(kind) for kind in kinds))

    assert desk.receive(flow(START)) == ["close Start"]


def test_what_both_connections_got_while_one_succeeded_the_other_is_recorded_once() -> None:
    desk = Decisions()
    desk.all(O1, W1, S1)
    desk.finish(CloseReason.SILENCE)
    desk.recording.succeeding()
    assert desk.all(O2, S2, at=60)[1:] == ["write O2", "write S2"]
    desk.recording.connected()

    said = desk.all(O1, W1, O2, S2, S3, at=60)

    assert said == ["note duplicate", "note duplicate", "write S3"]
    desk.finish(CloseReason.DISCONNECTED)
    desk.recording.connected()
    assert desk.all(O2, W1, at=120) == []


def test_flow_control_that_both_connections_got_acts_once() -> None:
    desk = Decisions()
    desk.all(O1, S1, flow(END))
    desk.recording.succeeding()
    desk.all(flow(START), O2, S2, at=60)
    desk.recording.connected()

    said = desk.all(flow(END), O1, flow(START), O2, S2, S3, at=60)

    assert said == ["note duplicate", "note duplicate", "note duplicate", "write S3"]


def test_a_frame_like_an_earlier_one_is_recorded_once_new_ones_have_come() -> None:
    desk = Decisions()
    desk.recording.succeeding()
    desk.receive(S1)
    desk.recording.connected()

    assert desk.all(S1, S2, S1)[1:] == ["write S2", "write S1"]


def test_what_comes_again_is_known_though_others_came_between() -> None:
    oddities = Oddities()

    assert [oddities.comes_again(each) for each in ("a", "b", "a", "b", "c")] == [
        False,
        False,
        True,
        True,
        False,
    ]


def test_of_ever_new_oddities_the_latest_are_known() -> None:
    oddities = Oddities()
    for number in range(1000):
        assert not oddities.comes_again(number)

    assert oddities.comes_again(999)
    assert not oddities.comes_again(0)
