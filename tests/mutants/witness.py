"""Plugin of the planted runs: what is tested is the copy that the run began in, and not what is installed."""

from pathlib import Path

import timestream_aggregator
import timestream_api
import timestream_operator


def pytest_configure() -> None:
    """Fail the run, before any test, if other packages would be tested."""
    for package in (timestream_aggregator, timestream_api, timestream_operator):
        found = Path(str(package.__file__))
        assert found.is_relative_to(Path.cwd()), f"{found} is not in the copy {Path.cwd()}"
