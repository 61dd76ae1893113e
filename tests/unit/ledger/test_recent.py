"""What a recorder that starts learns from the ledger."""

import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from timestream_aggregator.core.file_facts import FileFacts
from timestream_aggregator.disk.calls import Disk
from timestream_aggregator.disk.layout import OWN_FOLDER
from timestream_aggregator.ledger.file import Ledger, lines
from timestream_aggregator.ledger.recent import History, read
from timestream_api import ledger
from timestream_api.report import CloseReason


def published(path: str, session: int | None = None, last: int | None = None) -> ledger.Published:
    return ledger.Published(
        path=path, bytes=10, frames=2, crc32c="0000000a", session_id=session, last_frame_num=last,
        reason=CloseReason.END,
    )  # fmt: skip


def recovered(path: str, session: int | None = None, last: int | None = None) -> ledger.Recovered:
    return ledger.Recovered(
        path=path, bytes=10, frames=2, crc32c="0000000a", session_id=session, last_frame_num=last
    )


def tell(root: Path, stream: str, *facts: ledger.Fact) -> None:
    (root / OWN_FOLDER).mkdir(exist_ok=True)
    book = Ledger(root, stream, logging.getLogger(__name__))
    for fact in facts:
        book.note(fact)
    book.close()


def test_without_a_ledger_there_is_no_history(tmp_path: Path) -> None:
    assert read(tmp_path, "crate1", Disk()) == History()


def test_all_names_count_also_of_other_streams_and_of_files_that_were_never_published(tmp_path: Path) -> None:
    tell(tmp_path, "crate1", ledger.Opened(path="17000/a_000.g3"), published("17000/a_000.g3"))
    tell(tmp_path, "crate2", ledger.Opened(path="17000/b_000.g3"))

    assert set(read(tmp_path, "crate1", Disk()).paths) == {"17000/a_000.g3", "17000/b_000.g3"}


def test_the_session_is_the_last_one_of_the_stream_with_its_highest_number(tmp_path: Path) -> None:
    tell(
        tmp_path,
        "crate1",
        published("17000/a_000.g3", 7, 99),
        published("17000/b_000.g3", 8, 20),
        published("17000/c_000.g3", 8, 10),
    )
    tell(tmp_path, "crate2", published("17000/d_000.g3", 9, 500))

    history = read(tmp_path, "crate1", Disk())

    assert (history.session_id, history.highest) == (8, 20)


def test_what_somebody_else_recovered_counts_if_the_stream_had_opened_it(tmp_path: Path) -> None:
    tell(tmp_path, "crate1", published("17000/a_000.g3", 7, 9), ledger.Opened(path="17000/b_000.g3"))
    tell(tmp_path, "recover", recovered("17000/b_000.g3", 7, 15), recovered("17000/c_000.g3", 7, 80))

    assert read(tmp_path, "crate1", Disk()).highest == 15


def test_files_that_were_not_read_back_are_known_with_what_was_received(tmp_path: Path) -> None:
    tell(
        tmp_path, "crate1", published("17000/a_000.g3"), published("17000/b_000.g3"),
        ledger.Verified(path="17000/a_000.g3", good=True), recovered("17000/c_000.g3"),
    )  # fmt: skip

    assert list(read(tmp_path, "crate1", Disk()).unverified.values()) == [
        FileFacts("17000/b_000.g3", 10, 2, 10), FileFacts("17000/c_000.g3", 10, 2, 10),
    ]  # fmt: skip


def test_files_of_which_nobody_tells_what_became_of_them_are_known(tmp_path: Path) -> None:
    opened = [ledger.Opened(path=name) for name in ("17000/a_000.g3", "17000/b_000.g3", "17000/c_000.g3")]
    tell(tmp_path, "crate1", *opened, published("17000/b_000.g3"))
    tell(tmp_path, "recover", recovered("17000/c_000.g3"))

    assert list(read(tmp_path, "crate1", Disk()).unended) == ["17000/a_000.g3"]


def test_what_became_of_a_file_that_was_left_is_not_told_yet(tmp_path: Path) -> None:
    left = ledger.Left(path="17000/a_000.g3", bytes=1, frames=1, crc32c="00000000", why="it failed")
    tell(tmp_path, "crate1", ledger.Opened(path="17000/a_000.g3"), left)

    assert list(read(tmp_path, "crate1", Disk()).unended) == ["17000/a_000.g3"]


def test_lines_that_are_torn_or_no_objects_are_passed_over(tmp_path: Path) -> None:
    tell(tmp_path, "crate1", published("17000/a_000.g3"))
    with (tmp_path / OWN_FOLDER / "ledger.jsonl").open("a") as file:
        file.write('5\n"text"\n{"v":1}\n[]\n{"v":1,"stream":"crate1","kind":[],"path":{}}\n{"v":1,"ti')

    assert read(tmp_path, "crate1", Disk()).paths == ["17000/a_000.g3"]


@pytest.mark.parametrize(
    "value",
    [
        '{"kind":"opened","path":"../a_000.g3"}',
        '{"kind":"opened","path":"/tmp/a_000.g3"}',
        '{"kind":"published","path":"17000/../../a_000.g3","bytes":1,"frames":1,"crc32c":"00000000"}',
        '{"kind":"published","path":"17000/b_000.g3","bytes":1e999,"frames":1,"crc32c":"00000000"}',
        '{"kind":"published","path":"17000/b_000.g3","bytes":1,"frames":1,"crc32c":"' + "f" * 9000 + '"}',
        '{"kind":"recovered","path":"17000/b_000.g3","wanted":["x"],"bytes":1,"frames":1,"crc32c":"00000000"}',
        '{"kind":"left","path":"17000/b_000.g3","bytes":-1}',
        '{"kind":"published","path":"17000/b_000.g3","bytes":1,"frames":1,"crc32c":"00000000","sessionId":1,'
        '"lastFrameNum":' + "9" * 4000 + "}",
        "[" * 200_000,
        "9" * 10_000,
        "\0" * 5000,
        "\ufeff{}",
        "NaN",
    ],
    ids=lambda value: value[:60],
)
def test_no_line_leads_out_of_the_data_folder_or_ends_the_start(tmp_path: Path, value: str) -> None:
    tell(tmp_path, "crate1", ledger.Opened(path="17000/a_000.g3"))
    path = tmp_path / OWN_FOLDER / "ledger.jsonl"
    line = value.replace("{", '{"v":1,"stream":"crate1","time":"0001-01-01T00:00:00+23:59",', 1)
    path.write_bytes(line.encode() + b"\n" + path.read_bytes())

    history = read(tmp_path, "crate1", Disk())

    assert {name for name in history.paths if not name.startswith("17000/")} == set()
    assert "17000/a_000.g3" in history.unended
    assert (history.session_id, history.highest) == (None, None)
    assert len(list(lines(tmp_path))) == 1


def test_a_binary_file_is_no_history(tmp_path: Path) -> None:
    (tmp_path / OWN_FOLDER).mkdir()
    (tmp_path / OWN_FOLDER / "ledger.jsonl").write_bytes(bytes(range(256)) * 4000)

    assert read(tmp_path, "crate1", Disk()) == History()


def pipe(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize("make", [pipe, Path.mkdir])
def test_what_is_no_file_in_the_place_of_the_ledger_is_an_error_at_once(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    (tmp_path / OWN_FOLDER).mkdir()
    make(tmp_path / OWN_FOLDER / "ledger.jsonl")
    book = Ledger(tmp_path, "crate1", logging.getLogger(__name__))
    book.note(ledger.Opened(path="17000/a_000.g3"))

    book.write()

    assert book.pending or book._not_before
    with pytest.raises(OSError, match=r"Invalid argument|directory"):
        read(tmp_path, "crate1", Disk())
    with pytest.raises(OSError, match=r"Invalid argument|directory"):
        list(lines(tmp_path))
    book.close()
