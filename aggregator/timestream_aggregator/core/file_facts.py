"""What is in a file, whoever says so: the recorder that wrote it, recovery that looked through it, the ledger."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class FileFacts:
    """A file of whole frames. `path` is relative to the data folder, `crc` the CRC-32C of all its bytes."""

    path: str
    bytes: int
    frames: int
    crc: int
    session_id: int | None = None
    first_frame_num: int | None = None
    last_frame_num: int | None = None
    stream_id: str | None = None  # sostream_id, as it may be in a name

    @property
    def crc32c(self) -> str:
        """Return the checksum as people and programs read it: eight hexadecimal digits."""
        return f"{self.crc:08x}"

    def line(self) -> dict[str, Any]:
        """Return what a line of the ledger tells of the file."""
        values = asdict(self) | {"crc32c": self.crc32c}
        del values["crc"]
        return values
