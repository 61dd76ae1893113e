"""Questions to the name service, which may take as long as it likes: whoever asks goes on meanwhile."""

import threading

from timestream_aggregator.network import sockets


class Lookup:
    """One question, asked in a thread of its own, which then wakes whoever asks.

    `answer` is all addresses, the preferred first, or why there are none; None while it is not there.
    """

    def __init__(self, host: str, port: int, waker: sockets.Waker) -> None:
        self.answer: list[sockets.Target] | Exception | None = None
        threading.Thread(target=self._ask, args=(host, port, waker), name="name service", daemon=True).start()

    def _ask(self, host: str, port: int, waker: sockets.Waker) -> None:
        try:
            self.answer = sockets.resolve(host, port)
        except Exception as error:  # noqa: BLE001 - raised where the answer is awaited
            self.answer = error
        waker.wake()
