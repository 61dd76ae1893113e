"""What operator and people may do: each verb by name, nothing cluster-wide where namespaces are named."""

from typing import Any

from tests.chart.rendering import Chart, Manifest, of_kind, one
from tests.chart.variants import VARIANTS

ROLES = ("Role", "ClusterRole")
BINDINGS = ("RoleBinding", "ClusterRoleBinding")


def rules(manifest: Manifest) -> list[dict[str, Any]]:
    return manifest["rules"]


def test_no_role_has_a_wildcard_or_is_empty(rendered: list[Manifest]) -> None:
    for role in of_kind(rendered, *ROLES):
        for rule in rules(role):
            assert all(rule[part] for part in ("apiGroups", "resources", "verbs"))
            assert not [word for part in rule.values() for word in part if "*" in word]


def test_the_operator_deletes_nothing_and_reads_no_secret(rendered: list[Manifest]) -> None:
    (granted, *_) = [m for m in of_kind(rendered, *ROLES) if "-operator" in m["metadata"]["name"]]

    for rule in rules(granted):
        assert not {"delete", "deletecollection", "update", "bind", "escalate", "impersonate"} & set(
            rule["verbs"]
        )
        assert not {"secrets", "pods/exec", "timestreamaggregations/finalizers"} & set(rule["resources"])


def test_by_default_one_cluster_role_is_bound_to_the_operators_account(chart: Chart) -> None:
    manifests = chart.render({})
    binding = one(manifests, "ClusterRoleBinding")
    account = one(manifests, "ServiceAccount")["metadata"]

    assert not of_kind(manifests, "Role", "RoleBinding")
    assert binding["subjects"] == [
        {"kind": "ServiceAccount", "name": account["name"], "namespace": account["namespace"]}
    ]
    assert binding["roleRef"]["name"] in {m["metadata"]["name"] for m in of_kind(manifests, "ClusterRole")}


def test_with_watch_namespaces_there_is_a_role_in_each_and_no_cluster_role(chart: Chart) -> None:
    manifests = chart.render(VARIANTS["two namespaces"])

    assert not of_kind(manifests, "ClusterRole", "ClusterRoleBinding")
    for kind in ("Role", "RoleBinding"):
        assert [m["metadata"]["namespace"] for m in of_kind(manifests, kind)] == ["lat", "sat-1"]
    everywhere = one(
        [m for m in chart.render({}) if m["metadata"]["name"].startswith("timestream-aggregator-op")],
        "ClusterRole",
    )
    assert all(rules(role) == rules(everywhere) for role in of_kind(manifests, "Role"))
    (env,) = [
        entry
        for entry in one(manifests, "Deployment")["spec"]["template"]["spec"]["containers"][0]["env"]
        if entry["name"] == "WATCH_NAMESPACES"
    ]
    assert env["value"] == "lat,sat-1"


def test_people_with_the_clusters_own_roles_may_use_the_resource(chart: Chart) -> None:
    def aggregated(values: dict[str, Any]) -> set[str]:
        roles = of_kind(chart.render(values), "ClusterRole")
        prefix = "rbac.authorization.k8s.io/aggregate-to-"
        return {
            label.removeprefix(prefix)
            for m in roles
            for label in m["metadata"]["labels"]
            if label.startswith(prefix)
        }

    assert aggregated({}) == {"view", "edit", "admin"}
    assert aggregated({"rbac": {"aggregateToUserRoles": False}}) == set()


def test_two_releases_in_two_namespaces_share_no_cluster_wide_name(chart: Chart) -> None:
    def names(namespace: str) -> set[tuple[str, str]]:
        manifests = chart.render({"crds": {"install": False}}, f"--namespace={namespace}")
        return {(m["kind"], m["metadata"]["name"]) for m in manifests if "namespace" not in m["metadata"]}

    assert names("north")
    assert not names("north") & names("south")
