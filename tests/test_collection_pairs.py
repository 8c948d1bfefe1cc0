"""Near pairs of stored images: what a run compares after commits, removals, compaction and another transform."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from search.embeddings import unit_rows
from search.errors import ImageNotFound, SpaceMismatch
from search.finding.generations import Generations
from search.finding.snapshot import Snapshot, SnapshotReader
from search.pairing.collection_pairs import CollectionPairs, Paired
from search.pairing.pair_file import FOLDER
from search.records import Collection, Embeddings, SpaceSpec
from search.storing.commits import Batch, Committer
from search.storing.removals import remove_images
from search.storing.store import Store
from search.upkeep.compaction import compact
from tests.fakes import FAKE_DIMS, facts, new_image
from tests.test_pair_finders import all_scores, clustered

THRESHOLD = 0.9


def commit(store: Store, target: Collection, embeddings: Embeddings, name: str = "") -> None:
    images = [new_image(f"{name}{number}") for number in range(len(embeddings))]
    Committer(store.database, store.blobs, target).commit(Batch(images, embeddings))


def current(store: Store, target: Collection) -> Snapshot:
    return SnapshotReader(store.database, store.blobs, target).current()


def pairs_in(store: Store, snapshot: Snapshot) -> Paired:
    """Return the pairs of all images, after a look whether they are those of brute force."""
    ids, rows = snapshot.rows()
    # In no order: whoever asks may have one of its own.
    order = np.random.default_rng(0).permutation(len(ids))
    pairs = CollectionPairs(store.database, store.root / FOLDER).within(snapshot, ids[order], THRESHOLD)
    scores = np.triu(all_scores(rows[order], rows[order]), 1)
    assert told(pairs) == brute_force(scores)
    assert pairs.near.scores.tolist() == scores[pairs.near.rows, pairs.near.later].tolist()
    assert pairs.pair_recall is None
    return pairs


def told(pairs: Paired) -> list[tuple[int, int]]:
    return sorted(zip(pairs.near.rows.tolist(), pairs.near.later.tolist(), strict=True))


def brute_force(scores: NDArray[np.float32]) -> list[tuple[int, int]]:
    found = list(zip(*(each.tolist() for each in np.nonzero(scores >= np.float32(THRESHOLD))), strict=True))
    assert found
    return found


def rows_of(count: int, seed: int = 0) -> Embeddings:
    return clustered(count, FAKE_DIMS, seed)


def test_images_in_an_index_and_newer_ones_are_compared_once(store: Store, target: Collection) -> None:
    commit(store, target, rows_of(60))
    Generations(store.database, store.blobs, target).publish(1)
    commit(store, target, rows_of(30, seed=1), "new")
    assert pairs_in(store, current(store, target)).compared == 90
    assert pairs_in(store, current(store, target)).compared == 0
    commit(store, target, rows_of(20), "newer")
    remove_images(store.database, target, [2, 65])
    assert pairs_in(store, current(store, target)).compared == 20


def test_images_that_moved_to_another_segment_or_into_an_index_are_known_again(
    store: Store, target: Collection
) -> None:
    for number in range(6):
        commit(store, target, rows_of(20, seed=number % 3), f"{number}-")
    assert pairs_in(store, current(store, target)).compared == 120
    Generations(store.database, store.blobs, target).publish(6)
    assert pairs_in(store, current(store, target)).compared == 0
    remove_images(store.database, target, [1, 50])
    assert compact(store, older_than_s=-1.0).segments_after == 1
    assert pairs_in(store, current(store, target)).compared == 0


def test_an_image_that_has_another_content_is_compared_again(store: Store, target: Collection) -> None:
    rows = rows_of(60)
    commit(store, target, rows)
    Generations(store.database, store.blobs, target).publish(1)
    pairs_in(store, current(store, target))
    changed = [new_image("3", facts("changed 3")), new_image("7", facts("changed 7"))]
    Committer(store.database, store.blobs, target).commit(Batch(changed, rows[[30, 31]]))
    assert pairs_in(store, current(store, target)).compared == 2


def test_another_transform_begins_anew(store: Store, target: Collection) -> None:
    shifted = unit_rows(rows_of(60) + 5 / np.sqrt(FAKE_DIMS))
    commit(store, target, shifted)
    Generations(store.database, store.blobs, target).publish(1)
    everything = pairs_in(store, current(store, target))
    Generations(store.database, store.blobs, target).publish(1, transform="centre")
    centred = pairs_in(store, current(store, target))
    assert centred.compared == 60
    assert len(centred.near.rows) < len(everything.near.rows)


def test_two_collections_are_compared_by_the_transform_of_the_first(store: Store, target: Collection) -> None:
    other = store.open_collection("other", target.space)
    commit(store, target, unit_rows(rows_of(60) + 5 / np.sqrt(FAKE_DIMS)))
    commit(store, other, unit_rows(rows_of(60)[:40] + 5 / np.sqrt(FAKE_DIMS)), "other")
    Generations(store.database, store.blobs, target).publish(1, transform="centre")
    Generations(store.database, store.blobs, other).publish(1)
    left, right = current(store, target), current(store, other)
    ids, rows = left.rows()
    theirs = right.all_ids()
    pairs = CollectionPairs(store.database).between((left, ids), (right, theirs[::-1]), THRESHOLD)
    stored = right.embeddings_of(theirs[::-1], stored=True)
    assert told(pairs) == brute_force(all_scores(rows, left.transform.apply(stored)))


def test_collections_of_different_spaces_are_not_compared(store: Store, target: Collection) -> None:
    other = store.open_collection("other", SpaceSpec("another", "0" * 64, "{}", FAKE_DIMS))
    sides = [(current(store, each), np.empty(0, np.int64)) for each in (target, other)]
    with pytest.raises(SpaceMismatch, match=r"'default' .* and 'other' .* cannot be compared: `lookalike reembed`"):
        CollectionPairs(store.database).between(sides[0], sides[1], THRESHOLD)


def test_an_image_that_is_not_there_is_named(store: Store, target: Collection) -> None:
    commit(store, target, rows_of(20))
    remove_images(store.database, target, [7])
    looks: list[Callable[[Snapshot], object]] = [
        lambda snapshot: CollectionPairs(store.database).within(snapshot, [3, 7], THRESHOLD),
        lambda snapshot: snapshot.embeddings_of(np.array([7])),
    ]
    for published in (False, True):
        if published:
            Generations(store.database, store.blobs, target).publish(2)
        for look in looks:
            with pytest.raises(ImageNotFound, match="no image with id 7"):
                look(current(store, target))
