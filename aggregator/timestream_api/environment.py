"""Environment variables of the recorder: Kubernetes' own shape, as far as a stream may set it."""

from typing import Annotated, Any

from pydantic import Field, StrictBool

from timestream_api.pod import ObjectName
from timestream_api.rules import Checked, Ruled, matching
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


class EnvSource(Ruled):
    """Where the value of a variable comes from."""

    rules = (
        Checked(
            lambda source: len(source.to_json()) == 1,
            "[has(self.secretKeyRef), has(self.configMapKeyRef), has(self.fieldRef)]"
            ".filter(given, given).size() == 1",
            "give exactly one of secretKeyRef, configMapKeyRef and fieldRef",
        ),
    )

    secret_key_ref: KeyRef | None = Field(default=None, description="A key of a Secret")
    config_map_key_ref: KeyRef | None = Field(default=None, description="A key of a ConfigMap")
    field_ref: FieldRef | None = Field(default=None, description="A field of the pod")


class EnvVar(Ruled):
    """An environment variable of the recorder."""

    rules = (
        Checked(
            lambda variable: variable.value is None or variable.value_from is None,
            "!has(self.value) || !has(self.valueFrom)",
            "give value or valueFrom, not both",
        ),
    )

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


def unique_names(entries: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return `entries`.

    Raises:
        ValueError: two of them have the same name.
    """
    names = [entry.name for entry in entries]
    if len(set(names)) != len(names):
        raise ValueError("names must differ from each other")
    return entries
