"""What is published survives a loss of power at the moment it gets its name, on the disk that forgets."""

import random
from pathlib import Path

import pytest

from tests.machine.simulated_disk import SimulatedDisk
from tests.unit.disk.test_folder import Frame
from timestream_aggregator.core.naming import Base, FileId
from timestream_aggregator.disk.folder import DataFolder
from timestream_aggregator.disk.staged import StagedFile

ROOT = Path("/data")


@pytest.mark.parametrize("seed", range(20))
def test_a_loss_of_power_does_not_take_a_file_with_its_new_folder(seed: int) -> None:
    disk = SimulatedDisk(ROOT, random.Random(seed))
    folder = DataFolder(ROOT, disk)
    folder.prepare()
    file = StagedFile(folder, FileId(Base("17000/crate1", "1700000000"), 0))
    file.append([Frame(b"data")])
    file.sync()

    folder.publish(file.path, file.wanted)
    file.close()
    disk.restart(power_lost=True)

    assert b"data" in [bytes(there.cached) for there in disk.files().values()]
