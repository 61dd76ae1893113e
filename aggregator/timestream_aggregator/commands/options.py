"""The settings as command-line options and environment variables: both are read off the model's fields.

An option counts before the environment, and that before the default.
"""

import argparse
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final, get_args

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from timestream_api.settings import RecorderSettings

PREFIX: Final = "TIMESTREAM_"
ALSO: Final[Mapping[str, str]] = {"log_level": "LOGLEVEL"}  # as the observatory's other agents have it
_FIELDS: Final = RecorderSettings.model_fields
_WORDS: Final = {"data_dir": "FOLDER", "report_to": "NAMESPACE/NAME", "address": "HOST", "http_address": "IP"}


class WrongOptionError(Exception):
    """A setting has a value that it cannot have; the message is one line for the user."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add an option for each setting."""
    for name, field in _FIELDS.items():
        words: dict[str, Any] = {"dest": name, "default": argparse.SUPPRESS}
        shown: dict[str, Any] = {"help": _help(name, field), "metavar": _metavar(name, field)}
        if field.annotation is bool:
            parser.add_argument(_option(name), nargs="?", const="true", **words, **shown)
            hidden: dict[str, Any] = {"action": "store_const", "const": "false", "help": argparse.SUPPRESS}
            parser.add_argument(_option(f"no_{name}"), **words, **hidden)
        else:
            parser.add_argument(_option(name), **words, **shown)
    parser.add_argument(
        "--auto-start", nargs="?", default=argparse.SUPPRESS, help="Accepted, and has no effect"
    )


def from_args(options: Mapping[str, str], environment: Mapping[str, str]) -> RecorderSettings:
    """Return the settings that `options` (by field name) and `environment` make.

    Raises:
        WrongOptionError: a value is not possible.
    """
    given = {name: (_option(name), text) for name, text in options.items() if name in _FIELDS}
    for name in _FIELDS:
        for variable in (PREFIX + name.upper(), ALSO.get(name, "")):
            if name not in given and environment.get(variable):  # an empty one is none
                given[name] = (variable, environment[variable])
    if "log_level" in given:
        given["log_level"] = (given["log_level"][0], given["log_level"][1].lower())
    try:
        return RecorderSettings.model_validate({name: text for name, (_, text) in given.items()})
    except ValidationError as error:
        raise WrongOptionError(_in_one_line(error, given)) from error


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _in_one_line(error: ValidationError, given: Mapping[str, tuple[str, str]]) -> str:
    """Return what is wrong with the first wrong value, and where that came from."""
    first = error.errors(include_url=False)[0]
    place = str(first["loc"][0]) if first["loc"] else ""
    name = next((name for name, field in _FIELDS.items() if place in {name, field.alias}), place)
    source, text = given.get(name, (place, ""))
    return f"{source} {text}: {first['msg'].removeprefix('Value error, ')}"


def _help(name: str, field: FieldInfo) -> str:
    default = field.default
    shown = "" if default is None else f" (default {int(default) if isinstance(default, float) else default})"
    variables = " or ".join(filter(None, (PREFIX + name.upper(), ALSO.get(name))))
    return f"{field.description}{shown}; environment: {variables}".replace("%", "%%")


def _metavar(name: str, field: FieldInfo) -> str:
    """Return the word that stands for the value in the help text."""
    kind: Any = field.annotation
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return "|".join(kind)
    if kind is bool:
        return "true|false"
    kinds: tuple[Any, ...] = get_args(field.annotation) or (field.annotation,)  # of a union the first
    return _WORDS.get(name) or {float: "TIME", int: "N"}.get(kinds[0], "TEXT")
