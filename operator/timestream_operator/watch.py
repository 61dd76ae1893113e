"""The one door to kopf: its watches keep the cache and wake keys. It never writes to the cluster.

Only `on.event` handlers: daemons, timers and change handlers put finalizers and annotations on resources.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

import kopf

from timestream_operator.cache import Cache, resource_of
from timestream_operator.cluster import RefusedError, UnavailableError
from timestream_operator.controller import WATCHED, Controller
from timestream_operator.objects import Key, Kind, Manifest, key_of
from timestream_operator.queue import WorkQueue

CHECK_EVERY: Final = 600.0  # a deletion that fell into a gap of a watch is told by nobody
SPREAD: Final = 30.0
START_AGAIN: Final = 5.0
STOP_WITHIN: Final = 20.0

logger = logging.getLogger(__name__)


class Watch:
    """Runs kopf until SIGTERM: fills the cache, and has the workers look at what changes."""

    def __init__(
        self, cache: Cache, controller: Controller, queue: WorkQueue[Key], namespaces: Sequence[str]
    ):
        """Prepare to watch `namespaces`, all of them where none is given."""
        self._cache = cache
        self._controller = controller
        self._queue = queue
        self._namespaces = tuple(namespaces)
        self._checking: asyncio.Task[None] | None = None

    def run(self, health_port: int) -> None:
        """Watch until SIGTERM or SIGINT; `/healthz` answers on `health_port` when all is started."""
        registry = kopf.OperatorRegistry()
        kopf.on.login(registry=registry)(kopf.login_via_client)
        kopf.on.startup(registry=registry)(self._start)
        kopf.on.cleanup(registry=registry)(self._stop)
        for kind in WATCHED:
            register = kopf.on.event(
                group=kind.group, version=kind.version, plural=kind.plural, id=kind.plural, registry=registry
            )
            register(self._handler(kind))
        kopf.run(
            registry=registry,
            settings=_settings(),
            standalone=True,
            clusterwide=not self._namespaces,
            namespaces=self._namespaces,
            liveness_endpoint=f"http://0.0.0.0:{health_port}/healthz",
        )

    async def _start(self, **_: Any) -> None:
        try:
            await self._check(spread=0.0)
        except (RefusedError, UnavailableError) as error:
            raise kopf.TemporaryError(f"cannot look at the cluster: {error}", delay=START_AGAIN) from error
        self._checking = asyncio.create_task(self._keep_checking(), name="check of the cache")
        logger.info("started", extra={"namespaces": list(self._namespaces) or "all"})

    async def _stop(self, **_: Any) -> None:
        if self._checking:
            self._checking.cancel()
        ended = await self._queue.stop(STOP_WITHIN)
        logger.info("stopped", extra={"work_ended": ended})

    async def _keep_checking(self) -> None:
        while True:
            await asyncio.sleep(CHECK_EVERY)
            try:
                await self._check(spread=SPREAD)
            except (RefusedError, UnavailableError) as error:
                logger.warning("cache not checked", extra={"error": str(error)})

    async def _check(self, spread: float) -> None:
        keys = await asyncio.to_thread(self._controller.fill, self._namespaces or (None,))
        for key in keys:
            self._queue.wake(key, random.random() * spread)  # noqa: S311 - spreads work

    def _handler(self, kind: Kind) -> Callable[..., Any]:
        async def seen(event: kopf.RawEvent, **_: Any) -> None:
            manifest = cast("Manifest", event["object"])
            if event["type"] == "DELETED":
                self._cache.drop(kind, manifest)
            elif not self._cache.put(kind, manifest):
                return  # it is known: from the first look, or as the answer to a write of our own
            for key in self._woken(kind, manifest):
                self._queue.wake(key)

        return seen

    def _woken(self, kind: Kind, manifest: Manifest) -> list[Key]:
        """Return the resources that an object is of interest to."""
        if kind is Kind.AGGREGATION:
            return [key_of(manifest)]
        owner = resource_of(manifest)
        users = self._cache.users_of(key_of(manifest)) if kind is Kind.CLAIM else []
        return [owner, *users] if owner else users


def _settings() -> kopf.OperatorSettings:
    """Return how kopf watches: events of its own off, silent connections noticed, nothing but the watches."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 330
    settings.watching.connect_timeout = 10
    settings.watching.inactivity_timeout = 70  # the API server sends bookmarks every minute
    settings.networking.request_timeout = 30
    settings.watching.chunk_size = 200
    settings.queueing.idle_timeout = 0.5  # a task for each object, which need not linger
    settings.queueing.exit_timeout = 0.5
    settings.process.ultimate_exiting_timeout = 2 * STOP_WITHIN
    for kind, selector in WATCHED.items():
        if selector:
            settings.watching.label_selectors[kind.group, kind.version, kind.plural] = selector
    return settings
