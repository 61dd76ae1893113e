"""Rehearsals as a user makes them: `simulate` with faults, `record`, then `verify` and `ls`.

Whatever goes wrong, each number that the streamer gave up to the last one that arrived is in a file, or the
ledger tells that it is lost, and not both.
"""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.tools.ports import reserve
from tests.tools.recorder import Recorder, published
from timestream_aggregator.g3.parser import Frame, Parser
from timestream_aggregator.ledger.summary import summary_of

STREAM = ("--channels=4", "--sample-rate=40", "--frame-time=0.1", "--sessions=1")


@dataclass(frozen=True)
class Rehearsal:
    """What came of one: what simulate told of faults, verify's exit code and objects, ls's objects."""

    folder: Path
    faults: list[str]
    verified: int
    found: list[dict[str, Any]]
    listed: list[dict[str, Any]]

    @property
    def told(self) -> dict[str, Any]:
        """What verify tells of the folder."""
        (told,) = (found for found in self.found if "folder" in found)
        return told

    @property
    def causes(self) -> Counter[str]:
        """Frames that the ledger tells to be lost, by cause."""
        counts = Counter[str]()
        for loss in self.told["losses"]:
            counts[loss["cause"]] += loss["count"]
        return counts

    @property
    def lost(self) -> dict[str, int]:
        """Those of them that were sent after the recorder had met the first session: behind its metadata, 0 and 1."""
        counts = Counter[str]()
        for loss in self.told["losses"]:
            if loss["first"] != 2:
                counts[loss["cause"]] += loss["count"]
        return dict(counts)


def rehearse(folder: Path, *faults: str, session_time: float = 4) -> Rehearsal:
    """Simulate, record until the simulator has ended, verify and list."""
    port = reserve()
    with Recorder(folder, port, read_timeout=1, frame_gap=1) as recorder:
        words = [
            "simulate",
            f"--port={port}",
            *STREAM,
            f"--session-time={session_time}",
            *(f"--fault={fault}" for fault in faults),
        ]
        done = command(*words, timeout=session_time + 30)
        recorder.stop()
    assert done.returncode == 0, done.stderr
    told = [json.loads(line) for line in done.stderr.splitlines()]
    verified = command("verify", "--json", str(folder))
    found = [json.loads(line) for line in verified.stdout.splitlines()]
    return Rehearsal(
        folder,
        [line["fault"] for line in told if line["message"] == "fault"],
        verified.returncode,
        found,
        [json.loads(line) for line in command("ls", "--json", str(folder)).stdout.splitlines()],
    )


def command(*words: str, timeout: float = 20) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "timestream_aggregator", *words],
        check=False, capture_output=True, text=True, timeout=timeout,
    )  # fmt: skip


def numbers(folder: Path) -> dict[int, Counter[int]]:
    """Return how often each frame_num stands in the files, by session; metadata repeated for readers not."""
    found: dict[int, Counter[int]] = {}
    for path in published(folder):
        frames = [
            item for item in Parser(1 << 30).feed(memoryview(path.read_bytes())) if isinstance(item, Frame)
        ]
        for place, frame in enumerate(frames):
            if frame.session_id is not None and frame.frame_num is not None:
                counts = found.setdefault(frame.session_id, Counter())
                counts[frame.frame_num] += not (place == 0 and frame.type == "O" and counts[frame.frame_num])
    return found


def assert_accounted(rehearsal: Rehearsal) -> None:
    """AssertionError unless each number is in one file or lost by the ledger, and verify agrees with both."""
    summary = summary_of(rehearsal.folder)
    assert summary is not None
    sessions = numbers(rehearsal.folder)
    assert sessions
    for session, counts in sessions.items():
        lost = list(spread(summary.losses, session))
        assert sorted([*counts.elements(), *lost]) == list(range(max(counts) + 1)), (session, counts, lost)
    assert rehearsal.verified == 0, rehearsal.found


def spread(losses: Iterable[Any], session: int) -> Iterable[int]:
    """Yield the numbers of a session that are lost."""
    for loss in losses:
        if loss.session_id == session:
            yield from range(loss.first, loss.last + 1)


def test_frames_that_are_lost_doubled_or_damaged(tmp_path: Path) -> None:
    done = rehearse(tmp_path, "lost@1.75:3", "duplicate@2.35:2", "crc@2.95:2", "burst@3.45:20")

    assert done.faults == ["lost"] * 3 + ["duplicate"] * 2 + ["crc"] * 2
    assert done.lost == {"Sender": 3, "Damaged": 2}
    assert sum(again["count"] for again in done.told["duplicates"]) == 2
    assert done.told["quarantined_pieces"] == 2
    assert_accounted(done)


def test_torn_frames_what_is_no_frame_and_a_line_that_fails(tmp_path: Path) -> None:
    done = rehearse(
        tmp_path,
        "torn@1.75",
        "garbage@2.35:length",
        "trickle@4.95:0.2",
        "down@5.45:0.4",
        "vanish@7.05:0.2",
        session_time=8,
    )

    assert done.faults == ["torn", "garbage", "trickle", "down", "vanish"]
    assert sum(done.lost.values()) >= 6
    assert done.told["quarantined_pieces"] == 2
    assert_accounted(done)


def test_a_gap_and_a_sender_that_begins_anew(tmp_path: Path) -> None:
    done = rehearse(
        tmp_path,
        "lost@1.75:3",
        "gap@2.25:1.5",
        "lost@4.05:2",
        "session@5.05",
        "restart@5.85:0.4",
        "stop@7.55",
    )

    assert done.faults == ["lost"] * 5 + ["restart", "stop"]
    assert len(numbers(tmp_path)) == 3
    assert done.lost["Sender"] == 5
    assert done.lost.keys() <= {"Sender", "Reconnect"}
    rows = [row["lost"] for row in done.listed if "acquisition" in row]
    assert rows[1] == 2
    assert rows[0] >= 3
    assert sum(rows) == sum(done.causes.values())
    assert_accounted(done)


def test_a_sender_that_stands_still_longer_than_the_recorder_waits(tmp_path: Path) -> None:
    done = rehearse(tmp_path, "vanish@1.05:2.5")

    assert done.faults == ["vanish"]
    assert_accounted(done)
