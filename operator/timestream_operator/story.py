"""The story that `kubectl describe` tells: an event for each change that means something to people. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from timestream_api.names import API_VERSION, GROUP, KIND
from timestream_api.resource import Condition, ConditionStatus, ConditionType
from timestream_operator.conditions import Finding, Findings
from timestream_operator.manifests import Owner
from timestream_operator.objects import Kind, Manifest

LONGEST_NOTE: Final = 1000
# What goes without saying.
QUIET: Final = frozenset({"NoReport", "NotRunning", "Starting", "Stopping", "ReportingOff", "ClaimPending"})
NO_TROUBLE: Final = frozenset({"NoFrames", "Suspended", "Stopped"})
# Told whenever they come true; the others only when they were false before.
MILESTONES: Final = frozenset({ConditionType.READY, ConditionType.CONNECTED, ConditionType.RECORDING})


@dataclass(frozen=True, slots=True)
class Told:
    """An event to write."""

    reason: str
    message: str
    is_warning: bool = False


def story(old: Sequence[Condition], found: Findings) -> list[Told]:
    """Return what is new in the conditions, each reason once."""
    before = {condition.type: condition for condition in old}
    told: dict[str, Told] = {}
    for kind, finding in found.items():
        if _is_news(kind, finding, before.get(kind)):
            told.setdefault(finding.reason, Told(finding.reason, finding.message, _is_trouble(finding)))
    return list(told.values())


def applied(kinds: Sequence[tuple[Kind, bool]]) -> list[Told]:
    """Return the events about children that were applied; the flag says whether one is new."""
    told: list[Told] = []
    for word, reason, is_new in (("Made", "Created", True), ("Put right", "Updated", False)):
        names = ", ".join(kind.kind for kind, new in kinds if new is is_new)
        if names:
            told.append(Told(reason, f"{word}: {names}."))
    return told


def event(owner: Owner, told: Told, now: datetime, instance: str, suffix: str) -> Manifest:
    """Return the event about the resource. `instance` is this operator, `suffix` makes the name unique."""
    return {
        "apiVersion": Kind.EVENT.api_version,
        "kind": Kind.EVENT.kind,
        "metadata": {"name": f"{owner.name}.{suffix}", "namespace": owner.namespace},
        "eventTime": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "reportingController": f"{GROUP}/operator",
        "reportingInstance": instance,
        "action": "Reconcile",
        "reason": told.reason,
        "type": "Warning" if told.is_warning else "Normal",
        "note": told.message[:LONGEST_NOTE],
        "regarding": {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "namespace": owner.namespace,
            "name": owner.name,
            "uid": owner.uid,
        },
    }


def _is_news(kind: ConditionType, finding: Finding, known: Condition | None) -> bool:
    if finding.reason in QUIET or (
        known and (known.status, known.reason) == (finding.status, finding.reason)
    ):
        return False
    if finding.status is ConditionStatus.TRUE and kind not in MILESTONES:
        return known is not None and known.status is ConditionStatus.FALSE
    return True


def _is_trouble(finding: Finding) -> bool:
    return finding.status is not ConditionStatus.TRUE and finding.reason not in NO_TROUBLE
