"""Labels of contents: stored once, found by their synonyms, counted for facets."""

import threading

import numpy as np
import pytest
from sqlalchemy import func, select, text

from search.database import schema
from search.database.tables import content_label, embedding, image, label
from search.embeddings import unit_rows
from search.records import Collection, Embeddings, Label, LabelCount, shown_path
from search.storing.commits import Batch, Committer, no_embeddings
from search.storing.image_rows import NewImage
from search.storing.labels import _labels_with, synonyms
from search.storing.store import Store
from tests.fakes import FAKE_DIMS, FakeBackbone, facts, new_image

TABBY = (Label("tabby, tabby cat", 0.75), Label("tiger cat", 0.25))
LATIN = (Label("tiger cat", 0.875), Label("Felis silvestris", 0.125))


def rows(count: int, seed: int = 0) -> Embeddings:
    return unit_rows(np.random.default_rng(seed).normal(size=(count, FAKE_DIMS)))


def labelled(name: str, labels: tuple[Label, ...] | None, content: str | None = None) -> NewImage:
    uri = f"file:///photos/{name}"
    return NewImage(uri, uri, 1000, 1, facts(content or name), labels=labels)


@pytest.fixture
def committer(store: Store, target: Collection) -> Committer:
    return Committer(store.database, store.blobs, target)


def labels_of(store: Store, target: Collection) -> dict[str, tuple[Label, ...]]:
    return {image.uri.rsplit("/")[-1]: image.labels for image in store.catalogue.images(target.id)}


def test_a_label_is_found_by_itself_and_by_each_of_its_synonyms() -> None:
    assert synonyms("tabby, tabby cat") == {"tabby, tabby cat", "tabby", "tabby cat"}
    assert synonyms("Granny Smith") == {"granny smith"}
    assert synonyms("STRASSE, Straße,, ") == {"strasse, strasse,, ", "strasse"}


def test_labels_are_read_as_they_were_written(store: Store, target: Collection, committer: Committer) -> None:
    committer.commit(Batch([labelled("a", TABBY), labelled("b", LATIN), labelled("c", None)], rows(3)))
    assert labels_of(store, target) == {"a": TABBY, "b": LATIN, "c": ()}
    shape = store.catalogue.image_by_key(target.id, "file:///photos/a").as_json()
    assert shape["labels"] == [
        {"label": "tabby, tabby cat", "probability": 0.75},
        {"label": "tiger cat", "probability": 0.25},
    ]
    assert "labels" not in store.catalogue.image_by_key(target.id, "file:///photos/c").as_json()


def test_a_copy_has_the_labels_of_its_content(store: Store, target: Collection, committer: Committer) -> None:
    committer.commit(Batch([labelled("a", TABBY, "same")], rows(1)))
    committer.commit(Batch([labelled("b", None, "same")], rows(1)))
    assert labels_of(store, target) == {"a": TABBY, "b": TABBY}


def test_labels_of_a_content_are_written_once(store: Store, target: Collection, committer: Committer) -> None:
    committer.commit(Batch([labelled("a", TABBY[:1])], rows(1)))
    known = store.catalogue.files(target.id, ["file:///photos/a"])["file:///photos/a"]
    again = NewImage(known.key, known.uri, 1000, 1, known.content_id, known.image_id, LATIN)
    committer.commit(Batch([again], no_embeddings(FAKE_DIMS)))
    assert labels_of(store, target) == {"a": TABBY[:1]}


def test_an_image_that_only_gets_labels_keeps_its_id_its_embedding_and_its_sequence(
    store: Store, target: Collection, committer: Committer
) -> None:
    committer.commit(Batch([new_image("a")], rows(1)))
    known = store.catalogue.files(target.id, ["file:///photos/a"])["file:///photos/a"]
    named = NewImage(known.key, known.uri, 1000, 1, known.content_id, known.image_id, TABBY)
    committer.commit(Batch([named], no_embeddings(FAKE_DIMS)))
    assert labels_of(store, target) == {"a": TABBY}
    with store.database.reading() as connection:
        assert connection.execute(select(image.c.id, image.c.sequence)).all() == [(known.image_id, 1)]
        assert connection.execute(select(func.count()).select_from(embedding)).scalar() == 1


def test_every_space_has_labels_of_its_own(store: Store, target: Collection, committer: Committer) -> None:
    other = store.open_collection("other", FakeBackbone("another").space)
    committer.commit(Batch([labelled("a", TABBY)], rows(1)))
    Committer(store.database, store.blobs, other).commit(Batch([labelled("a", LATIN)], rows(1)))
    assert (labels_of(store, target), labels_of(store, other)) == ({"a": TABBY}, {"a": LATIN})
    assert store.catalogue.labels.missing(target.space_id, [1, 2]) == {2}


def test_an_error_inside_the_transaction_leaves_no_label(
    store: Store, target: Collection, committer: Committer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.faults._hits", __import__("collections").Counter())
    monkeypatch.setenv("LOOKALIKE_FAULT", "commit.end:1:eio")
    with pytest.raises(OSError, match="Input/output"):
        committer.commit(Batch([labelled("a", TABBY)], rows(1)))
    with store.database.reading() as connection:
        assert connection.execute(select(label)).all() == connection.execute(select(content_label)).all() == []


def test_labels_are_counted_most_frequent_first(store: Store, target: Collection, committer: Committer) -> None:
    other = store.open_collection("other", target.space)
    committer.commit(Batch([labelled("a", TABBY, "same"), labelled("b", TABBY, "same"), labelled("c", LATIN)], rows(3)))
    Committer(store.database, store.blobs, other).commit(Batch([labelled("d", LATIN)], rows(1)))
    counts = store.catalogue.labels.counts(target)
    assert counts == [LabelCount("tiger cat", 3), LabelCount("tabby, tabby cat", 2), LabelCount("Felis silvestris", 1)]
    with store.database.writing() as connection:
        connection.execute(image.update().where(image.c.id == 3).values(deleted=True))
    assert store.catalogue.labels.counts(target)[0] == LabelCount("tabby, tabby cat", 2)


def test_two_workers_that_label_the_same_pictures_write_each_label_once(store: Store, target: Collection) -> None:
    errors: list[BaseException] = []
    others = [target, store.open_collection("other", target.space)]

    def work(one: Collection, seed: int) -> None:
        try:
            committer = Committer(store.database, store.blobs, one)
            for number in np.random.default_rng(seed).permutation(30).tolist():
                named = (Label(f"label {number % 7}", 0.5), Label(f"label {number % 5 + 7}", 0.25))
                committer.commit(Batch([labelled(str(number), named)], rows(1, seed)))
        except BaseException as error:  # noqa: BLE001 -- handed to the test's own thread
            errors.append(error)

    threads = [threading.Thread(target=work, args=(one, seed)) for seed, one in enumerate(others)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    with store.database.reading() as connection:
        assert connection.execute(select(func.count()).select_from(label)).scalar() == 12
        assert connection.execute(select(func.count()).select_from(content_label)).scalar() == 60


def test_a_store_of_the_first_release_gets_its_paths_and_stays_as_it_was(
    store: Store, target: Collection, committer: Committer
) -> None:
    uris = ["file:///a%20b/%C3%A4.jpg", "s3://bucket/12.tar!/3.jpg", "file:///not%FFtext", "file:///nul%00.jpg"]
    for number, uri in enumerate(uris):
        committer.commit(Batch([NewImage(uri, uri, 1, 1, facts(str(number)))], rows(1, number)))
    before = store.catalogue.images(target.id)
    schema.downgrade(store.database, "0001")
    with store.database.reading() as connection:
        assert len(connection.execute(text("SELECT * FROM image")).all()[0]) == 10
    schema.upgrade(store.database)
    assert store.catalogue.images(target.id) == before
    with store.database.reading() as connection:
        paths = list(connection.execute(select(image.c.path).order_by(image.c.id)).scalars())
    assert paths == [shown_path(uri) for uri in uris] == ["/a b/ä.jpg", None, "/not\ufffdtext", "/nul\ufffd.jpg"]


def test_a_collection_remembers_that_it_wants_labels(store: Store, target: Collection) -> None:
    space = target.space
    assert not target.labels
    assert store.open_collection("default", space, labels=True).labels
    assert store.open_collection("default", space).labels
    assert not store.open_collection("default", space, labels=False).labels


def test_the_labels_of_a_few_images_are_looked_up_and_not_looked_for(local_store: Store) -> None:
    target = local_store.open_collection("default", FakeBackbone().space)
    query = _labels_with(target.id).where(image.c.id.in_([1, 2, 3]))
    words = str(query.compile(local_store.database.engine, compile_kwargs={"literal_binds": True}))
    with local_store.database.reading() as connection:
        plan = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {words}")]
    assert any(step.startswith("SEARCH image USING INTEGER PRIMARY KEY") for step in plan), plan
    assert any("content_label" in step and "(content_id=?)" in step for step in plan), plan
