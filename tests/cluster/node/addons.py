"""What a usable cluster has besides its components: DNS, and a StorageClass whose volumes honour fsGroup."""

import json
from typing import Final

from tests.cluster.node.layout import DNS_SERVICE, Layout

Manifest = dict[str, object]
COREDNS_IMAGE: Final = "localhost/coredns:1"
PROVISIONER_IMAGE: Final = "localhost/local-path-provisioner:1"
TOOLS_IMAGE: Final = "localhost/busybox:1"
DNS: Final = "coredns"
STORAGE: Final = "local-path-provisioner"
# No forwarder: names outside are refused at once. A silent one would cost five seconds a look-up.
COREFILE: Final = """\
.:53 {
  errors
  health
  ready
  kubernetes cluster.local in-addr.arpa ip6.arpa
}
"""
SETUP: Final = '#!/bin/sh\nmkdir -m 0777 -p "$VOL_DIR"\n'
TEARDOWN: Final = '#!/bin/sh\nrm -rf "$VOL_DIR"\n'


def manifests(layout: Layout) -> str:
    """Return all of it as one list for `kubectl apply`."""
    items = [*_accounts(), *_dns(), *_storage(layout)]
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items})


def _meta(name: str, namespace: str = "kube-system") -> dict[str, object]:
    return {"name": name, "namespace": namespace}


def _accounts() -> list[Manifest]:
    rules: list[Manifest] = [
        {
            "apiGroups": [""],
            "resources": ["endpoints", "services", "pods", "namespaces"],
            "verbs": ["list", "watch"],
        },
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
    ]
    role: Manifest = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": f"system:{DNS}"},
        "rules": rules,
    }
    return [role, *_account(DNS, f"system:{DNS}"), *_account(STORAGE, "cluster-admin")]


def _account(name: str, role: str) -> list[Manifest]:
    group = "rbac.authorization.k8s.io"
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": _meta(name)},
        {
            "apiVersion": f"{group}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": name},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": role},
            "subjects": [{"kind": "ServiceAccount", **_meta(name)}],
        },
    ]


def _config_map(name: str, data: dict[str, str]) -> Manifest:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": _meta(name), "data": data}


def _deployment(name: str, container: Manifest, *, dns: str, mount: str) -> Manifest:
    """Return a Deployment of one container that sees the ConfigMap of its name at `mount`."""
    labels = {"app": name}
    container = container | {
        "name": name,
        "imagePullPolicy": "Never",
        "volumeMounts": [{"name": "config", "mountPath": mount}],
    }
    pod = {
        "serviceAccountName": name,
        "dnsPolicy": dns,
        "containers": [container],
        "volumes": [{"name": "config", "configMap": {"name": name}}],
    }
    spec = {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": _meta(name), "spec": spec}


def _dns() -> list[Manifest]:
    container: Manifest = {
        "image": COREDNS_IMAGE,
        "args": ["-conf", "/etc/coredns/Corefile"],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8181}, "periodSeconds": 1},
    }
    ports = [{"name": name, "port": 53, "protocol": name.upper()} for name in ("udp", "tcp")]
    spec = {"clusterIP": DNS_SERVICE, "selector": {"app": DNS}, "ports": ports}
    return [
        _config_map(DNS, {"Corefile": COREFILE}),
        _deployment(DNS, container, dns="Default", mount="/etc/coredns"),
        {"apiVersion": "v1", "kind": "Service", "metadata": _meta("kube-dns"), "spec": spec},
    ]


def _storage(layout: Layout) -> list[Manifest]:
    nodes = [{"node": "DEFAULT_PATH_FOR_NON_LISTED_NODES", "paths": [str(layout.volumes)]}]
    data = {
        "config.json": json.dumps({"nodePathMap": nodes}),
        "setup": SETUP,
        "teardown": TEARDOWN,
        "helperPod.yaml": json.dumps(_helper()),
    }
    return [_config_map(STORAGE, data), _provisioner(), _storage_class()]


def _helper() -> Manifest:
    container = {
        "name": "helper",
        "image": TOOLS_IMAGE,
        "imagePullPolicy": "Never",
        "securityContext": {"runAsUser": 0},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "helper"},
        "spec": {"containers": [container]},
    }


def _provisioner() -> Manifest:
    options = {
        "config": "/etc/config/config.json",
        "service-account-name": STORAGE,
        "helper-image": TOOLS_IMAGE,
        "configmap-name": STORAGE,
    }
    arguments = [word for name, value in options.items() for word in (f"--{name}", value)]
    namespace = {"name": "POD_NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}}
    container: Manifest = {
        "image": PROVISIONER_IMAGE,
        "args": ["start", *arguments],
        "env": [namespace],
    }
    return _deployment(STORAGE, container, dns="ClusterFirst", mount="/etc/config")


def _storage_class() -> Manifest:
    annotations = {"storageclass.kubernetes.io/is-default-class": "true", "defaultVolumeType": "local"}
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": "standard", "annotations": annotations},
        "provisioner": "rancher.io/local-path",
        "allowVolumeExpansion": True,
        "volumeBindingMode": "WaitForFirstConsumer",
        "reclaimPolicy": "Delete",
    }
