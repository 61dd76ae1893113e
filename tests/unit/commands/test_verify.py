import json
import struct
from pathlib import Path
from typing import Any

import pytest
from crc32c import crc32c
from pydantic import ValidationError

from tests.tools.frames import frame_bytes
from tests.tools.made_frames import g3_int, header, raw_frame
from tests.unit.commands.recordings import GOOD, SESSION, frame, verified, written
from tests.unit.commands.recordings import run_verify as run
from timestream_aggregator.commands import verify
from timestream_aggregator.readback import reading
from timestream_aggregator.readback.file_report import FileReport
from timestream_api.settings import LARGEST_FRAME, RecorderSettings


def troubles(folder: Path, *frames: bytes) -> list[str]:
    return verified(written(folder, b"".join(frames))).trouble


def test_a_good_file_is_described_and_has_no_trouble(tmp_path: Path) -> None:
    path = written(tmp_path, b"".join(GOOD))

    report = verified(path)

    assert report == FileReport(
        path=str(path),
        bytes=len(b"".join(GOOD)),
        frames=6,
        types={"O": 1, "W": 1, "S": 4},
        sessions=[SESSION],
        first_frame_num=0,
        last_frame_num=5,
        crc32c=f"{crc32c(b''.join(GOOD)):08x}",
    )


def test_a_frame_cut_at_any_byte_is_torn(tmp_path: Path) -> None:
    whole, last = b"".join(GOOD[:2]), GOOD[2]
    for cut in range(1, len(last)):
        (trouble,) = troubles(tmp_path, whole, last[:cut])

        assert trouble.startswith(f"torn at byte {len(whole)}:"), cut


def test_a_frame_may_be_as_large_as_any_recorder_can_be_told_to_believe(tmp_path: Path) -> None:
    name, blob = struct.pack("<Q4s", 4, b"data"), struct.pack("<Q", LARGEST_FRAME - 100)

    (trouble,) = troubles(tmp_path, *GOOD, header("S", 1) + name + blob)
    RecorderSettings(max_frame_bytes=LARGEST_FRAME)
    with pytest.raises(ValidationError):
        RecorderSettings(max_frame_bytes=LARGEST_FRAME + 1)

    assert trouble.startswith(f"torn at byte {len(b''.join(GOOD))}:")


def test_zeros_at_the_end_are_found_though_spt3g_takes_them_for_frames(tmp_path: Path) -> None:
    whole = b"".join(GOOD)

    report = verified(written(tmp_path, whole + bytes(4096)))

    assert report.frames == len(GOOD)
    assert report.trouble == [f"zeros from byte {len(whole)} on, 4096 of them"]


def test_a_changed_byte_is_a_bad_crc(tmp_path: Path) -> None:
    damaged = bytearray(GOOD[2])
    damaged[300] ^= 1

    (trouble,) = troubles(tmp_path, *GOOD[:2], bytes(damaged), *GOOD[3:])

    assert trouble.startswith(f"bad crc: the frame at byte {len(b''.join(GOOD[:2]))} has changed")


@pytest.mark.parametrize(
    "data", [b"HTTP/1.1 200 OK\r\n\r\n", b"plain text, and quite some of it", b"\0" + GOOD[0][1:]]
)
def test_what_is_no_g3_file_is_called_that(data: bytes, tmp_path: Path) -> None:
    (trouble,) = troubles(tmp_path, data)

    assert trouble.startswith("not a G3 file: found ")
    assert trouble.endswith(f"{len(data)} bytes not read")


def test_bytes_between_frames_end_the_reading(tmp_path: Path) -> None:
    (trouble,) = troubles(tmp_path, GOOD[0], b"something else entirely", GOOD[1])

    assert trouble.startswith(f"no frame at byte {len(GOOD[0])}")


def test_an_empty_file_is_trouble(tmp_path: Path) -> None:
    assert troubles(tmp_path, b"") == ["empty"]


def test_a_file_of_another_name_is_not_taken_for_a_good_one(tmp_path: Path) -> None:
    assert verified(written(tmp_path, GOOD[0], "a.partial")).trouble == [
        "not read: its name does not end in .g3; unpack it if it is compressed"
    ]


def test_a_folder_named_like_a_file_is_searched(tmp_path: Path) -> None:
    wanted = written(tmp_path, GOOD[0], "a.g3/b.g3")

    assert list(verify.find([tmp_path / "a.g3"])) == [wanted]


def test_a_value_of_a_class_that_spt3g_does_not_know_is_no_trouble(tmp_path: Path) -> None:
    foreign = frame_bytes("S", {"frame_num": 6, "data": "x" * 50})
    unknown = foreign.replace(b"G3String", b"G3Foreig")

    report = verified(written(tmp_path, b"".join(GOOD) + with_good_crc(unknown)))

    assert (report.frames, report.trouble) == (len(GOOD) + 1, [])


def with_good_crc(whole: bytes) -> bytes:
    crc, at = 0xFFFFFFFF, 13
    while at < len(whole) - 4:
        size = int.from_bytes(whole[at : at + 8], "little")
        crc = crc32c(whole[at + 8 : at + 8 + size], crc)
        at += 8 + size
    return whole[:-4] + (crc ^ 0xFFFFFFFF).to_bytes(4, "little")


def test_frames_without_the_keys_of_a_streamer_are_good(tmp_path: Path) -> None:
    report = verified(written(tmp_path, frame_bytes("AB", {"a": 1}) + frame_bytes("N", {"b": "text"})))

    assert (report.types, report.sessions, report.first_frame_num, report.trouble) == (
        {"AB": 1, "N": 1}, [], None, [],
    )  # fmt: skip


def test_a_text_that_is_no_utf_8_is_no_trouble(tmp_path: Path) -> None:
    frames = frame_bytes("S", {"time": "abcdef", "sostream_id": "abcdef", "frame_num": 6})
    odd = with_good_crc(frames.replace(b"abcdef", b"ab\xff\xfeef"))

    assert troubles(tmp_path, *GOOD, odd) == []


def test_missing_numbers_are_named(tmp_path: Path) -> None:
    numbers = [2, 3, 5, 9]

    report = verified(written(tmp_path, b"".join(frame("S", n) for n in numbers)))

    assert report.missing == [(4, 4), (6, 8)]
    assert report.trouble == ["frame_num 4 is missing", "frame_num 6 to 8 are missing"]


def test_metadata_repeated_at_the_beginning_of_a_later_file_leaves_nothing_missing(tmp_path: Path) -> None:
    assert (
        troubles(tmp_path, frame("O", 0), frame("W", 1), frame("S", 600), frame("W", 601), frame("S", 602))
        == []
    )


def test_a_missing_frame_of_another_type_counts_once_scans_have_begun(tmp_path: Path) -> None:
    assert troubles(tmp_path, frame("S", 2), frame("W", 4)) == ["frame_num 3 is missing"]


def test_a_repeated_scan_is_named(tmp_path: Path) -> None:
    scans = [frame("S", n) for n in (2, 3, 3, 4)]

    assert troubles(tmp_path, *scans) == ["frame_num goes back from 3 to 3"]


def test_each_session_is_counted_by_itself(tmp_path: Path) -> None:
    assert troubles(tmp_path, frame("S", 7), frame("S", 8), frame("S", 2, SESSION + 9)) == []


def test_folders_are_searched_for_g3_files_but_not_the_recorder_s_own(tmp_path: Path) -> None:
    wanted = [
        written(tmp_path, GOOD[0], name) for name in ("17000/a_000.g3", "17000/a_001.g3", "17001/b/c_000.g3")
    ]
    written(tmp_path, b"", ".timestream-aggregator/staging/x.g3")
    written(tmp_path, b"", "17000/notes.txt")

    assert list(verify.find([tmp_path])) == wanted


def test_good_files_are_a_table_and_exit_code_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written(tmp_path, b"".join(GOOD), "17000/a_000.g3")

    assert run(tmp_path) == 0

    head, line, summary = capsys.readouterr().out.splitlines()
    assert head.split()[:2] == ["FRAMES", "BYTES"]
    assert line.split() == [
        "ok",
        "6",
        f"{len(b''.join(GOOD)):,}",
        "-",
        "-",
        str(SESSION),
        "0-5",
        "O:1",
        "S:4",
        "W:1",
        str(tmp_path / "17000/a_000.g3"),
    ]
    assert summary.endswith("all good")


def test_trouble_stands_below_its_file_and_is_exit_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written(tmp_path, GOOD[0] + b"\1", "a_000.g3")
    written(tmp_path, GOOD[0], "b_000.g3")

    assert run(tmp_path) == 1

    _, bad, why, good, summary = capsys.readouterr().out.splitlines()
    assert bad.startswith("TROUBLE")
    assert why.strip().startswith("torn at byte")
    assert good.startswith("ok")
    assert summary == f"2 files, 2 frames, {2 * len(GOOD[0]) + 1:,} bytes: trouble in 1"


def test_json_has_a_line_for_each_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written(tmp_path, b"".join(GOOD), "a_000.g3")
    written(tmp_path, b"", "b_000.g3")

    assert run(tmp_path, options=("--json",)) == 1

    good, bad, summary = map(json.loads, capsys.readouterr().out.splitlines())
    assert (good["frames"], good["types"], good["trouble"]) == (6, {"O": 1, "W": 1, "S": 4}, [])
    assert bad["trouble"] == ["empty"]
    assert (summary["summary"]["files"], summary["summary"]["bad"], summary["summary"]["good"]) == (
        2,
        1,
        False,
    )


def test_verifying_nothing_is_no_success(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path) == 1
    assert "nothing to verify" in capsys.readouterr().out


def test_a_path_that_is_not_there_is_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path / "nowhere") == 2
    assert "nowhere does not exist" in capsys.readouterr().err


def test_a_length_of_two_to_the_31_never_reaches_spt3g(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    real = reading.open_reader

    class Counting:
        def __init__(self, path: Path) -> None:
            self._reader = real(path)
            self.tell = self._reader.tell

        def Process(self, frame: None, /) -> Any:  # noqa: N802
            asked.append(1)
            return self._reader.Process(frame)

    monkeypatch.setattr(reading, "open_reader", Counting)
    bomb = struct.pack("<BIiI", 1, 1, 1, ord("S")) + struct.pack("<Q4sQ", 4, b"data", 1 << 31) + bytes(1000)

    (trouble,) = troubles(tmp_path, *GOOD[:3], bomb)

    assert len(asked) == 3
    where = len(b"".join(GOOD[:3]))
    assert trouble.startswith(
        f"torn at byte {where}: the frame there, a frame of type 'S' of at least 2147483685"
    )


def test_what_follows_a_damaged_frame_is_counted(tmp_path: Path) -> None:
    damaged = bytearray(GOOD[2])
    damaged[-5] ^= 1

    report = verified(written(tmp_path, b"".join([*GOOD[:2], bytes(damaged), *GOOD[3:], bytes(damaged)])))

    assert report.frames == 2
    assert report.trouble[0].endswith("; 3 good and 1 bad frames follow, which spt3g cannot reach")


def test_frames_larger_than_a_piece_of_the_file_are_read(tmp_path: Path) -> None:
    large = [frame_bytes("S", {"session_id": SESSION, "frame_num": n}, payload=3_000_000) for n in range(3)]

    report = verified(written(tmp_path, b"".join(large)))

    assert (report.frames, report.last_frame_num, report.trouble) == (3, 2, [])


@pytest.mark.parametrize(
    ("odd", "kind"),
    [
        (raw_frame("C", {}), "C"),
        (raw_frame("C", {b"%d" % number: g3_int(number) for number in range(5000)}), "C"),
        (raw_frame("W", {b"k" * 1500: g3_int(1)}), "W"),
        (raw_frame("W", {b"data": bytes(5000)}), "W"),
    ],
    ids=["no entries", "5,000 entries", "a long name", "larger than the limit"],
)
def test_an_odd_frame_that_spt3g_reads_is_no_trouble_and_the_frames_after_it_are_read(
    tmp_path: Path, odd: bytes, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "LARGEST_FRAME", 3000)
    report = verified(written(tmp_path, b"".join([*GOOD[:3], odd, *GOOD[3:]])))

    assert report.trouble == []
    assert report.frames == 7
    assert report.types[kind] == 1 + (kind == "W")


def test_an_odd_frame_that_spt3g_does_not_read_is_trouble_and_the_frames_after_it_are_counted(
    tmp_path: Path,
) -> None:
    odd = struct.pack("<BIiI", 1, 2, 0, ord("C")) + bytes(4)

    (trouble,) = troubles(tmp_path, *GOOD[:3], odd, *GOOD[3:])

    assert "is odd, a frame of class version 2" in trouble
    assert "newer class version" in trouble
    assert trouble.endswith("3 good and 0 bad frames follow, which spt3g cannot reach")
