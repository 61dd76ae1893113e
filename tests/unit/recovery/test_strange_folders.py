"""Whatever stands in the recorder's own folder, a start and a recovery end well and touch nothing outside."""

import json
import logging
import os
import socket
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.tools.long import size
from tests.tools.made_frames import frame
from timestream_aggregator.__main__ import main
from timestream_aggregator.commands.inventory import staged
from timestream_aggregator.disk.calls import Disk
from timestream_aggregator.disk.folder import DataFolder, UnusableFolderError
from timestream_aggregator.disk.layout import OWN_FOLDER
from timestream_aggregator.ledger.memory import Memory
from timestream_aggregator.parts import Parts
from timestream_aggregator.recovery.recovery import Recovery
from timestream_api.settings import RecorderSettings

LOG = logging.getLogger("strange")
LOG.setLevel(logging.CRITICAL + 1)
WHOLE = frame("S", session=1_700_000_000, num=0)
GOOD_NAME = "17000%2Fx_000.g3.7-0a"


def staging_of(root: Path) -> Path:
    folder = root / OWN_FOLDER / "staging"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def world(folder: Path) -> dict[str, bytes | None]:
    """Return everything below `folder`, files with what is in them."""
    return {
        os.fsdecode(bytes(path)): path.read_bytes() if path.is_file() and not path.is_symlink() else None
        for path in sorted(folder.rglob("*"), key=os.fspath)
    }


def make_socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # the path of a socket may not be long
    try:
        with closing(socket.socket(socket.AF_UNIX)) as one:
            one.bind(path.name)
    finally:
        os.chdir(here)


def make_device(path: Path) -> None:
    try:
        os.mknod(path, 0o20666, os.makedev(1, 3))  # as /dev/null
    except PermissionError:
        pytest.skip("only root makes devices")


def make_link(path: Path) -> None:
    outside = path.parents[2] / "outside"
    outside.write_bytes(WHOLE + b"torn")
    path.symlink_to(outside)


STRANGERS: dict[str, Callable[[Path], None]] = {
    "pipe": os.mkfifo,
    "socket": make_socket,
    "device": make_device,
    "folder": Path.mkdir,
    "link": make_link,
}


class ReadOnlyDisk(Disk):
    """The real disk; it takes note of what is opened so that it can be written to, and of names taken away."""

    def __init__(self) -> None:
        self.touched = list[str]()

    def open(self, path: Path) -> int:
        self.touched.append(path.name)
        return super().open(path)

    def unlink(self, path: Path) -> None:
        self.touched.append(path.name)
        super().unlink(path)


@pytest.mark.parametrize("name", [GOOD_NAME, "notes", "probe.1.2", ".nfs0000000000a1b2"])
@pytest.mark.parametrize("what", STRANGERS)
def test_what_is_no_file_is_told_once_and_neither_opened_nor_removed(
    tmp_path: Path, what: str, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    STRANGERS[what](staging_of(tmp_path) / name)
    before, disk = world(tmp_path), ReadOnlyDisk()
    log = logging.getLogger("told")
    recovery = Recovery(DataFolder(tmp_path, disk), lambda _: None, log)

    (outcome,) = recovery.run()
    again = recovery.run()

    assert (outcome.stranger is not None, outcome.trouble, again) == (True, None, [])
    assert len(caplog.records) == 1
    assert (world(tmp_path), disk.touched) == (before, [])


@pytest.mark.parametrize(
    "name",
    [
        ".nfs0000000000a1b2",
        "notes.txt",
        "..%2Foutside_000.g3.1-a",
        "%2Ftmp%2Fx%2Fa_000.g3.1-a",
        "17000%2F..%2F..%2Fa_000.g3.1-a",
        ".timestream-aggregator%2Fa_000.g3.1-a",
        "17000%2Fa%00_000.g3.1-a",
        "17000%2Fa%1B[2J_000.g3.1-a",
        os.fsdecode(b"17000%2F\xff_000.g3.1-a"),
        "a" * 255,
    ],
    ids=ascii,
)
def test_a_file_with_a_foreign_name_is_told_once_and_neither_opened_nor_removed(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (staging_of(tmp_path / "data") / name).write_bytes(WHOLE)
    before, disk = world(tmp_path), ReadOnlyDisk()
    recovery = Recovery(DataFolder(tmp_path / "data", disk), lambda _: None, LOG)

    (outcome,) = recovery.run()

    assert outcome.path is None
    assert recovery.run() == []
    assert (world(tmp_path), disk.touched) == (before, [])
    code = main(["recover", str(tmp_path / "data")])
    assert code == (0 if name.startswith(".nfs") else 1)
    assert main(["ls", str(tmp_path / "data")]) == 0
    assert staged(tmp_path / "data") == [], "ls and verify say that recover publishes it"
    assert capsys.readouterr().out.replace("\n", "").isprintable()
    assert {path: data for path, data in world(tmp_path).items() if path in before} == before


@pytest.mark.parametrize("name", ["../outside_000.g3", "/etc/outside_000.g3", "17000/../../outside_000.g3"])
def test_a_file_that_a_line_of_the_ledger_names_outside_the_folder_is_not_looked_at(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / "data" / "17000").mkdir(parents=True)
    (tmp_path / "outside_000.g3").write_bytes(WHOLE)
    disk, told = ReadOnlyDisk(), list[object]()
    folder = DataFolder(tmp_path / "data", disk)

    Recovery(folder, told.append, LOG, earlier=Memory("crate1", unended={name: None})).run()

    assert (told, disk.touched) == ([], [])


def test_recovery_goes_on_where_its_priority_cannot_be_lowered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: int) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "setpriority", refuse)
    (staging_of(tmp_path) / GOOD_NAME).write_bytes(WHOLE)
    told = list[object]()
    recovery = Recovery(DataFolder(tmp_path), told.append, LOG)
    recovery.stop()

    recovery.run_beside()

    assert recovery.looked.is_set()


NAMES = st.one_of(
    st.sampled_from([GOOD_NAME, GOOD_NAME + "-behind-60", "probe.1", ".nfs01", "..%2Fx_000.g3.1-a"]),
    st.text("ab01._-%2F/\\", min_size=1, max_size=30).map(lambda text: quote(text, safe="%") + "_000.g3.1-a"),
    st.binary(min_size=1, max_size=60).map(os.fsdecode),
).filter(lambda name: "/" not in name and "\0" not in name and name not in {".", ".."})
CONTENTS = st.one_of(
    st.binary(max_size=300),
    st.lists(
        st.sampled_from([WHOLE, WHOLE[:-9], b"\1\1\0\0\0", bytes(200), WHOLE[:40] + b"!" + WHOLE[41:]])
    ).map(b"".join),
)
VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**70), 2**70),
        st.floats(),
        st.text(max_size=8),
        st.sampled_from(["17000/x_000.g3", "../x_000.g3", "/x/y_000.g3", "crate1", "00000000", "ffffffff"]),
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
KINDS = ["opened", "published", "recovered", "left", "verified", "removed", "loss", "torn", "?"]
KEYS = [
    "path",
    "wanted",
    "bytes",
    "frames",
    "crc32c",
    "sessionId",
    "lastFrameNum",
    "count",
    "first",
    "last",
    "why",
    "dropped",
]


def line(kind: object, keys: dict[str, object], stream: object) -> bytes:
    begin = {"v": 1, "time": "2023-11-14T22:13:20Z", "stream": stream, "run": "a", "kind": kind}
    return json.dumps({**begin, **keys}).encode()


LINES = st.one_of(
    st.binary(max_size=80),
    st.builds(
        line,
        st.sampled_from(KINDS) | VALUES,
        st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=10),
        st.just("crate1") | VALUES,
    ),
    st.sampled_from(
        [
            b"[" * 100_000,
            b'{"v":' * 50_000,
            b"\xff\xfe[\0]\0",
            b'{"v":1,"time":"0001-01-01T00:00:00+09:00"}',
        ]
    ),
)


@settings(
    max_examples=size(150, 3000), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    lines=st.lists(LINES, max_size=6).map(b"\n".join),
    staged=st.dictionaries(NAMES, CONTENTS, max_size=4),
)
def test_no_bytes_in_its_own_folder_end_a_start_or_lead_outside(
    tmp_path_factory: pytest.TempPathFactory, lines: bytes, staged: dict[str, bytes]
) -> None:
    above = tmp_path_factory.mktemp("strange")
    root = above / "data"
    (above / "outside_000.g3").write_bytes(WHOLE + b"torn")
    staging = staging_of(root)
    (root / OWN_FOLDER / "ledger.jsonl").write_bytes(lines)
    for name, data in staged.items():
        with suppress(OSError):  # too long
            (staging / name).write_bytes(data)
    whole = {data for data in staged.values() if data.startswith(WHOLE)}

    with suppress(UnusableFolderError):
        parts = Parts(RecorderSettings(data_dir=root, stream_id="crate1"), LOG)
        try:
            parts.recovery.run()
            parts.recovery.run()
        finally:
            parts.ledger.close()
            parts.source.close()
    assert main(["recover", str(root)]) in {0, 1}
    assert main(["ls", str(root)]) in {0, 1}

    outside = {path: data for path, data in world(above).items() if not path.startswith(f"{root}")}
    assert outside == {str(above / "outside_000.g3"): WHOLE + b"torn"}
    for data in whole:
        assert any(there and WHOLE in there for there in world(root).values()), data
