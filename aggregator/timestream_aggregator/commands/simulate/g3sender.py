"""The door to spt3g for the simulator: it comes without types."""

from typing import Any, Final, cast

from spt3g import core as untyped_core

G3Frame = Any
core: Final = cast("Any", untyped_core)
