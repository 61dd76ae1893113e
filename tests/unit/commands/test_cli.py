"""The command line of `record`, and what it says about wrong values."""

import argparse
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timestream_aggregator.commands import options
from timestream_aggregator.g3 import format as g3
from timestream_aggregator.g3.format import WireError
from timestream_api.resource import Spec
from timestream_api.settings import MIB, RecorderSettings
from timestream_api.values import Layout, LogLevel

NAMES = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,20}[A-Za-z0-9])?", fullmatch=True)
HOSTS = st.sampled_from(["localhost", "smurf-srv15.site", "crate_1", "10.0.0.3", "::1", "fe80::1%eth0"])
SECONDS = st.floats(1, 604_800).map(lambda value: round(value, 3)) | st.integers(1, 604_800).map(float)
SIZES = st.integers(4 * MIB, 2048 * MIB)
SETTINGS = st.builds(
    RecorderSettings,
    address=HOSTS,
    port=st.integers(1, 65535),
    time_per_file=SECONDS,
    data_dir=st.sampled_from([Path("/data"), Path("/mnt/a folder"), Path("relative")]),
    stream_id=NAMES,
    layout=st.sampled_from(Layout),
    frame_gap=SECONDS,
    read_timeout=SECONDS,
    max_file_bytes=st.none() | SIZES,
    max_frame_bytes=SIZES,
    buffer_bytes=SIZES,
    min_free_bytes=SIZES,
    max_stall=SECONDS,
    sync_interval=SECONDS,
    verify=st.booleans(),
    http_port=st.integers(0, 65535),
    http_address=st.sampled_from(["127.0.0.1", "0.0.0.0", "::", "fe80::1%eth0"]),
    log_level=st.sampled_from(LogLevel),
    report_to=st.none() | st.just("telescope/crate1"),
)
TIMES = ["time-per-file", "frame-gap", "read-timeout", "max-stall", "sync-interval"]


def parsed(*args: str, **environment: str) -> RecorderSettings:
    parser = argparse.ArgumentParser()
    options.add_options(parser)
    return options.from_args(vars(parser.parse_args(args)), environment)


@given(SETTINGS)
def test_the_command_line_that_settings_become_is_read_back_into_equal_settings(
    settings: RecorderSettings,
) -> None:
    assert parsed(*settings.to_args()) == settings


@given(SETTINGS)
def test_every_setting_can_come_from_the_environment(settings: RecorderSettings) -> None:
    given_as = dict(arg.removeprefix("--").split("=", 1) for arg in settings.to_args())
    environment = {f"TIMESTREAM_{name.upper().replace('-', '_')}": text for name, text in given_as.items()}
    assert parsed(**environment) == settings


def test_without_options_the_defaults_are_those_of_the_model() -> None:
    assert parsed() == RecorderSettings()


def test_an_option_counts_before_the_environment_and_that_before_the_default() -> None:
    settings = parsed("--port=1", TIMESTREAM_PORT="2", TIMESTREAM_HTTP_PORT="3")
    assert (settings.port, settings.http_port, settings.time_per_file) == (1, 3, 600)


def test_the_level_of_the_log_comes_from_loglevel_in_any_case() -> None:
    assert parsed(LOGLEVEL="WARNING").log_level is LogLevel.WARNING
    assert parsed("--log-level=error", LOGLEVEL="debug").log_level is LogLevel.ERROR


def test_an_empty_variable_is_as_good_as_none() -> None:
    empty = {f"TIMESTREAM_{name.upper()}": "" for name in RecorderSettings.model_fields}
    assert parsed(**empty, LOGLEVEL="") == RecorderSettings()
    assert parsed(LOGLEVEL="debug", TIMESTREAM_LOG_LEVEL="").log_level is LogLevel.DEBUG


@pytest.mark.parametrize(
    ("args", "verify"),
    [
        ([], True),
        (["--verify"], True),
        (["--no-verify"], False),
        (["--verify=false"], False),
        (["--verify=true"], True),
    ],
)
def test_a_switch_is_turned_on_and_off_in_each_way_that_people_write(
    args: list[str], *, verify: bool
) -> None:
    assert parsed(*args).verify is verify


def test_what_a_refused_frame_is_said_to_need_can_be_set_on_the_command_line_and_in_a_resource() -> None:
    with pytest.raises(WireError) as refused:
        g3.refuse_size("ABCD", 2**64 - 1, 4096 * MIB)
    option, variable = "--max-frame-bytes", "TIMESTREAM_MAX_FRAME_BYTES"
    resource = Spec.model_validate(
        {"address": "smurf", "storage": {"claimName": "data"}, "env": [{"name": variable, "value": "5000"}]}
    )

    assert option in str(refused.value)
    assert f"{variable} in spec.env" in str(refused.value)
    assert len(str(refused.value)) <= 256, "the ledger cuts it"
    assert parsed(f"{option}=5000").max_frame_bytes == 5000
    args = resource.settings("crate1", "telescope").to_args()
    assert parsed(*args, **{variable: "5000"}).max_frame_bytes == 5000


def test_an_old_configuration_with_auto_start_is_accepted() -> None:
    assert (
        parsed("--auto-start", "--port=5")
        == parsed("--auto-start=True", "--port=5")
        == RecorderSettings(port=5)
    )


@pytest.mark.parametrize(
    ("args", "environment", "said"),
    [
        (["--port", "99999"], {}, "--port 99999: "),
        (["--time-per-file=soon"], {}, "--time-per-file soon: "),
        (["--layout=Random"], {}, "--layout Random: "),
        (["--verify=perhaps"], {}, "--verify perhaps: "),
        (["--buffer-bytes=1"], {}, "--buffer-bytes 1: "),
        ([], {"TIMESTREAM_PORT": "tcp://10.96.0.1:50000"}, "TIMESTREAM_PORT tcp://10.96.0.1:50000: "),
        ([], {"LOGLEVEL": "loud"}, "LOGLEVEL loud: "),
        (["--data-dir="], {}, "--data-dir : a folder has to have a name"),
        (["--http-address=crate1"], {}, "--http-address crate1: "),
        *((([f"--{name}=720h"], {}, f"--{name} 720h: the longest time is 168h")) for name in TIMES),
        *((([f"--{name}={'9' * 400}"], {}, f"--{name} 999")) for name in TIMES),
    ],
)
def test_a_wrong_value_is_one_line_that_names_where_it_came_from(
    args: list[str], environment: dict[str, str], said: str
) -> None:
    with pytest.raises(options.WrongOptionError) as wrong:
        parsed(*args, **environment)
    assert str(wrong.value).startswith(said)
    assert "\n" not in str(wrong.value)


def run(*args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "timestream_aggregator", *args]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (["record", "--port=0"], 2),
        (["record", "--prot=1"], 2),
        (["recrod"], 2),
        ([], 2),
        (["record", "--data-dir=/nowhere", "--http-port=0"], 73),
        (["record", "--report-to=a/b", "--http-port=0", "--data-dir=."], 2),
    ],
)
def test_what_keeps_the_recorder_from_starting_is_one_line_and_an_exit_code(
    args: list[str], code: int, tmp_path: Path
) -> None:
    done = run(*[arg.replace("=.", f"={tmp_path}") for arg in args])
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith("timestream-aggregator: ")
    assert done.stderr.count("\n") == 1


def test_recording_loads_neither_spt3g_nor_numpy_nor_a_kubernetes_client() -> None:
    code = (
        "import sys, timestream_aggregator.commands.record\n"
        "import timestream_aggregator.reporting.server, timestream_aggregator.reporting.apiserver\n"
        "print([name for name in ('spt3g', 'numpy', 'kubernetes', 'kopf') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=30
    )
    assert done.stdout == "[]\n"


def test_each_setting_has_an_option_with_a_text_and_its_default_in_the_help() -> None:
    text = " ".join(run("record", "--help").stdout.split())
    for name, field in RecorderSettings.model_fields.items():
        assert f"--{name.replace('_', '-')}" in text
        assert " ".join((field.description or "?").split()) in text
        assert f"TIMESTREAM_{name.upper()}" in text
