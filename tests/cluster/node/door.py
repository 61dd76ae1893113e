"""The door: passes connections from a socket of the machine's loopback to the API server inside.

The listening socket is made outside and inherited; connections are made from in here. So nothing of the
machine's network is touched, and nothing can go astray in it.

Run as `python -m tests.cluster.node.door FD HOST PORT`.
"""

import asyncio
import socket
import sys
from contextlib import suppress
from typing import Final

CHUNK: Final = 65536


async def serve(listening: socket.socket, host: str, port: int) -> None:
    """Pass every connection on, for ever."""

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there_reader, there_writer = await asyncio.open_connection(host, port)
        except OSError:  # the API server is away: so are we
            writer.close()
            return
        await asyncio.gather(_pass(reader, there_writer), _pass(there_reader, writer))

    server = await asyncio.start_server(accept, sock=listening)
    await server.serve_forever()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
    writer.close()


if __name__ == "__main__":
    asyncio.run(serve(socket.socket(fileno=int(sys.argv[1])), sys.argv[2], int(sys.argv[3])))
