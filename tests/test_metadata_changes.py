"""Changing the metadata of an image, on both databases."""

import threading

import numpy as np
import pytest

from search.conditions.where import parse
from search.embeddings import unit_rows
from search.errors import ImageChanged, ImageNotFound, UsageError
from search.records import Collection
from search.storing.commits import Batch, Committer
from search.storing.metadata_changes import change_metadata, version
from search.storing.store import Store
from tests.fakes import FAKE_DIMS, FakeBackbone, new_image


@pytest.fixture
def indexed(store: Store, target: Collection) -> Collection:
    """Two images, 1 and 2."""
    rows = unit_rows(np.eye(2, FAKE_DIMS))
    Committer(store.database, store.blobs, target).commit(Batch([new_image("a"), new_image("b")], rows))
    return store.catalogue.collection(target.name)


def test_a_change_is_there_for_others_when_it_returns_and_costs_no_commit(store: Store, indexed: Collection) -> None:
    changed = change_metadata(store.database, indexed.id, 1, {"camera": "X100", "place": {"city": "Köln"}})
    assert changed.metadata == {"camera": "X100", "place": {"city": "Köln"}}
    with Store(store.root) as other:
        assert other.catalogue.image_by_id(indexed.id, 1) == changed
        assert other.catalogue.image_by_id(indexed.id, 2).metadata == {}
        assert other.catalogue.collection("default") == indexed
        assert other.catalogue.matching(indexed, parse('metadata.place.city = "Köln"')).tolist() == [1]


def test_changes_add_up_and_null_takes_away(store: Store, indexed: Collection) -> None:
    for patch in ({"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"c": None}}, {"e": [None]}, {}):
        change_metadata(store.database, indexed.id, 1, patch)
    assert store.catalogue.image_by_id(indexed.id, 1).metadata == {"a": 1, "b": {"d": 3}, "e": [None]}
    assert change_metadata(store.database, indexed.id, 1, None).metadata == {}


def test_what_cannot_be_stored_changes_nothing(store: Store, indexed: Collection) -> None:
    change_metadata(store.database, indexed.id, 1, {"a": "x" * 40_000})
    for patch in ({"b": "x" * 40_000}, {"n": float("nan")}, {"a": None, "n": 2**64}):
        with pytest.raises(UsageError, match="metadata"):
            change_metadata(store.database, indexed.id, 1, patch)
    assert store.catalogue.image_by_id(indexed.id, 1).metadata == {"a": "x" * 40_000}


def test_an_image_that_is_not_there_cannot_be_changed(store: Store, indexed: Collection) -> None:
    other = store.open_collection("other", FakeBackbone().space)
    for collection_id, image_id in ((indexed.id, 3), (other.id, 1)):
        with pytest.raises(ImageNotFound):
            change_metadata(store.database, collection_id, image_id, {"a": 1})
    assert store.catalogue.image_by_id(indexed.id, 1).metadata == {}


def test_nothing_is_written_over_what_the_caller_has_not_seen(store: Store, indexed: Collection) -> None:
    seen = version(store.catalogue.image_by_id(indexed.id, 1))
    first = change_metadata(store.database, indexed.id, 1, {"a": 1}, versions=frozenset({seen, "another"}))
    assert version(first) != seen
    for versions in (frozenset({seen}), frozenset[str]()):
        with pytest.raises(ImageChanged, match="image 1 was changed meanwhile"):
            change_metadata(store.database, indexed.id, 1, {"a": 2}, versions=versions)
    assert change_metadata(store.database, indexed.id, 1, {}, versions=frozenset({version(first)})) == first


def test_no_change_of_many_at_once_is_lost(store: Store, indexed: Collection) -> None:
    def change(number: int) -> None:
        change_metadata(store.database, indexed.id, 1, {f"key{number}": number})

    threads = [threading.Thread(target=change, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.catalogue.image_by_id(indexed.id, 1).metadata == {f"key{number}": number for number in range(8)}


def test_a_file_that_is_indexed_again_keeps_its_metadata(store: Store, indexed: Collection) -> None:
    change_metadata(store.database, indexed.id, 1, {"a": 1})
    known = store.catalogue.image_by_id(indexed.id, 1)
    rows = unit_rows(np.ones((1, FAKE_DIMS)))
    again = new_image("a", new_image("other").content)
    Committer(store.database, store.blobs, indexed).commit(Batch([again], rows))
    after = store.catalogue.image_by_id(indexed.id, 1)
    assert after.sha256 != known.sha256
    assert after.metadata == {"a": 1}
