"""Where the operator's log goes, and what of it: JSON in a pod, for people elsewhere."""

import logging
from typing import Final

from timestream_api.log_lines import JsonLines, TextLines

# kopf tells of each event, and of each start and stop of a watch.
CHATTY: Final = ("kopf", "aiohttp", "asyncio", "urllib3")


def set_up(level: str, *, as_json: bool) -> None:
    """Send all log lines of at least `level` to standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if as_json else TextLines())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
