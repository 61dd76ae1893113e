"""How log messages become lines."""

import json
import logging

import pytest

from timestream_api.log_lines import LONGEST, JsonLines, TextLines


def record() -> logging.LogRecord:
    made = logging.makeLogRecord(
        {"name": "lab", "msg": "reconciled %s", "args": ("x",), "levelname": "INFO", "key": "lab/one"}
    )
    made.created = 0.0
    return made


def test_a_line_in_a_pod_is_json_with_what_the_call_gave() -> None:
    line = json.loads(JsonLines().format(record()))
    assert (line["message"], line["key"], line["level"]) == ("reconciled x", "lab/one", "info")
    assert line["time"] == "1970-01-01T00:00:00.000+00:00"


def test_a_line_for_people_ends_with_what_the_call_gave() -> None:
    assert TextLines().format(record()) == "00:00:00 info    reconciled x key=lab/one"


def test_a_bug_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError) as raised:
        print(1 // 0)
    made = logging.makeLogRecord(
        {"name": "lab", "msg": "a bug", "exc_info": (raised.type, raised.value, raised.tb)}
    )
    assert "ZeroDivisionError" in json.loads(JsonLines().format(made))["traceback"]
    assert "Traceback" in TextLines().format(made)


def test_a_line_in_a_pod_names_the_logger_as_it_is_asked_to() -> None:
    made = logging.makeLogRecord({"name": "recorder.ufm.mv19"})
    assert json.loads(JsonLines().format(made))["logger"] == "recorder.ufm.mv19"
    assert json.loads(JsonLines("stream", "recorder.").format(made))["stream"] == "ufm.mv19"


@pytest.mark.parametrize("lines", [JsonLines(), TextLines()])
def test_no_line_is_longer_than_people_and_collectors_bear(lines: logging.Formatter) -> None:
    made = logging.makeLogRecord({"name": "lab", "msg": "x" * 10**6, "why": "y" * 10**6})
    assert len(lines.format(made)) < 3 * LONGEST
    assert "xxx ... xxx" in lines.format(made)


def test_nothing_in_a_value_moves_a_terminals_cursor_or_looks_like_another_line() -> None:
    made = logging.makeLogRecord({"msg": "damaged", "why": "\x1b[2J\n00:00:00 info    all is well"})
    assert TextLines().format(made).isprintable()
    assert "all is well" in TextLines().format(made)
