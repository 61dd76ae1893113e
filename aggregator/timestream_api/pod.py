"""Where and with what the recorder's pod runs: Kubernetes' own shapes, as far as a stream may set them."""

import re
from typing import Annotated, Any, Final, Literal

from pydantic import Field, JsonValue, WithJsonSchema

from timestream_api.names import GROUP
from timestream_api.rules import UNQUOTED, Checked, Ruled, matching, parse_quantity, quantity
from timestream_api.values import Model

SUBDOMAIN_PATTERN: Final = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"
KEY_PATTERN: Final = (
    r"^([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$"
)
LABEL_PATTERN: Final = r"^([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$"
OWN_PREFIXES: Final = ("app.kubernetes.io/", f"{GROUP}/")
LEAST_MEMORY: Final = "512Mi"

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

ImagePullPolicy = Literal["Always", "IfNotPresent", "Never"]


class ImagePullSecret(Model):
    """A Secret with the credentials of a registry."""

    name: ObjectName = Field(description="Name of the Secret, in the namespace of the resource")


def _at_most(less: str, more: str) -> str:
    """Return the CEL expression that one quantity does not exceed another, or that either is none at all."""
    return f"!isQuantity({less}) || !isQuantity({more}) || quantity({less}).compareTo(quantity({more})) <= 0"


def _are_at_most(less: dict[str, Any], more: dict[str, Any]) -> bool:
    """Return whether no quantity of `less` exceeds that of the same name in `more`."""
    return all(parse_quantity(less[key]) <= parse_quantity(more[key]) for key in less.keys() & more.keys())


class Resources(Ruled):
    """CPU and memory of the recorder's container."""

    rules = (
        Checked(
            lambda resources: _are_at_most(resources.requests or {}, resources.limits or {}),
            "!has(self.limits) || !has(self.requests) || self.requests.all(key, !(key in self.limits) || "
            f"{_at_most('string(self.requests[key])', 'string(self.limits[key])')})",
            "a request must not be greater than its limit: lower the request or raise the limit",
        ),
        Checked(
            lambda resources: _are_at_most({"memory": LEAST_MEMORY}, resources.limits or {}),
            "!has(self.limits) || !('memory' in self.limits) || "
            + _at_most(f"'{LEAST_MEMORY}'", "string(self.limits['memory'])"),
            f"limits.memory must be {LEAST_MEMORY} or more, since the recorder buffers up to 256Mi while a disk "
            "stalls, and another process reads files back: raise it or leave it out",
        ),
    )

    requests: Quantities | None = Field(default=None, description="What the node must have free, by name")
    limits: Quantities | None = Field(default=None, description="The most the container may use, by name")


class Toleration(Ruled):
    """Lets the pod run on nodes with a taint."""

    rules = (
        Checked(
            lambda toleration: toleration.operator != "Exists" or not toleration.value,
            "self.?operator.orValue('Equal') != 'Exists' || self.?value.orValue('') == ''",
            "operator Exists takes no value: leave value out, or use operator Equal",
        ),
        Checked(
            lambda toleration: toleration.key or toleration.operator == "Exists",
            "self.?key.orValue('') != '' || self.?operator.orValue('Equal') == 'Exists'",
            "a toleration without key needs operator Exists: it tolerates every taint",
        ),
        Checked(
            lambda toleration: toleration.toleration_seconds is None or toleration.effect == "NoExecute",
            "!has(self.tolerationSeconds) || self.?effect.orValue('') == 'NoExecute'",
            "tolerationSeconds needs effect NoExecute",
        ),
    )

    key: Annotated[str, Field(max_length=317)] | None = Field(
        default=None, description="Key of the taint; all keys when left out"
    )
    operator: Literal["Exists", "Equal"] | None = Field(
        default=None, description="Exists or Equal (when left out)"
    )
    value: LabelValue | None = Field(default=None, description="Value of the taint")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        default=None, description="Effect of the taint; all when left out"
    )
    toleration_seconds: Annotated[int, UNQUOTED] | None = Field(
        default=None,
        description="How long the pod stays on a node that gets the taint; for ever when left out",
    )


Scheduling = Annotated[dict[str, JsonValue], WithJsonSchema(_anything)]


class Affinity(Model):
    """Where the pod may or should run. Each part is as in a pod."""

    node_affinity: Scheduling | None = Field(default=None, description="By labels of nodes, as in a pod")
    pod_affinity: Scheduling | None = Field(default=None, description="Near other pods, as in a pod")
    pod_anti_affinity: Scheduling | None = Field(
        default=None, description="Away from other pods, as in a pod"
    )
