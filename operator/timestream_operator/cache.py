"""The objects as the API server last told of them: a look at a resource costs no request. Thread-safe."""

import threading
from collections.abc import Iterable
from typing import Final

from timestream_operator.objects import AGGREGATION, Key, Kind, Manifest, dig, key_of, uid_of, version_of

# What nobody here reads and a thousand resources would keep in memory.
UNUSED: Final = ("managedFields", "selfLink", "generateName")
REMEMBERED: Final = 4096  # deletions


class Cache:
    """The newest known version of each object: from lists, watches, and answers to the operator's writes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._objects: dict[Kind, dict[Key, Manifest]] = {kind: {} for kind in Kind}
        self._deleted: dict[str, int] = {}

    def get(self, kind: Kind, key: Key) -> Manifest | None:
        """Return the object, not to be changed, or None."""
        with self._lock:
            return self._objects[kind].get(key)

    def keys(self, kind: Kind) -> set[Key]:
        """Return the names of all known objects of one kind."""
        with self._lock:
            return set(self._objects[kind])

    def put(self, kind: Kind, manifest: Manifest) -> bool:
        """Remember an object; return False where this version of it, or a newer one, is known already."""
        slim = without_unused(kind, manifest)
        with self._lock:
            known = self._objects[kind].get(key_of(slim))
            newest = self._deleted.get(uid_of(slim), -1) if known is None else version_of(known)
            if version_of(slim) <= newest:
                return False
            self._objects[kind][key_of(slim)] = slim
            return True

    def drop(self, kind: Kind, manifest: Manifest) -> None:
        """Forget an object that was deleted, unless another one has taken its name."""
        with self._lock:
            known = self._objects[kind].get(key_of(manifest))
            if known is not None and uid_of(known) == uid_of(manifest):
                del self._objects[kind][key_of(manifest)]
            self._deleted[uid_of(manifest)] = version_of(manifest)  # a late answer must not bring it back
            if len(self._deleted) > REMEMBERED:
                del self._deleted[next(iter(self._deleted))]

    def correct(self, kind: Kind, before: set[Key], listed: Iterable[Manifest]) -> set[Key]:
        """Bring the cache in line with a whole list; return what was gone without the cache's knowledge.

        `before` are the names that were known before the list was asked for: what came later is no mistake.
        """
        gone = set(before)
        for manifest in listed:
            self.put(kind, manifest)
            gone.discard(key_of(manifest))
        with self._lock:
            return {key for key in gone if self._objects[kind].pop(key, None) is not None}

    def users_of(self, claim: Key) -> list[Key]:
        """Return the resources that name a claim which is not theirs."""
        with self._lock:
            resources = self._objects[Kind.AGGREGATION].items()
            return [
                key
                for key, body in resources
                if key.namespace == claim.namespace
                and dig(body, "spec", "storage", "claimName") == claim.name
            ]


def resource_of(manifest: Manifest) -> Key | None:
    """Return the resource that a child belongs to, by its label."""
    name = dig(manifest, "metadata", "labels", AGGREGATION)
    return Key(key_of(manifest).namespace, name) if name else None


def without_unused(kind: Kind, manifest: Manifest) -> Manifest:
    """Return a shallow copy without what nobody reads."""
    metadata = {name: value for name, value in manifest["metadata"].items() if name not in UNUSED}
    slim = {**manifest, "metadata": metadata}
    if kind is Kind.POD:
        slim.pop("spec", None)
    return slim
