"""Builds the parts from their pinned modules: once, into the cache, one build at a time, resumable."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.cluster import paths
from tests.cluster.errors import ClusterError
from tests.cluster.golang import Go, compiler_cache, environment, find_go
from tests.cluster.parts import Part

ROOM_TO_BUILD: Final = 14 * 1024**3
ROOM_TO_KEEP: Final = 6 * 1024**3
TELL_EVERY_SECONDS: Final = 15
UNFINISHED: Final = "unfinished."


class Binaries:
    """The built parts: where each is, and a PATH with all of them."""

    def __init__(self, files: dict[str, Path]) -> None:
        """Take the file of each part by its name."""
        self._files = files

    def __getitem__(self, name: str) -> Path:
        """Return the file of the part called `name`."""
        return self._files[name]

    def path(self) -> str:
        """Return the folders of all parts, as PATH wants them, before the machine's own."""
        own = [str(file.parent) for file in self._files.values()]
        return os.pathsep.join([*own, "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"])


def build(parts: Sequence[Part]) -> Binaries:
    """Return the binaries of `parts`, building first those that the cache does not have.

    Raises:
        ClusterError: a part does not build, or the disk is too small.
        UnavailableError: there is no Go to build with.
    """
    go = find_go()
    files = {part.name: _file(part, go) for part in parts}
    if not all(file.exists() for file in files.values()):
        with _one_build_at_a_time():
            _build_missing([part for part in parts if not files[part.name].exists()], files, go)
    return Binaries(files)


def _file(part: Part, go: Go) -> Path:
    module = paths.TOOLS / part.module
    key = hashlib.sha256()
    for piece in (module / "go.mod", module / "go.sum"):
        key.update(piece.read_bytes())
    key.update(f"{go.version} {part.package} {part.static} {part.ldflags} {part.tags}".encode())
    return paths.cache() / f"{part.name}-{key.hexdigest()[:12]}" / part.name


@contextmanager
def _one_build_at_a_time() -> Generator[None]:
    with (paths.cache() / "build.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("cluster: another build is running; waiting for it", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build_missing(missing: Sequence[Part], files: dict[str, Path], go: Go) -> None:
    todo = [part for part in missing if not files[part.name].exists()]  # another build may have made some
    if not todo:
        return
    for crumbs in paths.cache().glob(f"{UNFINISHED}*"):  # of a build that was killed
        shutil.rmtree(crumbs, ignore_errors=True)
    _check_room()
    minutes = sum(part.seconds for part in todo) / 60
    print(f"cluster: building {len(todo)} parts with {go.version}, about {minutes:.0f} min on 2 cores, once")
    for number, part in enumerate(todo, start=1):
        left = sum(later.seconds for later in todo[number:])
        _build_one(part, files[part.name], go, f"[{number}/{len(todo)}] {part.name}", left)
    if shutil.disk_usage(paths.cache()).free < ROOM_TO_KEEP:
        shutil.rmtree(compiler_cache(), ignore_errors=True)


def _check_room() -> None:
    free = shutil.disk_usage(paths.cache()).free
    if free < ROOM_TO_BUILD and not compiler_cache().exists():
        raise ClusterError(
            "the cluster cannot be built",
            why=f"it needs 14 GB for a while, and {paths.cache()} has {free / 1024**3:.0f}",
            fix="Free some, or set XDG_CACHE_HOME to a larger disk",
        )


def _build_one(part: Part, file: Path, go: Go, title: str, left: int) -> None:
    """Build one part under a name of its own, and give it its place only when it is whole."""
    with tempfile.TemporaryDirectory(prefix=UNFINISHED, dir=paths.cache()) as work:
        unfinished, log = Path(work) / "result", Path(work) / "log"
        unfinished.mkdir()
        started = time.monotonic()
        with log.open("w") as out:
            process = subprocess.Popen(
                _command(part, unfinished / part.name, go),
                cwd=paths.TOOLS / part.module,
                env=environment(part.static),
                stdout=out,
                stderr=out,
            )
            _watch(process, title, part.seconds, left)
        if process.returncode:
            raise _failure(part, log.read_text())
        unfinished.rename(file.parent)
    print(f"cluster: {title}: done in {time.monotonic() - started:.0f} s", flush=True)


def _command(part: Part, out: Path, go: Go) -> list[str]:
    flags = ["-trimpath", "-ldflags", f"-s -w {part.ldflags}".strip()]
    tags = ["-tags", part.tags] if part.tags else []
    return [str(go.command), "build", *flags, *tags, "-o", str(out), part.package]


def _watch(process: subprocess.Popen[bytes], title: str, expected: int, left: int) -> None:
    """Wait for `process` and say every now and then how far it is; an interruption ends it too."""
    started = time.monotonic()
    print(f"cluster: {title}: building, about {expected} s (then {left / 60:.0f} min more)", flush=True)
    try:
        while True:
            try:
                process.wait(TELL_EVERY_SECONDS)
            except subprocess.TimeoutExpired:
                print(f"cluster: {title}: {time.monotonic() - started:.0f} of about {expected} s", flush=True)
            else:
                return
    finally:
        process.terminate()
        process.wait()


def _failure(part: Part, log: str) -> ClusterError:
    kept = paths.cache() / f"{part.name}.failed.log"
    kept.write_text(log)
    last = next((line for line in reversed(log.splitlines()) if line.strip()), "no message")
    return ClusterError(f"{part.name} does not build", why=last, fix=f"The whole message is in {kept}")
