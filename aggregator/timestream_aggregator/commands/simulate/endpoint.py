"""What clients meet: the sender itself, or a relay before it where the faults need one."""

import time
from typing import Final

from timestream_aggregator.commands.simulate.faults import Fault, FaultKind
from timestream_aggregator.commands.simulate.listener import Listener
from timestream_aggregator.commands.simulate.relay import Position, Relay

_INSIDE: Final = "127.0.0.1"


class Endpoint:
    """A sender on one address, its `listener`, and what can be done to it.

    Raises:
        OSError: the address is not ours, or the port is taken.
    """

    def __init__(self, address: str, port: int, *, relayed: bool, queue: int = 0) -> None:
        self._queue = queue
        self.listener = Listener(_INSIDE, 0, queue) if relayed else Listener(address, port, queue)
        self._relay: Relay | None = None
        if relayed:
            try:
                self._relay = Relay(address, port, self.listener.port)
            except OSError:
                self.listener.close()
                raise
        self.port: Final[int] = self.listener.port if self._relay is None else self._relay.port

    def disturb(self, position: Position, fault: Fault) -> None:
        """Do `fault` to the frame at `position`, which is sent next."""
        self._relayed().mark(position, fault)

    def happen(self, fault: Fault) -> None:
        """Begin what happens to the line as a whole, or to the sender."""
        match fault.kind:
            case FaultKind.DOWN:
                self._relayed().down(fault.amount)
            case FaultKind.VANISH:
                self._relayed().vanish(fault.amount)
            case FaultKind.RESTART:
                self._restart(fault.amount)
            case _:
                pass

    def close(self, seconds: float = 0.0) -> bool:
        """End; return whether what was sent has left this process, for which a relay has `seconds`."""
        begun = time.monotonic()
        if self._relay is not None:
            self._relay.refuse()
        self.listener.close()
        return self._relay is None or self._relay.close(seconds - (time.monotonic() - begun))

    def _restart(self, seconds: float) -> None:
        """Have another sender behind the relay, reached only after a while."""
        relay = self._relayed()
        relay.down(seconds)
        self.listener.close()
        self.listener = Listener(_INSIDE, 0, self._queue)
        relay.behind = self.listener.port

    def _relayed(self) -> Relay:
        if self._relay is None:
            raise RuntimeError("this fault needs a relay")
        return self._relay
