"""Kubernetes objects as the operator handles them: kinds, names, and a safe look into their fields. Pure."""

from collections.abc import Mapping
from enum import Enum
from typing import Any, Final, NamedTuple

from timestream_api import names

MANAGER: Final = "timestream-operator"
MANAGED_BY: Final = "app.kubernetes.io/managed-by"
AGGREGATION: Final = f"{names.GROUP}/aggregation"
SELECTOR: Final = f"{MANAGED_BY}={MANAGER}"

Manifest = dict[str, Any]


class Key(NamedTuple):
    """Namespace and name of one object."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class Kind(Enum):
    """A kind of object that the operator reads or writes: group, version, plural and kind."""

    AGGREGATION = (names.GROUP, names.VERSION, names.PLURAL, names.KIND)
    SERVICE_ACCOUNT = ("", "v1", "serviceaccounts", "ServiceAccount")
    ROLE = ("rbac.authorization.k8s.io", "v1", "roles", "Role")
    ROLE_BINDING = ("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding")
    CLAIM = ("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim")
    STATEFUL_SET = ("apps", "v1", "statefulsets", "StatefulSet")
    POD = ("", "v1", "pods", "Pod")
    EVENT = ("events.k8s.io", "v1", "events", "Event")

    def __init__(self, group: str, version: str, plural: str, kind: str) -> None:
        self.group, self.version, self.plural, self.kind = group, version, plural, kind

    @property
    def api_version(self) -> str:
        """`apiVersion` as a manifest says it."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None, name: str = "", part: str = "") -> str:
        """Return the URL path of an object, of its subresource, or of all in a namespace (None: in all)."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        within = f"/namespaces/{namespace}" if namespace else ""
        return "/".join(filter(None, [f"{root}{within}/{self.plural}", name, part]))


def dig(manifest: Mapping[str, Any] | None, *path: str, default: Any = None) -> Any:
    """Return what stands in `manifest` under the names of `path`, or `default` where one is missing."""
    found: Any = manifest
    for name in path:
        if not isinstance(found, Mapping) or found.get(name) is None:  # pyright: ignore[reportUnknownMemberType]
            return default
        found = found[name]  # pyright: ignore[reportUnknownVariableType]
    return default if found is None else found  # pyright: ignore[reportUnknownVariableType]


def key_of(manifest: Manifest) -> Key:
    """Return namespace and name of an object."""
    return Key(dig(manifest, "metadata", "namespace", default=""), manifest["metadata"]["name"])


def uid_of(manifest: Manifest) -> str:
    """Return the uid of an object, empty before the API server has seen it."""
    return str(dig(manifest, "metadata", "uid", default=""))


def version_of(manifest: Manifest) -> int:
    """Return the object's resourceVersion, which grows with each change; 0 where there is none."""
    text = str(dig(manifest, "metadata", "resourceVersion", default="0"))
    return int(text) if text.isdecimal() else 0


def controller_of(manifest: Manifest) -> str:
    """Return the uid of the object that controls this one, empty where none does."""
    owners: list[Manifest] = dig(manifest, "metadata", "ownerReferences", default=[])
    return next((str(owner["uid"]) for owner in owners if owner.get("controller")), "")


def is_going(manifest: Manifest) -> bool:
    """Return whether the object is being deleted."""
    return dig(manifest, "metadata", "deletionTimestamp") is not None
