"""Small value types that the shared models are made of, and the one parser of durations."""

import ipaddress
import re
from enum import StrEnum
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict
from pydantic.alias_generators import to_camel

DURATION_PATTERN: Final = r"^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?$"
IPV6_PATTERN: Final = r"^[0-9a-fA-F:]+(%[A-Za-z0-9._-]+)?$"
HOST_NAME_PATTERN: Final = r"^[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_])?$"
NAME_PATTERN: Final = r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$"
LONGEST: Final = 168.0  # hours; no setting is for more, and the kernel's timers end at 596
_UNITS: Final = (3600.0, 60.0, 1.0)


class Model(BaseModel):
    """A frozen document with camelCase keys that refuses keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, validate_by_name=True)

    def to_json(self) -> dict[str, Any]:
        """Return the document as plain JSON values with camelCase keys, without what is not set."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class Layout(StrEnum):
    """How folders and files are named (see `timestream_aggregator.core.naming`)."""

    TIMESTAMP = "Timestamp"
    SESSION = "Session"


class LogLevel(StrEnum):
    """The least severe messages that are written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def parse_duration(value: object) -> float:
    """Return `value` in seconds: a number of seconds, or text such as 600, 0.5, 90s, 10m or 1h30m.

    Raises:
        ValueError: it is neither; the message says what is possible.
    """
    text = str(value).strip()
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text) and not isinstance(value, bool):
        return float(text)
    match = re.fullmatch(DURATION_PATTERN, text)
    if not match or not text:
        raise ValueError(
            f"{text!r} is no duration: give seconds (600) or hours, minutes, seconds (1h30m, 10m, 90s)"
        )
    return sum(unit * int(part[:-1]) for unit, part in zip(_UNITS, match.groups(), strict=True) if part)


def _bounded(seconds: float) -> float:
    if seconds > LONGEST * 3600:
        raise ValueError(f"the longest time is {LONGEST:.0f}h")
    return seconds


def is_host(text: str) -> bool:
    """Return whether `text` is a host name or an IP address; 10.0.0.300 and 10.0.0.3:5000 are neither."""
    if ":" not in text and not re.fullmatch(r"[0-9.]+", text):
        return bool(re.fullmatch(HOST_NAME_PATTERN, text))
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return address.version == 4 or bool(re.fullmatch(IPV6_PATTERN, text))


Seconds = Annotated[float, BeforeValidator(parse_duration), AfterValidator(_bounded)]
