"""Generations and deltas: a reader always sees every acknowledged image, exactly scored."""

from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import delete, update

from search.database.sequences import next_sequence
from search.database.tables import collection, image
from search.embeddings import unit_rows
from search.errors import CorruptFile, ImageNotFound
from search.finding.generations import Generations
from search.finding.snapshot import SnapshotReader
from search.index.exact import ExactIndex
from search.records import Collection, Embeddings
from search.storing.commits import Batch, Committer
from search.storing.store import Store
from tests.fakes import FAKE_DIMS, facts, new_image


def rows(count: int, seed: int = 0) -> Embeddings:
    return unit_rows(np.random.default_rng(seed).normal(size=(count, FAKE_DIMS)))


@pytest.fixture
def committer(store: Store, target: Collection) -> Committer:
    return Committer(store.database, store.blobs, target)


@pytest.fixture
def reader(store: Store, target: Collection) -> SnapshotReader:
    return SnapshotReader(store.database, store.blobs, target)


def publish(store: Store, target: Collection) -> None:
    Generations(store.database, store.blobs, target).publish(store.catalogue.collection("default").sequence)


def test_generation_and_delta_together_rank_like_brute_force(
    store: Store, target: Collection, committer: Committer, reader: SnapshotReader
) -> None:
    embeddings = rows(60)
    committer.commit(Batch([new_image(str(number)) for number in range(40)], embeddings[:40]))
    publish(store, target)
    committer.commit(Batch([new_image(str(number)) for number in range(40, 60)], embeddings[40:]))
    snapshot = reader.current()
    assert (len(snapshot), len(snapshot.delta.ids)) == (60, 20)
    for query in rows(5, seed=9):
        expected = np.argsort(-(embeddings @ query), kind="stable")[:7] + 1  # ids count from 1
        found = snapshot.search(query[np.newaxis], 7)
        assert found.ids.tolist() == expected.tolist()
        np.testing.assert_allclose(found.scores, np.sort(embeddings @ query)[::-1][:7], atol=1e-4)


def test_equal_scores_are_ordered_by_lower_id(
    store: Store, target: Collection, committer: Committer, reader: SnapshotReader
) -> None:
    same = np.repeat(rows(1), 4, axis=0)
    committer.commit(Batch([new_image(str(number)) for number in range(4)], same))
    publish(store, target)
    assert reader.current().search(same[:1], 4).ids.tolist() == [1, 2, 3, 4]


def test_a_reader_without_a_generation_forgets_what_was_removed_and_purged_while_it_looked_away(
    store: Store, target: Collection, committer: Committer, reader: SnapshotReader
) -> None:
    committer.commit(Batch([new_image("a"), new_image("b")], rows(2)))
    assert (reader.current().generation, reader.current().delta.ids.tolist()) == (None, [1, 2])
    with store.database.writing() as connection:  # as removing and compacting do, where there is no index yet
        last = next_sequence(connection, target)
        connection.execute(delete(image).where(image.c.id == 1))
        connection.execute(update(collection).values(purged_sequence=last))
    assert reader.current().delta.ids.tolist() == [2]


def test_of_many_copies_the_lowest_ids_are_found_wherever_they_lie(
    store: Store, target: Collection, committer: Committer, reader: SnapshotReader
) -> None:
    embeddings = rows(150)
    embeddings[50:] = embeddings[50]
    names = [new_image(str(number)) for number in range(150)]
    committer.commit(Batch(names[:140], embeddings[:140]))
    publish(store, target)
    committer.commit(Batch(names[140:], embeddings[140:]))
    snapshot = reader.current()
    assert snapshot.search(embeddings[50:51], 5).ids.tolist() == [51, 52, 53, 54, 55]
    assert snapshot.search_among(embeddings[50:51], 3, np.arange(60, 150)).ids.tolist() == [60, 61, 62]
    assert snapshot.exact_search(embeddings[50:51], 5).ids.tolist() == [51, 52, 53, 54, 55]


def test_a_reader_takes_up_a_generation_published_after_the_last_commit(
    store: Store, target: Collection, committer: Committer, reader: SnapshotReader
) -> None:
    committer.commit(Batch([new_image("a"), new_image("b")], rows(2)))
    assert (reader.current().generation, len(reader.current().delta.ids)) == (None, 2)
    publish(store, target)
    snapshot = reader.current()
    assert snapshot.generation is not None
    assert (len(snapshot), len(snapshot.delta.ids)) == (2, 0)


def damage(store: Store, generation: int) -> None:
    """Flip a byte in the middle of the n-th generation that was published."""
    record = Generations(store.database, store.blobs, store.catalogue.collection("default")).newest()[-1 - generation]
    path = store.blobs.local_path(record.name, record.size_bytes)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_a_reader_that_met_a_damaged_generation_takes_up_the_rebuilt_one(
    store: Store, target: Collection, committer: Committer, reader: SnapshotReader
) -> None:
    committer.commit(Batch([new_image("a"), new_image("b")], rows(2)))
    publish(store, target)
    damage(store, 0)
    assert (reader.current().generation, len(reader.current().delta.ids)) == (None, 2)
    publish(store, target)
    assert reader.current().generation is not None


def test_instead_of_a_damaged_generation_the_one_before_it_is_searched_with_what_is_newer(
    store: Store, target: Collection, committer: Committer, reader: SnapshotReader
) -> None:
    embeddings = rows(5)
    names = [new_image(name) for name in "abcde"]
    committer.commit(Batch(names[:3], embeddings[:3]))
    publish(store, target)
    committer.commit(Batch(names[3:], embeddings[3:]))
    publish(store, target)
    damage(store, 1)
    snapshot = reader.current()
    assert snapshot.generation is not None
    assert (len(snapshot), len(snapshot.generation.ids), snapshot.delta.ids.tolist()) == (5, 3, [4, 5])
    assert snapshot.search(embeddings[4:], 1).ids.tolist() == [5]


def test_an_older_generation_from_which_something_was_purged_is_not_searched(
    store: Store, target: Collection, committer: Committer, reader: SnapshotReader
) -> None:
    committer.commit(Batch([new_image(name) for name in "abc"], rows(3)))
    publish(store, target)
    last = committer.commit(Batch([new_image("d")], rows(1, 4)))
    publish(store, target)
    damage(store, 1)
    with store.database.writing() as connection:
        connection.execute(update(collection).values(purged_sequence=last))
    snapshot = reader.current()
    assert (snapshot.generation, snapshot.delta.ids.tolist()) == (None, [1, 2, 3, 4])


def test_a_changed_image_is_found_only_as_it_is_now(
    store: Store, target: Collection, committer: Committer, reader: SnapshotReader
) -> None:
    old, new = rows(1, 1), rows(1, 2)
    committer.commit(Batch([new_image("a", facts("old"))], old))
    publish(store, target)
    reader.current()
    committer.commit(Batch([new_image("a", facts("new"))], new))
    found = reader.current().search(new, 5)
    assert found.ids.tolist() == [1]
    assert found.scores[0] == pytest.approx(1.0, abs=1e-5)
    np.testing.assert_allclose(reader.current().embedding_of(1), new, atol=1e-3)


def test_a_tombstone_hides_an_image_from_generation_and_delta(
    store: Store, target: Collection, committer: Committer, reader: SnapshotReader
) -> None:
    embeddings = rows(2)
    committer.commit(Batch([new_image("a"), new_image("b")], embeddings))
    publish(store, target)
    reader.current()
    with store.database.writing() as connection:
        connection.execute(update(collection).values(sequence=2))
        connection.execute(update(image).where(image.c.id == 1).values(deleted=True, sequence=2))
    snapshot = reader.current()
    assert snapshot.search(embeddings[:1], 5).ids.tolist() == [2]
    with pytest.raises(ImageNotFound):
        snapshot.embedding_of(1)
    publish(store, target)
    assert len(SnapshotReader(store.database, store.blobs, target).current()) == 1


def test_a_snapshot_is_kept_while_nothing_changes(committer: Committer, reader: SnapshotReader) -> None:
    committer.commit(Batch([new_image("a")], rows(1)))
    assert reader.current() is reader.current()


def test_an_empty_collection_has_no_matches(reader: SnapshotReader) -> None:
    assert reader.current().search(rows(1), 5).ids.tolist() == []


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_a_damaged_generation_is_left_out_and_every_image_still_found(
    store: Store, target: Collection, committer: Committer, damage: str
) -> None:
    embeddings = rows(10)
    committer.commit(Batch([new_image(str(number)) for number in range(10)], embeddings))
    publish(store, target)
    generations = Generations(store.database, store.blobs, target)
    record = generations.current()
    assert record is not None
    path = Path(store.settings.blobs) / record.name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    if damage == "remove":
        path.unlink()
    else:
        path.write_bytes(data if damage == "flip" else data[:-9])
    with pytest.raises(CorruptFile):
        generations.open(record)
    snapshot = SnapshotReader(store.database, store.blobs, target).current()
    assert snapshot.generation is None
    assert snapshot.search(embeddings[3:4], 1).ids.tolist() == [4]


def test_only_the_newest_generations_stay_and_the_files_of_the_others_are_swept(
    store: Store, target: Collection, committer: Committer
) -> None:
    committer.commit(Batch([new_image("a")], rows(1)))
    for _ in range(4):
        publish(store, target)
    assert len(store.blobs.names("generations")) == 4
    assert len(store.sweep(older_than_s=-1)) == 2
    assert len(SnapshotReader(store.database, store.blobs, target).current()) == 1


def test_range_search_keeps_scores_equal_to_the_threshold() -> None:
    axes = np.eye(3, dtype=np.float32)
    pairs = ExactIndex.build(axes).range_search(axes, 1.0)
    assert list(zip(pairs.queries.tolist(), pairs.rows.tolist(), strict=True)) == [(0, 0), (1, 1), (2, 2)]


def test_a_commit_that_happens_while_a_snapshot_is_taken_belongs_to_the_next_one(
    store: Store, target: Collection, committer: Committer, monkeypatch: pytest.MonkeyPatch
) -> None:
    committer.commit(Batch([new_image("a")], rows(1, 1)))
    state, before = store.catalogue.state_of("default"), store.catalogue.collection("default")
    committer.commit(Batch([new_image("b")], rows(1, 2)))
    reader = SnapshotReader(store.database, store.blobs, target)
    with monkeypatch.context() as patch:
        patch.setattr("search.storing.catalogue.Catalogue.state_of", lambda _self, _name: state)
        patch.setattr("search.storing.catalogue.Catalogue.collection", lambda _self, _name: before)
        assert reader.current().delta.ids.tolist() == [1]
    assert reader.current().delta.ids.tolist() == [1, 2]


def test_a_sample_holds_none_of_the_images_that_were_removed(
    store: Store, target: Collection, committer: Committer, reader: SnapshotReader
) -> None:
    embeddings = rows(40)
    committer.commit(Batch([new_image(str(number)) for number in range(40)], embeddings))
    publish(store, target)
    gone = [*range(1, 21), 40]
    with store.database.writing() as connection:
        connection.execute(update(collection).values(sequence=2))
        connection.execute(update(image).where(image.c.id.in_(gone)).values(deleted=True, sequence=2))
    snapshot = reader.current()
    assert snapshot.sample(1).tolist()[0] in range(21, 40)
    assert snapshot.sample(100).tolist() == list(range(21, 40))
    ten = snapshot.sample(10)
    assert len(set(ten.tolist())) == 10
    np.testing.assert_allclose(snapshot.embeddings_of(ten), embeddings[ten - 1], atol=1e-3)
