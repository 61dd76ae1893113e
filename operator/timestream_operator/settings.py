"""Settings of the operator: one model, read from the command line, else from the environment."""

import argparse
import os
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError

from timestream_api.pod import ImagePullPolicy
from timestream_api.values import LogLevel

NAMESPACE: Final = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"


def _split(value: object) -> object:
    """Return the entries of a list that is given as such or as text with commas."""
    return [part for part in value.replace(",", " ").split() if part] if isinstance(value, str) else value


Namespaces = Annotated[
    tuple[Annotated[str, StringConstraints(pattern=NAMESPACE)], ...], BeforeValidator(_split)
]


class OperatorSettings(BaseModel):
    """Everything the operator needs to know. Each field is an option, and its alias a variable."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)

    namespace: Namespaces = Field(
        default=(), alias="WATCH_NAMESPACES", description="Namespace to look after; may be repeated (all)"
    )
    recorder_image: str = Field(
        default="timestream-aggregator:latest",
        min_length=1,
        alias="RECORDER_IMAGE",
        description="Image of recorders whose resource names none",
    )
    recorder_image_pull_policy: ImagePullPolicy | None = Field(
        default=None, alias="RECORDER_IMAGE_PULL_POLICY", description="When a node pulls that image"
    )
    workers: int = Field(
        default=8, ge=1, le=64, alias="WORKERS", description="Resources that are worked on at a time"
    )
    log_level: LogLevel = Field(
        default=LogLevel.INFO, alias="LOGLEVEL", description="Least severe messages to write"
    )
    health_port: int = Field(
        default=8080, ge=1, le=65535, alias="HEALTH_PORT", description="TCP port of /healthz"
    )


def read_settings(arguments: Sequence[str], environment: Mapping[str, str]) -> OperatorSettings:
    """Return the settings; an option counts more than a variable. A wrong one ends the program: exit 2."""
    parser = argparse.ArgumentParser("timestream_operator", description="Runs a recorder for each resource")
    for name, field in OperatorSettings.model_fields.items():
        action = "append" if name == "namespace" else "store"
        text = f"{field.description} [{field.alias}]"
        words: dict[str, Any] = {"dest": field.alias, "metavar": name.upper(), "help": text}
        parser.add_argument(f"--{name.replace('_', '-')}", action=action, **words)
    options = vars(parser.parse_args(arguments))
    given = {name: value for name in options if (value := environment.get(name))}
    given |= {name: value for name, value in options.items() if value is not None}
    try:
        return OperatorSettings.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        parser.error(f"{first['loc'][0]}: {first['msg']}: {first['input']!r}")


def in_pod() -> bool:
    """Return whether this process runs in a pod."""
    return "KUBERNETES_SERVICE_HOST" in os.environ
