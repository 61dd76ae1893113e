"""What to do about one resource: observed + wanted + now -> children, status, events, next look. Pure.

Two steps, since what the API server says of the children is part of the status: `plan`, then `judge`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from pydantic import ValidationError

from timestream_api.names import API_VERSION, KIND
from timestream_api.report import Report
from timestream_api.resource import Condition, ConditionType, Phase, Spec
from timestream_operator.conditions import (
    Facts,
    Findings,
    findings,
    findings_of_bad_spec,
    phase_of,
    report_ends,
    with_times,
)
from timestream_operator.drift import is_as_wanted
from timestream_operator.manifests import Defaults, Owner, children
from timestream_operator.objects import AGGREGATION, Kind, Manifest, controller_of, dig, is_going
from timestream_operator.problems import Problem, is_explained, of_refusal, sentences
from timestream_operator.story import Told, story

PATIENCE: Final = timedelta(seconds=10)  # so long a start needs no explanation
LONGEST_PAUSE: Final = timedelta(minutes=5)
REFUSED_AGAIN: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Resource:
    """One TimestreamAggregation as the API server has it."""

    owner: Owner
    generation: int
    spec: Spec | None
    bad_spec: str  # why there is no spec
    conditions: tuple[Condition, ...]
    report: Report | None
    status: Manifest  # the operator's part, as it stands there


@dataclass(frozen=True, slots=True)
class Plan:
    """The children to apply, in order, and what is in the way of the others."""

    apply: Sequence[tuple[Kind, Manifest]]
    troubles: Sequence[Problem]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The status to write (None: it stands there already), what to tell, and the next look in seconds."""

    status: Manifest | None
    events: Sequence[Told]
    next_look: float | None


def read(body: Manifest) -> Resource:
    """Return a resource; a spec that this operator does not understand is told in `bad_spec`."""
    metadata: Manifest = body["metadata"]
    spec, why = _spec(body)
    status: Manifest = dict(body.get("status") or {})
    report = _report(status.pop("aggregator", None))
    return Resource(
        owner=Owner(str(metadata["namespace"]), str(metadata["name"]), str(metadata["uid"])),
        generation=int(metadata.get("generation", 0)),
        spec=spec,
        bad_spec=why,
        conditions=_conditions(status),
        report=report,
        status=status,
    )


def plan(owner: Owner, spec: Spec, seen: Mapping[Kind, Manifest], defaults: Defaults) -> Plan:
    """Return which children are to be applied: those that are missing, and those that are not as wanted."""
    apply: list[tuple[Kind, Manifest]] = []
    troubles: list[Problem] = []
    for kind, wanted in children(owner, spec, defaults, seen.get(Kind.CLAIM)):
        actual = seen.get(kind)
        if actual and (trouble := _in_the_way(owner, kind, actual)):
            troubles.append(trouble)
        elif actual is None or not is_as_wanted(wanted, actual):
            apply.append((kind, wanted))
    return Plan(apply, troubles)


def refused(kind: Kind, name: str, code: int, message: str) -> Problem:
    """Return what a refusal of the API server to apply a child means."""
    lasting = code in {400, 422}
    reason = "Invalid" if lasting else of_refusal(message)
    return Problem(reason, sentences(f"{kind.kind} {name} is refused: {message}"), lasting=lasting)


def judge(resource: Resource, facts: Facts) -> Verdict:
    """Return the status of a resource whose spec is understood."""
    found = findings(facts)
    phase, reason = phase_of(found, facts)
    return Verdict(
        status=_status(resource, found, phase, reason, facts.now),
        events=story(resource.conditions, found),
        next_look=_next_look(facts),
    )


def judge_bad_spec(resource: Resource, now: datetime) -> Verdict:
    """Return the status of a resource whose spec is not understood. Only an edit can heal it."""
    found = findings_of_bad_spec(resource.bad_spec)
    status = _status(resource, found, Phase.FAILED, "InvalidSpec", now)
    told = [Told("InvalidSpec", found[ConditionType.RECONCILED].message, is_warning=True)] if status else []
    return Verdict(status, told, None)


def takes_long(made: datetime | None, now: datetime) -> bool:
    """Return whether something that began at `made` takes so long that the events should be asked why."""
    return made is not None and now - made >= PATIENCE


def is_pending(claim: Manifest | None) -> bool:
    """Return whether a claim waits for its volume."""
    return claim is not None and dig(claim, "status", "phase", default="Pending") == "Pending"


def made_at(manifest: Manifest | None) -> datetime | None:
    """Return when an object was made."""
    text = dig(manifest, "metadata", "creationTimestamp")
    return datetime.fromisoformat(str(text)) if text else None


def _spec(body: Manifest) -> tuple[Spec | None, str]:
    try:
        return Spec.model_validate(body.get("spec")), ""
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(["spec", *map(str, first["loc"])])
        return None, f"{where}: {first['msg']}"


def _report(document: Manifest | None) -> Report | None:
    try:
        return Report.model_validate(document) if document else None
    except ValidationError:
        return None  # of a recorder that this operator does not know; the next one may be understood


def _conditions(status: Manifest) -> tuple[Condition, ...]:
    known: list[Condition] = []
    entries: list[Manifest] = status.get("conditions") or []
    for entry in entries:
        try:
            known.append(Condition.model_validate(entry))
        except ValidationError:
            continue  # it is written anew
    return tuple(known)


def _in_the_way(owner: Owner, kind: Kind, actual: Manifest) -> Problem | None:
    """Return why an object that exists cannot be the wanted child."""
    name = f"{kind.kind} {actual['metadata']['name']}"
    if not _is_ours(owner, kind, actual):
        return Problem(
            "NameTaken",
            f"{name} exists and belongs to somebody else. Rename it, or rename this resource.",
            lasting=True,
        )
    if is_going(actual):
        return Problem("Replacing", f"{name} is being deleted, and is made again afterwards.")
    return None


def _is_ours(owner: Owner, kind: Kind, actual: Manifest) -> bool:
    controller = controller_of(actual)
    if kind is Kind.CLAIM and not controller:  # with reclaimPolicy Retain it outlives its resource
        return dig(actual, "metadata", "labels", AGGREGATION) == owner.name
    return controller == owner.uid


def _status(resource: Resource, found: Findings, phase: Phase, reason: str, now: datetime) -> Manifest | None:
    """Return the status to apply, None when it stands there already."""
    conditions = with_times(resource.conditions, found, resource.generation, now)
    wanted: Manifest = {
        "observedGeneration": resource.generation,
        "phase": phase.value,
        "reason": reason,
        "conditions": [condition.to_json() for condition in conditions],
    }
    if is_as_wanted(wanted, resource.status):
        return None
    metadata = {"name": resource.owner.name, "namespace": resource.owner.namespace}
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "status": wanted}


def _next_look(facts: Facts) -> float | None:
    """Return the seconds after which the conditions may change without an event that wakes anybody."""
    looks: list[timedelta] = []
    if facts.report and facts.now <= (ends := report_ends(facts.report)):
        looks.append(ends - facts.now + timedelta(seconds=1))
    if facts.trouble:
        looks.append(LONGEST_PAUSE if facts.trouble.lasting else REFUSED_AGAIN)
    if facts.started and not is_explained(facts.pod):
        looks.append(_pause(facts.now - facts.started))
    if is_pending(facts.claim) and (made := made_at(facts.claim)):
        looks.append(_pause(facts.now - made))
    return max(1.0, min(looks).total_seconds()) if looks else None


def _pause(age: timedelta) -> timedelta:
    """Return when to ask again why something is not there yet: as long again as it has taken so far."""
    return min(max(age, PATIENCE), LONGEST_PAUSE)
