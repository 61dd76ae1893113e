"""Questions to the name service, which may take as long as it likes: whoever asks goes on meanwhile."""

import socket
import threading

from timestream_aggregator.network import sockets


class Lookup:
    """One question, asked in a thread of its own; `fd` can be read once it is answered."""

    def __init__(self, host: str, port: int) -> None:
        self._answer: list[sockets.Target] | Exception | None = None
        self._bell, ringer = socket.socketpair()
        threading.Thread(
            target=self._ask, args=(host, port, ringer), name="name service", daemon=True
        ).start()

    @property
    def fd(self) -> int:
        """Return the descriptor to wait for."""
        return self._bell.fileno()

    @property
    def answered(self) -> bool:
        """Return whether there is an answer."""
        return self._answer is not None

    def answer(self) -> list[sockets.Target]:
        """Return all addresses, the preferred first. To be called once, when `fd` can be read.

        Raises:
            UnresolvedError: there is none.
        """
        self.close()
        if not isinstance(self._answer, list):
            raise self._answer or sockets.UnresolvedError("the name service was not asked")
        return self._answer

    def close(self) -> None:
        """Give the descriptor back; the question may stay asked. Safe to repeat."""
        self._bell.close()

    def _ask(self, host: str, port: int, ringer: socket.socket) -> None:
        with ringer:
            try:
                self._answer = sockets.resolve(host, port)
            except Exception as error:  # noqa: BLE001 - raised where the answer is awaited
                self._answer = error
