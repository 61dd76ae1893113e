"""The keys, certificates and kubeconfigs of one cluster: made by openssl, fresh at each start."""

import base64
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.cluster.errors import ClusterError

CONFIG: Final = (
    "[req]\ndistinguished_name = dn\nprompt = no\n[dn]\n"  # without the extensions of the system's
)
SERVICE_NAMES: Final = ("kubernetes", "kubernetes.default", "kubernetes.default.svc")
EC_KEY: Final = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


class Pki:
    """A folder of keys and certificates with one authority."""

    def __init__(self, folder: Path) -> None:
        """Make the authority and the key of service accounts in `folder`."""
        self.folder = folder
        folder.mkdir(parents=True)
        self._config = folder / "openssl.cnf"
        self._config.write_text(CONFIG)
        self._make(
            "ca",
            "/CN=cluster-ca",
            [
                "-addext",
                "basicConstraints=critical,CA:TRUE",
                "-addext",
                "keyUsage=critical,keyCertSign,cRLSign",
            ],
        )
        self._service_account_key()

    @property
    def ca(self) -> Path:
        """Return the certificate of the authority."""
        return self.certificate("ca")

    def certificate(self, name: str) -> Path:
        """Return the file of a certificate."""
        return self.folder / f"{name}.crt"

    def key(self, name: str) -> Path:
        """Return the file of a private key."""
        return self.folder / f"{name}.key"

    def serve(self, name: str, subject: str, alternatives: Sequence[str]) -> None:
        """Make a server's certificate for `alternatives`, such as `DNS:localhost` or `IP:127.0.0.1`."""
        self._issue(name, subject, "serverAuth", ["-addext", f"subjectAltName={','.join(alternatives)}"])

    def client(self, name: str, subject: str) -> None:
        """Make a client's certificate; `/O=` of the subject is its group, `/CN=` its user."""
        self._issue(name, subject, "clientAuth", [])

    def kubeconfig(self, name: str, server: str) -> Path:
        """Write and return a kubeconfig that shows the client certificate `name` to `server`."""
        user = {
            "client-certificate-data": _base64(self.certificate(name)),
            "client-key-data": _base64(self.key(name)),
        }
        return write_kubeconfig(self.folder / f"{name}.kubeconfig", server, self.ca, user)

    def _issue(self, name: str, subject: str, usage: str, more: Sequence[str]) -> None:
        authority = ["-CA", str(self.ca), "-CAkey", str(self.key("ca"))]
        extensions = [
            *("-addext", "basicConstraints=critical,CA:FALSE"),
            *("-addext", "keyUsage=critical,digitalSignature"),
            *("-addext", f"extendedKeyUsage={usage}"),
        ]
        self._make(name, subject, [*authority, *extensions, *more])

    def _make(self, name: str, subject: str, options: Sequence[str]) -> None:
        files = ["-keyout", str(self.key(name)), "-out", str(self.certificate(name))]
        request = ["req", "-x509", "-new", "-config", str(self._config), "-days", "3650", "-subj", subject]
        _openssl(*request, *EC_KEY, *options, *files)

    def _service_account_key(self) -> None:
        private = self.folder / "service-accounts.key"
        _openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(private))
        _openssl("ec", "-in", str(private), "-pubout", "-out", str(private.with_suffix(".pub")))


def write_kubeconfig(file: Path, server: str, ca: Path, user: dict[str, str]) -> Path:
    """Write a kubeconfig of one user of one cluster (JSON, which is YAML too); return `file`."""
    name = "timestream-tests"
    cluster = {"server": server, "certificate-authority-data": _base64(ca)}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
    }
    return _write(file, document)


def retarget(kubeconfig: Path, server: str, file: Path) -> Path:
    """Write a kubeconfig of ours once more, to `file`, for the same cluster as `server` reaches it."""
    document = json.loads(kubeconfig.read_text())
    document["clusters"][0]["cluster"]["server"] = server
    return _write(file, document)


def _write(file: Path, document: object) -> Path:
    file.touch(mode=0o600)
    file.write_text(json.dumps(document, indent=1))
    return file


def _base64(file: Path) -> str:
    return base64.b64encode(file.read_bytes()).decode()


def _openssl(*arguments: str) -> None:
    try:
        subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=True)
    except FileNotFoundError:
        raise ClusterError("no openssl", why="it makes the cluster's keys", fix="Install it") from None
    except subprocess.CalledProcessError as error:
        raise ClusterError(
            f"openssl {arguments[0]} failed", why=error.stderr.strip(), fix="openssl 3.0 or newer is needed"
        ) from None
