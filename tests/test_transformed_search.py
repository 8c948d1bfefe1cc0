"""Collections whose index transforms embeddings: every way of searching against brute force, and what keeps it so."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sqlalchemy import func, select, update

from search.blobs.generation_files import MAGIC, TRANSFORMED
from search.conditions.where import parse
from search.database.tables import collection, generation, post_transform
from search.duplicates.find_duplicates import find_duplicates
from search.duplicates.report import DuplicateRequest
from search.embeddings import unit_rows
from search.errors import StoreUnavailable, UsageError
from search.finding.filter_planner import search_where
from search.finding.generations import GenerationRecord, Generations
from search.finding.recall_watch import RecallWatch
from search.finding.snapshot import Snapshot, SnapshotReader
from search.moving.backup import back_up
from search.moving.restore import restore
from search.records import TRANSFORMS, Collection, Embeddings
from search.spaces.space_upgrade import SpaceUpgrade
from search.storing.commits import Batch, Committer
from search.storing.removals import remove_images
from search.storing.store import Store
from search.upkeep.compaction import compact
from search.upkeep.status import collection_status
from search.upkeep.verification import verify
from tests.fakes import facts, new_image
from tests.fault_worker import DIMS, OTHER_SPACE, SPACE, reembed, row_of
from tests.stored_rows import Answers

REAL = TRANSFORMS[1:]
PUBLISHED, NEW = 300, 40
REMOVED = (3, 77, 290, 320)
COPIES = (5, 120, 310)  # of image 4: in the same generation, and in the delta
QUERIES = unit_rows(np.random.default_rng(99).normal(size=(4, DIMS)) + 1)


def drawn(rows: int, seed: int = 0) -> Embeddings:
    """Rows that share a direction, and vary more on some axes than on others: what a transform undoes."""
    random = np.random.default_rng(seed)
    return unit_rows(random.normal(size=(rows, DIMS)) * np.linspace(3, 0.5, DIMS) + 2)


def commit(store: Store, first: int, embeddings: Embeddings) -> Collection:
    """Commit images `first` and so on; image N is N pixels wide, if it is the N-th of its store."""
    target = store.open_collection("default", SPACE)
    names = [str(number) for number in range(first, first + len(embeddings))]
    images = [new_image(name, replace(facts(name), width=int(name))) for name in names]
    Committer(store.database, store.blobs, target).commit(Batch(images, embeddings))
    return store.catalogue.collection("default")


def publish(store: Store, transform: str | None = None) -> GenerationRecord | None:
    target = store.catalogue.collection("default")
    return Generations(store.database, store.blobs, target).publish(target.sequence, transform=transform)


def current(store: Store) -> Snapshot:
    return SnapshotReader(store.database, store.blobs, store.catalogue.collection("default")).current()


def transformed(snapshot: Snapshot, embeddings: Embeddings) -> NDArray[np.float64]:
    """The formula, in float64."""
    used = snapshot.transform
    moved = embeddings.astype(np.float64) - used.mean
    turned = moved if used.matrix is None else moved @ used.matrix.astype(np.float64)
    unit: NDArray[np.float64] = turned / np.linalg.norm(turned, axis=1, keepdims=True)
    return unit


class Album:
    """340 images of which 300 are in a generation and four were removed, and the truth about them."""

    def __init__(self, folder: Path, transform: str) -> None:
        self.embeddings = drawn(PUBLISHED + NEW)
        self.embeddings[list(COPIES)] = self.embeddings[4]
        self.embeddings = unit_rows(self.embeddings.astype(np.float16))  # as segments keep them
        self.store = Store.create(folder / "store")
        commit(self.store, 1, self.embeddings[:PUBLISHED])
        publish(self.store, transform)
        target = commit(self.store, PUBLISHED + 1, self.embeddings[PUBLISHED:])
        remove_images(self.store.database, target, list(REMOVED))
        self.snapshot = current(self.store)
        self.ids = np.setdiff1d(np.arange(1, PUBLISHED + NEW + 1), REMOVED)
        self.truth = transformed(self.snapshot, self.embeddings)

    def best(self, query: Embeddings, k: int, among: NDArray[np.int64] | None = None) -> tuple[list[int], list[float]]:
        """Return the ids and the scores of the k nearest; of equal rows the lower id first."""
        ids = self.ids if among is None else np.intersect1d(self.ids, among)
        scores = (self.truth[ids - 1] @ transformed(self.snapshot, query)[0]).round(9)
        order = np.lexsort((ids, -scores))[:k]
        return ids[order].tolist(), scores[order].tolist()


@pytest.fixture(scope="module", params=[(kind, approximate) for kind in REAL for approximate in (False, True)], ids=str)
def album(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Album]:
    """An album for each transform, with an exact and with an approximate index; the tests only read it."""
    kind, approximate = request.param
    with pytest.MonkeyPatch.context() as patch:
        if approximate:
            patch.setattr("search.finding.generations.EXACT_ROWS", 100)
        made = Album(tmp_path_factory.mktemp("album"), kind)
    assert (made.snapshot.transform.kind, made.snapshot.is_exact) == (kind, not approximate)
    yield made
    made.store.close()


def test_scores_are_the_cosines_of_the_transformed_embeddings(album: Album) -> None:
    hits = 0
    for query in QUERIES[:, np.newaxis]:
        ids, scores = album.best(query, 10)
        exact = album.snapshot.exact_search(query, 10)
        assert exact.ids.tolist() == ids
        np.testing.assert_allclose(exact.scores, scores, atol=2e-6)
        found = album.snapshot.search(query, 10)
        hits += len(set(found.ids.tolist()) & set(ids))
        of = dict(zip(*album.best(query, len(album.ids)), strict=True))
        np.testing.assert_allclose(found.scores, [of[image_id] for image_id in found.ids.tolist()], atol=2e-6)
    assert hits >= 10 * len(QUERIES) * (1 if album.snapshot.is_exact else 0.9)


def test_several_queries_at_once_find_what_each_finds_alone(album: Album) -> None:
    for query, found in zip(QUERIES[:, np.newaxis], album.snapshot.search_each(QUERIES, 60), strict=True):
        alone = album.snapshot.search(query, 60)
        assert found.ids.tolist() == alone.ids.tolist()
        np.testing.assert_allclose(found.scores, alone.scores, atol=2e-6)


def test_the_scores_of_some_images_are_those_of_all_that_are_left_of_them(album: Album) -> None:
    among = np.array([3, 4, 5, 290, 291, 320, 321, 9_999])  # 3, 290 and 320 were removed, the last never was
    truth = album.truth[np.array([4, 5, 291, 321]) - 1] @ transformed(album.snapshot, QUERIES).T
    np.testing.assert_allclose(np.sort(album.snapshot.scores_among(QUERIES, among)), np.sort(truth.T), atol=2e-6)


def test_filtered_searches_score_the_same(album: Album) -> None:
    for query in QUERIES[:, np.newaxis]:
        among = np.arange(200, PUBLISHED + NEW)
        ids, scores = album.best(query, 5, among)
        for found in (album.snapshot.rank(query, 5, among), album.snapshot.search_among(query, 5, among)):
            np.testing.assert_allclose(found.scores[0], scores[0], atol=2e-6)
            assert len(set(found.ids.tolist()) & set(ids)) >= 4, "the codes of an approximate index may miss one"
        planned = search_where(album.snapshot, album.store.catalogue, query, 5, parse("width >= 200 and width < 340"))
        assert planned.ids.tolist() == ids
        nearest = album.snapshot.candidates(query, 30)
        assert len(set(nearest.tolist()) & set(album.best(query, 10)[0])) >= 8


def test_a_filter_among_most_images_goes_by_the_transformed_codes(
    album: Album, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.finding.filter_planner.FEW_IMAGES", 10)
    hits = 0
    for query in QUERIES[:, np.newaxis]:
        found = search_where(album.snapshot, album.store.catalogue, query, 5, parse("width > 20"))
        ids, _ = album.best(query, 5, np.arange(21, 1000))
        hits += len(set(found.ids.tolist()) & set(ids))
    assert hits >= 18


def test_a_stored_image_is_its_own_nearest_wherever_it_lies(album: Album) -> None:
    for image_id in (1, 250, PUBLISHED, PUBLISHED + 1, PUBLISHED + NEW):
        raw = album.snapshot.embedding_of(image_id)
        np.testing.assert_allclose(raw[0], album.embeddings[image_id - 1], atol=1e-6)
        found = album.snapshot.search(raw, 1)
        assert found.ids.tolist() == [image_id]
        assert found.scores[0] == pytest.approx(1.0, abs=1e-6)


def test_copies_score_the_same_to_the_last_bit_in_the_index_and_behind_it(album: Album) -> None:
    copies = np.array([5, *(number + 1 for number in COPIES)])
    found = album.snapshot.rank(QUERIES[:1], 4, copies)
    assert found.ids.tolist() == copies.tolist()
    assert len(set(found.scores.tolist())) == 1


def test_all_rows_come_transformed(album: Album) -> None:
    ids, rows = album.snapshot.rows()
    assert ids.tolist() == album.ids.tolist()
    np.testing.assert_allclose(rows, album.truth[ids - 1], atol=2e-6)


def test_a_watched_search_is_compared_with_the_same_scores(album: Album) -> None:
    watch = RecallWatch()
    watch.observe(album.snapshot, QUERIES[:1], album.snapshot.exact_search(QUERIES[:1], 10))
    watch.settle()
    expected = [] if album.snapshot.is_exact else [1.0]
    assert [one.recall for one in watch.observed()] == expected


def test_an_approximate_index_is_tuned_to_transformed_neighbours(album: Album) -> None:
    assert album.snapshot.generation is not None
    facts_of = album.snapshot.generation.record.measured
    assert facts_of.get("recall", 1.0) >= 0.99


def test_duplicates_are_those_of_transformed_embeddings(local_store: Store) -> None:
    # Six rows that share most of their length: by their own cosines all are near copies.
    rows = unit_rows(np.concatenate([np.eye(5, DIMS), np.eye(1, DIMS) + 0.1 * np.eye(1, DIMS, 7)]) + 5 / np.sqrt(DIMS))
    commit(local_store, 101, rows)  # wide enough not to count as tiny

    def groups() -> list[list[int]]:
        found = find_duplicates(current(local_store), local_store.catalogue, DuplicateRequest(0.9, 0.9)).groups
        return [[group.keeper.id, *sorted(one.image.id for one in group.members)] for group in found]

    publish(local_store)
    (everything,) = groups()
    assert sorted(everything) == [1, 2, 3, 4, 5, 6]
    publish(local_store, "centre")
    assert [sorted(one) for one in groups()] == [[1, 6]]


def answers(store: Store) -> Answers:
    found = [current(store).search(query[np.newaxis], 7) for query in QUERIES]
    return [(one.ids.tolist(), one.scores.tolist()) for one in found]


@pytest.mark.parametrize("kind", ["centre", "whiten-0.5"])
def test_readers_take_up_a_transform_at_once_and_every_other_process_sees_it(store: Store, kind: str) -> None:
    target = commit(store, 1, drawn(60))
    reader = SnapshotReader(store.database, store.blobs, target)
    before = reader.current()
    assert before.transform.is_none
    publish(store, kind)
    after = reader.current()
    assert (after.transform.kind, store.catalogue.collection("default").transform) == (kind, kind)
    assert after.search(QUERIES[:1], 1).scores != before.search(QUERIES[:1], 1).scores
    with Store(store.root) as again:
        assert answers(again) == answers(store)
        assert current(again).transform.fingerprint == after.transform.fingerprint
    assert verify(store, deep=True) == []


def test_without_an_index_nothing_is_transformed_and_status_says_so(store: Store) -> None:
    target = commit(store, 1, drawn(60))
    with store.database.writing() as connection:
        connection.execute(update(collection).values(transform="centre"))  # as in a store that was just restored
    assert current(store).transform.is_none
    index = collection_status(store, store.catalogue.collection("default")).as_json()["index"]
    assert isinstance(index, dict)
    assert (index["transform"], index["transform_chosen"]) == ("none", "centre")
    assert "embeddings are compared as they are stored, not yet with centre" in index["explanation"]
    publish(store)
    index = collection_status(store, store.catalogue.collection("default")).as_json()["index"]
    assert isinstance(index, dict)
    assert (index["transform"], index["kind"]) == ("centre", "exact")
    assert index["explanation"].endswith("; scores are cosines after the transform centre")
    assert target.transform == "none"


def test_a_generation_of_an_older_release_is_searched_as_it_is(local_store: Store) -> None:
    commit(local_store, 1, drawn(60))
    old, new = publish(local_store), publish(local_store, "centre")
    assert old is not None and new is not None
    first = [local_store.blobs.local_path(one.name, one.size_bytes).read_bytes()[:8] for one in (old, new)]
    assert first == [MAGIC, TRANSFORMED]  # a release that knows no transform refuses the second
    generations = Generations(local_store.database, local_store.blobs, local_store.catalogue.collection("default"))
    assert generations.open(old).transform.is_none


def test_a_transform_is_kept_until_the_collection_has_doubled_or_somebody_asks(local_store: Store) -> None:
    commit(local_store, 1, drawn(40))
    publish(local_store, "whiten-0.25")
    first = current(local_store).transform.fingerprint
    commit(local_store, 41, drawn(39, seed=1))
    publish(local_store)
    assert current(local_store).transform.fingerprint == first
    publish(local_store, "whiten-0.25")
    asked = current(local_store).transform
    assert (asked.fingerprint != first, asked.rows) == (True, 79)
    commit(local_store, 80, drawn(79, seed=2))
    publish(local_store)
    assert current(local_store).transform.rows == 158
    publish(local_store, "none")
    assert current(local_store).transform.is_none
    with local_store.database.reading() as connection:
        assert connection.execute(select(func.count()).select_from(post_transform)).scalar() == 0


def test_too_few_images_are_refused_and_nothing_changes(store: Store) -> None:
    commit(store, 1, drawn(DIMS - 1))
    publish(store, "centre")
    before = answers(store)
    with pytest.raises(UsageError, match="whiten-0.5 needs at least as many images as dims, 16, and there are 15"):
        publish(store, "whiten-0.5")
    with pytest.raises(UsageError, match="no transform 'bleach'"):
        publish(store, "bleach")
    assert (answers(store), store.catalogue.collection("default").transform) == (before, "centre")


def test_an_empty_collection_remembers_only_what_needs_no_images(store: Store) -> None:
    store.open_collection("default", SPACE)
    with pytest.raises(UsageError, match="and there are 0"):
        publish(store, "whiten-0.25")
    assert publish(store, "none") is None


def test_where_too_many_images_went_the_index_is_built_without_and_says_so(
    local_store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    target = commit(local_store, 1, drawn(20))
    publish(local_store, "whiten-0.5")
    remove_images(local_store.database, target, list(range(1, 11)))
    publish(local_store)
    assert current(local_store).transform.kind == "whiten-0.5"  # what was fitted is kept
    forget_fitted(local_store)
    with caplog.at_level(logging.WARNING):
        publish(local_store)
    assert "goes without its transform for now: whiten-0.5 needs at least as many images as dims" in caplog.text
    assert current(local_store).transform.is_none
    commit(local_store, 21, drawn(20, seed=1))
    publish(local_store)
    assert current(local_store).transform.kind == "whiten-0.5"


def forget_fitted(store: Store) -> None:
    """Lose a fitted transform everywhere, as a store does that was damaged in several places."""
    with store.database.writing() as connection:
        connection.execute(post_transform.delete())
        connection.execute(generation.delete())


def test_a_transform_that_is_damaged_in_the_catalogue_is_taken_from_the_index(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    commit(store, 1, drawn(60))
    publish(store, "whiten-0.25")
    before = current(store).transform.fingerprint
    with store.database.writing() as connection:
        mean = bytearray(connection.execute(select(post_transform.c.mean)).scalar_one())
        mean[2] ^= 1
        connection.execute(update(post_transform).values(mean=bytes(mean)))
    assert [fault.kind for fault in verify(store, deep=True)] == ["transform_damaged"]
    commit(store, 61, drawn(5, seed=1))
    publish(store)
    assert "is not what was fitted" in caplog.text
    assert current(store).transform.fingerprint == before
    assert verify(store, deep=True) == []


@pytest.mark.parametrize("section", ["transform_kind", "transform_mean", "transform_matrix"])
def test_any_flipped_bit_of_a_transform_in_an_index_is_named_and_never_searched(
    local_store: Store, section: str
) -> None:
    commit(local_store, 1, drawn(60))
    record = publish(local_store, "whiten-0.25")
    assert record is not None
    path = local_store.blobs.local_path(record.name, record.size_bytes)
    data = path.read_bytes()
    used = current(local_store).transform
    assert used.matrix is not None
    parts = {"transform_kind": used.kind.encode(), "transform_mean": used.mean, "transform_matrix": used.matrix}
    part = parts[section]
    wanted = part if isinstance(part, bytes) else np.ascontiguousarray(part, "<f4").tobytes()
    start = data.index(wanted)
    for bit in np.random.default_rng(0).integers(0, 8 * len(wanted), 12).tolist():
        flipped = bytearray(data)
        flipped[start + bit // 8] ^= 1 << bit % 8
        path.write_bytes(bytes(flipped))
        assert [fault.kind for fault in verify(local_store)] == ["generation_damaged"], bit
        assert current(local_store).transform.is_none
    path.write_bytes(data)
    assert (verify(local_store, deep=True), current(local_store).transform.kind) == ([], "whiten-0.25")


def test_a_backup_keeps_the_transform_as_it_was_fitted(store: Store, tmp_path: Path) -> None:
    target = commit(store, 1, drawn(40))
    publish(store, "whiten-0.25")
    commit(store, 41, drawn(20, seed=1))  # fitted again, it would be another one
    remove_images(store.database, target, [1, 2, 3])
    publish(store)
    back_up(store, tmp_path / "backup")
    restore(tmp_path / "backup", tmp_path / "again")
    with Store(tmp_path / "again") as again:
        assert current(again).transform.fingerprint == current(store).transform.fingerprint
        assert answers(again) == answers(store)
        assert verify(again, deep=True) == []


def test_compaction_and_repair_keep_the_transform(local_store: Store) -> None:
    target = commit(local_store, 1, drawn(60))
    publish(local_store, "whiten-0.5")
    before = current(local_store).transform.fingerprint
    remove_images(local_store.database, target, [7])
    compact(local_store, older_than_s=-1)
    assert current(local_store).transform.fingerprint == before
    assert verify(local_store, deep=True) == []


def test_each_space_has_its_own_transform_on_the_way_there_and_back(local_store: Store) -> None:
    names = [str(number) for number in range(30)]
    target = local_store.open_collection("default", SPACE)
    rows = np.concatenate([row_of(name) for name in names])
    Committer(local_store.database, local_store.blobs, target).commit(Batch([new_image(name) for name in names], rows))
    publish(local_store, "whiten-0.25")
    there = current(local_store).transform
    reembed(local_store, OTHER_SPACE, names)
    SpaceUpgrade(local_store, local_store.catalogue.collection("default")).promote()
    elsewhere = current(local_store).transform
    assert (elsewhere.kind, len(elsewhere.mean), len(there.mean)) == ("whiten-0.25", OTHER_SPACE.dims, DIMS)
    assert verify(local_store, deep=True) == []
    SpaceUpgrade(local_store, local_store.catalogue.collection("default")).rollback()
    assert current(local_store).transform.fingerprint == there.fingerprint


def interrupted(monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[], object]) -> None:
    """Let something happen once while a generation is being built."""
    found = Generations._named

    def named(self: Generations, *args: object) -> bool:
        monkeypatch.setattr(Generations, "_named", found)
        meanwhile()
        return found(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Generations, "_named", named)


def test_an_index_begun_before_another_transform_was_chosen_does_not_take_its_place(
    local_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(local_store, 1, drawn(60))
    publish(local_store)
    commit(local_store, 61, drawn(5, seed=1))
    interrupted(monkeypatch, lambda: publish(local_store, "centre"))
    publish(local_store)
    assert current(local_store).transform.kind == "centre"


def test_a_transform_behind_a_newer_index_is_refused_instead_of_lost(
    local_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(local_store, 1, drawn(60))
    interrupted(monkeypatch, lambda: (commit(local_store, 61, drawn(5, seed=1)), publish(local_store)))
    with pytest.raises(StoreUnavailable, match="the collection changed meanwhile"):
        publish(local_store, "centre")
    assert (current(local_store).transform.kind, local_store.catalogue.collection("default").transform) == (
        "none",
        "none",
    )
