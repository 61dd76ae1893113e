"""Writes what follows from the comments of values.yaml: the chart's README, the descriptions in its schema.

Run `python -m tests.chart.documents` after an edit of values.yaml. A comment that begins with `# -- ` belongs
to the setting below it, any other comment right above a key to that section.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

CHART: Final = Path(__file__).resolve().parents[2] / "charts" / "timestream-aggregator"
COMMAND: Final = "python -m tests.chart.documents"
_KEY: Final = re.compile(r"^( *)([A-Za-z]+):")


@dataclass(frozen=True, slots=True)
class Setting:
    """One key of values.yaml, what the comment above it says, and whether it is a value or a section."""

    path: tuple[str, ...]
    text: str
    is_value: bool


def settings(source: str) -> list[Setting]:
    """Return the keys of `source`, the text of values.yaml, that have a comment, in their order."""
    return list(_settings(source.splitlines()))


def _settings(lines: list[str]) -> Iterator[Setting]:
    path: tuple[str, ...] = ()
    comment: list[str] = []
    for line in lines:
        if line.lstrip().startswith("#"):
            comment.append(line.lstrip().removeprefix("#").strip())
            continue
        if match := _KEY.match(line):
            path = (*path[: len(match[1]) // 2], match[2])
            text = " ".join(comment)
            if text:
                yield Setting(path, text.removeprefix("-- "), is_value=text.startswith("-- "))
        comment = []


def readme(chart: Path = CHART) -> str:
    """Return the text of the chart's README."""
    head = (chart / "README.md.in").read_text()
    values: Any = yaml.safe_load((chart / "values.yaml").read_text())
    rows = [
        _row(setting, values) for setting in settings((chart / "values.yaml").read_text()) if setting.is_value
    ]
    table = ["| Setting | Default | What it is |", "|---|---|---|", *rows]
    return head.replace("@@SETTINGS@@", "\n".join(table))


def _row(setting: Setting, values: Any) -> str:
    for key in setting.path:
        values = values[key]
    return f"| `{'.'.join(setting.path)}` | `{json.dumps(values)}` | {setting.text} |"


def schema(chart: Path = CHART) -> str:
    """Return the text of values.schema.json with the comments of values.yaml as descriptions."""
    whole: dict[str, Any] = json.loads((chart / "values.schema.json").read_text())
    for setting in settings((chart / "values.yaml").read_text()):
        _describe(whole, setting)
    return json.dumps(whole, indent=2) + "\n"


def _describe(node: dict[str, Any], setting: Setting) -> None:
    for key in setting.path:
        node = node["properties"][key]
    node["description"] = setting.text


if __name__ == "__main__":
    (CHART / "README.md").write_text(readme())
    (CHART / "values.schema.json").write_text(schema())
