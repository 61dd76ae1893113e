"""kubectl and helm of the machine are taken where they serve, and nothing is compiled then."""

import sys
from pathlib import Path

import pytest

from tests.cluster import build as building
from tests.cluster.build import build, command
from tests.cluster.clients import on_path, serves, version_in
from tests.cluster.errors import UnavailableError
from tests.cluster.golang import Go
from tests.cluster.parts import CNI_PLUGINS, CONTROL_PLANE, HELM, KUBERNETES, MINOR, named


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the only folder on PATH."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def install(folder: Path, name: str, version: str, status: int = 0) -> Path:
    """Put a program there that says `version` of itself."""
    file = folder / name
    file.write_text(f"#!{sys.executable}\nimport sys\nprint({version!r})\nsys.exit({status})\n")
    file.chmod(0o755)
    return file


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("v1.37.2", (1, 37)),
        ('{"clientVersion": {"major": "1", "gitVersion": "v1.32.4-dispatcher"}}', (1, 32)),
        ("v1.30.1-gke.100+a1b2", (1, 30)),
        ("v4.3.1", (4, 3)),
        ("v0.0.0-master+$Format:%H$", (0, 0)),
        ("command not found", None),
        ("", None),
    ],
)
def test_a_version_is_found_in_what_a_client_says(said: str, version: tuple[int, int] | None) -> None:
    assert version_in(said) == version


@pytest.mark.parametrize(
    ("client", "server", "good"),
    [
        ("v1.37.0", "v1.37.2", True),
        ("v1.36.9", "v1.37.2", True),
        ("v1.38.0", "v1.37.2", True),
        ("v1.35.9", "v1.37.2", False),
        ("v1.39.0", "v1.37.2", False),
        ("v1.32.4-dispatcher", "v1.33.1-eks-a1b2", True),
        ("v2.37.2", "v1.37.2", False),
        ("", "v1.37.2", False),
    ],
)
def test_kubectl_serves_within_one_minor_version_of_the_cluster(
    client: str, server: str, *, good: bool
) -> None:
    assert serves("kubectl", client, server) is good


@pytest.mark.parametrize(
    ("client", "good"),
    [("v2.17.0", False), ("v3.15.4", False), ("v3.16.0", True), ("v4.3.1", True), ("v5.0.0", False)],
)
def test_helm_serves_from_3_16_to_4(client: str, *, good: bool) -> None:
    assert serves("helm", client, KUBERNETES) is good


def test_clients_on_path_that_serve_are_taken_and_no_go_is_looked_for(
    programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_go() -> Go:
        raise UnavailableError("no Go", why="none is wanted", fix="Do without")

    monkeypatch.setattr(building, "find_go", no_go)
    kubectl, helm = install(programs, "kubectl", KUBERNETES), install(programs, "helm", "v3.22.0")

    built = build([named("kubectl"), HELM])

    assert (built["kubectl"], built["helm"]) == (kubectl, helm)
    assert str(programs) not in built.path(), "nothing else of that folder may stand in for a part of ours"


def test_a_client_that_is_too_old_fails_or_is_absent_is_not_taken(programs: Path) -> None:
    install(programs, "helm", "v4.3.1", status=1)
    old = install(programs, "kubectl", f"v1.{int(MINOR) - 2}.0")

    assert on_path("helm") is None
    assert on_path("kubectl") is None
    assert on_path("kubectl", f"v1.{int(MINOR) - 1}.7") == old
    old.unlink()
    assert on_path("kubectl", f"v1.{int(MINOR) - 1}.7") is None


def test_components_are_never_taken_from_path(programs: Path) -> None:
    install(programs, "etcd", "v3.6.16")
    assert on_path("etcd") is None


def test_one_go_command_builds_all_parts_of_a_module() -> None:
    words = command(CNI_PLUGINS, Path("/out"), Go(Path("/go"), "go1.26.8"))

    assert words[-len(CNI_PLUGINS) - 2 :] == ["-o", "/out/", *(part.package for part in CNI_PLUGINS)]
    assert words.count("build") == 1


def test_what_go_calls_a_binary_is_the_last_word_of_its_package_that_is_no_version() -> None:
    assert [part.binary for part in (*CONTROL_PLANE, HELM)] == [
        *("server", "kube-apiserver", "kube-controller-manager", "kubectl"),
        "helm",
    ]
