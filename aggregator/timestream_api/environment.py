"""Environment variables of the recorder: Kubernetes' own shape, as far as a stream may set it."""

from typing import Annotated, Any, Final, Self

from pydantic import Field, StrictBool, model_validator

from timestream_api.pod import ObjectName
from timestream_api.rules import matching, rule, ruled
from timestream_api.values import Model


class KeyRef(Model):
    """One key of a Secret or ConfigMap in the namespace of the resource."""

    name: ObjectName = Field(description="Name of the object")
    key: Annotated[str, Field(min_length=1, max_length=253)] = Field(description="Key in its data")
    optional: StrictBool | None = Field(
        default=None, description="Whether the pod starts without the object or key"
    )


class FieldRef(Model):
    """One field of the pod itself."""

    field_path: Annotated[
        str,
        Field(max_length=64),
        matching(
            "^(metadata[.](name|namespace|uid)|spec[.](nodeName|serviceAccountName)|status[.](hostIP|podIP)s?)$",
            "must be a field such as metadata.name, spec.nodeName, status.hostIP or status.podIP",
        ),
    ] = Field(description="Path of the field, such as spec.nodeName")


_ONE_SOURCE: Final = "give exactly one of secretKeyRef, configMapKeyRef and fieldRef"
_ONE_VALUE: Final = "give value or valueFrom, not both"


class EnvSource(Model):
    """Where the value of a variable comes from."""

    model_config = ruled(
        rule(
            "[has(self.secretKeyRef), has(self.configMapKeyRef), has(self.fieldRef)]"
            ".filter(given, given).size() == 1",
            _ONE_SOURCE,
        )
    )

    secret_key_ref: KeyRef | None = Field(default=None, description="A key of a Secret")
    config_map_key_ref: KeyRef | None = Field(default=None, description="A key of a ConfigMap")
    field_ref: FieldRef | None = Field(default=None, description="A field of the pod")

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if len(self.to_json()) != 1:
            raise ValueError(_ONE_SOURCE)
        return self


class EnvVar(Model):
    """An environment variable of the recorder."""

    model_config = ruled(rule("!has(self.value) || !has(self.valueFrom)", _ONE_VALUE))

    name: Annotated[
        str,
        Field(max_length=256),
        matching(
            "^[A-Za-z_][A-Za-z0-9_]*$",
            "must be a name of letters, digits and underscores that begins with no digit",
        ),
    ] = Field(description="Name of the variable")
    value: Annotated[str, Field(max_length=4096)] | None = Field(default=None, description="Its value")
    value_from: EnvSource | None = Field(default=None, description="Where its value comes from instead")

    @model_validator(mode="after")
    def _not_both(self) -> Self:
        if self.value is not None and self.value_from is not None:
            raise ValueError(_ONE_VALUE)
        return self


def unique_names(entries: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return `entries`.

    Raises:
        ValueError: two of them have the same name.
    """
    names = [entry.name for entry in entries]
    if len(set(names)) != len(names):
        raise ValueError("names must differ from each other")
    return entries
