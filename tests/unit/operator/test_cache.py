"""The cache: the newest version counts, whoever brings it and in whatever order."""

from typing import Any

from timestream_operator.cache import REMEMBERED, Cache, resource_of
from timestream_operator.objects import AGGREGATION, Key, Kind, Manifest

KEY = Key("lab", "one")


def role(version: int, uid: str = "u1", **metadata: Any) -> Manifest:
    own = {"namespace": "lab", "name": "one", "uid": uid, "resourceVersion": str(version)}
    return {"metadata": {**own, **metadata}, "rules": version}


def test_an_older_version_that_comes_late_is_not_taken() -> None:
    cache = Cache()
    assert cache.put(Kind.ROLE, role(9))
    assert not cache.put(Kind.ROLE, role(8))
    assert not cache.put(Kind.ROLE, role(9))
    assert cache.get(Kind.ROLE, KEY) == role(9)
    assert cache.put(Kind.ROLE, role(10))
    assert cache.get(Kind.ROLE, KEY) == role(10)


def test_versions_are_compared_as_numbers() -> None:
    cache = Cache()
    cache.put(Kind.ROLE, role(99))
    cache.put(Kind.ROLE, role(100))
    assert cache.get(Kind.ROLE, KEY) == role(100)


def test_a_late_answer_does_not_bring_back_what_was_deleted() -> None:
    cache = Cache()
    cache.put(Kind.ROLE, role(5))
    cache.drop(Kind.ROLE, role(7))
    cache.put(Kind.ROLE, role(6))
    assert cache.get(Kind.ROLE, KEY) is None


def test_what_left_our_labels_and_came_back_is_known_again() -> None:
    cache = Cache()
    cache.drop(Kind.ROLE, role(7))
    cache.put(Kind.ROLE, role(8))
    assert cache.get(Kind.ROLE, KEY) == role(8)


def test_a_late_deletion_does_not_touch_the_one_that_took_the_name() -> None:
    cache = Cache()
    cache.put(Kind.ROLE, role(5, "u2"))
    cache.drop(Kind.ROLE, role(4, "u1"))
    assert cache.get(Kind.ROLE, KEY) == role(5, "u2")


def test_deletions_are_not_remembered_without_end() -> None:
    cache = Cache()
    for number in range(REMEMBERED + 10):
        cache.drop(Kind.ROLE, role(5, f"u{number}"))
    cache.put(Kind.ROLE, role(1, "u0"))
    assert cache.get(Kind.ROLE, KEY)


def test_a_list_corrects_what_the_watch_missed_and_spares_what_is_newer_than_the_list() -> None:
    cache = Cache()
    cache.put(Kind.ROLE, role(5))
    before = cache.keys(Kind.ROLE)
    newer = {**role(9, "u3"), "metadata": {**role(9, "u3")["metadata"], "name": "new"}}
    cache.put(Kind.ROLE, newer)
    assert cache.correct(Kind.ROLE, before, []) == {KEY}
    assert cache.keys(Kind.ROLE) == {Key("lab", "new")}


def test_what_nobody_reads_is_not_kept() -> None:
    cache = Cache()
    cache.put(Kind.ROLE, role(5, managedFields=[{"much": "text"}]))
    kept = cache.get(Kind.ROLE, KEY)
    assert kept
    assert "managedFields" not in kept["metadata"]


def test_a_claim_knows_who_names_it_in_its_own_namespace() -> None:
    cache = Cache()
    for namespace in ("lab", "other"):
        metadata = {"namespace": namespace, "name": "one", "uid": namespace}
        cache.put(Kind.AGGREGATION, {"metadata": metadata, "spec": {"storage": {"claimName": "data"}}})
    assert cache.users_of(Key("lab", "data")) == [Key("lab", "one")]


def test_a_child_knows_its_resource_by_its_label() -> None:
    assert resource_of(role(1, labels={AGGREGATION: "two"})) == Key("lab", "two")
    assert resource_of(role(1)) is None
