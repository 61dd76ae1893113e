"""Whatever a sender sends and a network does: where each frame ends up."""

from dataclasses import dataclass, field
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.core.decisions import CLEANSE, END, START, make, moment
from timestream_aggregator.core.acquisition import Recording
from timestream_aggregator.core.actions import Action, Close, Noted, Open, Write, WriteHead
from timestream_aggregator.core.files import Rules
from timestream_aggregator.g3.parser import Frame
from timestream_api.report import CloseReason
from timestream_api.values import Layout

GAP, LONGEST = 7.0, 20.0
LIMITS = {CloseReason.TIME_LIMIT, CloseReason.SIZE_LIMIT}


@dataclass
class File:
    """A file as the actions made it. Times in seconds since the beginning."""

    opened: Open
    head: bytes = b""
    frames: list[tuple[float, Frame]] = field(default_factory=list[tuple[float, Frame]])
    closed: CloseReason | None = None

    @property
    def size(self) -> int:
        return len(self.head) + sum(frame.size for _, frame in self.frames)


@dataclass
class Disk:
    """Carries out actions and refuses those that make no sense where they come."""

    files: list[File] = field(default_factory=list[File])
    notes: list[Noted] = field(default_factory=list[Noted])

    def do(self, action: Action, now: float) -> None:
        match action:
            case Open():
                assert not self.is_open
                assert action.file.path not in {file.opened.file.path for file in self.files}
                self.files.append(File(action))
            case WriteHead():
                assert self.is_open
                assert not self.files[-1].size
                self.files[-1].head = action.data
            case Write():
                assert self.is_open
                self.files[-1].frames.append((now, action.frame))
            case Close():
                assert self.is_open
                assert self.files[-1].frames, "an empty file"
                self.files[-1].closed = action.reason
            case _:
                self.notes.append(action)

    @property
    def is_open(self) -> bool:
        return bool(self.files) and self.files[-1].closed is None


class Sender:
    """What a G3NetworkSender does: a client joins at the next frame and first gets the latest of each type."""

    def __init__(self) -> None:
        self.latest: dict[str, Frame] = {}
        self.clients: list[list[Frame]] = []
        self.joining: list[list[Frame]] = []

    def accept(self) -> list[Frame]:
        self.joining.append([])
        return self.joining[-1]

    def send(self, frame: Frame) -> None:
        for client in self.joining:
            client.extend(self.latest.values())
        self.clients, self.joining = self.clients + self.joining, []
        for client in self.clients:
            client.append(frame)
        if frame.type not in "ST":
            self.latest[frame.type] = frame


class Model:
    """The rules told once more, about whole frames: what must be written, and what must come before it."""

    def __init__(self) -> None:
        self.seen: set[Frame] = set()
        self.expected: list[Frame] = []
        self.types: set[str] | None = None  # met while the connection replays, None afterwards
        self.session: int | None = None
        self.observations: dict[int | None, Frame] = {}  # of each session, the latest
        self.last: float | None = None  # when the acquisition's last frame came, None after its end

    def connected(self) -> None:
        self.types = set()

    def stale(self, frame: Frame) -> bool:
        if self.types is not None and frame.type not in "ST" and frame.type not in self.types:
            self.types.add(frame.type)
            return True
        self.types = None
        return False

    def receive(self, frame: Frame, now: float) -> bool:
        """Return whether the frame must be written."""
        stale, new = self.stale(frame), frame not in self.seen
        self.seen.add(frame)
        if not new or frame.type == "P":
            return False
        if frame.flow_control is not None:
            if frame.flow_control in {START, END} and not stale:
                self.observations.pop(self.session, None)
                self.session = self.last = None
            return False
        if frame.session_id not in {None, self.session}:
            self.session, self.last = frame.session_id, None
        if self.last is not None and now - self.last >= GAP:
            self.last = None
        self.expected.append(frame)
        return True


class World:
    """A sender, a recorder, and a network that fails."""

    def __init__(self, layout: Layout, most: int | None) -> None:
        self.most = most
        self.recording = Recording(Rules(LONGEST, GAP, "stream", layout, most, most_open=1))
        self.sender, self.disk, self.model = Sender(), Disk(), Model()
        self.now, self.serial, self.session = 0.0, 0, 7
        self.numbers: dict[int, int] = {}
        self.second: list[Frame] | None = None
        self.connect()

    def connect(self) -> None:
        self.first = self.sender.accept()
        self.recording.connected()
        self.model.connected()

    def carry_out(self, actions: list[Action]) -> None:
        for action in actions:
            self.disk.do(action, self.now)

    def finish(self, reason: CloseReason) -> None:
        self.carry_out(self.recording.finish(reason))
        self.model.last = None
        assert not self.disk.is_open

    def read(self) -> None:
        """Give the recorder what the first connection holds."""
        while self.first:
            self.receive(self.first.pop(0))

    def receive(self, frame: Frame) -> None:
        must = self.model.receive(frame, self.now)
        observation = self.model.observations.get(self.model.session)
        files, going_on = len(self.disk.files), self.model.last is not None
        is_full = (
            self.disk.is_open and self.most is not None and self.disk.files[-1].size + frame.size > self.most
        )
        written = sum(len(file.frames) for file in self.disk.files)
        fresh = not self.disk.is_open
        self.carry_out(self.recording.receive(frame, moment(self.now)))
        assert sum(len(file.frames) for file in self.disk.files) == written + must
        if not must:
            assert len(self.disk.files) == files
            return
        assert len(self.disk.files) == files + (fresh or is_full or not going_on)
        if len(self.disk.files) > files:
            self.check_beginning(frame, observation, going_on=going_on)
        if frame.type == "O":
            self.model.observations[self.model.session] = frame
        self.model.last = self.now

    def check_beginning(self, frame: Frame, observation: Frame | None, *, going_on: bool) -> None:
        """A new file: of the same acquisition if that goes on, with its metadata unless that comes anyway."""
        *before, file = self.disk.files
        if frame.type == "O" or observation is None:
            assert not file.head
        else:
            assert file.head == b"".join(observation.parts)
        if going_on:
            assert before[-1].closed in LIMITS
            assert file.opened.file.base == before[-1].opened.file.base
            assert file.opened.file.number == before[-1].opened.file.number + 1

    def send(self, kind: str, flow: int | None = None) -> None:
        """Send a frame unlike all others. Kinds in small letters are of no session."""
        self.serial += 1
        session = self.session if kind.isupper() and flow is None else None
        number = self.numbers.get(self.session, 0) if session else None
        if number is not None:
            self.numbers[self.session] = number + 1
        self.sender.send(make(f"{kind.upper()}{self.serial}", flow, session, number))
        self.read()

    def wait(self, seconds: float) -> None:
        """Let time pass, as a shell does: a tick whenever one is due."""
        end = self.now + seconds
        while (deadline := self.recording.deadline()) is not None and deadline <= moment(end).monotonic:
            self.now = deadline - moment(0).monotonic
            assert not self.recording.tick(moment(self.now - 0.001))
            actions = self.recording.tick(moment(self.now))
            assert actions
            self.carry_out(actions)
        self.now = end

    def lose(self) -> None:
        """The connection breaks, what the recorder has not got is gone, and it connects again."""
        self.settle()
        self.sender.clients.clear()
        self.sender.joining.clear()
        self.finish(CloseReason.DISCONNECTED)
        self.connect()

    def replace(self) -> None:
        """After a silence, make a second connection while the first still stands."""
        if self.second is None:
            self.finish(CloseReason.SILENCE)
            self.recording.succeeding()
            self.second = self.sender.accept()

    def settle(self) -> None:
        """Let the first connection go and read the second."""
        if self.second is not None:
            self.sender.clients = [client for client in self.sender.clients if client is self.second]
            self.sender.joining = [client for client in self.sender.joining if client is self.second]
            self.first, self.second = self.second, None
            self.recording.connected()
            self.model.connected()
            self.read()

    def step(self, event: tuple[str, object]) -> None:
        match event:
            case ("send", str(kind)):
                self.send(kind)
            case ("flow", int(value)):
                for kind in ("O", "W") if value == CLEANSE else ("N",):
                    self.send(kind, value)
            case ("session", int(session)):
                self.session = session
            case ("wait", float(seconds)):
                self.wait(seconds)
            case ("network", str(what)):
                {"lose": self.lose, "replace": self.replace, "settle": self.settle}[what]()
            case _:
                raise AssertionError(event)


EVENTS = st.one_of(
    st.tuples(st.just("send"), st.sampled_from("OWSSSTNPhsn")),
    st.tuples(st.just("flow"), st.sampled_from([0, START, END, CLEANSE, 9])),
    st.tuples(st.just("session"), st.sampled_from([7, 8])),
    st.tuples(st.just("wait"), st.sampled_from([0.1, 1.0, 6.9, 7.0, 8.0, 19.9, 20.0, 100.0])),
    st.tuples(st.just("network"), st.sampled_from(["lose", "replace", "settle"])),
)


@given(st.lists(EVENTS, max_size=60), st.sampled_from(Layout), st.sampled_from([None, 300, 600]))
def test_every_frame_is_in_one_file_of_its_own_acquisition_in_order(
    events: list[tuple[str, object]], layout: Layout, most: int | None
) -> None:
    world = World(layout, most)
    for event in events:
        world.step(event)
    world.settle()
    world.finish(CloseReason.STOPPED)

    files = world.disk.files
    assert [frame for file in files for _, frame in file.frames] == world.model.expected
    for file in files:
        times = [at for at, _ in file.frames]
        assert times[-1] - times[0] < LONGEST
        assert all(later - earlier < GAP for earlier, later in pairwise(times))
        assert {frame.session_id for _, frame in file.frames} <= {None, file.opened.session_id}
        assert most is None or len(file.frames) == 1 or file.size <= most


SMALL_EVENTS = st.one_of(
    st.tuples(st.just("flow"), st.sampled_from([0, START, END, CLEANSE, 9])),
    st.tuples(st.just("send"), st.sampled_from("OS")),
)


@given(st.lists(SMALL_EVENTS, max_size=20))
def test_flow_control_in_every_order_never_costs_a_frame(events: list[tuple[str, object]]) -> None:
    world = World(Layout.TIMESTAMP, None)
    for event in events:
        world.step(event)

    sent = sum(kind == "send" for kind, _ in events)
    assert sum(len(file.frames) for file in world.disk.files) == sent
