"""frame_num from file to file: what is in no file, what the ledger says of it, and what it cannot say."""

import bz2
import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from crc32c import crc32c

from tests.tools.recorder import ledger_of
from tests.unit.commands.recordings import GOOD, SESSION, frame, published, recorded, told, verified, written
from timestream_aggregator.__main__ import main
from timestream_aggregator.readback.helper import reread
from timestream_api import ledger


def scans(
    folder: Path, name: str, first: int, last: int, *, line: bool = True, session: int = SESSION
) -> Path:
    """A file with Scans of these numbers, and its line."""
    data = b"".join(frame("S", number, session) for number in range(first, last + 1))
    if line:
        about = {"frames": last - first + 1, "first_frame_num": first, "last_frame_num": last}
        told(folder, published(name, data, session_id=session, **about))
    return written(folder, data, name)


def outcome(folder: Path, command: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    code = main([command, str(folder)])
    return code, capsys.readouterr().out


@pytest.mark.parametrize("line", [False, True])
def test_a_hole_between_two_files_that_nobody_tells_of_is_trouble(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], *, line: bool
) -> None:
    for number, first in ((0, 0), (1, 10), (3, 30)):
        scans(tmp_path, f"17000/a_{number:03}.g3", first, first + 9, line=line)

    code, out = outcome(tmp_path, "verify", capsys)

    assert code == 1
    assert f"session {SESSION}: frame_num 20 to 29 are missing, between " in out
    assert out.rstrip().endswith("10 frames missing between files")


@pytest.mark.parametrize(
    "fact",
    [
        ledger.Loss(count=10, session_id=SESSION, first=10, last=19, cause="Restart"),
        ledger.Joined(session_id=SESSION, first=20, count=10),
        published("17000/a_001.g3", b"", first_frame_num=10, last_frame_num=19),
    ],
    ids=["lost", "joined", "fetched away"],
)
def test_a_hole_that_the_ledger_tells_of_is_no_trouble(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], fact: ledger.Fact
) -> None:
    scans(tmp_path, "17000/a_000.g3", 0, 9)
    scans(tmp_path, "17000/a_002.g3", 20, 29)
    told(tmp_path, fact)

    assert main(["verify", "--moved-is-fine", str(tmp_path)]) == 0
    assert "between" not in capsys.readouterr().out
    assert main(["ls", str(tmp_path)]) == 0


def test_numbers_of_a_file_that_is_not_looked_at_are_not_missing(tmp_path: Path) -> None:
    first = scans(tmp_path, "17000/a_000.g3", 0, 9)
    scans(tmp_path, "17000/a_001.g3", 10, 19)
    third = scans(tmp_path, "17000/a_002.g3", 20, 29)

    assert main(["verify", str(first), str(third)]) == 0


def test_metadata_at_the_head_of_a_later_file_hides_no_hole_and_makes_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written(tmp_path, b"".join(GOOD), "17000/a_000.g3")
    written(tmp_path, GOOD[0] + b"".join(frame("S", n) for n in range(6, 9)), "17000/a_001.g3")
    assert main(["verify", str(tmp_path)]) == 0
    written(tmp_path, GOOD[0] + frame("S", 12), "17000/a_002.g3")

    assert outcome(tmp_path, "verify", capsys)[1].count("frame_num 9 to 11 are missing, between") == 1


def test_a_session_that_is_met_on_the_way_begins_at_its_first_number(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scans(tmp_path, "17000/a_000.g3", 50, 59)

    for command in ("verify", "ls"):
        code, out = outcome(tmp_path, command, capsys)
        assert (code, "begins at frame 50" in out) == (0, True)

    told(tmp_path, ledger.Joined(session_id=SESSION, first=50, count=50))
    for command in ("verify", "ls"):
        code, out = outcome(tmp_path, command, capsys)
        assert (code, "begins" in out) == (0, False)
        assert "joined at frame 50: 50 frames had been sent before" in out


@pytest.mark.parametrize(("first", "last"), [(3, 3), (0, 9), (9, 12), (-5, 0), (4, 2**63 - 1)])
def test_a_number_that_is_told_as_lost_and_stands_in_a_file_is_trouble(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], first: int, last: int
) -> None:
    scans(tmp_path, "17000/a_000.g3", 0, 9)
    told(tmp_path, ledger.Loss(count=1, session_id=SESSION, first=first, last=last, cause="Restart"))

    for command in ("verify", "ls"):
        code, out = outcome(tmp_path, command, capsys)
        assert (code, "told as lost, and in a file: 17000/a_000.g3" in out) == (1, True)


def test_a_loss_of_another_recorder_or_of_another_round_of_the_count_contradicts_no_file(
    tmp_path: Path,
) -> None:
    scans(tmp_path, "17000/a_000.g3", 0, 9)
    scans(tmp_path, "17001/a_000.g3", 0, 9, session=SESSION + 1)
    told(tmp_path, ledger.Loss(count=1, session_id=SESSION, first=3, last=3), stream="other")
    told(
        tmp_path,
        ledger.Loss(count=1, session_id=SESSION + 1, first=3, last=3),
        ledger.Renumbered(session_id=SESSION + 1, last=9, first=0),
    )

    assert [main([command, str(tmp_path)]) for command in ("verify", "ls")] == [0, 0]


def test_of_two_recorders_of_one_stream_each_may_lose_what_the_other_has(tmp_path: Path) -> None:
    scans(tmp_path, "17000/a_000.g3", 0, 9)
    data = b"".join(frame("S", number) for number in (0, 1, 4))
    about = {"frames": 3, "first_frame_num": 0, "last_frame_num": 4}
    told(
        tmp_path,
        published("17000/b_000.g3", data, **about),
        ledger.Loss(count=2, session_id=SESSION, first=2, last=3),
        stream="second",
    )
    written(tmp_path, data, "17000/b_000.g3")

    assert [main([command, str(tmp_path)]) for command in ("verify", "ls")] == [0, 0]


@pytest.mark.parametrize("streamer", [None, "ufm_test"])
def test_a_file_whose_stream_the_ledger_does_not_name_is_of_the_session_that_it_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], streamer: str | None
) -> None:
    scans(tmp_path, "17000/a_000.g3", 0, 5)
    data = b"".join(frame("S", number) for number in range(8, 10))
    about = {"frames": 2, "first_frame_num": 8, "last_frame_num": 9, "stream_id": streamer}
    recorded(tmp_path, "17000/b_000.g3", data, **about)

    code, out = outcome(tmp_path, "ls", capsys)

    assert (code, "frame_num 6 to 7 are missing, between 17000/a_000.g3" in out) == (1, True)


DAMAGED: dict[str, Callable[[bytes], bytes]] = {
    "zeros": lambda line: bytes(len(line) - 1) + b"\n",
    "zeros up to the next": lambda line: bytes(len(line)),
    "torn": lambda line: line[:40] + b"?\n",
    "no text": lambda line: b"\xff\xfe" + line[:20] + b"\n",
    "brackets": lambda _: b"[" * 100_000 + b"\n",
    "empty": lambda _: b"{}\n",
    "later version": lambda line: line.replace(b'"v":1', b'"v":2'),
    "a megabyte": lambda _: b"\0" * (1 << 20) + b"\n",
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_line_that_cannot_be_read_is_told_and_is_trouble(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    told(tmp_path, ledger.Loss(count=2, session_id=SESSION, first=20, last=21, cause="Sender"))
    line, path = ledger_of(tmp_path).read_bytes(), ledger_of(tmp_path)
    scans(tmp_path, "17000/a_000.g3", 0, 9)
    path.write_bytes(DAMAGED[damage](line) + path.read_bytes()[len(line) :])

    for command in ("verify", "ls"):
        code, out = outcome(tmp_path, command, capsys)
        assert (code, "1 line of the ledger" in out) == (1, True), out


def test_a_line_of_a_later_kind_and_one_that_was_written_again_are_no_trouble(tmp_path: Path) -> None:
    scans(tmp_path, "17000/a_000.g3", 0, 9)
    path = ledger_of(tmp_path)
    line = path.read_bytes()
    later = line.replace(b'"published"', b'"foretold"')
    path.write_bytes(later + line[:70] + later + b"\n" + line)

    assert [main([command, str(tmp_path)]) for command in ("verify", "ls")] == [0, 0]


def test_json_names_each_finding_of_the_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scans(tmp_path, "17000/a_000.g3", 5, 9)
    scans(tmp_path, "17000/a_001.g3", 12, 19)

    assert main(["verify", "--json", str(tmp_path)]) == 1

    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    sessions = [one for one in found if "finding" in one]
    assert [(one["finding"], one["first"], one["last"], one["trouble"]) for one in sessions] == [
        ("begins", 0, 4, False), ("missing", 10, 11, True),
    ]  # fmt: skip
    assert (found[-1]["summary"]["missing"], found[-1]["summary"]["good"]) == (2, False)


@pytest.mark.parametrize(("suffix", "pack"), [(".gz", gzip.compress), (".bz2", bz2.compress)])
def test_a_compressed_file_is_looked_into_and_compared_with_the_line_of_what_is_in_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], suffix: str, pack: Callable[[bytes], bytes]
) -> None:
    path = recorded(tmp_path)
    packed = path.with_name(path.name + suffix)
    packed.write_bytes(pack(path.read_bytes()))
    path.unlink()

    assert main(["verify", str(tmp_path)]) == 0
    assert main(["ls", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "absent" not in out
    assert "other file" not in out
    assert verified(packed).crc32c == f"{crc32c(b''.join(GOOD)):08x}"

    packed.write_bytes(packed.read_bytes()[:-30])
    assert main(["verify", str(packed)]) == 1
    assert "cannot be read: " in capsys.readouterr().out


@pytest.mark.parametrize(
    "data",
    [
        b"".join(GOOD),
        b"".join(GOOD)[:-1],
        b"".join(GOOD) + bytes(4096),
        bytes(40),
        b"".join(GOOD[:3]) + bytes([GOOD[3][0] ^ 1]) + GOOD[3][1:],
        b"HTTP/1.1 200 OK",
        b"",
    ],
    ids=["good", "torn", "zeros", "all zeros", "damaged", "no frames", "empty"],
)
def test_the_recorder_s_read_back_says_of_a_file_what_verify_says(tmp_path: Path, data: bytes) -> None:
    path = written(tmp_path, data)

    report, answer = verified(path), reread(str(path))

    assert answer["why"] == next(iter(report.trouble), None)
    assert (answer["bytes"], answer["frames"], answer["crc32c"]) == (
        report.bytes,
        report.frames,
        report.crc32c,
    )
