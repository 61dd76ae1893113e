from pathlib import Path
from typing import Any

import pytest
from spt3g import core as untyped_core

from tests.tools.made_frames import g3_bool, g3_double, g3_int, g3_string, g3_time, raw_frame
from timestream_aggregator.g3.parser import NOT_AN_INT, Frame, Parser

core: Any = untyped_core

VALUES = [
    (core.G3Int(0), g3_int(0)),
    (core.G3Int(-1), g3_int(-1)),
    (core.G3Int(2**63 - 1), g3_int(2**63 - 1)),
    (core.G3Int(-(2**63)), g3_int(-(2**63))),
    (core.G3String(""), g3_string("")),
    (core.G3String("ufm_mv19"), g3_string("ufm_mv19")),
    (core.G3String("télescope"), g3_string("télescope")),
    (core.G3String("x" * 2000), g3_string("x" * 2000)),
    (core.G3Bool(True), g3_bool(True)),
    (core.G3Bool(False), g3_bool(False)),
    (core.G3Double(-1.5), g3_double(-1.5)),
    (core.G3Double(float("inf")), g3_double(float("inf"))),
    (core.G3Time(170000000012345678), g3_time(170000000012345678)),
]


def written_by_the_library(path: Path, frame: object) -> bytes:
    writer = core.G3Writer(str(path))
    writer(frame)
    del writer  # flushes
    return path.read_bytes()


@pytest.mark.parametrize(("value", "blob"), VALUES)
def test_a_value_made_by_hand_is_a_frame_of_the_library_byte_for_byte(
    value: object, blob: bytes, tmp_path: Path
) -> None:
    frame = core.G3Frame(core.G3FrameType.Observation)
    frame["some name"] = value

    assert written_by_the_library(tmp_path / "f.g3", frame) == raw_frame("O", {b"some name": blob})


@pytest.mark.parametrize(
    ("kind", "letter"),
    [
        ("Scan", "S"),
        ("Observation", "O"),
        ("Wiring", "W"),
        ("Timepoint", "T"),
        ("PipelineInfo", "P"),
        ("none", "N"),
    ],
)
def test_the_librarys_frames_are_read_with_their_type_and_keys(
    kind: str, letter: str, tmp_path: Path
) -> None:
    frame = core.G3Frame(getattr(core.G3FrameType, kind))
    frame["session_id"] = 1700000000
    frame["frame_num"] = 42
    frame["sostream_id"] = "ufm_mv19"
    frame["sostream_flowcontrol"] = 1
    frame["samples"] = core.G3VectorInt(list(range(1000)))
    data = written_by_the_library(tmp_path / "f.g3", frame)

    (read,) = Parser(1 << 20).feed(memoryview(data))

    assert isinstance(read, Frame)
    assert (read.type, read.size) == (letter, len(data))
    assert (read.session_id, read.frame_num, read.stream_id) == (1700000000, 42, "ufm_mv19")
    assert read.flow_control == 1


def test_keys_with_values_of_other_types_have_no_value(tmp_path: Path) -> None:
    frame = core.G3Frame(core.G3FrameType.Scan)
    frame["session_id"] = "1700000000"
    frame["frame_num"] = 42.0
    frame["sostream_id"] = 7
    frame["sostream_flowcontrol"] = True

    (read,) = Parser(1 << 20).feed(memoryview(written_by_the_library(tmp_path / "f.g3", frame)))

    assert isinstance(read, Frame)
    assert (read.session_id, read.frame_num, read.stream_id) == (None, None, None)
    assert read.flow_control == NOT_AN_INT


def test_the_library_reads_a_frame_made_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "f.g3"
    path.write_bytes(raw_frame("S", {b"session_id": g3_int(7), b"sostream_id": g3_string("ufm")}))

    (frame,) = core.G3File(str(path))

    assert frame["session_id"] == 7
    assert frame["sostream_id"] == "ufm"
