"""What the writer does with a batch."""

import logging
from pathlib import Path

from timestream_aggregator.ledger.file import lines
from timestream_aggregator.parts import Parts
from timestream_aggregator.writing.handoff import Batch
from timestream_api.ledger import Loss, TroubleOver
from timestream_api.report import LossCause
from timestream_api.settings import RecorderSettings


def test_more_facts_than_the_ledgers_queue_holds_are_all_told(tmp_path: Path) -> None:
    settings = RecorderSettings(data_dir=tmp_path, address="127.0.0.1", port=1)
    parts = Parts(settings, logging.getLogger("test"))
    told = [
        TroubleOver(after=str(number)) for number in range(2000)
    ]  # of a kind that is dropped for want of room
    loss = Loss(count=1, cause=LossCause.SENDER, session_id=7, first=9, last=9)
    parts.handoff.put(Batch(1, actions=[*told, loss]))  # pyright: ignore[reportArgumentType]

    parts.writer.step()
    parts.ledger.close()
    parts.source.close()

    assert [line.fact for line in lines(tmp_path)] == [*told, loss]
    assert not any(line.dropped for line in lines(tmp_path))
