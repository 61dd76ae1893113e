"""Builds the parts from their pinned modules: once, into the cache, one build at a time, resumable."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import IO, Final

from tests.cluster import paths
from tests.cluster.clients import on_path
from tests.cluster.errors import ClusterError
from tests.cluster.golang import Go, compiler_cache, environment, find_go
from tests.cluster.parts import KUBERNETES, Part
from tests.cluster.process import wait_for

ROOM_TO_BUILD: Final = 14 * 1024**3
ROOM_TO_KEEP: Final = 6 * 1024**3
TELL_EVERY_SECONDS: Final = 30
OTHERS_SECONDS: Final = 3600.0
UNFINISHED: Final = "unfinished."
SYSTEM: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Binaries:
    """The built parts: where each is, and a PATH with all of them."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        """Take the file of each part by its name."""
        self._files = files

    def __getitem__(self, name: str) -> Path:
        """Return the file of the part called `name`."""
        return self._files[name]

    def path(self) -> str:
        """Return the folders of all that we built, as PATH wants them, before the machine's own."""
        own = [str(file.parent) for file in self._files.values() if file.is_relative_to(paths.cache())]
        return os.pathsep.join([*own, SYSTEM])


def build(parts: Sequence[Part], server: str = KUBERNETES) -> Binaries:
    """Return the binaries of `parts`, building first those that neither the cache nor the machine has.

    The machine's kubectl and helm are taken where they serve a cluster of version `server`.

    Raises:
        ClusterError: a part does not build, or the disk is too small.
        UnavailableError: there is no Go to build with.
    """
    given = {part.name: file for part in parts if (file := on_path(part.name, server))}
    ours = [part for part in parts if part.name not in given]
    if not ours:
        return Binaries(given)
    go = find_go()
    files = {part.name: _file(part, go) for part in ours}
    if _missing(ours, files):
        _build_or_wait(ours, files, go)
    return Binaries(given | files)


def missing(parts: Sequence[Part]) -> Sequence[Part]:
    """Return those of `parts` that `build` would have to build."""
    ours = [part for part in parts if not on_path(part.name)]
    return _missing(ours, {part.name: _file(part, find_go()) for part in ours})


def _missing(parts: Sequence[Part], files: Mapping[str, Path]) -> Sequence[Part]:
    return [part for part in parts if not files[part.name].exists()]


def _file(part: Part, go: Go) -> Path:
    module = paths.TOOLS / part.module
    key = hashlib.sha256()
    for piece in (module / "go.mod", module / "go.sum"):
        key.update(piece.read_bytes())
    key.update(f"{go.version} {part.package} {part.static} {part.ldflags} {part.tags}".encode())
    return paths.cache() / f"{part.name}-{key.hexdigest()[:12]}" / part.name


def _build_or_wait(parts: Sequence[Part], files: Mapping[str, Path], go: Go) -> None:
    """Build what is missing; while another process builds, wait until it has built that, or has ended."""
    with (paths.cache() / "build.lock").open("w") as lock:
        if not _take(lock):
            _tell("another build is running; waiting for it")
        wait_for("the other build", lambda: not _missing(parts, files) or _take(lock), OTHERS_SECONDS)
        if todo := _missing(parts, files):
            _build(todo, files, go)


def _take(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _build(todo: Sequence[Part], files: Mapping[str, Path], go: Go) -> None:
    for crumbs in paths.cache().glob(f"{UNFINISHED}*"):  # of a build that was killed
        shutil.rmtree(crumbs, ignore_errors=True)
    _check_room()
    left = sum(part.seconds for part in todo)
    _tell(f"building {len(todo)} parts with {go.version}, about {left / 60:.0f} min on 2 cores, once")
    for module, of_module in groupby(todo, key=lambda part: part.module):
        parts = list(of_module)
        left -= sum(part.seconds for part in parts)
        _build_module(module, parts, files, go, left)
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


def _build_module(module: str, parts: Sequence[Part], files: Mapping[str, Path], go: Go, left: int) -> None:
    """Build parts of one module in one go, and give each its place only when it is whole."""
    with tempfile.TemporaryDirectory(prefix=UNFINISHED, dir=paths.cache()) as work:
        out, log = Path(work) / "out", Path(work) / "log"
        started = time.monotonic()
        with log.open("w") as said:
            process = subprocess.Popen(
                command(parts, out, go),
                cwd=paths.TOOLS / module,
                env=environment(parts[0].static),
                stdout=said,
                stderr=said,
            )
            _watch(process, parts, left)
        if process.returncode:
            raise _failure(module, log.read_text())
        for part in parts:
            _place(out / part.binary, files[part.name])
    _tell(f"{_names(parts)}: done in {time.monotonic() - started:.0f} s")


def command(parts: Sequence[Part], out: Path, go: Go) -> list[str]:
    """Return the command that builds parts of one module, which have their flags in common, into the folder `out`.

    It gives way to everything else, since tests run beside it.
    """
    first = parts[0]
    flags = ["-trimpath", "-ldflags", f"-s -w {first.ldflags}".strip()]
    tags = ["-tags", first.tags] if first.tags else []
    packages = [part.package for part in parts]
    return ["nice", "-n", "19", str(go.command), "build", *flags, *tags, "-o", f"{out}/", *packages]


def _place(built: Path, file: Path) -> None:
    folder = built.with_name(f"{built.name}.folder")
    folder.mkdir()
    built.rename(folder / file.name)
    folder.rename(file.parent)


def _watch(process: subprocess.Popen[bytes], parts: Sequence[Part], left: int) -> None:
    """Wait for `process` and say every now and then how far it is; an interruption ends it too."""
    started, expected = time.monotonic(), sum(part.seconds for part in parts)
    names = _names(parts)
    _tell(f"{names}: building, about {expected} s (then {left / 60:.0f} min more)")
    try:
        while True:
            try:
                process.wait(TELL_EVERY_SECONDS)
            except subprocess.TimeoutExpired:
                _tell(f"{names}: {time.monotonic() - started:.0f} of about {expected} s")
            else:
                return
    finally:
        process.terminate()
        process.wait()


def _names(parts: Sequence[Part]) -> str:
    return ", ".join(part.name for part in parts)


def _tell(line: str) -> None:
    """Tell people how far it is; a test's process has no standard output."""
    print(f"cluster: {line}", file=sys.stderr, flush=True)


def _failure(module: str, log: str) -> ClusterError:
    kept = paths.cache() / f"{module}.failed.log"
    kept.write_text(log)
    last = next((line for line in reversed(log.splitlines()) if line.strip()), "no message")
    return ClusterError(
        f"the module {module} does not build", why=last, fix=f"The whole message is in {kept}"
    )
