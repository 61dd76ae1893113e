"""Where an acquisition's files go and what they are called. All times are UTC.

Layout Timestamp: `<first 5 digits of Unix time>/<%Y-%m-%d-%H-%M-%S>_<NNN>.g3`. Layout Session:
`<first 5 digits of session_id>/<stream id>/<session_id>_<NNN>.g3`. Folder and base name are fixed when an
acquisition begins, also across midnight.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Final

from timestream_api.values import Layout

SUFFIX: Final = ".g3"
PACKED: Final = (f"{SUFFIX}.gz", f"{SUFFIX}.bz2")
"""How the names of compressed files end that spt3g reads as well."""
LONGEST_STREAM_ID: Final = 63
_FOLDER_DIGITS: Final = 5
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]")
_PART: Final = rf"[A-Za-z0-9_][A-Za-z0-9._-]{{0,{LONGEST_STREAM_ID - 1}}}"
_PATH: Final = re.compile(
    rf"(?P<folder>{_PART}(?:/{_PART})?)/(?P<stem>{_PART})_(?P<number>[0-9]{{3}}|[1-9][0-9]{{3,17}})\.g3"
)


@dataclass(frozen=True, slots=True)
class Base:
    """What the files of one acquisition share: folder, relative to the data folder, and base name."""

    folder: str
    stem: str

    def path(self, number: int) -> str:
        """Return the path of the file with `number`, relative to the data folder."""
        return f"{self.folder}/{self.stem}_{number:03d}{SUFFIX}"


@dataclass(frozen=True, slots=True)
class FileId:
    """One file of an acquisition."""

    base: Base
    number: int

    @property
    def path(self) -> str:
        """Return the file's path relative to the data folder."""
        return self.base.path(self.number)


def base_for(layout: Layout, arrival: float, session_id: int | None, stream_id: str) -> Base:
    """Return folder and base name of an acquisition.

    Args:
        layout: which of the two.
        arrival: when the first frame arrived, in Unix seconds.
        session_id: what the streamer gave, if it did. A negative one is no name: the arrival stands for it.
        stream_id: a name that is safe as a folder (see `safe_stream_id`).
    """
    if layout is Layout.SESSION:
        session = session_id if usable_session(session_id) else int(arrival)
        return Base(f"{str(session)[:_FOLDER_DIGITS]}/{stream_id}", str(session))
    moment = datetime.fromtimestamp(int(arrival), UTC)
    return Base(str(int(arrival))[:_FOLDER_DIGITS], moment.strftime("%Y-%m-%d-%H-%M-%S"))


def usable_session(session_id: int | None) -> bool:
    """Return whether files can be named after `session_id`."""
    return session_id is not None and session_id >= 0


def safe_stream_id(given: str) -> str:
    """Return `given` as the name of a folder: unchanged where that is safe, else marked as changed.

    What is not safe becomes an underscore, what is too long is cut, and a digest of what was given follows,
    so that two different names stay different. Nothing in, nothing out.
    """
    if not given:
        return ""
    if len(given) <= LONGEST_STREAM_ID and not given.startswith((".", "-")) and not _UNSAFE.search(given):
        return given
    digest = blake2b(given.encode(errors="backslashreplace"), digest_size=4).hexdigest()
    readable = _UNSAFE.sub("_", given).lstrip(".-")[: LONGEST_STREAM_ID - len(digest) - 1]
    return f"{readable or '_'}-{digest}"


def parse(path: str) -> FileId | None:
    """Return the file that `path`, relative to the data folder, is a name of; None if it is no such name.

    What is read from a disk leads nowhere else: one or two plain folders and a file, each called as `Base` calls them,
    and the name that is made of the answer is `path` again.
    """
    match = _PATH.fullmatch(path)
    if match is None:
        return None
    return FileId(Base(match["folder"], match["stem"]), int(match["number"]))


def next_number(base: Base, names: Iterable[str]) -> int:
    """Return the number after the highest that `names`, those in the folder of `base`, have used; else 0."""
    files = (parse(f"{base.folder}/{name}") for name in names)
    return max((file.number + 1 for file in files if file is not None and file.base == base), default=0)
