"""Where and with what the recorder's pod runs: Kubernetes' own shapes, as far as a stream may set them."""

import re
from enum import StrEnum
from typing import Annotated, Final, Self

from pydantic import Field, JsonValue, WithJsonSchema, model_validator

from timestream_api.names import GROUP
from timestream_api.rules import UNQUOTED, Checked, matching, parse_quantity, quantity, rule, ruled
from timestream_api.values import Model

SUBDOMAIN_PATTERN: Final = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"
KEY_PATTERN: Final = (
    r"^([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$"
)
LABEL_PATTERN: Final = r"^([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$"
OWN_PREFIXES: Final = ("app.kubernetes.io/", f"{GROUP}/")
LEAST_MEMORY: Final = "512Mi"
_REQUEST_TOO_LARGE: Final = (
    "a request must not be greater than its limit: lower the request or raise the limit"
)
_LIMIT_TOO_SMALL: Final = (
    f"limits.memory must be {LEAST_MEMORY} or more, since the recorder buffers up to 256Mi while a disk "
    "stalls, and another process reads files back: raise it or leave it out"
)

_named = matching(
    SUBDOMAIN_PATTERN, "must be the name of an object: lower case letters, digits, dashes and dots"
)
_keys = Checked(
    lambda entries: all(re.fullmatch(KEY_PATTERN, key) for key in entries),
    f"self.all(key, key.matches('{KEY_PATTERN}'))",
    "keys must be names of up to 63 letters, digits, dashes, dots and underscores, "
    "with a prefix such as example.org/ if you like",
)
_not_ours = Checked(
    lambda entries: not any(key.startswith(OWN_PREFIXES) for key in entries),
    " && ".join(f"self.all(key, !key.startsWith('{prefix}'))" for prefix in OWN_PREFIXES),
    "keys that begin with app.kubernetes.io/ or timestream.dev/ are the operator's: choose another prefix",
)

ObjectName = Annotated[str, Field(min_length=1, max_length=253), _named]
LabelValue = Annotated[
    str,
    Field(max_length=63),
    matching(LABEL_PATTERN, "must be a label: up to 63 letters, digits, dashes, dots and underscores"),
]
NodeLabels = Annotated[dict[str, LabelValue], Field(max_length=32), _keys]
Labels = Annotated[dict[str, LabelValue], Field(max_length=32), _keys, _not_ours]
Annotations = Annotated[
    dict[str, Annotated[str, Field(max_length=4096)]], Field(max_length=32), _keys, _not_ours
]
Quantity = Annotated[int | str, quantity()]
Quantities = Annotated[dict[str, Quantity], Field(max_length=8), _keys]
_anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


class ImagePullPolicy(StrEnum):
    """When a node pulls the image."""

    ALWAYS = "Always"
    IF_NOT_PRESENT = "IfNotPresent"
    NEVER = "Never"


class ImagePullSecret(Model):
    """A Secret with the credentials of a registry."""

    name: ObjectName = Field(description="Name of the Secret, in the namespace of the resource")


def _at_most(less: str, more: str) -> str:
    """Return the CEL expression that one quantity does not exceed another, or that either is none at all."""
    return f"!isQuantity({less}) || !isQuantity({more}) || quantity({less}).compareTo(quantity({more})) <= 0"


class Resources(Model):
    """CPU and memory of the recorder's container."""

    model_config = ruled(
        rule(
            "!has(self.limits) || !has(self.requests) || self.requests.all(key, !(key in self.limits) || "
            f"{_at_most('string(self.requests[key])', 'string(self.limits[key])')})",
            _REQUEST_TOO_LARGE,
        ),
        rule(
            "!has(self.limits) || !('memory' in self.limits) || "
            + _at_most(f"'{LEAST_MEMORY}'", "string(self.limits['memory'])"),
            _LIMIT_TOO_SMALL,
        ),
    )

    requests: Quantities | None = Field(default=None, description="What the node must have free, by name")
    limits: Quantities | None = Field(default=None, description="The most the container may use, by name")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        limits, requests = self.limits or {}, self.requests or {}
        both = requests.keys() & limits.keys()
        if any(parse_quantity(requests[key]) > parse_quantity(limits[key]) for key in both):
            raise ValueError(_REQUEST_TOO_LARGE)
        if "memory" in limits and parse_quantity(limits["memory"]) < parse_quantity(LEAST_MEMORY):
            raise ValueError(_LIMIT_TOO_SMALL)
        return self


class TolerationOperator(StrEnum):
    """How a toleration meets a taint."""

    EXISTS = "Exists"
    EQUAL = "Equal"


class TaintEffect(StrEnum):
    """What a taint does to pods that do not tolerate it."""

    NO_SCHEDULE = "NoSchedule"
    PREFER_NO_SCHEDULE = "PreferNoSchedule"
    NO_EXECUTE = "NoExecute"


class Toleration(Model):
    """Lets the pod run on nodes with a taint."""

    model_config = ruled(
        rule(
            "self.?operator.orValue('Equal') != 'Exists' || self.?value.orValue('') == ''",
            "operator Exists takes no value: leave value out, or use operator Equal",
        ),
        rule(
            "self.?key.orValue('') != '' || self.?operator.orValue('Equal') == 'Exists'",
            "a toleration without key needs operator Exists: it tolerates every taint",
        ),
        rule(
            "!has(self.tolerationSeconds) || self.?effect.orValue('') == 'NoExecute'",
            "tolerationSeconds needs effect NoExecute",
        ),
    )

    key: Annotated[str, Field(max_length=317)] | None = Field(
        default=None, description="Key of the taint; all keys when left out"
    )
    operator: TolerationOperator | None = Field(default=None, description="Exists or Equal (when left out)")
    value: LabelValue | None = Field(default=None, description="Value of the taint")
    effect: TaintEffect | None = Field(default=None, description="Effect of the taint; all when left out")
    toleration_seconds: Annotated[int, UNQUOTED] | None = Field(
        default=None,
        description="How long the pod stays on a node that gets the taint; for ever when left out",
    )

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        exists = self.operator is TolerationOperator.EXISTS
        if exists and self.value:
            raise ValueError("operator Exists takes no value")
        if not self.key and not exists:
            raise ValueError("a toleration without key needs operator Exists")
        if self.toleration_seconds is not None and self.effect is not TaintEffect.NO_EXECUTE:
            raise ValueError("tolerationSeconds needs effect NoExecute")
        return self


Scheduling = Annotated[dict[str, JsonValue], WithJsonSchema(_anything)]


class Affinity(Model):
    """Where the pod may or should run. Each part is as in a pod."""

    node_affinity: Scheduling | None = Field(default=None, description="By labels of nodes, as in a pod")
    pod_affinity: Scheduling | None = Field(default=None, description="Near other pods, as in a pod")
    pod_anti_affinity: Scheduling | None = Field(
        default=None, description="Away from other pods, as in a pod"
    )
