"""The planner of filtered searches against brute force: common, rare and contrary conditions, approximate index."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import event

from search.conditions.filtering import Matches
from search.conditions.where import parse
from search.embeddings import unit_rows
from search.finding.filter_planner import search_each_where, search_where
from search.finding.generations import Generations
from search.finding.ranked import Ranked
from search.finding.snapshot import Snapshot, SnapshotReader
from search.records import Embeddings
from search.storing.commits import Batch, Committer
from search.storing.image_rows import NewImage
from search.storing.store import Store
from tests.fakes import FAKE_DIMS, FakeBackbone, facts, new_image

ROWS, NEW = 5_000, 200
CLUSTERS = 50
REMOVED = tuple(range(100, 4_000, 40))


class Album:
    """Pictures in clusters; the width of each is the number of its cluster, the height its own number."""

    def __init__(self, folder: Path) -> None:
        random = np.random.default_rng(0)
        self.cluster = random.integers(0, CLUSTERS, ROWS + NEW)
        centres = random.normal(size=(CLUSTERS, FAKE_DIMS))
        self.embeddings = unit_rows(centres[self.cluster] + random.normal(size=(ROWS + NEW, FAKE_DIMS)))
        self.store = Store.create(folder / "store")
        target = self.store.open_collection("default", FakeBackbone().space)
        committer = Committer(self.store.database, self.store.blobs, target)
        sequence = committer.commit(Batch(self.images(range(ROWS)), self.embeddings[:ROWS]))
        Generations(self.store.database, self.store.blobs, target).publish(sequence)
        committer.commit(Batch(self.images(range(ROWS, ROWS + NEW)), self.embeddings[ROWS:]))
        self.snapshot = SnapshotReader(self.store.database, self.store.blobs, target).current()

    def images(self, numbers: range) -> list[NewImage]:
        made = []
        for number in numbers:
            content = replace(facts(str(number)), width=int(self.cluster[number]) + 1, height=number + 1)
            made.append(new_image(str(number), content))
        return made

    def query(self, number: int) -> Embeddings:
        return self.embeddings[number : number + 1]

    def search(self, number: int, condition: str, k: int = 10) -> Ranked:
        return search_where(self.snapshot, self.store.catalogue, self.query(number), k, parse(condition))

    def best(self, number: int, passing: Callable[[np.ndarray, np.ndarray], np.ndarray], k: int = 10) -> list[int]:
        """Return the ids of the k nearest of the images whose (width, height) pass. Image N has id N + 1."""
        allowed = np.flatnonzero(passing(self.cluster + 1, np.arange(1, ROWS + NEW + 1)))
        scores = self.embeddings[allowed] @ self.query(number)[0]
        return [int(row) + 1 for row in allowed[np.argsort(-scores, kind="stable")[:k]]]


@pytest.fixture(autouse=True)
def fewer_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """All three ways of the planner have conditions that take them in an album of this size."""
    monkeypatch.setattr("search.finding.filter_planner.FEW_IMAGES", 1_000)


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Album]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("search.finding.generations.EXACT_ROWS", 1_000)
        made = Album(tmp_path_factory.mktemp("album"))
    yield made
    made.store.close()


def found(ranked: Ranked, best: list[int]) -> int:
    return len(set(ranked.ids.tolist()) & set(best))


NUMBERS = range(0, ROWS, 250)


@pytest.mark.parametrize(
    ("condition", "passing"),
    [
        ("height > 0", lambda width, height: height > 0),
        ("height >= 2600", lambda width, height: height >= 2600),
        ("height < 53", lambda width, height: height < 53),
        ("height in (7, 70, 700, 5100)", lambda width, height: np.isin(height, (7, 70, 700, 5100))),
        ("width <= 5", lambda width, height: width <= 5),  # whole clusters, mostly far from the query
        ("width = 3 and height >= 5001", lambda width, height: (width == 3) & (height >= 5001)),
        ("height = 0", lambda width, height: height == 0),
    ],
)
def test_a_filtered_search_finds_what_brute_force_finds(
    album: Album, condition: str, passing: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> None:
    hits = expected = 0
    for number in NUMBERS:
        best = album.best(number, passing)
        ranked = album.search(number, condition)
        hits, expected = hits + found(ranked, best), expected + len(best)
        assert len(ranked.ids) == len(best)
        allowed = set(np.flatnonzero(passing(album.cluster + 1, np.arange(1, ROWS + NEW + 1))) + 1)
        assert set(ranked.ids.tolist()) <= allowed
    assert hits >= 0.99 * expected


def test_a_condition_that_leaves_out_everything_near_is_followed_far_away(album: Album) -> None:
    hits = 0
    for number in NUMBERS:
        mine = int(album.cluster[number]) + 1
        best = album.best(number, lambda width, height, mine=mine: width != mine)  # type: ignore[misc]
        hits += found(album.search(number, f"width != {mine}"), best)
    assert hits >= 0.99 * 10 * len(NUMBERS)


def refused(*_: object) -> None:
    raise AssertionError("this was not to be asked")


def test_a_common_condition_is_asked_of_the_nearest_images_alone(album: Album, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Matches, "all", refused)
    best = album.best(3, lambda width, height: height % 1 == 0)
    assert album.search(3, "height >= 1").ids.tolist() == best


def test_a_rare_condition_is_answered_by_sql(album: Album, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Matches, "passing", refused)
    monkeypatch.setattr(Matches, "all", refused)
    assert len(album.search(3, "height < 53").ids) == 10


def test_when_the_nearest_are_tried_in_vain_the_images_are_scanned_once(
    album: Album, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.finding.filter_planner.SPARE", ROWS)
    statements: list[str] = []
    engine = album.store.database.engine

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    try:
        ranked = album.search(3, "height >= 2600")
    finally:
        event.remove(engine, "before_cursor_execute", note)
    assert found(ranked, album.best(3, lambda width, height: height >= 2600)) == 10
    of_images = [statement for statement in statements if "FROM image" in statement]
    assert len(of_images) > 1, "the nearest were not tried"
    assert [one for one in of_images if "image.id IN" not in one] == of_images[:1], "asked again from the beginning"


VIEWS = [3, 4, 1200, 4999, ROWS + 7]


@pytest.mark.parametrize("condition", ["height > 0", "height >= 2600", "height < 53", "width != 3", "height = 0"])
def test_several_queries_find_what_each_finds_alone_and_the_images_are_read_once(album: Album, condition: str) -> None:
    statements: list[str] = []
    engine = album.store.database.engine

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    try:
        queries = album.embeddings[VIEWS]
        together = search_each_where(album.snapshot, album.store.catalogue, queries, 10, parse(condition))
    finally:
        event.remove(engine, "before_cursor_execute", note)
    of_all = [one for one in statements if "FROM image" in one and "image.id IN" not in one]
    assert len(of_all) == 1, "asked again for each query"
    for number, ranked in zip(VIEWS, together, strict=True):
        alone = album.search(number, condition)
        np.testing.assert_array_equal(ranked.ids, alone.ids)
        np.testing.assert_array_equal(ranked.scores, alone.scores)


@pytest.mark.parametrize("k", [1, 50, 1000])
def test_any_number_of_matches_can_be_asked_for(album: Album, k: int) -> None:
    best = album.best(9, lambda width, height: height >= 2600, k)
    ranked = album.search(9, "height >= 2600", k)
    assert len(ranked.ids) == k
    assert found(ranked, best) >= 0.98 * k
    assert (np.diff(ranked.scores) <= 0).all()


def test_scores_are_true_cosines_of_the_stored_embeddings(album: Album) -> None:
    for ranked in (album.search(5, "height >= 2600"), album.snapshot.search(album.query(5), 10)):
        expected = album.embeddings[ranked.ids - 1] @ album.query(5)[0]
        np.testing.assert_allclose(ranked.scores, expected, atol=2e-4)  # stored as float16


def test_an_approximate_index_finds_new_images_too_and_never_removed_ones(album: Album) -> None:
    snapshot: Snapshot = album.snapshot
    assert not snapshot.is_exact
    newest = ROWS + NEW - 1
    assert snapshot.search(album.query(newest), 1).ids.tolist() == [newest + 1]
    gone = np.array(REMOVED) + 1
    delta = replace(snapshot.delta, changed=np.union1d(snapshot.delta.changed, gone))
    without = Snapshot(snapshot.collection, snapshot.generation, delta)
    assert len(without) == len(snapshot) - len(gone)
    for number in REMOVED[::8]:
        for ranked in (
            without.search(album.query(number), 10),
            search_where(without, album.store.catalogue, album.query(number), 10, parse("height <= 4000")),
        ):
            assert not set(ranked.ids.tolist()) & set(gone.tolist())
            assert len(ranked.ids) == 10
