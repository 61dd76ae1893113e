"""A disk each of whose calls says that it waits, so that no thread is taken for ill because of a disk that hangs."""

from collections.abc import Callable
from typing import Any, cast

from timestream_aggregator.clock import Pulse
from timestream_aggregator.disk.calls import Disk


def marked(disk: Disk, pulse: Pulse) -> Disk:
    """Return `disk`; each call that the thread of `pulse` makes of it is known to wait for the disk."""
    return cast("Disk", _Marked(disk, pulse))


class _Marked:
    def __init__(self, disk: Disk, pulse: Pulse) -> None:
        self._disk, self._pulse = disk, pulse

    def __getattr__(self, name: str) -> Callable[..., Any]:
        call = getattr(self._disk, name)

        def waiting(*args: Any) -> Any:
            with self._pulse.waiting_for("the disk"):
                return call(*args)

        setattr(self, name, waiting)
        return waiting
