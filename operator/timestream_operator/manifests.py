"""The objects that one resource is turned into: a function each, fresh dicts each time. Pure."""

from dataclasses import dataclass
from typing import Final

from timestream_api.names import API_VERSION, GROUP, KIND, PLURAL
from timestream_api.resource import Spec
from timestream_operator.drift import as_number, sealed
from timestream_operator.objects import AGGREGATION, MANAGED_BY, MANAGER, Key, Kind, Manifest, dig

NOBODY: Final = 65532  # a user without rights or name, as images commonly choose it
GRACE_SECONDS: Final = 60  # to write what is buffered and publish the file
START_SECONDS: Final = 300  # to complete what a crash left behind
DATA: Final = "/data"
APPLICATION: Final = "timestream-aggregator"
CONTAINER: Final = "recorder"


@dataclass(frozen=True, slots=True)
class Owner:
    """The resource that the objects belong to."""

    namespace: str
    name: str
    uid: str

    @property
    def key(self) -> Key:
        """Namespace and name."""
        return Key(self.namespace, self.name)


@dataclass(frozen=True, slots=True)
class Defaults:
    """What the operator chooses where a resource says nothing."""

    image: str
    pull_policy: str | None = None


def claim_name(owner: Owner, spec: Spec) -> str:
    """Return the name of the PersistentVolumeClaim with the files: an existing one, or ours."""
    return spec.storage.claim_name or f"{owner.name}-data"


def child_keys(owner: Owner) -> dict[Kind, Key]:
    """Return where each kind of child stands. All have the resource's name, so that people find them."""
    kinds = (Kind.SERVICE_ACCOUNT, Kind.ROLE, Kind.ROLE_BINDING, Kind.STATEFUL_SET)
    return dict.fromkeys(kinds, owner.key) | {Kind.CLAIM: Key(owner.namespace, f"{owner.name}-data")}


def pod_key(owner: Owner) -> Key:
    """Return where the recorder's pod stands."""
    return Key(owner.namespace, f"{owner.name}-0")


def children(
    owner: Owner, spec: Spec, defaults: Defaults, claim: Manifest | None
) -> list[tuple[Kind, Manifest]]:
    """Return all children in the order in which they need each other. `claim` is ours as it is: it never shrinks."""
    wanted = [
        (Kind.SERVICE_ACCOUNT, service_account(owner)),
        (Kind.ROLE, role(owner, spec)),
        (Kind.ROLE_BINDING, role_binding(owner)),
    ]
    if spec.storage.volume_claim_template:
        wanted.append((Kind.CLAIM, volume_claim(owner, spec, claim)))
    wanted.append((Kind.STATEFUL_SET, stateful_set(owner, spec, defaults)))
    return [(kind, sealed(manifest)) for kind, manifest in wanted]


def labels(owner: Owner) -> dict[str, str]:
    """Return the labels of everything that belongs to the resource."""
    return {**selector(owner), MANAGED_BY: MANAGER, AGGREGATION: owner.name}


def selector(owner: Owner) -> dict[str, str]:
    """Return the labels by which the StatefulSet knows its pod. They can never change."""
    return {
        "app.kubernetes.io/name": APPLICATION,
        "app.kubernetes.io/instance": owner.name,
        "app.kubernetes.io/component": CONTAINER,
    }


def owner_reference(owner: Owner) -> Manifest:
    """Return what makes the garbage collector delete a child after its resource.

    Without blockOwnerDeletion, which would take a right on finalizers in some clusters.
    """
    return {"apiVersion": API_VERSION, "kind": KIND, "name": owner.name, "uid": owner.uid, "controller": True}


def service_account(owner: Owner) -> Manifest:
    """Return the account of the recorder's pod."""
    return {**_head(Kind.SERVICE_ACCOUNT, owner), "automountServiceAccountToken": False}


def role(owner: Owner, spec: Spec) -> Manifest:
    """Return the only right of the recorder: to report into this one status, if it reports at all."""
    rule = {
        "apiGroups": [GROUP],
        "resources": [f"{PLURAL}/status"],
        "resourceNames": [owner.name],
        "verbs": ["patch"],
    }
    return {**_head(Kind.ROLE, owner), "rules": [rule] if spec.status_reporting else []}


def role_binding(owner: Owner) -> Manifest:
    """Return what gives the recorder's account its role."""
    return {
        **_head(Kind.ROLE_BINDING, owner),
        "roleRef": {"apiGroup": Kind.ROLE.group, "kind": Kind.ROLE.kind, "name": owner.name},
        "subjects": [{"kind": Kind.SERVICE_ACCOUNT.kind, "name": owner.name, "namespace": owner.namespace}],
    }


def volume_claim(owner: Owner, spec: Spec, actual: Manifest | None) -> Manifest:
    """Return the claim that the resource asks for, at least as big as it is.

    It belongs to the resource with reclaimPolicy Delete only; else it stays when the resource goes.
    """
    template: Manifest = (
        spec.storage.volume_claim_template.to_json() if spec.storage.volume_claim_template else {}
    )
    head = _head(Kind.CLAIM, owner, owned=spec.storage.reclaim_policy == "Delete")
    own: Manifest = head["metadata"]
    metadata: Manifest = {**dig(template, "metadata", default={}), **own, "name": f"{owner.name}-data"}
    metadata["labels"] = {**dig(template, "metadata", "labels", default={}), **own["labels"]}
    wanted = template["spec"]["resources"]["requests"]["storage"]
    size = dig(actual, "spec", "resources", "requests", "storage", default=wanted)
    storage = max(wanted, size, key=as_number)
    return {
        **head,
        "metadata": metadata,
        "spec": {**template["spec"], "resources": {"requests": {"storage": storage}}},
    }


def stateful_set(owner: Owner, spec: Spec, defaults: Defaults) -> Manifest:
    """Return the StatefulSet of one recorder: one replica, since a file has one writer.

    Pod management is Parallel because an OrderedReady set never replaces a pod that does not become ready, so
    that an edit could not heal it; with one replica it changes nothing else.
    """
    return {
        **_head(Kind.STATEFUL_SET, owner),
        "spec": {
            "replicas": 0 if spec.suspend else 1,
            "podManagementPolicy": "Parallel",
            "updateStrategy": {"type": "RollingUpdate"},
            "revisionHistoryLimit": 3,
            "selector": {"matchLabels": selector(owner)},
            "template": {
                "metadata": _without_empty(
                    {"labels": {**(spec.labels or {}), **labels(owner)}, "annotations": spec.annotations}
                ),
                "spec": pod(owner, spec, defaults),
            },
        },
    }


def pod(owner: Owner, spec: Spec, defaults: Defaults) -> Manifest:
    """Return the recorder's pod. It passes Pod Security `restricted`, but for the node's own network."""
    return _without_empty(
        {
            "serviceAccountName": owner.name,
            "automountServiceAccountToken": spec.status_reporting,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": GRACE_SECONDS,
            "hostNetwork": spec.host_network or None,
            "dnsPolicy": "ClusterFirstWithHostNet" if spec.host_network else None,
            "priorityClassName": spec.priority_class_name,
            "nodeSelector": spec.node_selector,
            "affinity": spec.affinity.to_json() if spec.affinity else None,
            "tolerations": [toleration.to_json() for toleration in spec.tolerations],
            "imagePullSecrets": [secret.to_json() for secret in spec.image_pull_secrets],
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": NOBODY,
                "runAsGroup": NOBODY,
                "fsGroup": NOBODY,
                "fsGroupChangePolicy": "OnRootMismatch",
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [container(owner, spec, defaults)],
            "volumes": [
                {"name": "data", "persistentVolumeClaim": {"claimName": claim_name(owner, spec)}},
                {"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}},
            ],
        }
    )


def container(owner: Owner, spec: Spec, defaults: Defaults) -> Manifest:
    """Return the recorder's container. Its settings are all on its command line, for everybody to see."""
    return _without_empty(
        {
            "name": CONTAINER,
            "image": spec.image or defaults.image,
            "imagePullPolicy": spec.image_pull_policy or (None if spec.image else defaults.pull_policy),
            "args": ["record", *spec.settings(owner.name, owner.namespace).to_args()],
            "env": environment(spec),
            "resources": spec.resources.to_json(),
            "terminationMessagePolicy": "FallbackToLogsOnError",
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
                "readOnlyRootFilesystem": True,
            },
            "volumeMounts": [
                _without_empty({"name": "data", "mountPath": DATA, "subPath": spec.storage.sub_path}),
                {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a volume of the pod's own
            ],
            **(probes(spec.http_port) if spec.http_port else {}),
        }
    )


def environment(spec: Spec) -> list[Manifest]:
    """Return the variables of the recorder; where a user's has the name of one of ours, ours counts."""
    ours: list[Manifest] = [
        {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        {"name": "USER", "value": CONTAINER},
        {"name": "HOME", "value": "/tmp"},  # noqa: S108 - a volume of the pod's own
    ]
    taken = {entry["name"] for entry in ours}
    return ours + [variable.to_json() for variable in spec.env if variable.name not in taken]


def probes(port: int) -> Manifest:
    """Return the container's port and its probes. The sender's absence fails none of them."""
    alive = {"httpGet": {"path": "/healthz", "port": "http"}, "timeoutSeconds": 5}
    return {
        "ports": [{"name": "http", "containerPort": port, "protocol": "TCP"}],
        "startupProbe": {**alive, "periodSeconds": 1, "failureThreshold": START_SECONDS},
        "livenessProbe": {**alive, "periodSeconds": 10, "failureThreshold": 6},
        "readinessProbe": {
            "httpGet": {"path": "/readyz", "port": "http"},
            "timeoutSeconds": 5,
            "periodSeconds": 5,
        },
    }


def _head(kind: Kind, owner: Owner, *, owned: bool = True) -> Manifest:
    metadata: Manifest = {"name": owner.name, "namespace": owner.namespace, "labels": labels(owner)}
    if owned:
        metadata["ownerReferences"] = [owner_reference(owner)]
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata}


def _without_empty(fields: Manifest) -> Manifest:
    return {name: value for name, value in fields.items() if value is not None and value not in ([], {})}
