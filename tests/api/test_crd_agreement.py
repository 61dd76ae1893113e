"""The models and the API server take and refuse the same specs: nothing passes one to fail in the other."""

from typing import Any, Final

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.api.aggregations import SMALLEST, DryRun, Spec, with_claim
from tests.tools.long import size
from timestream_api.resource import Spec as SpecModel

pytestmark = [pytest.mark.control_plane, pytest.mark.timeout(120, func_only=True)]

DURATIONS: Final[list[Any]] = [
    0, 1, 3600, 3601, 604800, 604801, 1.5, 60.0, True, [], "", "1s", "1h30m", "60m", "3600s", "0h0m1s",
    "168h", "168h1s", "1m30", "1h 1m", "600", "1.5s", "-1s", "000168h", "0000168h", "1s\n", "٣s",
]  # fmt: skip
SIZES: Final[list[Any]] = [
    0, 1048575, 1048576, 1 << 50, (1 << 50) + 1, 2097152.0, True, "1Mi", "1.5Gi", "0.5Mi", "1Pi", "1.1Pi",
    "1048576", "1M", "2k", "2K", "1e9", "100m", " 1Gi", "9999999999999999", "1.Gi",
]  # fmt: skip
NAMES: Final = [
    "a",
    "A",
    "a.b",
    "a-b",
    "-a",
    "a-",
    "a_b",
    "",
    "a" * 63,
    "a" * 64,
    "a" * 253,
    "a" * 254,
    "a\n",
    5,
]
CPUS: Final = [1, 0, 10**18, -1, 1.0, "1", "0.5", "500m", "1e3", "1Ki", "", True]
SUB_PATHS: Final = ["a", "a/b", "/a", "a/", "a//b", "..", ".a", "a/../b", "", "a\n"]
MODES: Final = [[], ["ReadOnlyMany"], ["ReadWriteOnce", "ReadWriteMany"], ["ReadWriteMany"] * 2]
BORDERLINE: Final[dict[str, list[Any]]] = {
    "address": [
        *NAMES, "::1", "fe80::1%eth0", "fe80::1%", "10.0.0.1%eth0", "10.0.0.3", "010.0.0.3", "10.0.0",
        "1.2.3.4.5", "::ffff:10.0.0.3", "smurf:1", "smurf.", "lab_1.host", "é",
    ],
    "port": [0, 1, 65535, 65536, "50000", 50000.0, 1.5, True],
    "timePerFile": DURATIONS,
    "frameGap": DURATIONS,
    "maxFileBytes": SIZES,
    "minFreeBytes": SIZES,
    "streamId": NAMES,
    "layout": ["Session", "session", ""],
    "verify": [True, "true", 1],
    "httpPort": [0, -1],
    "image": ["a", "a/b:1@sha256:0", "/a", "a b", ""],
    "imagePullSecrets": [[], [{"name": "a"}], [{"name": "a"}, {"name": "a"}], [{}], [{"name": "A"}]],
    "resources": [
        {}, {"limits": {"memory": "512Mi"}}, {"limits": {"memory": 536870911}},
        *({"limits": {"cpu": value}} for value in CPUS),
        *({"requests": {"cpu": "1500m"}, "limits": {"cpu": limit}} for limit in (1, 2, "1.5", "1.4")),
    ],
    "nodeSelector": [
        *({"a": value} for value in NAMES),
        *({key: "a"} for key in ("a/b", "/a", "A/b", "a/", "a" * 64, "", "a\n")),
    ],
    "labels": [{"app.kubernetes.io/x": "a"}, {"example.org/x": ""}, {}],
    "tolerations": [[], [{}], [{"operator": "Exists"}], [{"key": "a", "operator": "Exists", "value": ""}]],
    "affinity": [{}, {"nodeAffinity": {}}, {"nodeAffinity": []}, {"other": {}}],
    "env": [
        [{"name": "A"}], [{"name": "A", "value": ""}], [{"name": "A"}, {"name": "A"}],
        [{"name": "A-B"}], [{"name": "A\n"}],
    ],
    "storage": [
        *({"claimName": "a", "subPath": path} for path in SUB_PATHS),
        *(with_claim(size) for size in SIZES),
        *(with_claim(accessModes=modes) for modes in MODES),
    ],
}  # fmt: skip
ONE: Final = [(field, value) for field, values in BORDERLINE.items() for value in values]
SOME: Final = st.lists(st.sampled_from(ONE), max_size=4).map(lambda parts: {**SMALLEST, **dict(parts)})


def objection(spec: Spec) -> str | None:
    """Return what the model has against `spec`, or None."""
    try:
        SpecModel.model_validate(spec)
    except ValidationError as error:
        return str(error)
    return None


def assert_agreement(dry_run: DryRun, spec: Spec) -> None:
    """Fail with both opinions if they differ."""
    server, model = dry_run.why_not(spec), objection(spec)
    assert (server is None) == (model is None), f"{spec}: API server: {server}; model: {model}"


@pytest.mark.parametrize("field", BORDERLINE)
def test_both_agree_about_values_at_the_border(dry_run: DryRun, field: str) -> None:
    for value in BORDERLINE[field]:
        assert_agreement(dry_run, {**SMALLEST, field: value})


@settings(
    max_examples=size(40, 400),
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)
@given(spec=SOME)
def test_both_agree_about_several_at_once(dry_run: DryRun, spec: Spec) -> None:
    assert_agreement(dry_run, spec)
