"""Short stories of a whole recorder: what it takes from earlier runs, and that its memory is sound."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.machine.guarded_disk import is_published
from tests.machine.run import EPOCH, LOG, ROOT, STAGING, Run, TurnedClock
from tests.machine.simulated_disk import SimulatedDisk
from tests.tools.made_frames import frame
from timestream_aggregator.buffer import LinkUp, NoMore
from timestream_aggregator.ledger.file import Ledger
from timestream_api.ledger import Fact, Left, Loss, Opened, Published
from timestream_api.report import CloseReason, LossCause
from timestream_api.settings import RecorderSettings
from timestream_api.values import Layout

SESSION = int(EPOCH)


class HangingDisk(SimulatedDisk):
    """Calls somebody while the names in a folder are asked for."""

    def __init__(self) -> None:
        super().__init__(ROOT, random.Random(1))
        self.on_names: Callable[[], None] = lambda: None

    def names(self, folder: Path) -> list[str]:
        self.on_names()
        return super().names(folder)


class Stage:
    """A disk, and the recorders that run on it one after another."""

    def __init__(self) -> None:
        self.disk, self.clock = HangingDisk(), TurnedClock()
        self.settings = RecorderSettings(data_dir=ROOT, stream_id="ufm", layout=Layout.SESSION, frame_gap=60)

    def run(self) -> Run:
        """Start a recorder, after a kill if one has run, and let it be connected."""
        self.disk.restart(power_lost=False)
        made = Run(self.disk, self.settings, self.clock, lambda: False, recovers_first=False)
        made.supply.items.append(LinkUp(1, self.clock.moment()))
        return made

    def send(self, run: Run, *pieces: bytes) -> None:
        for piece in pieces:
            run.supply.fill(1, piece, self.clock.moment())
            run.work()

    def stop(self, run: Run) -> None:
        run.supply.items.append(NoMore())
        run.work()
        run.close()

    def tell(self, *facts: Fact) -> None:
        """Have the ledger tell something before the first start."""
        book = Ledger(ROOT, "ufm", LOG, self.disk, self.clock)
        for fact in facts:
            book.note(fact)
        book.close()

    def published(self) -> dict[str, bytes]:
        there = self.disk.files().items()
        return {path.name: bytes(file.cached) for path, file in there if is_published(path)}


@pytest.fixture
def stage() -> Stage:
    return Stage()


def scan(number: int, size: int = 100) -> bytes:
    return frame("S", session=SESSION, num=number, data=random.Random(number).randbytes(size))


def losses(run: Run) -> list[tuple[int, int | None, int | None, str | None]]:
    return [(fact.count, fact.first, fact.last, fact.cause) for fact in run.facts if isinstance(fact, Loss)]


def file_told(name: str, last: int) -> Published:
    return Published(
        path=name, bytes=1, frames=1, crc32c="00000000", session_id=SESSION, last_frame_num=last,
        reason=CloseReason.END,
    )  # fmt: skip


@pytest.mark.parametrize("cut", [1, 333, 699, 5000])
def test_frames_are_written_as_they_came_however_they_lie_in_memory_that_is_used_again(
    stage: Stage, cut: int
) -> None:
    frames = [scan(number, size=1000) for number in range(12)]
    stream = b"".join(frames)
    run = stage.run()
    stage.send(run, *(stream[at : at + cut] for at in range(0, len(stream), cut)))
    (staged,) = (file for path, file in stage.disk.files().items() if path.parent == STAGING)
    assert bytes(staged.cached) == stream, "each is written when it is whole"
    stage.stop(run)

    assert list(stage.published().values()) == [stream]


def test_a_name_that_only_the_ledger_knows_is_given_to_no_other_file(stage: Stage) -> None:
    first = stage.run()
    stage.send(first, scan(0))
    stage.stop(first)
    (name,) = stage.published()
    (path,) = (path for path in stage.disk.files() if is_published(path))
    stage.disk.unlink(path)

    second = stage.run()
    stage.send(second, scan(1))
    stage.stop(second)

    assert name.endswith("_000.g3")
    assert list(stage.published()) == [name.replace("_000", "_001")]


def test_what_a_left_file_holds_is_known_before_anything_is_counted(stage: Stage) -> None:
    killed = stage.run()
    stage.send(killed, *map(scan, range(6)))
    killed.close()

    run = stage.run()
    stage.send(run, scan(8))
    stage.stop(run)

    assert losses(run) == [(2, 6, 7, LossCause.RESTART)]


def test_what_a_file_holds_whose_publication_nobody_told_of_is_known_before_anything_is_counted(
    stage: Stage,
) -> None:
    killed = stage.run()
    stage.send(killed, *map(scan, range(6)))
    killed.close()
    (opened,) = (fact for fact in killed.facts if isinstance(fact, Opened))
    (staged,) = (path for path in stage.disk.files() if path.parent == STAGING)
    stage.disk.restart(power_lost=False)
    stage.disk.make_folder((ROOT / opened.path).parent)
    stage.disk.rename(staged, ROOT / opened.path)

    run = stage.run()
    stage.send(run, scan(8))
    stage.stop(run)

    assert losses(run) == [(2, 6, 7, LossCause.RESTART)]


def test_what_came_and_was_not_written_before_a_kill_is_lost_once(stage: Stage) -> None:
    told = Loss(count=2, session_id=SESSION, first=6, last=7, cause=LossCause.SENDER)
    stage.tell(file_told("ufm/17000/a_000.g3", 3), told)

    run = stage.run()
    stage.send(run, scan(9))
    stage.stop(run)

    assert losses(run) == [(2, 4, 5, LossCause.RESTART), (1, 8, 8, LossCause.RESTART)]


def test_a_call_that_hangs_is_no_reason_for_a_restart_whatever_it_is_for(stage: Stage) -> None:
    run, troubles = stage.run(), list[str | None]()

    def hang() -> None:
        stage.clock.now += 1000
        troubles.append(run._parts.pulses[-1].trouble())

    stage.send(run, scan(0))
    stage.disk.on_names = hang
    stage.send(run, scan(1)[:-1] + b"?")  # a damaged piece is put aside beside those that are there
    stage.disk.on_names = lambda: None
    stage.stop(run)

    assert troubles == [None]


def test_all_lines_of_a_crowd_of_losses_are_kept(stage: Stage) -> None:
    run = stage.run()
    stage.send(run, b"".join(scan(2 * number) for number in range(1500)))
    stage.stop(run)

    assert len(losses(run)) == 1499
    again = stage.run()
    stage.send(again, scan(3002))
    stage.stop(again)
    assert losses(again) == [(3, 2999, 3001, LossCause.RESTART)]
    assert not [fact for fact in again.facts if isinstance(fact, Left)]
