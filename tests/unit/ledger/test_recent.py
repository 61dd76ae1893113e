"""What a recorder that starts learns from the ledger."""

import logging
from pathlib import Path

from timestream_aggregator.core.file_facts import FileFacts
from timestream_aggregator.disk.calls import Disk
from timestream_aggregator.disk.layout import OWN_FOLDER
from timestream_aggregator.ledger.file import Ledger
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
    tell(tmp_path, "crate1", ledger.Opened(path="a_000.g3"), published("a_000.g3"))
    tell(tmp_path, "crate2", ledger.Opened(path="b_000.g3"))

    assert set(read(tmp_path, "crate1", Disk()).paths) == {"a_000.g3", "b_000.g3"}


def test_the_session_is_the_last_one_of_the_stream_with_its_highest_number(tmp_path: Path) -> None:
    tell(tmp_path, "crate1", published("a.g3", 7, 99), published("b.g3", 8, 20), published("c.g3", 8, 10))
    tell(tmp_path, "crate2", published("d.g3", 9, 500))

    history = read(tmp_path, "crate1", Disk())

    assert (history.session_id, history.highest) == (8, 20)


def test_what_somebody_else_recovered_counts_if_the_stream_had_opened_it(tmp_path: Path) -> None:
    tell(tmp_path, "crate1", published("a.g3", 7, 9), ledger.Opened(path="b.g3"))
    tell(tmp_path, "recover", recovered("b.g3", 7, 15), recovered("c.g3", 7, 80))

    assert read(tmp_path, "crate1", Disk()).highest == 15


def test_files_that_were_not_read_back_are_known_with_what_was_received(tmp_path: Path) -> None:
    tell(
        tmp_path, "crate1", published("a.g3"), published("b.g3"), ledger.Verified(path="a.g3", good=True),
        recovered("c.g3"),
    )  # fmt: skip

    assert list(read(tmp_path, "crate1", Disk()).unverified.values()) == [
        FileFacts("b.g3", 10, 2, 10), FileFacts("c.g3", 10, 2, 10),
    ]  # fmt: skip


def test_files_of_which_nobody_tells_what_became_of_them_are_known(tmp_path: Path) -> None:
    opened = [ledger.Opened(path=name) for name in ("a.g3", "b.g3", "c.g3")]
    tell(tmp_path, "crate1", *opened, published("b.g3"))
    tell(tmp_path, "recover", recovered("c.g3"))

    assert list(read(tmp_path, "crate1", Disk()).unended) == ["a.g3"]


def test_lines_that_are_torn_or_no_objects_are_passed_over(tmp_path: Path) -> None:
    tell(tmp_path, "crate1", published("a.g3"))
    with (tmp_path / OWN_FOLDER / "ledger.jsonl").open("a") as file:
        file.write('5\n"text"\n{"v":1}\n[]\n{"v":1,"stream":"crate1","kind":[],"path":{}}\n{"v":1,"ti')

    assert read(tmp_path, "crate1", Disk()).paths == ["a.g3"]
