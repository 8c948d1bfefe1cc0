"""A search names what shows the query's own pixels first, whatever the rounding of embeddings does to scores."""

import numpy as np
import pytest

from search.conditions.where import parse
from search.embeddings import unit_rows
from search.finding.find_similar import QueryContent, Wanted, find_similar
from search.finding.generations import Generations
from search.finding.snapshot import SnapshotReader
from search.records import Collection, Match
from search.storing.commits import Batch, Committer
from search.storing.store import Store
from tests.fakes import FAKE_DIMS, facts, new_image

MIRRORED = ["mirrored 1", "mirrored 2", "mirrored 3"]
NAMES = [*MIRRORED, "itself", "its copy", "another"]
CONTENT = QueryContent(facts("itself").sha256, facts("itself").pixel_hash)
locally = pytest.mark.parametrize("store", ["sqlite"], indirect=True)


def search(store: Store, target: Collection, wanted: Wanted, content: QueryContent | None = CONTENT) -> list[Match]:
    """Search by a picture of which others have the embedding, and its own image one that was rounded otherwise."""
    query = np.eye(1, FAKE_DIMS, dtype=np.float32)
    rounded = unit_rows(query + np.float32(1e-3) * np.eye(1, FAKE_DIMS, 1, dtype=np.float32))
    rows = np.concatenate([query, query, query, rounded, rounded, np.eye(1, FAKE_DIMS, 2, dtype=np.float32)])
    images = [new_image(name, facts(name, pixels="itself" if name == "its copy" else name)) for name in NAMES]
    Committer(store.database, store.blobs, target).commit(Batch(images, rows))
    Generations(store.database, store.blobs, target).publish(store.catalogue.collection(target.name).sequence)
    snapshot = SnapshotReader(store.database, store.blobs, target).current()
    return find_similar(snapshot, store.catalogue, query, content, wanted)


def told(matches: list[Match]) -> list[tuple[str, str]]:
    return [(match.image.key.rpartition("/")[2], match.relation) for match in matches]


@locally
@pytest.mark.parametrize("k", [1, 2, 4, 10])
def test_identical_images_come_before_others_that_score_as_much(store: Store, target: Collection, k: int) -> None:
    matches = search(store, target, Wanted(k, min_score=0.5, threshold=0.9))
    itself = [("itself", "identical"), ("its copy", "identical")]
    assert told(matches) == [*itself, *((name, "probable") for name in MIRRORED)][:k]
    assert all(match.score < 1 for match in matches[:2]), "scores are as they are"


@locally
def test_an_identical_image_must_fulfil_the_condition_and_be_wanted(store: Store, target: Collection) -> None:
    where = parse("path not like '%itself%' and path not like '%copy%'")
    assert told(search(store, target, Wanted(1, where=where))) == [("mirrored 1", "similar")]


@locally
def test_without_a_picture_nothing_is_identical(store: Store, target: Collection) -> None:
    assert told(search(store, target, Wanted(1), None)) == [("mirrored 1", "similar")]
