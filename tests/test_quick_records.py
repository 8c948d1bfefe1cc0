"""Records of images as searches read them: what the ordinary way answers, whatever an image has."""

from dataclasses import replace

import pytest
from sqlalchemy import text, update

from search.database.tables import collection
from search.records import Collection, Label
from search.storing.commits import Batch, Committer
from search.storing.image_records import images_with, records
from search.storing.metadata_changes import change_metadata
from search.storing.quick_records import quick_records
from search.storing.store import Store
from tests.fakes import new_image
from tests.stored_rows import embeddings_of


@pytest.fixture
def committer(store: Store, target: Collection) -> Committer:
    return Committer(store.database, store.blobs, target)


def both_ways(store: Store, target: Collection, ids: list[int]) -> list[object]:
    quick = quick_records(store.database, target.id, ids)
    assert quick is not None
    with store.database.reading() as connection:
        ordinary = records(connection, target.id, images_with(target.id, ids))
    assert quick == {record.id: record for record in ordinary}
    return [quick[image_id] for image_id in sorted(quick)]


def test_labels_metadata_and_moments_are_read_as_ever(store: Store, target: Collection, committer: Committer) -> None:
    cat, dog = Label("tabby, tabby cat", 0.75), Label("dog", 0.25)
    labels = ((cat, dog), None, (dog,))
    images = [replace(new_image(key), labels=named) for key, named in zip("abc", labels, strict=True)]
    committer.commit(Batch(images, embeddings_of(1, 3)))
    change_metadata(store.database, target.id, 2, {"place": {"city": "Köln"}, "rating": 5, "ok": True})
    first, second, _ = both_ways(store, target, [3, 1, 2])
    assert getattr(first, "labels") == (cat, dog)  # noqa: B009
    assert getattr(second, "metadata") == {"place": {"city": "Köln"}, "rating": 5, "ok": True}  # noqa: B009


def test_what_is_removed_unknown_or_of_another_collection_is_left_out(
    store: Store, target: Collection, committer: Committer
) -> None:
    committer.commit(Batch([new_image(key) for key in "abcdefghi"], embeddings_of(1, 9)))
    committer.remove([4])
    other = store.open_collection("other", target.space)
    Committer(store.database, store.blobs, other).commit(Batch([new_image("elsewhere")], embeddings_of(2, 1)))
    assert len(both_ways(store, target, list(range(1, 50)))) == 8
    assert both_ways(store, other, [1, 2, 3]) == []
    assert quick_records(store.database, target.id, []) == {}


def test_a_database_that_does_not_answer_is_asked_the_ordinary_way(store: Store, target: Collection) -> None:
    with store.database.engine.begin() as connection:
        connection.execute(text("ALTER TABLE content_label RENAME TO elsewhere"))
    assert quick_records(store.database, target.id, [1]) is None


def test_a_collection_is_read_again_when_anything_of_it_has_changed(store: Store, target: Collection) -> None:
    assert store.catalogue.collection("default") is store.catalogue.collection("default")
    with store.database.writing() as connection:
        connection.execute(update(collection).where(collection.c.id == target.id).values(transform="centre"))
    assert store.catalogue.collection("default").transform == "centre"
