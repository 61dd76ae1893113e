"""One round for one resource: look, decide, act, tell. What is as it should be costs no request."""

import logging
import time
import uuid
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from timestream_api.resource import Spec
from timestream_operator.cache import Cache
from timestream_operator.cluster import Cluster, RefusedError, UnavailableError, warnings
from timestream_operator.conditions import Facts
from timestream_operator.manifests import Defaults, Owner, child_keys, claim_name, pod_key
from timestream_operator.objects import SELECTOR, Key, Kind, Manifest, is_going, key_of, uid_of
from timestream_operator.problems import Problem, is_explained
from timestream_operator.queue import RetryError
from timestream_operator.reconcile import (
    Resource,
    Verdict,
    is_pending,
    judge,
    judge_bad_spec,
    made_at,
    plan,
    read,
    refused,
    takes_long,
)
from timestream_operator.story import Told, applied, event

EVENT_AGAIN: Final = 600.0  # seconds, in each of which the same event about the same resource is written once
WARNINGS_LAST: Final = 15.0  # seconds, in each of which a worker asks a namespace for its warnings once
MOST_NAMESPACES: Final = 256  # whose warnings are remembered
REMEMBERED: Final = 10_000  # events

# What is watched, and by which labels. Claims that users made have none of ours.
WATCHED: Final[Mapping[Kind, str]] = {
    Kind.AGGREGATION: "",
    Kind.SERVICE_ACCOUNT: SELECTOR,
    Kind.ROLE: SELECTOR,
    Kind.ROLE_BINDING: SELECTOR,
    Kind.CLAIM: "",
    Kind.STATEFUL_SET: SELECTOR,
    Kind.POD: SELECTOR,
}

logger = logging.getLogger(__name__)


class Controller:
    """Brings resources and what stands in the cluster together. Safe to use from several threads."""

    def __init__(self, cluster: Cluster, cache: Cache, defaults: Defaults, instance: str) -> None:
        self._cluster = cluster
        self._cache = cache
        self._defaults = defaults
        self._instance = instance
        # What is asked or said in one stretch of time is remembered until it is over.
        self._warnings = lru_cache(MOST_NAMESPACES)(self._ask_for_warnings)
        self._write_once = lru_cache(REMEMBERED)(self._write_event)

    def fill(self, namespaces: Iterable[str | None]) -> set[Key]:
        """Bring the cache in line with the API server; return all resources.

        Raises:
            RefusedError: the operator may not look, or the resource is not known to the cluster.
            UnavailableError: the API server does not answer.
        """
        for namespace in namespaces:
            for kind, selector in WATCHED.items():
                before = {key for key in self._cache.keys(kind) if namespace in (None, key.namespace)}
                self._cache.correct(kind, before, self._cluster.list(kind, namespace, labelSelector=selector))
        return self._cache.keys(Kind.AGGREGATION)

    def reconcile(self, key: Key) -> float | None:
        """Do one round; return the seconds after which to look again though nothing was heard.

        Raises:
            RetryError: the API server could not do its part.
        """
        body = self._cache.get(Kind.AGGREGATION, key)
        if body is None or is_going(body):
            return None
        try:
            return self._round(read(body))
        except UnavailableError as error:
            raise RetryError(str(error)) from error

    def _round(self, resource: Resource) -> float | None:
        if resource.spec is None:
            verdict, done = judge_bad_spec(resource, datetime.now(UTC)), []
        else:
            trouble, done = self._act(resource.owner, resource.spec)
            verdict = judge(resource, self._facts(resource, resource.spec, trouble))
        self._tell(resource.owner, verdict, done)
        return verdict.next_look

    def _act(self, owner: Owner, spec: Spec) -> tuple[Problem | None, list[tuple[Kind, bool]]]:
        """Apply the children that need it; return what is in the way, and which were applied and are new."""
        seen = self._children(owner, spec)
        decided = plan(owner, spec, seen, self._defaults)
        troubles, done = list(decided.troubles), list[tuple[Kind, bool]]()
        for kind, wanted in decided.apply:
            try:
                self._cache.put(kind, self._cluster.apply(kind, wanted))
                done.append((kind, kind not in seen))
            except RefusedError as error:
                troubles.append(refused(kind, key_of(wanted).name, error.code, error.message))
        return (troubles[0] if troubles else None), done

    def _children(self, owner: Owner, spec: Spec) -> dict[Kind, Manifest]:
        """Return the children there are. What is not watched for lack of our labels is asked for."""
        seen: dict[Kind, Manifest] = {}
        for kind, key in child_keys(owner).items():
            if kind is Kind.CLAIM and spec.storage.claim_name:
                continue
            found = self._cache.get(kind, key) or self._cluster.get(kind, key)
            if found:
                seen[kind] = found
        return seen

    def _facts(self, resource: Resource, spec: Spec, trouble: Problem | None) -> Facts:
        owner, now = resource.owner, datetime.now(UTC)
        pod = self._cache.get(Kind.POD, pod_key(owner))
        claim = self._cache.get(Kind.CLAIM, Key(owner.namespace, claim_name(owner, spec)))
        maker = pod or self._cache.get(Kind.STATEFUL_SET, owner.key)
        started = None if spec.suspend else made_at(maker)
        asks_pod = takes_long(started, now) and not is_explained(pod)
        asks_claim = is_pending(claim) and takes_long(made_at(claim), now)
        return Facts(
            now=now,
            spec=spec,
            claim_name=claim_name(owner, spec),
            claim=claim,
            pod=pod,
            report=resource.report,
            trouble=trouble,
            pod_warning=self._warning(owner.namespace, maker) if asks_pod else "",
            claim_warning=self._warning(owner.namespace, claim) if asks_claim else "",
            started=started,
        )

    def _warning(self, namespace: str, about: Manifest | None) -> str:
        """Return the newest warning about an object, empty where there is none."""
        known = self._warnings(namespace, time.monotonic() // WARNINGS_LAST)
        return known.get(uid_of(about), "") if about else ""

    def _ask_for_warnings(self, namespace: str, _stretch: float) -> Mapping[str, str]:
        return warnings(self._cluster, namespace)

    def _tell(self, owner: Owner, verdict: Verdict, done: list[tuple[Kind, bool]]) -> None:
        """Write the status, then the events: a status that cannot be written is told another time."""
        if verdict.status:
            try:
                self._cache.put(
                    Kind.AGGREGATION, self._cluster.apply(Kind.AGGREGATION, verdict.status, "status")
                )
            except RefusedError as error:
                if error.code == 404:
                    return  # it was deleted meanwhile
                raise RetryError(f"status refused: {error.message}") from error
        for told in [*applied(done), *verdict.events]:
            self._write_once(owner, told, time.monotonic() // EVENT_AGAIN)
        if done or verdict.status:
            phase = verdict.status["status"]["phase"] if verdict.status else None
            details = {"key": str(owner.key), "applied": [kind.kind for kind, _ in done], "phase": phase}
            logger.info("reconciled", extra=details)

    def _write_event(self, owner: Owner, told: Told, _stretch: float) -> None:
        manifest = event(owner, told, datetime.now(UTC), self._instance, uuid.uuid4().hex[:16])
        try:
            self._cluster.create(Kind.EVENT, manifest)
        except (RefusedError, UnavailableError) as error:
            # The status says the same; a namespace on its way out takes no events.
            logger.warning("event not written", extra={"key": str(owner.key), "error": str(error)})
