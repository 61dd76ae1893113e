"""Settings of the operator."""

import pytest

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
