"""Whether an object is as the operator wants it, by the fields that the operator owns. Pure.

Others may add fields, and the API server fills in defaults: those are not ours to judge. What the operator no
longer wants shows in a checksum of all that it wants, which it leaves at the object.
"""

import hashlib
import json
from decimal import Decimal
from typing import Any, Final, cast

from timestream_api.names import GROUP
from timestream_api.rules import parse_quantity
from timestream_operator.objects import Manifest, dig

CHECKSUM: Final = f"{GROUP}/applied"
# Lists in which the API server knows an entry by this field. All other lists are whole or different.
KEYS: Final = {
    "conditions": "type",
    "containers": "name",
    "env": "name",
    "imagePullSecrets": "name",
    "ownerReferences": "uid",
    "ports": "containerPort",
    "volumeMounts": "mountPath",
    "volumes": "name",
}
QUANTITIES: Final = frozenset({"limits", "requests", "emptyDir"})


def sealed(manifest: Manifest) -> Manifest:
    """Return `manifest` with the checksum of what it says."""
    text = json.dumps(manifest, sort_keys=True, separators=(",", ":"))
    annotations: Manifest = dig(manifest, "metadata", "annotations", default={})
    seal = {CHECKSUM: hashlib.sha256(text.encode()).hexdigest()[:16]}
    return {**manifest, "metadata": {**manifest["metadata"], "annotations": {**annotations, **seal}}}


def is_as_wanted(wanted: Manifest, actual: Manifest) -> bool:
    """Return whether everything that `wanted` says is so in `actual`."""
    return _holds(wanted, actual, "", "")


def _holds(wanted: Any, actual: Any, name: str, parent: str) -> bool:
    if isinstance(wanted, dict):
        wants = cast("Manifest", wanted)
        has = cast("Manifest", actual) if isinstance(actual, dict) else {}
        return all(_holds(value, has.get(field), field, name) for field, value in wants.items())
    if isinstance(wanted, list):
        return _holds_list(cast("list[Any]", wanted), cast("list[Any]", actual or []), name)
    if not wanted and actual is None:
        return True  # the API server leaves out what is empty, false or 0
    return wanted == actual or (parent in QUANTITIES and _same_quantity(wanted, actual))


def _holds_list(wanted: list[Any], actual: list[Any], name: str) -> bool:
    if (key := KEYS.get(name)) is None:
        return len(wanted) == len(actual) and all(
            _holds(one, other, "", name) for one, other in zip(wanted, actual, strict=True)
        )
    known = {entry.get(key): entry for entry in actual}
    return all(entry[key] in known and _holds(entry, known[entry[key]], "", name) for entry in wanted)


def _same_quantity(wanted: object, actual: object) -> bool:
    try:
        return as_number(wanted) == as_number(actual)
    except ValueError:
        return False


def as_number(quantity: object) -> Decimal:
    """Return a quantity as the API server writes it: 500m, 1Gi, 1e3.

    Raises:
        ValueError: it is none.
    """
    mantissa, e, exponent = str(quantity).partition("e")
    if e and exponent.lstrip("+-").isdecimal():
        return parse_quantity(mantissa).scaleb(int(exponent))
    return parse_quantity(quantity)
