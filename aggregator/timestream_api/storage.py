"""Where the files go: a claim that exists, or one that the operator makes."""

from typing import Annotated, Final, Literal

from pydantic import Field

from timestream_api.pod import Annotations, Labels, ObjectName
from timestream_api.rules import Checked, Ruled, by_server, matching, size
from timestream_api.values import Model

_INSTEAD: Final = "create another TimestreamAggregation for the new place"
_MOVED: Final = f"cannot change, since the files recorded so far would stay behind: {_INSTEAD}"
_BOUND: Final = f"cannot change, since the claim has been made with it: {_INSTEAD}"


def _stays(field: str, message: str) -> Checked:
    """Return the check that an optional field is neither added nor removed."""
    return by_server(f"has(self.{field}) == has(oldSelf.{field})", f"{field} {message}")


def _fixed(field: str, message: str) -> Checked:
    """Return the annotation of a field whose value never changes."""
    return by_server("self == oldSelf", f"{field} {message}")


AccessMode = Annotated[
    Literal["ReadWriteOnce", "ReadWriteOncePod", "ReadWriteMany"],
    Field(description="Who may mount the volume. Modes that cannot write are left out."),
]
AccessModes = Annotated[
    tuple[AccessMode, ...],
    Field(min_length=1, max_length=3),
    Checked(
        lambda modes: "ReadWriteOncePod" not in modes or len(modes) == 1,
        "!('ReadWriteOncePod' in self) || self.size() == 1",
        "ReadWriteOncePod must be the only access mode: remove the others",
    ),
    _fixed("accessModes", _BOUND),
]
VolumeSize = Annotated[
    int | str,
    size("1Mi", "1Pi", as_written=True),
    by_server(
        "quantity(string(self)).compareTo(quantity(string(oldSelf))) >= 0",
        "a volume can grow, not shrink: give at least the size it has",
    ),
]
SubPath = Annotated[
    str,
    Field(max_length=255),
    matching(
        "^[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$",
        "must be a folder in the volume such as lab/stream1: no leading slash, no part begins with a dot",
    ),
    _fixed("subPath", _MOVED),
]


class ClaimRequests(Model):
    """What the claim asks for."""

    storage: VolumeSize = Field(description="Size of the volume, such as 100Gi. It can grow, not shrink")


class ClaimResources(Model):
    """Size of the claim."""

    requests: ClaimRequests = Field(description="What the claim asks for")


class ClaimSpec(Ruled):
    """The claim's own spec."""

    rules = (_stays("storageClassName", _BOUND),)

    access_modes: AccessModes = Field(
        default=("ReadWriteOnce",), description="Who may mount the volume. Cannot change"
    )
    storage_class_name: Annotated[ObjectName, _fixed("storageClassName", _BOUND)] | None = Field(
        default=None, description="StorageClass; the cluster's default when left out. Cannot change"
    )
    resources: ClaimResources = Field(description="Size of the claim")


class ClaimMetadata(Model):
    """Labels and annotations of the claim."""

    labels: Labels | None = Field(default=None, description="Labels of the claim")
    annotations: Annotations | None = Field(default=None, description="Annotations of the claim")


class ClaimTemplate(Model):
    """The PersistentVolumeClaim that the operator makes, as in a StatefulSet."""

    metadata: ClaimMetadata | None = Field(default=None, description="Labels and annotations of the claim")
    spec: ClaimSpec = Field(description="Size, class and access modes of the claim")


class Storage(Ruled):
    """Where the files go. The place cannot change later: only the size of the volume can grow."""

    rules = (
        Checked(
            lambda storage: (storage.claim_name is None) != (storage.volume_claim_template is None),
            "has(self.claimName) != has(self.volumeClaimTemplate)",
            "give exactly one of claimName (a PersistentVolumeClaim that exists) "
            "and volumeClaimTemplate (one that is made for this stream)",
        ),
        Checked(
            lambda storage: storage.reclaim_policy != "Delete" or storage.volume_claim_template,
            "self.reclaimPolicy != 'Delete' || has(self.volumeClaimTemplate)",
            "reclaimPolicy Delete needs volumeClaimTemplate: a claim that exists already is never deleted",
        ),
        by_server(
            "has(self.claimName) == has(oldSelf.claimName)",
            f"the kind of storage (claimName or volumeClaimTemplate) {_MOVED}",
        ),
        _stays("subPath", _MOVED),
    )

    claim_name: Annotated[ObjectName, _fixed("claimName", _MOVED)] | None = Field(
        default=None, description="PersistentVolumeClaim that exists, in the same namespace. Cannot change"
    )
    volume_claim_template: ClaimTemplate | None = Field(
        default=None, description="PersistentVolumeClaim that is made for this stream"
    )
    sub_path: SubPath | None = Field(
        default=None,
        description="Folder in the volume, such as lab/stream1; its root if left out. Cannot change",
    )
    reclaim_policy: Literal["Retain", "Delete"] = Field(
        default="Retain",
        description="What becomes of a claim made from volumeClaimTemplate when this resource is deleted",
    )
