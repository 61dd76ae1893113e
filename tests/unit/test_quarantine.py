import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from timestream_aggregator.disk.quarantine import MOST_FILES, Quarantine

NOW = datetime(2026, 11, 23, 8, 0, 0, tzinfo=UTC)


def put(quarantine: Quarantine, data: bytes, now: datetime = NOW) -> Path | None:
    kept = quarantine.keep([memoryview(data)], now)
    return None if kept is None else kept.path


def in_order(root: Path) -> list[bytes]:
    """Return the pieces in the order of their names."""
    return [path.read_bytes() for path in sorted(Quarantine(root).folder.iterdir())]


PIECES = [b"%d" % number for number in range(25)]


def test_pieces_of_one_instant_stand_in_the_order_in_which_they_came(tmp_path: Path) -> None:
    quarantine = Quarantine(tmp_path)
    for piece in PIECES:
        put(quarantine, piece)

    assert in_order(tmp_path) == PIECES


def test_pieces_stand_in_order_over_restarts(tmp_path: Path) -> None:
    for piece in PIECES:
        put(Quarantine(tmp_path), piece)

    assert in_order(tmp_path) == PIECES


@pytest.mark.parametrize("back", [timedelta(milliseconds=1), timedelta(seconds=1), timedelta(days=20_000)])
def test_pieces_stand_in_order_though_the_clock_goes_back(tmp_path: Path, back: timedelta) -> None:
    for number, piece in enumerate(PIECES):
        put(Quarantine(tmp_path), piece, NOW - number * back / len(PIECES))

    assert in_order(tmp_path) == PIECES


def test_a_name_tells_number_and_time_of_a_piece(tmp_path: Path) -> None:
    kept = put(Quarantine(tmp_path), b"piece")

    assert kept is not None
    assert kept.name == "000001_2026-11-23-08-00-00.g3part"


def test_numbers_go_on_though_people_take_pieces_away(tmp_path: Path) -> None:
    quarantine = Quarantine(tmp_path)
    taken = put(quarantine, b"first")
    assert taken is not None
    taken.unlink()

    kept = put(quarantine, b"second")

    assert kept is not None
    assert kept.name.startswith("000002_")


def test_what_else_is_in_the_folder_does_not_count(tmp_path: Path) -> None:
    quarantine = Quarantine(tmp_path)
    (quarantine.folder / "recovered").mkdir(parents=True)
    (quarantine.folder / "000009_notes.txt").touch()

    kept = put(quarantine, b"piece")

    assert kept is not None
    assert kept.name.startswith("000001_")


def test_the_first_pieces_are_kept_and_no_more_than_there_is_room_for(tmp_path: Path) -> None:
    quarantine = Quarantine(tmp_path)
    kept = [put(quarantine, b"piece") for _ in range(MOST_FILES + 2)]

    assert kept[-3] is not None
    assert kept[-2:] == [None, None]
    assert len(in_order(tmp_path)) == MOST_FILES


def test_no_piece_is_kept_beyond_a_quarter_of_a_gibibyte(tmp_path: Path) -> None:
    quarantine = Quarantine(tmp_path)
    first = put(quarantine, b"piece")
    assert first is not None
    os.truncate(first, (256 << 20) - 1)
    assert put(quarantine, b"piece") is not None

    assert put(quarantine, b"piece") is None


def test_how_much_of_a_piece_was_kept_is_told(tmp_path: Path) -> None:
    quarantine = Quarantine(tmp_path)

    kept = quarantine.keep([memoryview(b"one"), memoryview(b"two")], NOW)

    assert kept is not None
    assert kept.bytes == 6 == kept.path.stat().st_size
