"""spt3g, which comes without types: what the simulator uses of it, and nothing more."""

from collections.abc import Callable
from typing import Any, Final, Protocol, cast

from spt3g import core as untyped_core


class G3Frame(Protocol):
    """A G3Frame: a mapping from names to frame objects."""

    def __setitem__(self, name: str, value: object, /) -> None:
        """Add `value`; the name must be new."""


class Sender(Protocol):
    """A G3NetworkSender."""

    def Process(self, frame: G3Frame, /) -> object:  # noqa: N802 - spt3g's name
        """Accept waiting clients, then queue `frame` for all of them."""

    def Close(self) -> None:  # noqa: N802 - spt3g's name
        """Join the threads of all clients and stop listening."""


class G3(Protocol):
    """What is used of spt3g, which comes without types."""

    G3FrameType: Any
    G3Frame: Callable[[object], G3Frame]
    G3Int: Callable[[int], object]
    G3String: Callable[[str], object]
    G3Time: Callable[[int], object]
    G3TimestreamMap: Callable[..., object]
    G3NetworkSender: Callable[..., Sender]


core: Final = cast("G3", untyped_core)
