"""The CustomResourceDefinition, made from the models: `make crds` writes it as YAML, here and for the chart."""

import sys
from collections.abc import Mapping
from typing import Any, Final

import yaml
from pydantic import JsonValue

from timestream_api.names import CATEGORY, GROUP, KIND, PLURAL, SHORT_NAME, SINGULAR, VERSION
from timestream_api.resource import TimestreamAggregation

Schema = dict[str, Any]

_DROPPED: Final = {"title", "$defs", "additionalProperties", "const"}
_FIRST: Final = ("description", "type")
_TYPE_META: Final[Mapping[str, Schema]] = {
    "apiVersion": {"type": "string", "description": f"{GROUP}/{VERSION}"},
    "kind": {"type": "string", "description": KIND},
    "metadata": {"type": "object"},
}


def _column(name: str, path: str, kind: str, description: str, *, wide: bool = False) -> dict[str, Any]:
    column: dict[str, Any] = {"name": name, "type": kind, "jsonPath": path, "description": description}
    return column | {"priority": 1} if wide else column


_REPORT: Final = ".status.aggregator"
COLUMNS: Final = (
    _column("Phase", ".status.phase", "string", "How the stream fares, in one word"),
    _column("Ready", ".status.conditions[?(@.type=='Ready')].status", "string", "Pod runs and can write"),
    _column("Address", ".spec.address", "string", "Host of the G3NetworkSender"),
    _column(
        "File", f"{_REPORT}['currentFile','lastFile'].path", "string", "File being written, else the last"
    ),
    _column("Files", f"{_REPORT}.totals.files", "integer", "Files published since the recorder started"),
    _column("Lost", f"{_REPORT}.totals.lost", "integer", "Frames lost since the recorder started"),
    _column("Age", ".metadata.creationTimestamp", "date", "Time since the resource was made"),
    _column("Port", ".spec.port", "integer", "TCP port of the G3NetworkSender", wide=True),
    _column("Frames", f"{_REPORT}.totals.frames", "integer", "Frames recorded since the start", wide=True),
    _column("Missed", f"{_REPORT}.totals.missed", "integer", "Frames sent before it joined", wide=True),
    _column("Node", f"{_REPORT}.node", "string", "Node that the recorder runs on", wide=True),
    _column("Last frame", f"{_REPORT}.connection.lastFrameTime", "date", "Since the last frame", wide=True),
    _column("Reason", ".status.reason", "string", "Why the phase is what it is", wide=True),
)


def definition() -> dict[str, Any]:
    """Return the CustomResourceDefinition as a manifest."""
    version: dict[str, Any] = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "additionalPrinterColumns": list(COLUMNS),
        "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": _root()},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURAL}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": PLURAL,
                "singular": SINGULAR,
                "shortNames": [SHORT_NAME],
                "categories": [CATEGORY],
            },
            "versions": [version],
        },
    }


def _root() -> Schema:
    """Return the schema of the whole resource; the API server itself knows the metadata."""
    schema = TimestreamAggregation.model_json_schema()
    root = structural(schema, schema["$defs"])
    root["properties"].update(_TYPE_META)
    root["properties"]["status"] = without_defaults(root["properties"]["status"])
    root["required"] = ["spec"]
    return root


def structural(node: Schema, definitions: Mapping[str, Schema]) -> Schema:
    """Return the JSON schema `node` as a structural one: references followed, null and titles gone."""
    flat = _flat(node, definitions)
    kept = {key: value for key, value in flat.items() if key not in _DROPPED}
    if "properties" in flat:
        kept["properties"] = {
            name: structural(child, definitions) for name, child in flat["properties"].items()
        }
    elif isinstance(flat.get("additionalProperties"), dict):
        kept["additionalProperties"] = structural(flat["additionalProperties"], definitions)
    if "items" in flat:
        kept["items"] = structural(flat["items"], definitions)
    if "default" in flat:
        kept["default"] = _without_none(flat["default"])
    if kept.get("default", "") is None or kept.get("default") == []:
        del kept["default"]
    return {key: kept[key] for key in _FIRST if key in kept} | kept


def _flat(node: Schema, definitions: Mapping[str, Schema]) -> Schema:
    """Return `node` with what it refers to, or its one alternative to null, merged in; its own words win."""
    own = {key: value for key, value in node.items() if key not in {"$ref", "anyOf"}}
    if "$ref" in node:
        return _flat(definitions[node["$ref"].rpartition("/")[2]], definitions) | own
    if "anyOf" in node:
        (only,) = [choice for choice in node["anyOf"] if choice.get("type") != "null"]
        return _flat(only, definitions) | own
    return own


def _without_none(value: JsonValue) -> JsonValue:
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    return value


def without_defaults(node: Schema) -> Schema:
    """Return the schema `node` without defaults: nobody but its writer says what is in a report."""
    kept = {key: value for key, value in node.items() if key != "default"}
    if "properties" in kept:
        kept["properties"] = {name: without_defaults(child) for name, child in kept["properties"].items()}
    if "items" in kept:
        kept["items"] = without_defaults(kept["items"])
    return kept


def to_yaml(value: JsonValue) -> str:
    """Return JSON values as YAML, in the order given."""
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=110)


if __name__ == "__main__":
    sys.stdout.write(to_yaml(definition()))
