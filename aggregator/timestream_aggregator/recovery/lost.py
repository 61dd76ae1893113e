"""What is not in a left file any more, as far as the file and the ledger tell."""

from collections.abc import Iterator

from timestream_aggregator.recovery.scan import Scan
from timestream_api import ledger
from timestream_api.report import LossCause


def lost_from(found: Scan, left: ledger.Left | None, path: str) -> Iterator[ledger.Loss]:
    """Yield what is not in the file any more: by numbers where these are known, else how many frames."""
    why = left.why if left else found.damage
    numbers = sum(gap.last - gap.first + 1 for gap in found.missing) + found.more_missing
    frames = found.head.frames + found.behind.frames
    missing = max(0, left.frames - max(frames, left.repeated)) if left else numbers
    if missing == numbers:
        for gap in found.missing:
            count = gap.last - gap.first + 1
            yield _lost(count, (gap.first, gap.last), gap.session_id, why, path)
        missing = found.more_missing
    if missing:
        first, last = _end(found, left)
        known = first is not None and last is not None and last - first + 1 == missing
        yield _lost(missing, (first, last) if known else (None, None), left and left.session_id, why, path)


def _lost(
    count: int, numbers: tuple[int | None, int | None], session_id: int | None, why: str | None, path: str
) -> ledger.Loss:
    first, last = numbers
    cause = LossCause.DISK
    return ledger.Loss(
        count=count, session_id=session_id, first=first, last=last, cause=cause, why=why, path=path
    )


def _end(found: Scan, left: ledger.Left | None) -> tuple[int | None, int | None]:
    """Return the numbers of the first and the last frame that were written behind those that are there."""
    if left is None:
        return None, None
    last = (found.behind if found.behind.frames else found.head).last_frame_num
    if not found.head.frames and not found.behind.frames:
        return left.first_frame_num, left.last_frame_num
    return None if last is None else last + 1, left.last_frame_num
