"""Settings and log lines of the operator."""

import json
import logging

import pytest

from timestream_operator.logs import JsonLines, TextLines
from timestream_operator.settings import read_settings


def test_everything_has_a_default_and_all_namespaces_are_watched() -> None:
    settings = read_settings([], {})
    assert settings.namespace == ()
    assert settings.health_port == 8080


def test_an_option_counts_more_than_a_variable() -> None:
    environment = {
        "RECORDER_IMAGE": "a:1",
        "WATCH_NAMESPACES": "lab,site",
        "WORKERS": "2",
        "LOGLEVEL": "debug",
    }
    settings = read_settings(["--recorder-image", "b:1", "--namespace=x", "--namespace=y"], environment)
    assert settings.recorder_image == "b:1"
    assert settings.namespace == ("x", "y")
    assert (settings.workers, settings.log_level) == (2, "debug")
    assert read_settings([], environment).namespace == ("lab", "site")


def test_an_empty_variable_is_as_good_as_none() -> None:
    assert read_settings([], {"WATCH_NAMESPACES": "", "RECORDER_IMAGE_PULL_POLICY": ""}).namespace == ()


@pytest.mark.parametrize("environment", [{"WORKERS": "0"}, {"LOGLEVEL": "loud"}, {"WATCH_NAMESPACES": "A_b"}])
def test_a_wrong_value_is_one_clear_line(
    environment: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        read_settings([], environment)
    assert ended.value.code == 2
    assert f"error: {next(iter(environment))}: " in capsys.readouterr().err


def record() -> logging.LogRecord:
    made = logging.makeLogRecord(
        {"msg": "reconciled %s", "args": ("x",), "levelname": "INFO", "key": "lab/one"}
    )
    made.created = 0.0
    return made


def test_a_line_in_a_pod_is_json_with_what_the_call_gave() -> None:
    line = json.loads(JsonLines().format(record()))
    assert (line["message"], line["key"], line["level"]) == ("reconciled x", "lab/one", "info")
    assert line["time"] == "1970-01-01T00:00:00.000+00:00"


def test_a_line_for_people_ends_with_what_the_call_gave() -> None:
    assert TextLines().format(record()) == "00:00:00 info reconciled x key=lab/one"


def test_a_bug_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError) as raised:
        print(1 // 0)
    made = logging.makeLogRecord({"msg": "a bug", "exc_info": (raised.type, raised.value, raised.tb)})
    assert "ZeroDivisionError" in json.loads(JsonLines().format(made))["exception"]
    assert "Traceback" in TextLines().format(made)
