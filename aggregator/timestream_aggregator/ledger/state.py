"""The file that a memory is kept in between two runs: one a stream and source, replaced as a whole, and checked."""

import errno
import logging
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Final

from crc32c import crc32c
from pydantic import TypeAdapter

from timestream_aggregator.disk.calls import Disk
from timestream_aggregator.disk.layout import own
from timestream_aggregator.ledger.memory import Memory
from timestream_aggregator.ledger.reading import Place, files, read_on
from timestream_api.ledger import BEGINNING, Line, decode

_MEMORY: Final = TypeAdapter(Memory)
_OF_NO_INTEREST: Final = re.compile(r'"kind":"(?:connected|disconnected|renamed|trouble|troubleOver|torn)"')
_LARGEST: Final = 16 << 20  # bytes
_BEGINNING: Final = '{{"v":1,"crc32c":"{:08x}","state":'
_END: Final = b"}\n"


def state_path(root: Path, stream: str, source: str) -> Path:
    """Return where the state of `stream` from `source` is: two recorders may call their streams the same."""
    digest = blake2b(source.encode(), digest_size=4).hexdigest()
    return own(root, "state", f"{stream}-{digest}.json")


def encode(memory: Memory) -> bytes:
    """Return what the file holds: JSON with the CRC-32C of its inner part."""
    body = _MEMORY.dump_json(memory)
    return _BEGINNING.format(crc32c(body)).encode() + body + _END


def _decode(data: bytes) -> Memory:
    begin = len(_BEGINNING.format(0))
    body = data[begin : -len(_END)]
    if data != _BEGINNING.format(crc32c(body)).encode() + body + _END:
        raise ValueError("it is torn, or of another version")
    return _MEMORY.validate_json(body)


def replace(disk: Disk, path: Path, data: bytes, *, sync: bool) -> None:
    """Have the file hold `data` and nothing between; with `sync`, bring it to the disk. OSError: it is as before."""
    disk.make_folder(path.parent)
    new = path.with_suffix(".new")
    fd = disk.open_anew(new)
    try:
        if disk.write(fd, [data], 0) < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(new))
        if sync:
            disk.sync(fd)
    finally:
        disk.close(fd)
    disk.replace(new, path)
    if sync:
        disk.sync_folder(path.parent)


def remember(root: Path, stream: str, source: str, disk: Disk, log: logging.Logger) -> Memory:
    """Return what is known of a stream: what its file holds, and what the ledger's lines since then tell.

    Without a file, or with one that is no good, all of the ledger is read.
    """
    path, memory = state_path(root, stream, source), Memory(stream, source)
    try:
        memory = _load(path, disk) if disk.is_there(path) else _adopt(path, memory, disk, log)
    except (OSError, ValueError) as error:
        if files(root, disk):
            extra = {"path": path.name, "why": str(error)}
            log.warning("no state of earlier runs, it is made anew from the ledger", extra=extra)
    try:
        if memory.place.at > _size(root, memory.place, disk):
            log.warning("the ledger lacks lines that were written", extra={"path": memory.place.name})
        learn(memory, root, disk)
    except OSError as error:
        log.warning("the ledger cannot be read", extra={"why": str(error)})
    if memory.started is not None:
        extra = {"started": str(memory.started), "stopped": memory.stopped and str(memory.stopped)}
        log.info("an earlier run is known", extra=extra)
    return memory


def learn(memory: Memory, root: Path, disk: Disk) -> None:
    """Add what lines of the ledger tell that are not read yet. OSError: they cannot be read."""
    for line in unread(memory, root, disk):
        memory.take(line)


def unread(memory: Memory, root: Path, disk: Disk, run: str = "") -> Iterator[Line]:
    """Yield the lines that `memory` does not know yet, but for those of `run`. OSError: they cannot be read."""
    for data in read_on(root, memory.place, disk):
        text = data.decode(errors="replace")
        begin = max(0, text.rfind(BEGINNING.decode()))  # what was torn may stand before it
        line = None if _OF_NO_INTEREST.search(text, begin) else decode(text)
        if line is not None and line.run != run:
            yield line


def _adopt(path: Path, memory: Memory, disk: Disk, log: logging.Logger) -> Memory:
    """Return what a recorder knew that called its stream the same and has ended: the sender has another address now.

    Sessions are not gone on with: they may be another sender's. OSError: there was none.
    """
    for name in disk.names(path.parent):
        other = path.with_name(name)
        if name.startswith(f"{memory.stream}-") and other.suffix == path.suffix:
            with suppress(OSError, ValueError):
                known = _load(other, disk)
                if known.stream == memory.stream and known.stopped is not None:
                    disk.unlink(other)  # its own recorder would go on with old counts
                    log.info("the stream has another source", extra={"before": known.source})
                    known.source, known.sessions = memory.source, []
                    return known
    return _load(path, disk)


def _load(path: Path, disk: Disk) -> Memory:
    fd = disk.open_to_read(path)
    try:
        return _decode(disk.read(fd, _LARGEST, 0))
    finally:
        disk.close(fd)


def _size(root: Path, place: Place, disk: Disk) -> int:
    return disk.size_at(own(root, place.name)) if place.name in files(root, disk) else 0
