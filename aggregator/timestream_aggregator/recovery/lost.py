"""What is not in a left file any more, as far as the file and the ledger tell."""

from collections.abc import Iterator
from functools import partial

from timestream_aggregator.recovery.scan import Scan
from timestream_api import ledger
from timestream_api.report import LossCause


def lost_from(found: Scan, left: ledger.Left | None, path: str) -> Iterator[ledger.Loss]:
    """Yield what is not in the file any more: by numbers where these are known, else how many frames."""
    why = left.why if left else found.damage
    numbers = sum(gap.last - gap.first + 1 for gap in found.missing) + found.more_missing
    frames = found.head.frames + found.behind.frames
    missing = max(0, left.frames - max(frames, left.repeated)) if left else numbers
    lost = partial(ledger.Loss, cause=LossCause.DISK, why=why, path=path)
    if missing == numbers:
        for gap in found.missing:
            count = gap.last - gap.first + 1
            yield lost(count=count, session_id=gap.session_id, first=gap.first, last=gap.last)
        missing = found.more_missing
    if missing:
        first, last = _end(found, left)
        if first is None or last is None or last - first + 1 != missing:
            first = last = None
        yield lost(count=missing, session_id=left and left.session_id, first=first, last=last)


def _end(found: Scan, left: ledger.Left | None) -> tuple[int | None, int | None]:
    """Return the numbers of the first and the last frame that were written behind those that are there."""
    if left is None:
        return None, None
    last = (found.behind if found.behind.frames else found.head).last_frame_num
    if not found.head.frames and not found.behind.frames:
        return left.first_frame_num, left.last_frame_num
    return None if last is None else last + 1, left.last_frame_num
