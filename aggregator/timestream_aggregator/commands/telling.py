"""How commands tell what they find: tables and words for people, or a JSON object a line for programs."""

import argparse
import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from timestream_api.values import parse_duration

SINCE: Final = "nothing older: a time (2026-11-23T08:00, UTC if it names no zone), or how long ago (24h, 90m)"
_HEADINGS: Final = {
    "first": "FIRST (UTC)",
    "last": "LAST (UTC)",
    "told": "NOTED (UTC)",
    "sha256": "LEDGER",
    "verdict": "",
}
_COLUMN: Final = re.compile(r"(\w+)([<>]\S*)")
_MOST_LINES: Final = 20  # of a group in a section


@dataclass(frozen=True, slots=True)
class Told:
    """One thing that is told: what a program reads of it, and what a person does; either may be nothing."""

    values: Mapping[str, object] | None
    text: str = ""


class Table:
    """Columns by the keys of what stands in them, each with its format: `bytes>17`. Those aligned right are counts."""

    def __init__(self, columns: str, indent: str = "") -> None:
        self._columns = [(match[1], match[2]) for match in _COLUMN.finditer(columns)]
        self._indent = indent

    @property
    def head(self) -> Told:
        """The line above the others."""
        return Told(None, self.row({key: _HEADINGS.get(key, key.upper()) for key, _ in self._columns}))

    def row(self, values: Mapping[str, object], **other: object) -> str:
        """Return the line of `values`; what people read otherwise stands in `other`."""
        given = {**values, **other}
        return f"{self._indent}{'  '.join(_cell(given.get(key), form) for key, form in self._columns)}\n"


def _cell(value: object, form: str) -> str:
    """Return a value, as wide as its column; a dash for what is not known."""
    if isinstance(value, datetime):
        text = value.isoformat()
    elif isinstance(value, int) and form.startswith(">"):
        text = f"{value:,}"
    else:
        text = "-" if value is None else str(value)
    return format(text, form)


def write(things: Iterable[Told], *, as_json: bool) -> None:
    """Write each thing as soon as it comes."""
    for one in things:
        if not as_json:
            sys.stdout.write(one.text)
        elif one.values is not None:
            sys.stdout.write(json.dumps(one.values, default=datetime.isoformat) + "\n")


def section(title: str, *groups: Sequence[str]) -> str:
    """Return a title with lines below it, of each group the first and how many more there are; nothing for no line."""
    text = ""
    for lines in groups:
        text += "".join(f"  {line}" for line in lines[:_MOST_LINES])
        more = len(lines) - _MOST_LINES
        text += f"  and {more:,} more; --json has more of them\n" if more > 0 else ""
    return f"\n{title}\n{text}" if text else ""


def counted(number: int, what: str) -> str:
    """Return `number` and `what`, a word for one of them, in the plural if it is not one."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def numbered(numbers: Iterable[tuple[int, int]]) -> str:
    """Return ranges of numbers as files have them."""
    return ", ".join(f"{first:03}" if first == last else f"{first:03}-{last:03}" for first, last in numbers)


def span(first: int | None, last: int | None) -> str | None:
    """Return the numbers from `first` to `last` as a table has them; None if they are not known."""
    return None if first is None else f"{first}" if first == last else f"{first}-{last}"


def moment(at: float | datetime | None) -> str | None:
    """Return a time (if a number, Unix seconds), UTC, to the second; None for one that no calendar has."""
    try:
        given = at if isinstance(at, datetime) or at is None else datetime.fromtimestamp(at, UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return given and given.astimezone(UTC).isoformat()[:19]


def moment_or_age(text: str) -> datetime:
    """Return the time that `text` gives, or that was so long ago. ArgumentTypeError: it is neither."""
    with suppress(ValueError, OverflowError):
        return datetime.now(UTC) - timedelta(seconds=parse_duration(text))
    with suppress(ValueError, OverflowError):
        given = datetime.fromisoformat(text)
        return given.replace(tzinfo=UTC) if given.tzinfo is None else given.astimezone(UTC)
    raise argparse.ArgumentTypeError(
        f"{text!r} is neither a time (2026-11-23T08:00) nor a duration (24h, 90m)"
    )
