"""Our base image: Debian's own Python, in place of the public Python image, for which a registry is needed.

It trusts the authorities that this machine trusts and has this machine's settings of pip, so that an image
builds wherever pip works. It is for the tests alone.
"""

import configparser
import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.cluster import paths
from tests.cluster.errors import ClusterError
from tests.cluster.images.buildah import Recipe, build, exists

NAME: Final = "localhost/timestream-base"
SUITE: Final = "bookworm"
PACKAGES: Final = "python3,python3-venv,python3-pip,ca-certificates"
AUTHORITIES: Final = Path("/etc/ssl/certs/ca-certificates.crt")
PIP_SETTINGS: Final = ("index-url", "extra-index-url", "trusted-host", "timeout", "default-timeout", "proxy")
DOCKERFILE: Final = """\
FROM scratch
ADD base.tar /
COPY ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY pip.conf /etc/pip.conf
RUN ln -s /usr/bin/python3 /usr/local/bin/python && ln -s /usr/bin/python3 /usr/local/bin/python3 \\
 && ln -s /usr/bin/pip3 /usr/local/bin/pip && rm -f /usr/lib/python3*/EXTERNALLY-MANAGED
ENV LANG=C.UTF-8
CMD ["python3"]
"""


def make_base() -> str:
    """Make the base image unless it is there, and return its name."""
    pieces = {
        "ca-certificates.crt": AUTHORITIES.read_text(),
        "pip.conf": _pip_settings(),
        "Dockerfile": DOCKERFILE,
    }
    tag = f"{NAME}:{_key(PACKAGES, SUITE, *pieces.values())}"
    if not exists(tag):
        _build(tag, pieces)
    return tag


def _build(tag: str, pieces: Mapping[str, str]) -> None:
    root = _debian()
    with tempfile.TemporaryDirectory(dir=paths.cache()) as folder:
        context = Path(folder)
        os.link(root, context / "base.tar")
        for name, text in pieces.items():
            (context / name).write_text(text)
        build(Recipe(tag, context / "Dockerfile", context))


def _key(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:12]


def _debian() -> Path:
    """Return a small Debian with Python as a tar file."""
    root = paths.cache() / f"debian-{_key(PACKAGES, SUITE)}.tar"
    if root.exists():
        return root
    print("cluster: making the base image of Debian's packages, about 40 s, once", flush=True)
    unfinished = root.with_name(f"debian-{os.getpid()}.tar")
    command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={PACKAGES}", SUITE, str(unfinished)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        unfinished.unlink(missing_ok=True)
        last = next(reversed(done.stderr.strip().splitlines()), "no message")
        raise ClusterError("no base image", why=last, fix=f"Run `{' '.join(command[:-1])} x.tar` to see more")
    unfinished.rename(root)
    return root


def _pip_settings() -> str:
    """Return a pip.conf for the image: this machine's index, and the image's own list of authorities."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    settings = {"cert": str(AUTHORITIES)}
    for line in listed.splitlines():
        name, _, value = line.partition("=")
        option = name.rpartition(".")[2]
        if option in PIP_SETTINGS:
            settings[option] = value.strip("'\"")
    parser = configparser.RawConfigParser()
    parser["global"] = settings
    with tempfile.TemporaryFile("w+") as file:
        parser.write(file)
        file.seek(0)
        return file.read()
