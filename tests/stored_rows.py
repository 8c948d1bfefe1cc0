"""Stores filled with invented images, and what must be equal between a store and its copy."""

import numpy as np

from search.embeddings import unit_rows
from search.finding.snapshot import SnapshotReader
from search.records import Collection, Embeddings, ImageRecord
from search.storing.commits import Batch, Committer
from search.storing.store import Store
from tests.fakes import FAKE_DIMS, FakeBackbone, new_image

QUERIES = unit_rows(np.random.default_rng(99).normal(size=(5, FAKE_DIMS)))


def embeddings_of(first: int, rows: int) -> Embeddings:
    """Return the embeddings of images `first` to `first + rows - 1`."""
    return np.concatenate(
        [unit_rows(np.random.default_rng(number).normal(size=(1, FAKE_DIMS))) for number in range(first, first + rows)]
    )


def add(store: Store, first: int, rows: int, collection: str = "default") -> Collection:
    """Commit images `first.jpg` and so on, as one batch; return the collection as it is then."""
    target = store.open_collection(collection, FakeBackbone().space)
    images = [new_image(f"{number}.jpg") for number in range(first, first + rows)]
    Committer(store.database, store.blobs, target).commit(Batch(images, embeddings_of(first, rows)))
    return store.catalogue.collection(collection)


Answers = list[tuple[list[int], list[float]]]


def golden(store: Store, collection: str = "default") -> tuple[list[ImageRecord], Answers]:
    """Return every image of a collection, and the ids and scores of five queries."""
    target = store.catalogue.collection(collection)
    snapshot = SnapshotReader(store.database, store.blobs, target).current()
    ranked = [snapshot.search(query[np.newaxis], 10) for query in QUERIES]
    images = store.catalogue.images(target.id, limit=100_000)
    return images, [(one.ids.tolist(), one.scores.tolist()) for one in ranked]
