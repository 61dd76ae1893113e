"""Checks that hold twice with one message: in the models, and as CEL rules in the API server."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from typing import Any, ClassVar, Final, Self

from pydantic import (
    BeforeValidator,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    JsonValue,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from timestream_api.values import DURATION_PATTERN, Model, parse_duration

RULES: Final = "x-kubernetes-validations"
INT_OR_STRING: Final = "x-kubernetes-int-or-string"
QUANTITY_PATTERN: Final = r"^[0-9]{1,19}([.][0-9]{1,9})?(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$"
SIZE_PATTERN: Final = r"^[0-9]{1,19}([.][0-9]{1,9})?(k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$"
_FACTORS: Final = {"m": Decimal("0.001"), "": Decimal(1)} | {
    prefix + binary: Decimal(1024 if binary else 1000) ** power
    for power, prefix in enumerate("KMGTP", start=1)
    for binary in ("i", "")
}


def rule(expression: str, message: str) -> dict[str, str]:
    """Return one entry of `x-kubernetes-validations`. The message says what is wrong and what to write."""
    return {"rule": expression, "message": message}


def _number(value: object) -> object:
    if type(value) not in {int, float}:
        raise ValueError("must be a number, without quotes")
    return value


UNQUOTED: Final = BeforeValidator(_number)


def parse_quantity(value: object) -> Decimal:
    """Return a Kubernetes quantity as a number: 3, "2Gi", "500M", "100m".

    Raises:
        ValueError: it is none.
    """
    text = str(value)
    match = re.fullmatch(r"([0-9.]+)([A-Za-z]*)", text)
    if isinstance(value, bool) or not match or not re.fullmatch(QUANTITY_PATTERN, text):
        raise ValueError(f"{text!r} is no quantity: give a number, with a unit if you like (2Gi, 500M)")
    number, unit = match.groups()
    return Decimal(number) * _FACTORS["K" if unit == "k" else unit]


@dataclass(frozen=True, slots=True)
class Checked:
    """Annotation: `check` of the value must hold, as `expression` says it in CEL."""

    check: Callable[[Any], object]
    expression: str
    message: str

    def __get_pydantic_core_schema__(self, source: type[Any], handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.validate, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        found = handler(schema)
        return found | {RULES: [*found.get(RULES, []), rule(self.expression, self.message)]}

    def validate(self, value: Any) -> Any:
        """Return `value`; ValueError: the check does not hold."""
        if not self.check(value):
            raise ValueError(self.message)
        return value


def by_server(expression: str, message: str) -> Checked:
    """Return a check that is the API server's alone: of the old value, say, which only it knows."""
    return Checked(lambda _: True, expression, message)


def matching(pattern: str, message: str) -> Checked:
    """Return the check that a text matches `pattern`: RE2, without quotes and backslashes."""
    return Checked(lambda text: bool(re.fullmatch(pattern, text)), f"self.matches('{pattern}')", message)


class Ruled(Model):
    """A document with checks between its fields."""

    rules: ClassVar[tuple[Checked, ...]] = ()

    @model_validator(mode="after")
    def _hold(self) -> Self:
        for checked in self.rules:
            checked.validate(self)
        return self

    @staticmethod
    def _tell(schema: dict[str, JsonValue], model: type["Ruled"]) -> None:
        schema[RULES] = [{**rule(checked.expression, checked.message)} for checked in model.rules]

    model_config = ConfigDict(json_schema_extra=_tell)


@dataclass(frozen=True, slots=True)
class IntOrString:
    """Annotation: a number or a text with units, as Kubernetes writes them, and what it means here."""

    parse: Callable[[int | str], Any]
    expression: str
    message: str
    max_length: int
    as_written: bool = False
    """Whether the value is passed on to Kubernetes as it was written."""

    def __get_pydantic_core_schema__(self, source: type[Any], handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self._validate, handler(source))

    def __get_pydantic_json_schema__(self, _: CoreSchema, __: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {
            INT_OR_STRING: True,
            "maxLength": self.max_length,
            RULES: [rule(self.expression, self.message)],
        }

    def _validate(self, value: object) -> Any:
        match value:
            case int() | str() if not isinstance(value, bool):
                parsed = self.parse(value)
                return value if self.as_written else parsed
            case _:
                raise ValueError(self.message)


def duration(shortest: str, longest: str) -> IntOrString:
    """Return the annotation of a time in seconds, written as whole seconds or like 1h30m, 10m, 90s."""
    low, high = parse_duration(shortest), parse_duration(longest)
    message = (
        f"must be a time from {shortest} to {longest}: "
        "write whole seconds (600) or hours, minutes and seconds (1h30m, 10m, 90s)"
    )

    def parse(value: int | str) -> float:
        if isinstance(value, str) and not (value and re.fullmatch(DURATION_PATTERN, value)):
            raise ValueError(message)
        if not low <= (seconds := parse_duration(value)) <= high:
            raise ValueError(message)
        return seconds

    expression = (
        f"type(self) == int ? self >= {low:.0f} && self <= {high:.0f} : self != '' && "
        f"self.matches('{DURATION_PATTERN}') && "
        f"duration(self) >= duration('{shortest}') && duration(self) <= duration('{longest}')"
    )
    return IntOrString(parse, expression, message, max_length=21)


def size(smallest: str, largest: str, *, as_written: bool = False) -> IntOrString:
    """Return the annotation of a number of bytes, written as such or like 2Gi, 500M."""
    low, high = parse_quantity(smallest), parse_quantity(largest)
    message = (
        f"must be a size from {smallest} to {largest}: write bytes (1073741824) or a quantity (1Gi, 500M)"
    )

    def parse(value: int | str) -> int:
        if not re.fullmatch(SIZE_PATTERN, str(value)) or not low <= (bytes_ := parse_quantity(value)) <= high:
            raise ValueError(message)
        return int(bytes_.to_integral_value(ROUND_CEILING))

    expression = (
        f"type(self) == int ? self >= {low} && self <= {high} : self.matches('{SIZE_PATTERN}') && "
        f"quantity(self).compareTo(quantity('{smallest}')) >= 0 && "
        f"quantity(self).compareTo(quantity('{largest}')) <= 0"
    )
    return IntOrString(parse, expression, message, max_length=31, as_written=as_written)


def quantity() -> IntOrString:
    """Return the annotation of a quantity that is passed on to Kubernetes as it was written."""
    message = "must be a quantity: write a number, with a unit if you like (1, 500m, 2Gi)"
    expression = f"type(self) == int ? self >= 0 : self.matches('{QUANTITY_PATTERN}')"
    return IntOrString(parse_quantity, expression, message, max_length=31, as_written=True)
