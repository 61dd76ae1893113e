"""The TimestreamAggregation: what users ask for, and what they are told. Source of `crds/`."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, ConfigDict, Field, JsonValue, StrictBool

from timestream_api.environment import EnvVar, unique_names
from timestream_api.names import API_VERSION, KIND
from timestream_api.pod import (
    Affinity,
    Annotations,
    ImagePullPolicy,
    ImagePullSecret,
    Labels,
    NodeLabels,
    ObjectName,
    Resources,
    Toleration,
)
from timestream_api.report import Report
from timestream_api.rules import UNQUOTED, Ruled, by_server, duration, matching, size
from timestream_api.settings import Address, RecorderSettings, StreamId
from timestream_api.storage import Storage
from timestream_api.values import Layout, LogLevel, Model

LONGEST_NAME: Final = 52
_NAME_PATTERN: Final = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"

Image = Annotated[
    str,
    Field(max_length=512),
    matching(
        "^[a-zA-Z0-9][a-zA-Z0-9._:/@-]*$",
        "must be the name of an image, such as registry.example.org/lab/image:1.0",
    ),
]


class Phase(StrEnum):
    """How the stream fares, in one word for people; programs read the conditions."""

    PENDING = "Pending"
    WAITING = "Waiting"
    RECORDING = "Recording"
    IDLE = "Idle"
    SUSPENDED = "Suspended"
    DEGRADED = "Degraded"
    FAILED = "Failed"


class ConditionType(StrEnum):
    """What the conditions are about; all are always present."""

    RECONCILED = "Reconciled"
    READY = "Ready"
    CONNECTED = "Connected"
    RECORDING = "Recording"
    STORAGE_READY = "StorageReady"
    DATA_INTACT = "DataIntact"


class ConditionStatus(StrEnum):
    """Whether a condition holds."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


def _setting(name: str, text: str | None = None) -> Any:
    """Return the field of the recorder's setting `name`; `text` is its default as people write it."""
    field = RecorderSettings.model_fields[name]
    written: dict[str, JsonValue] | None = None if text is None else {"default": text}
    return Field(default=field.default, description=field.description, json_schema_extra=written)


class Spec(Model):
    """The stream to record, where to, and the pod that does it."""

    address: Address = Field(description="Host name or IP address of the G3NetworkSender")
    port: Annotated[int, Field(ge=1, le=65535), UNQUOTED] = _setting("port")
    time_per_file: Annotated[float, duration("1s", "168h")] = _setting("time_per_file", "10m")
    storage: Storage = Field(description="Where the files go")
    stream_id: StreamId | None = Field(
        default=None,
        description="Name of the stream where its frames do not say one; the resource's name when left out",
    )
    layout: Layout = _setting("layout")
    frame_gap: Annotated[float, duration("1s", "1h")] = _setting("frame_gap", "5s")
    read_timeout: Annotated[float, duration("1s", "1h")] = _setting("read_timeout", "5s")
    max_file_bytes: Annotated[int, size("1Mi", "1Pi")] | None = _setting("max_file_bytes")
    min_free_bytes: Annotated[int, size("0", "1Pi")] = _setting("min_free_bytes", "1Gi")
    max_stall: Annotated[float, duration("1s", "168h")] = _setting("max_stall", "10m")
    verify: StrictBool = _setting("verify")
    log_level: LogLevel = _setting("log_level")
    suspend: StrictBool = Field(default=False, description="Stop recording; the resource and its files stay")
    host_network: StrictBool = Field(
        default=False,
        description="Use the node's own network, where the pod network does not reach the sender. Costs the "
        "isolation of the pod, and httpPort must be free on the node",
    )
    http_port: Annotated[int, Field(ge=0, le=65535), UNQUOTED] = _setting("http_port")
    status_reporting: StrictBool = Field(
        default=True, description="Whether the recorder reports into status.aggregator"
    )
    image: Image | None = Field(
        default=None, description="Image of the recorder; the operator's choice when left out"
    )
    image_pull_policy: ImagePullPolicy | None = Field(
        default=None, description="When the node pulls the image; Kubernetes' choice when left out"
    )
    image_pull_secrets: Annotated[
        tuple[ImagePullSecret, ...], Field(max_length=16), AfterValidator(unique_names)
    ] = Field(
        default=(),
        description="Secrets with the credentials of registries",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )
    resources: Resources = Field(
        default=Resources(requests={"cpu": "50m", "memory": "64Mi"}, limits={"memory": "640Mi"}),
        description="CPU and memory of the recorder",
    )
    node_selector: NodeLabels | None = Field(default=None, description="Labels of the nodes to run on")
    tolerations: Annotated[tuple[Toleration, ...], Field(max_length=16)] = Field(
        default=(), description="Taints of nodes that the pod tolerates"
    )
    affinity: Affinity | None = Field(default=None, description="Where the pod may or should run")
    priority_class_name: ObjectName | None = Field(default=None, description="PriorityClass of the pod")
    annotations: Annotations | None = Field(default=None, description="Annotations of the pod")
    labels: Labels | None = Field(default=None, description="Labels of the pod")
    env: Annotated[tuple[EnvVar, ...], Field(max_length=64), AfterValidator(unique_names)] = Field(
        default=(),
        description="Environment variables of the recorder",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )

    def settings(self, name: str, namespace: str) -> RecorderSettings:
        """Return what the recorder of the resource `namespace`/`name` needs to know."""
        shared = RecorderSettings.model_fields.keys() & Spec.model_fields.keys()
        return RecorderSettings.model_validate(
            {field: getattr(self, field) for field in shared}
            | {
                "stream_id": self.stream_id or name,
                "http_address": "::",  # the kubelet asks the pod's address
                "report_to": f"{namespace}/{name}" if self.status_reporting else None,
            }
        )


class Condition(Model):
    """One aspect of the state, as Kubernetes writes conditions."""

    type: Annotated[str, Field(min_length=1, max_length=64)] = Field(description="What it is about")
    status: ConditionStatus = Field(description="True, False or Unknown")
    observed_generation: int | None = Field(
        default=None, ge=0, description="metadata.generation that it speaks of"
    )
    last_transition_time: datetime = Field(description="When status changed last")
    reason: Annotated[str, Field(min_length=1, max_length=128)] = Field(
        description="Why, in one word for programs"
    )
    message: Annotated[str, Field(max_length=4096)] = Field(description="Why, in a sentence for people")


class Status(Model):
    """What operator and recorder tell. `aggregator` is the recorder's, the rest is the operator's."""

    observed_generation: int | None = Field(
        default=None, ge=0, description="metadata.generation that the operator looked at last"
    )
    phase: Phase | None = Field(default=None, description="How the stream fares, in one word")
    reason: Annotated[str, Field(max_length=128)] | None = Field(
        default=None, description="Why the phase is what it is: the reason of the condition that decides"
    )
    conditions: Annotated[tuple[Condition, ...], Field(max_length=16)] = Field(
        default=(),
        description="Reconciled, Ready, Connected, Recording, StorageReady, DataIntact",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )
    aggregator: Report | None = Field(default=None, description="The recorder's own report")


class Metadata(Model):
    """What the models need of a resource's metadata; the API server knows the rest."""

    model_config = ConfigDict(extra="allow")

    name: Annotated[str, Field(max_length=LONGEST_NAME, pattern=_NAME_PATTERN)]
    namespace: str | None = None


class TimestreamAggregation(Ruled):
    """A G3 stream that is recorded to disk as rotated files by a pod of its own."""

    rules = (
        by_server(
            f"self.metadata.name.size() <= {LONGEST_NAME} && self.metadata.name.matches('{_NAME_PATTERN}')",
            f"the name must have at most {LONGEST_NAME} characters: lower case letters, digits, dashes, "
            "no dots, since pods and labels carry it",
        ),
    )

    api_version: Literal["timestream.dev/v1alpha1"] = API_VERSION
    kind: Literal["TimestreamAggregation"] = KIND
    metadata: Metadata
    spec: Spec = Field(description="The stream to record, where to, and the pod that does it")
    status: Status | None = Field(default=None, description="What operator and recorder tell")
