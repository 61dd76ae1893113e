"""The generated CustomResourceDefinition: up to date, structural, described and bounded to the last field."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from crds.generate import COLUMNS, definition, to_yaml
from timestream_api.resource import Spec

ROOT: Final = Path(__file__).parents[3]
FILE: Final = ROOT / "crds" / "timestream.dev_timestreamaggregations.yaml"
Schema = dict[str, Any]


def root() -> Schema:
    return definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


def nodes(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    """Yield each schema below `schema` with its path, those of metadata left out."""
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        if f"{path}.{name}" != ".metadata":
            yield from nodes(child, f"{path}.{name}")
    for key, mark in (("items", "[]"), ("additionalProperties", "{}")):
        if key in schema:
            yield from nodes(schema[key], path + mark)


def test_the_file_in_crds_is_up_to_date() -> None:
    assert FILE.read_text() == to_yaml(definition()), "stale: run  make crds"


def test_the_yaml_says_what_the_definition_says() -> None:
    assert yaml.safe_load(to_yaml(definition())) == definition()


texts = st.text(st.characters(exclude_categories=["C", "Zl", "Zp"])) | st.sampled_from(
    ["yes", "NULL", "1e3", "- a", "a: b", "a #b", "~", "a ", "0x1", ".5", "..", ".inf", ".NaN", "---", "..."]
)
scalars = st.none() | st.booleans() | st.integers() | texts
documents = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)


@given(documents)
def test_whatever_is_written_as_yaml_is_read_back_equal(document: JsonValue) -> None:
    assert yaml.safe_load(to_yaml(document)) == document


def test_it_stays_far_below_what_the_api_server_stores() -> None:
    assert len(json.dumps(definition())) < 200_000


def test_each_field_is_described() -> None:
    bare = [
        path for path, node in nodes(root()) if path[-1:] not in {"]", "}"} and not node.get("description")
    ]

    assert bare == []


def test_each_text_list_and_map_is_bounded() -> None:
    unbounded = [
        path for path, node in nodes(root()) if path not in {".apiVersion", ".kind"} and not bounded(node)
    ]

    assert unbounded == []


def bounded(node: Schema) -> bool:
    """Return whether a value of the schema has a largest size of its own."""
    if "x-kubernetes-int-or-string" in node:
        return "maxLength" in node
    match node["type"]:
        case "string":
            return "maxLength" in node or "enum" in node or node.get("format") == "date-time"
        case "array":
            return "maxItems" in node
        case _:
            return "additionalProperties" not in node or "maxProperties" in node


def test_it_is_structural() -> None:
    known = {
        "type", "format", "description", "default", "enum", "pattern", "properties", "required", "items",
        "additionalProperties", "minimum", "maximum", "minLength", "maxLength",
        "minItems", "maxItems", "maxProperties",
    }  # fmt: skip
    for path, node in nodes(root()):
        assert {key for key in node if not key.startswith("x-kubernetes-")} <= known, path
        assert ("type" in node) != ("x-kubernetes-int-or-string" in node), path
        assert not {"properties", "additionalProperties"} <= node.keys(), path


def test_the_patterns_are_such_as_go_understands() -> None:
    patterns = [node["pattern"] for _, node in nodes(root()) if "pattern" in node]
    rules = [rule["rule"] for _, node in nodes(root()) for rule in node.get("x-kubernetes-validations", [])]

    assert not [text for text in patterns + rules if re.search(r"\(\?|\\", text)]


def test_the_defaults_mean_what_those_of_the_models_mean() -> None:
    smallest = {"address": "smurf", "storage": {"claimName": "data"}}
    defaults = {
        name: field["default"]
        for name, field in root()["properties"]["spec"]["properties"].items()
        if "default" in field
    }

    assert Spec.model_validate(smallest | defaults) == Spec.model_validate(smallest)


def test_nobody_but_its_writer_says_what_is_in_the_status() -> None:
    status = root()["properties"]["status"]

    assert [path for path, node in nodes(status) if "default" in node] == []


def test_the_conditions_are_a_map_by_their_type() -> None:
    conditions = root()["properties"]["status"]["properties"]["conditions"]

    assert conditions["x-kubernetes-list-type"] == "map"
    assert conditions["x-kubernetes-list-map-keys"] == ["type"]


@pytest.mark.parametrize("column", COLUMNS, ids=lambda column: column["name"])
def test_each_column_shows_a_field_that_exists(column: dict[str, Any]) -> None:
    known = {path for path, _ in nodes(root())} | {".metadata.creationTimestamp"}
    path = re.sub(r"\[\?.*?\]", "[]", column["jsonPath"])
    union = re.search(r"\['(.*)','(.*)'\]", path)
    choices = [path.replace(union[0], f".{name}") for name in union.groups()] if union else [path]

    assert set(choices) <= known
