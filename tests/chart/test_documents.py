"""What is generated is as new as what it is generated from."""

import json
from typing import Any

import yaml

from tests.chart import documents
from tests.chart.rendering import CHART, Chart, one
from tests.cluster.paths import CRD, REPOSITORY


def test_the_charts_readme_is_made_from_values_yaml() -> None:
    assert (CHART / "README.md").read_text() == documents.readme(), f"stale: run `{documents.COMMAND}`"


def test_the_charts_schema_says_what_values_yaml_says() -> None:
    assert (CHART / "values.schema.json").read_text() == documents.schema(), (
        f"stale: run `{documents.COMMAND}`"
    )


def test_every_setting_is_in_the_schema_described_and_closed() -> None:
    schema: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())

    check_described(schema, yaml.safe_load((CHART / "values.yaml").read_text()), "values")


def check_described(schema: dict[str, Any], values: dict[str, Any], at: str) -> None:
    assert schema["additionalProperties"] is False, at
    for key, value in values.items():
        node = schema["properties"][key]
        assert node.get("description"), f"{at}.{key}: no comment in values.yaml"
        if "properties" in node:
            check_described(node, value, f"{at}.{key}")


def test_the_charts_crd_is_the_one_that_is_generated() -> None:
    assert (CHART / "files" / "crd.yaml").read_bytes() == CRD.read_bytes(), "stale: run `make crds`"


def test_the_chart_renders_the_crd_without_a_change_to_its_spec(chart: Chart) -> None:
    generated = yaml.safe_load(CRD.read_text())
    kept = one(chart.render({}), "CustomResourceDefinition")
    given_up = one(chart.render({"crds": {"keep": False}}), "CustomResourceDefinition")

    assert kept["spec"] == given_up["spec"] == generated["spec"]
    assert kept["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    assert "helm.sh/resource-policy" not in given_up["metadata"].get("annotations", {})


def test_chart_and_distribution_have_one_version() -> None:
    import tomllib

    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())

    assert chart["version"] == chart["appVersion"] == project["version"]
