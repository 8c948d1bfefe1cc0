"""Removing images: gone from every search at once, in every process, and never back under the same id."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import delete, select

from search.database.tables import embedding, image
from search.embeddings import unit_rows
from search.errors import ImageNotFound, StoreUnavailable
from search.finding.generations import Generations
from search.finding.snapshot import SnapshotReader
from search.records import Collection, Embeddings, uri_of_path
from search.storing.commits import Batch, Committer, no_embeddings
from search.storing.image_rows import NewImage
from search.storing.removals import ids_at, images_holding, recall_images, remove_image, remove_images
from search.storing.store import Store
from tests.conftest import Draw
from tests.fakes import FAKE_DIMS, facts, new_image
from tests.jobs import index


def rows(count: int, seed: int = 0) -> Embeddings:
    return unit_rows(np.random.default_rng(seed).normal(size=(count, FAKE_DIMS)))


@pytest.fixture
def filled(store: Store, target: Collection) -> Embeddings:
    """Six images with ids 1 to 6, the first four in a generation."""
    embeddings = rows(6)
    committer = Committer(store.database, store.blobs, target)
    sequence = committer.commit(Batch([new_image(str(number)) for number in range(4)], embeddings[:4]))
    Generations(store.database, store.blobs, target).publish(sequence)
    committer.commit(Batch([new_image(str(number)) for number in range(4, 6)], embeddings[4:]))
    return embeddings


@pytest.mark.parametrize("image_id", [2, 5])
def test_a_removed_image_is_named_by_no_reader_that_was_open_before(
    store: Store, target: Collection, filled: Embeddings, image_id: int
) -> None:
    reader = SnapshotReader(store.database, store.blobs, target)
    assert image_id in reader.current().search(filled[image_id - 1 : image_id], 6).ids
    remove_image(store.database, target, image_id)
    for one in (reader, SnapshotReader(store.database, store.blobs, target)):
        snapshot = one.current()
        assert image_id not in snapshot.search(filled[image_id - 1 : image_id], 6).ids
        assert len(snapshot) == 5
        with pytest.raises(ImageNotFound):
            snapshot.embedding_of(image_id)


def test_an_image_can_be_removed_only_once(store: Store, target: Collection, filled: Embeddings) -> None:
    assert remove_images(store.database, target, [1, 2, 2, 999]) == 2
    assert remove_images(store.database, target, [1, 2]) == 0
    with pytest.raises(ImageNotFound, match="no image with id 1"):
        remove_image(store.database, target, 1)


def test_images_of_another_collection_stay(store: Store, target: Collection, filled: Embeddings) -> None:
    other = store.open_collection("other", target.space)
    with pytest.raises(ImageNotFound):
        remove_image(store.database, other, 1)
    assert store.catalogue.count_images(target.id) == 6


def test_a_file_that_is_still_there_comes_back_as_another_image(store: Store, photos: Path, draw: Draw) -> None:
    draw("a.png", 1)
    index(store, photos)
    target = store.catalogue.collection("default")
    remove_image(store.database, target, 1)
    assert index(store, photos).counts.indexed == 1
    assert [image_id for image_id, _ in store.catalogue.uris(target.id)] == [2]


@pytest.mark.parametrize(
    ("place", "found"),
    [
        ("/Photos", [1, 2, 3, 6]),
        ("/Photos/", [1, 2, 3, 6]),
        ("/Photos/a%b_c", [2, 3]),
        ("/Photos/a%b_c/x.png", [2]),
        ("/photos", [4]),
        ("/Photos/12.tar", [6]),
        ("/nowhere", []),
    ],
)
def test_a_folder_is_taken_by_its_exact_name(store: Store, target: Collection, place: str, found: list[int]) -> None:
    names = ["/Photos/1.png", "/Photos/a%b_c/x.png", "/Photos/a%b_c/y/z.png", "/photos/4.png", "/Photos2/5.png"]
    uris = [*map(uri_of_path, names), uri_of_path("/Photos/12.tar") + "!/6.png"]
    images = [NewImage(uri, uri, 1, 1, new_image(uri).content) for uri in uris]
    Committer(store.database, store.blobs, target).commit(Batch(images, rows(6)))
    assert ids_at(store.database, target, uri_of_path(place)) == found


@pytest.mark.parametrize("point", ["removal.begin", "removal.end"])
def test_a_removal_that_fails_removes_nothing(
    store: Store, target: Collection, filled: Embeddings, fail: Callable[[str], None], point: str
) -> None:
    fail(f"{point}:1:eio")
    with pytest.raises(OSError, match="Input/output"):
        remove_image(store.database, target, 1)
    assert store.catalogue.count_images(target.id) == 6
    assert store.catalogue.collection("default").sequence == 2


def test_a_tombstone_hides_its_image_also_when_its_embedding_is_gone(
    store: Store, target: Collection, filled: Embeddings
) -> None:
    remove_image(store.database, target, 2)
    with store.database.writing() as connection:
        content_id = connection.execute(select(image.c.content_id).where(image.c.id == 2)).scalar_one()
        connection.execute(embedding.delete().where(embedding.c.content_id == content_id))
    snapshot = SnapshotReader(store.database, store.blobs, target).current()
    assert sorted(snapshot.search(filled[1:2], 6).ids.tolist()) == [1, 3, 4, 5, 6]


def test_a_copy_of_a_content_that_was_dropped_meanwhile_is_refused_and_not_lost(
    store: Store, target: Collection, filled: Embeddings
) -> None:
    with store.database.writing() as connection:
        connection.execute(embedding.delete().where(embedding.c.content_id == 6))
    with pytest.raises(StoreUnavailable, match="run again"):
        Committer(store.database, store.blobs, target).commit(Batch([new_image("copy", 6)], no_embeddings(FAKE_DIMS)))
    assert store.catalogue.count_images(target.id) == 6


@pytest.mark.parametrize("image_id", [2, 5])
def test_a_recalled_image_is_found_again_with_its_id_its_key_and_its_embedding(
    store: Store, target: Collection, filled: Embeddings, image_id: int
) -> None:
    reader = SnapshotReader(store.database, store.blobs, target)
    before = store.catalogue.image_by_id(target.id, image_id)
    remove_image(store.database, target, image_id)
    assert image_id not in reader.current().rows()[0].tolist()
    assert recall_images(store.database, target, [image_id]) == 1
    for one in (reader, SnapshotReader(store.database, store.blobs, target)):
        assert one.current().search(filled[image_id - 1 : image_id], 1).ids.tolist() == [image_id]
    assert store.catalogue.image_by_id(target.id, image_id) == before
    assert recall_images(store.database, target, [image_id]) == 0


@pytest.mark.usefixtures("filled")
def test_an_image_whose_key_or_embedding_is_gone_is_not_recalled(store: Store, target: Collection) -> None:
    remove_images(store.database, target, [2, 3])
    Committer(store.database, store.blobs, target).commit(Batch([new_image("1")], rows(1)))  # the key of image 2
    with store.database.writing() as connection:
        content_id = connection.execute(select(image.c.content_id).where(image.c.id == 3)).scalar_one()
        connection.execute(delete(embedding).where(embedding.c.content_id == content_id))
    assert recall_images(store.database, target, [2, 3]) == 0


@pytest.mark.usefixtures("filled")
def test_images_are_known_by_what_they_hold_at_a_place(store: Store, target: Collection) -> None:
    at = {f"file:///photos/{name}": facts(name).sha256 for name in "12"}
    assert images_holding(store.database, target, at) == {2: "file:///photos/1", 3: "file:///photos/2"}
    remove_images(store.database, target, [2])
    assert images_holding(store.database, target, at | {"file:///photos/2": bytes(32)}) == {}
