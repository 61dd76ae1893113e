"""What is known of a session outlives frames of others, its end, connections and runs; its beginning is exact."""

from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.core.decisions import ALIVE, END, EPOCH, START, Decisions, flow, make, moment
from timestream_aggregator.core.acquisition import Recording
from timestream_aggregator.core.actions import Action, Close, Noted, Open, Write
from timestream_aggregator.core.files import Rules
from timestream_aggregator.core.naming import safe_stream_id
from timestream_aggregator.core.sessions import EarlierRun, KnownSession
from timestream_aggregator.g3.parser import Frame
from timestream_api.ledger import Duplicate, Joined, Loss
from timestream_api.report import CloseReason, LossCause
from timestream_api.values import Layout

NOW = int(EPOCH)
A, B = NOW + 1, NOW + 50


def told(actions: Iterable[Action]) -> list[Noted]:
    return [action for action in actions if isinstance(action, Noted)]


def numbered(kind: str, number: int, session: int = A, stream: str | None = "ufm") -> Frame:
    return make(f"{kind}{number}", session=session, num=number, stream=stream)


def missing(facts: Iterable[Noted]) -> list[tuple[int | None, int | None, int | None, str | None]]:
    return [(each.session_id, each.first, each.last, each.cause) for each in facts if isinstance(each, Loss)]


class Book:
    """A recording that began at the time 0, and all it has told."""

    def __init__(
        self,
        known: Sequence[KnownSession] = (),
        earlier: EarlierRun | None = None,
        started: float = EPOCH,
    ) -> None:
        self.recording = Recording(Rules(time_per_file=600, frame_gap=5))
        self.recording.resume(known, earlier, started)
        self.recording.connected()
        self.facts: list[Noted] = []

    def all(self, *frames: Frame, at: float = 100) -> list[Noted]:
        """Give it frames; return what it says about them."""
        facts = [fact for frame in frames for fact in told(self.recording.receive(frame, moment(at)))]
        self.facts += facts
        return facts

    def start(self) -> "Book":
        """Let a session begin before the recorder's eyes."""
        self.all(flow(ALIVE), flow(START))
        return self

    def reconnect(self) -> "Book":
        self.recording.finish(CloseReason.DISCONNECTED)
        self.recording.connected()
        return self


# --- frames of another session


def test_a_late_frame_of_the_session_before_costs_nothing_of_the_count() -> None:
    book = Book().start()
    book.all(*(numbered("S", number) for number in range(10)), flow(END), flow(START))
    book.all(*(numbered("S", number, B) for number in range(3)))

    assert book.all(numbered("S", 10)) == []
    assert missing(book.all(numbered("S", 6, B))) == [(B, 3, 5, LossCause.SENDER)]
    assert missing(book.all(numbered("S", 13))) == [(A, 11, 12, LossCause.SENDER)]


def test_two_streams_on_one_port_are_counted_each_by_itself() -> None:
    book = Book().start()
    for number in range(20):
        book.all(*(numbered("S", number, A, stream) for stream in "ab" if (stream, number) != ("b", 7)))

    assert missing(book.facts) == [(A, 7, 7, LossCause.SENDER)]


def test_a_frame_with_a_session_of_its_own_and_no_number_costs_nothing_of_the_count() -> None:
    book = Book().start()
    book.all(*(numbered("S", number) for number in range(5)), make("H1", session=B))

    assert missing(book.all(numbered("S", 7))) == [(A, 5, 6, LossCause.SENDER)]


def test_stray_frames_after_the_end_are_counted() -> None:
    book = Book().start()
    book.all(*(numbered("S", number) for number in range(3)), flow(END))

    assert missing(book.all(numbered("S", 6))) == [(A, 3, 5, LossCause.SENDER)]


def test_a_repeated_scan_is_known_after_frames_of_another_session() -> None:
    desk = Decisions()
    desk.all(numbered("S", 0), numbered("S", 0, B))

    assert desk.receive(numbered("S", 0)) == ["note duplicate"]
    assert desk.receive(numbered("S", 1, B)) == ["write S1"]


def test_a_later_file_of_a_session_begins_with_its_own_metadata_after_frames_of_another() -> None:
    desk = Decisions(Rules(time_per_file=600, frame_gap=5, most_open=1))
    desk.all(numbered("O", 0), numbered("S", 1), numbered("O", 0, B))

    assert desk.receive(numbered("S", 2), at=1)[-2:] == ["head O0", "write S2"]


def test_the_end_of_another_stream_ends_nothing() -> None:
    desk = Decisions()
    desk.all(numbered("O", 0, stream="a"), numbered("S", 1, stream="a"))

    assert desk.receive(make("N", END, stream="b")) == []
    assert desk.receive(make("N", END, stream="a")) == ["close End"]


def test_a_dozen_sessions_that_take_turns_are_all_counted() -> None:
    book = Book().start()
    sessions = range(A, A + 12)
    for number in (0, 1, 2, 5):
        book.all(*(numbered("S", number, session) for session in sessions))

    assert missing(book.facts) == [(session, 3, 4, LossCause.SENDER) for session in sessions]


# --- several acquisitions at a time


def rows(most_open: int = 4) -> Decisions:
    return Decisions(Rules(time_per_file=20, frame_gap=5, layout=Layout.SESSION, most_open=most_open))


def test_two_streams_that_take_turns_make_two_rows_of_files() -> None:
    desk = rows()
    said = [
        word
        for second in range(24)
        for stream in "ab"
        for word in desk.receive(numbered("OS"[second > 0], second, A, stream), at=second)
    ]

    assert [word for word in said if not word.startswith("write")] == [
        f"open 17000/a/{A}_000.g3",
        f"open 17000/b/{A}_000.g3",
        "close TimeLimit",
        "close TimeLimit",
        f"open 17000/a/{A}_001.g3",
        "head O0",
        f"open 17000/b/{A}_001.g3",
        "head O0",
    ]


def test_a_lone_frame_of_another_session_closes_no_file_and_its_own_is_closed_by_the_gap() -> None:
    desk = rows()
    desk.all(numbered("S", 0), make("H1", session=B))

    assert desk.receive(numbered("S", 1), at=4) == ["write S1"]
    assert desk.deadline() == 5
    assert desk.tick(5) == ["close Gap", "note gap"]
    assert desk.receive(numbered("S", 2), at=6) == ["write S2"]


def test_the_end_of_a_stream_closes_its_file_alone() -> None:
    desk = rows()
    desk.all(numbered("S", 0, A, "a"), numbered("S", 0, A, "b"))

    assert desk.receive(make("N", END, stream="a")) == ["close End"]
    assert desk.receive(numbered("S", 1, A, "b")) == ["write S1"]
    assert desk.receive(flow(END)) == ["close End"]
    assert desk.finish() == []


def test_the_end_of_a_stream_forgets_its_metadata_alone() -> None:
    desk = rows()
    desk.all(*(numbered("O", 0, A, stream) for stream in "ab"), make("N", END, stream="a"), flow(ALIVE))
    desk.finish()

    assert desk.receive(numbered("S", 1, A, "a"))[1:] == ["write S1"]
    assert desk.receive(numbered("S", 1, A, "b"))[1:] == ["head O0", "write S1"]


def test_one_too_many_closes_the_one_that_has_got_no_frame_for_longest() -> None:
    desk = rows()
    desk.all(*(numbered("S", 0, session) for session in (A, A + 1, A + 2, A + 3)), numbered("S", 1, A))

    assert desk.receive(numbered("S", 0, A + 4))[0] == "close SessionChanged"
    assert desk.receive(numbered("S", 2, A)) == ["write S2"]
    assert desk.receive(numbered("S", 1, A + 1))[0] == "close SessionChanged"


def test_the_end_of_the_connection_closes_all_files() -> None:
    desk = rows()
    desk.all(*(numbered("S", 0, session) for session in (A, A + 1)))

    assert desk.finish() == ["close Disconnected"] * 2
    assert desk.deadline() is None


# --- the beginning


@pytest.mark.parametrize("value", [START, END])
def test_what_is_missing_at_the_beginning_of_a_session_that_began_on_this_connection_is_lost(
    value: int,
) -> None:
    book = Book()
    book.all(flow(ALIVE), flow(value))

    assert missing(book.all(numbered("W", 7))) == [(A, 0, 6, LossCause.SENDER)]


def test_a_damaged_frame_at_the_beginning_is_a_loss_of_that_cause() -> None:
    book = Book().start()
    book.recording.damaged()

    assert missing(book.all(numbered("W", 1), numbered("S", 2), numbered("S", 4))) == [
        (A, 0, 0, LossCause.DAMAGED),
        (A, 3, 3, LossCause.SENDER),
    ]


def test_a_frame_that_was_damaged_long_before_is_no_cause() -> None:
    book = Book().start()
    book.recording.damaged()
    book.all(numbered("S", 0), flow(END))
    after_good = book.all(numbered("S", 2, B))
    book.recording.damaged()
    after_reconnect = book.reconnect().start().all(numbered("S", 3, B + 1))

    assert missing([*after_good, *after_reconnect]) == [
        (B, 0, 1, LossCause.SENDER),
        (B + 1, 0, 2, LossCause.SENDER),
    ]


def test_a_sender_that_was_never_seen_to_begin_with_0_may_count_from_1() -> None:
    book = Book().start()

    assert book.all(numbered("O", 1), numbered("S", 2), flow(END), flow(START)) == []
    assert missing(book.all(numbered("S", 3, B))) == [(B, 1, 2, LossCause.SENDER)]
    book.all(flow(START), numbered("O", 0, B + 1), flow(START))
    assert missing(book.all(numbered("S", 1, B + 2))) == [(B + 2, 0, 0, LossCause.SENDER)]


def test_a_session_that_follows_another_of_its_stream_without_flow_control_begins_with_0() -> None:
    book = Book().start()
    book.all(numbered("S", 0))

    assert missing(book.all(numbered("S", 3, B))) == [(B, 0, 2, LossCause.SENDER)]


JOINING = [numbered("O", 0), numbered("W", 8), numbered("S", 20)]


def test_a_session_that_ran_before_any_recorder_did_was_joined_late_and_nothing_is_lost() -> None:
    book = Book(started=A + 3600)

    assert book.all(*JOINING) == [
        Joined(session_id=A, stream_id="ufm", first=8, count=7),
        Joined(session_id=A, stream_id="ufm", first=20, count=11),
    ]
    so_far = book.recording.report()
    assert so_far is not None
    assert (so_far.lost, so_far.missed) == (0, 18)


@pytest.mark.parametrize(
    ("earlier", "started", "cause"),
    [
        (None, A - 10, LossCause.RECONNECT),  # it ran, without a connection
        (EarlierRun(A - 100, None), A + 10, LossCause.RESTART),  # it was killed, and should have run
        (EarlierRun(A - 100, A + 5), A + 10, LossCause.RESTART),
    ],
)
def test_a_session_that_began_while_a_recorder_ran_or_should_have_lost_what_is_missing(
    earlier: EarlierRun | None, started: float, cause: LossCause
) -> None:
    book = Book(earlier=earlier, started=started)

    assert missing(book.all(*JOINING)) == [(A, 1, 7, cause), (A, 9, 19, cause)]
    assert len(book.facts) == 2


@pytest.mark.parametrize(
    "earlier", [EarlierRun(A - 100, A - 50), EarlierRun(A + 100, None), EarlierRun(A + 100, A + 200)]
)
def test_a_session_that_began_while_nobody_was_to_record_was_joined_late(earlier: EarlierRun) -> None:
    book = Book(earlier=earlier, started=A + 3600)

    assert {type(fact) for fact in book.all(*JOINING)} == {Joined}


def test_a_session_that_began_between_two_connections_lost_what_is_missing_whatever_the_clock_says() -> None:
    book = Book(started=B + 3600).start()
    book.all(numbered("S", 0), at=3600)

    book.reconnect()

    assert missing(book.all(numbered("S", 30, B), at=7200)) == [(B, 0, 29, LossCause.RECONNECT)]


@pytest.mark.parametrize("first", [A, 7])
def test_a_clock_that_is_wrong_makes_a_loss_of_it_and_that_is_said(first: int) -> None:
    book = Book(started=NOW + 10 * 3600)
    book.start().all(numbered("S", 0, first, "other"), at=12 * 3600)

    book.reconnect()
    (loss,) = book.all(numbered("S", 5, A + 1), at=12 * 3600)

    assert isinstance(loss, Loss)
    assert (loss.cause, loss.first, loss.last) == (LossCause.RECONNECT, 0, 4)
    assert "clock" in (loss.why or "")
    assert missing(book.all(numbered("S", 7, A + 1), at=12 * 3600)) == [(A + 1, 6, 6, LossCause.SENDER)]


@pytest.mark.parametrize("known", ["a/b", safe_stream_id("a/b"), None])
def test_a_session_of_an_earlier_run_goes_on_whichever_name_of_its_stream_is_known(known: str | None) -> None:
    book = Book([KnownSession(B, "other", 90), KnownSession(A, known, 10)], EarlierRun(NOW, None), A + 20)

    assert missing(book.all(numbered("S", 14, A, "a/b"))) == [(A, 11, 13, LossCause.RESTART)]
    assert missing(book.all(numbered("S", 93, B, "other"))) == [(B, 91, 92, LossCause.RESTART)]


def test_a_session_of_another_stream_says_nothing_about_when_one_began() -> None:
    book = Book(started=A + 3600)
    book.all(numbered("S", 5, NOW - 50, "other"))

    assert book.all(numbered("S", 20)) == [Joined(session_id=A, stream_id="ufm", first=20, count=20)]


def test_scans_that_come_again_are_known_however_many_came() -> None:
    book, scans = Book().start(), [numbered("S", number) for number in range(5000)]
    for number in range(0, 5000, 1000):
        assert book.all(*scans[number : number + 1000]) == []

        again = book.all(*scans[number : number + 1000])
        assert [fact.frame_num for fact in again if isinstance(fact, Duplicate)] == [
            *range(number, number + 1000)
        ]


def test_what_a_reconnect_cost_is_lost_though_the_session_was_joined_late() -> None:
    book = Book(started=A + 3600)
    book.all(numbered("O", 0), numbered("W", 8))  # the connection breaks ahead of anything new

    book.reconnect()

    assert book.all(numbered("O", 0), numbered("W", 8), numbered("S", 20)) == [
        Joined(session_id=A, stream_id="ufm", first=8, count=7),
        Loss(session_id=A, first=9, last=19, count=11, cause=LossCause.RECONNECT),
    ]


# --- the replay


def test_a_replay_in_another_order_than_it_was_sent_in_counts_nothing_twice() -> None:
    book = Book().start()
    book.all(*(numbered("S", number) for number in range(6)))

    book.reconnect()

    assert missing(book.all(numbered("O", 20), numbered("W", 12), numbered("S", 23))) == [
        (A, 6, 11, LossCause.RECONNECT),
        (A, 13, 19, LossCause.RECONNECT),
        (A, 21, 22, LossCause.RECONNECT),
    ]


@pytest.mark.parametrize("end", ["flow", "frame", "stop"])
def test_what_a_replay_shows_is_told_when_it_is_over_also_without_a_frame_of_that_session(end: str) -> None:
    book = Book().start()
    book.all(numbered("S", 0))
    book.reconnect()
    book.all(make("N", ALIVE, stream="again"), numbered("O", 3))

    if end == "stop":
        facts = told(book.recording.finish(CloseReason.STOPPED))
    else:
        facts = book.all(flow(ALIVE) if end == "flow" else numbered("S", 0, B))

    assert missing(facts) == [(A, 1, 2, LossCause.RECONNECT)]


# --- whatever happens


class Stage:
    """A sender of a few sessions at once, a network that loses frames and connections, and what became of each."""

    def __init__(self, joined: int, most_open: int) -> None:
        self.recording = Recording(Rules(time_per_file=50, frame_gap=7, most_open=most_open))
        self.most_open = most_open
        self.files: dict[int, Open] = {}  # those that are open, by key
        self.recording.resume([], None, EPOCH)
        self.next = {(session, stream): 0 for session in (A, B) for stream in ("a", None)}
        self.connected = False
        self.latest: dict[str, Frame] = {}
        self.sent: set[tuple[int | None, str | None, int]] = set()
        self.recorded: list[tuple[int | None, str | None, int]] = []
        self.accounted: list[tuple[int | None, str | None, int]] = []
        self.now = 0.0
        self.seen: dict[tuple[int | None, str | None], int] = {}
        for index in range(joined):
            self.make("OWSH"[index % 4], A, "a")
        self.connect(9)

    def make(self, kind: str, session: int, stream: str | None) -> Frame:
        number = self.next[session, stream]
        self.next[session, stream] = number + 1
        made = make(f"{kind}{number}", session=session, num=number, stream=stream)
        if kind not in "ST":
            self.latest[kind] = made
        return made

    def connect(self, replayed: int) -> None:
        """Connect; the sender repeats its latest frames. If not all of them arrive, the connection is gone."""
        self.recording.connected()
        for frame in list(self.latest.values())[:replayed]:
            self.give(frame)
        self.connected = replayed >= len(self.latest)
        if not self.connected:
            self.cut()

    def cut(self) -> None:
        self.connected = False
        self.carry_out(self.recording.finish(CloseReason.DISCONNECTED))

    def send(self, kind: str, session: int) -> None:
        """Send a frame. Small letters: Scans that the sender drops from its queue."""
        frame = self.make(kind.upper(), session, "a")
        if self.connected and kind.isupper():
            self.give(frame)

    def give(self, frame: Frame) -> None:
        self.carry_out(self.recording.receive(frame, moment(self.now)))

    def carry_out(self, actions: Iterable[Action]) -> None:
        for action in actions:
            if isinstance(action, Open):
                assert action.key not in self.files
                self.files[action.key] = action
                assert len(self.files) <= self.most_open
            if isinstance(action, Close):
                del self.files[action.key]
            if isinstance(action, Write) and action.frame.frame_num is not None:
                assert self.files[action.key].session_id == action.frame.session_id
                key = (action.frame.session_id, action.frame.stream_id)
                self.recorded.append((*key, action.frame.frame_num))
                self.seen[key] = max(self.seen.get(key, 0), action.frame.frame_num)
            if isinstance(action, Noted):
                self.account(action)

    def account(self, fact: Noted) -> None:
        if isinstance(fact, Loss):
            assert fact.first is not None
            assert fact.last is not None
            assert fact.count == fact.last - fact.first + 1
            self.accounted += [(fact.session_id, None, number) for number in range(fact.first, fact.last + 1)]
        if isinstance(fact, Joined):
            before = range(fact.first - fact.count, fact.first)
            self.accounted += [(fact.session_id, None, number) for number in before]


EVENTS = st.one_of(
    st.tuples(st.just("send"), st.sampled_from("OWHCSSSTsst"), st.sampled_from([A, B])),
    st.tuples(st.just("flow"), st.just(""), st.sampled_from([ALIVE, START, END])),
    st.tuples(st.just("cut"), st.just(""), st.just(0)),
    st.tuples(st.just("connect"), st.just(""), st.sampled_from([0, 1, 2, 3, 9, 9, 9])),
    st.tuples(st.just("wait"), st.just(""), st.sampled_from([1, 8, 60])),
)


@given(st.lists(EVENTS, max_size=50), st.integers(0, 9), st.sampled_from([1, 2, 4]))
def test_each_number_is_in_a_file_or_in_one_line(
    events: list[tuple[str, str, int]], joined: int, most_open: int
) -> None:
    stage = Stage(joined, most_open)
    for what, kind, value in events:
        match what:
            case "send":
                stage.send(kind, value)
            case "flow" if stage.connected:
                stage.give(flow(value))
            case "cut":
                stage.cut()
            case "connect":
                stage.connect(value)
            case _:
                stage.now += value
                stage.carry_out(stage.recording.tick(moment(stage.now)))
    stage.carry_out(stage.recording.finish(CloseReason.STOPPED))

    assert not stage.files
    told_of = sorted((session or 0, number) for session, _, number in stage.accounted)
    recorded = {(session or 0, number) for session, _, number in stage.recorded}
    assert len(told_of) == len(set(told_of)), "a number is told of twice"
    assert not recorded & set(told_of), "in a file, and told as missing"
    for (session, _), highest in stage.seen.items():
        there = [number for name, number in recorded if name == session]
        first = 1 if min(there) == 1 else 0  # the sender may count from 1, for all that anybody can see
        every = {(session or 0, number) for number in range(first, highest + 1)}
        assert every <= recorded | set(told_of), "a number is nowhere"
