"""The folder of a pod's service account: an authority that vouches for localhost, its key, and a token."""

import subprocess
from pathlib import Path
from typing import Final

_NEW: Final = (
    "openssl",
    "req",
    "-x509",
    "-newkey",
    "ec",
    "-pkeyopt",
    "ec_paramgen_curve:prime256v1",
    "-nodes",
)
_NAMES: Final = (
    "-days",
    "2",
    "-subj",
    "/CN=localhost",
    "-addext",
    "subjectAltName=DNS:localhost,IP:127.0.0.1",
)


def make_account(folder: Path) -> None:
    """Make what the kubelet puts into a pod, and beside it the key that a server needs."""
    files = ("-keyout", folder / "key", "-out", folder / "ca.crt")
    subprocess.run([*_NEW, *_NAMES, *files], check=True, capture_output=True)
    (folder / "token").write_text("secret\n")
