"""The night's account of a real recorder: a join, losses, a restart. Three commands, one sum."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from tests.tools.frames import frame_bytes
from tests.tools.raw_server import RawServer
from tests.tools.recorder import Recorder, ledger_of
from timestream_aggregator.__main__ import main
from timestream_aggregator.ledger.file import lines
from timestream_api.ledger import Joined

SESSION = 1_700_000_000
TELLING = (b'"published"', b'"recovered"', b'"verified"', b'"loss"', b'"joined"')


def scans(*numbers: int) -> bytes:
    keys = {"session_id": SESSION, "sostream_id": "crate1"}
    return b"".join(frame_bytes("S", {**keys, "frame_num": number}, payload=500) for number in numbers)


def objects(capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, Any]]:
    """Return what a command writes, which has nothing to complain of."""
    capsys.readouterr()
    assert main(words) == 0, capsys.readouterr().out
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_account_ls_and_verify_tell_the_same_of_a_night(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with RawServer() as server:
        server.play(scans(50, 51, 52, 55, 56))  # joined late; 53 and 54 are lost on the way
        with Recorder(tmp_path, server.port, stream_id="crate1") as recorder:
            recorder.recorded(5)
            recorder.stop()
        server.play(scans(60, 61))  # 57 to 59 were sent while no recorder ran
        with Recorder(tmp_path, server.port, stream_id="crate1") as recorder:
            recorder.recorded(2)
            recorder.stop()

    (account,) = objects(capsys, "account", "--json", str(tmp_path))
    listed = objects(capsys, "ls", "--json", str(tmp_path))
    checked = objects(capsys, "verify", "--json", str(tmp_path))

    lost = sum(account["lost"].values())
    missed = sum(line.fact.count for line in lines(tmp_path) if isinstance(line.fact, Joined))
    assert (account["stream"], account["sessions"], account["recorded"]) == ("crate1", 1, 7)
    assert (account["missed"], account["lost"]) == (missed, {"Sender": 2, "Restart": 3})
    assert account["sent"] == 12 + missed == account["recorded"] + lost + missed
    assert (account["unexplained"], account["files"], account["verified"], account["damaged"]) == (0, 2, 2, 0)
    totals = listed[-1]["summary"]
    assert (totals["frames"], totals["lost"] + totals["lost_elsewhere"], totals["bytes"]) == (
        7, lost, account["bytes"],
    )  # fmt: skip
    folder, summary = checked[-2], checked[-1]["summary"]
    assert (summary["frames"], summary["bytes"], summary["files"]) == (7, account["bytes"], 2)
    assert sum(loss["count"] for loss in folder["losses"]) == lost
    told = ledger_of(tmp_path).read_bytes().splitlines(keepends=True)
    rests_on = b"".join(line for line in told if any(b'"kind":' + kind in line for kind in TELLING))
    assert account["sha256"] == hashlib.sha256(rests_on).hexdigest()
