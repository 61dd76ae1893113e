"""Watches the disk under the data folder, in a thread of its own: asking a disk that hangs takes for ever."""

import logging
import os
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from timestream_api.report import StorageReport

EVERY: Final = 5.0  # seconds
FEW_FILES: Final = 1000  # a week of one stream; that a disk is full of them no number of free bytes tells


@dataclass(slots=True, eq=False)
class StorageWatch:
    """Looks at the disk every few seconds. `state` is what it saw last; None before the first look."""

    root: Path
    min_free_bytes: int
    log: logging.Logger
    state: StorageReport | None = None
    _stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Look until told to stop."""
        while not self._stop.is_set():
            before, self.state = self.state, self.look()
            self._tell(before, self.state)
            self._stop.wait(EVERY)

    def stop(self) -> None:
        """Look no more."""
        self._stop.set()

    def look(self) -> StorageReport:
        """Return what there is to say of the disk now."""
        try:
            seen = os.statvfs(self.root)
        except OSError as error:
            return StorageReport(
                capacity_bytes=0, free_bytes=0, writable=False, trouble=f"{self.root}: {error.strerror}"
            )
        capacity, free = seen.f_frsize * seen.f_blocks, seen.f_frsize * seen.f_bavail
        return StorageReport(
            capacity_bytes=capacity,
            free_bytes=free,
            writable=not seen.f_flag & os.ST_RDONLY,
            trouble=self._trouble(seen, free),
        )

    def _trouble(self, seen: os.statvfs_result, free: int) -> str | None:
        if seen.f_flag & os.ST_RDONLY:
            return f"{self.root} is on a file system that is mounted read-only"
        if free < self.min_free_bytes:
            return f"only {free / 2**20:.0f} MiB are free, less than {self.min_free_bytes / 2**20:.0f} MiB"
        if seen.f_files and seen.f_favail < FEW_FILES:  # without f_files there is no such limit
            return f"only {seen.f_favail} more files can be made (df -i)"
        return None

    def _tell(self, before: StorageReport | None, now: StorageReport) -> None:
        """Log the beginning and the end of trouble."""
        was = before is not None and before.trouble is not None
        if now.trouble is not None and not was:
            self.log.warning("disk trouble", extra={"why": now.trouble})
        elif was and now.trouble is None:
            self.log.info("disk trouble is over", extra={"free": now.free_bytes})
