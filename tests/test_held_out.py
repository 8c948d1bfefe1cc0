"""What held-out queries count as found: whatever scores as high as the tenth best, however often it is there."""

import numpy as np
import pytest

from search.embeddings import unit_rows
from search.finding.generations import Generations
from search.finding.snapshot import SnapshotReader
from search.index.held_out import NEIGHBOURS, Curves, HeldOut
from search.index.training import Built, build, candidates_for
from search.records import Embeddings
from search.storing.commits import Batch, Committer
from search.storing.store import Store
from tests.fakes import FAKE_DIMS, FakeBackbone, new_image

NO_STEPS = np.zeros(1), np.ones(1, np.int64)


@pytest.fixture(autouse=True)
def fewer_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enough for what is checked here, in a tenth of the time."""
    monkeypatch.setattr("search.index.held_out.QUERIES", 60)
    monkeypatch.setattr("search.index.training.FILTERED_QUERIES", 18)


class Matrix:
    """Rows in memory, as `build` reads them; asked: the row numbers of each call."""

    def __init__(self, embeddings: Embeddings) -> None:
        self._embeddings = embeddings
        self.asked: list[np.ndarray] = []

    def __len__(self) -> int:
        return len(self._embeddings)

    def read(self, numbers: np.ndarray) -> Embeddings:
        self.asked.append(numbers)
        rows: Embeddings = self._embeddings[numbers]
        return rows


def random_rows(rows: int, dims: int = 32, seed: int = 0) -> Embeddings:
    return unit_rows(np.random.default_rng(seed).normal(size=(rows, dims)))


def with_copies(rows: int, copies: int) -> Embeddings:
    """Rows of which the first few are one and the same picture."""
    embeddings = random_rows(rows)
    embeddings[:copies] = embeddings[0]
    return embeddings


def recall_by_score(built: Built, embeddings: Embeddings, queries: Embeddings) -> float:
    """Return the share of the ten best scores that searches with the settings of an index reach."""
    hits = 0
    for number in range(len(queries)):
        scores = embeddings @ queries[number]
        tenth = np.sort(scores)[-NEIGHBOURS]
        count = candidates_for(NEIGHBOURS, built.measured.per_neighbour)
        found, _ = built.index.candidates(built.projection.codes(queries[number : number + 1]), NEIGHBOURS, count)
        hits += min(NEIGHBOURS, int((scores[found] >= tenth - 1e-6).sum()))
    return hits / (NEIGHBOURS * len(queries))


def curves_of(built: Built, rows: Matrix) -> Curves:
    queries = HeldOut.choose(rows, np.random.default_rng(0))
    every = rows.read(np.arange(len(rows)))
    queries.compare(0, every, np.zeros(len(rows), np.int64))
    rows.asked.clear()
    return queries.curves(built.index, built.projection.codes(queries.embeddings), rows)


@pytest.mark.parametrize(
    "embeddings",
    [
        pytest.param(np.repeat(random_rows(1), 300, axis=0), id="one value"),
        pytest.param(random_rows(2)[np.arange(300) % 2], id="two values"),
        pytest.param(np.ones((300, 1), np.float32), id="one dim"),
        pytest.param(np.where(np.arange(300) % 2, 1, -1).astype(np.float32)[:, np.newaxis], id="one dim, two values"),
    ],
)
def test_rows_without_any_differences_can_be_indexed_and_found(embeddings: Embeddings) -> None:
    built = build(Matrix(embeddings), 0.99)
    assert built.measured.recall == built.measured.filtered_recall == 1.0
    assert built.measured.slack == built.measured.filtered_slack == 0.0
    assert recall_by_score(built, embeddings, embeddings[:4]) == 1.0


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
def test_a_collection_of_nothing_but_copies_gets_its_index(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.finding.generations.EXACT_ROWS", 100)
    target = store.open_collection("default", FakeBackbone().space)
    copies = np.repeat(random_rows(1, FAKE_DIMS), 150, axis=0)
    images = [new_image(str(number)) for number in range(150)]
    sequence = Committer(store.database, store.blobs, target).commit(Batch(images, copies))
    Generations(store.database, store.blobs, target).publish(sequence)
    snapshot = SnapshotReader(store.database, store.blobs, target).current()
    assert not snapshot.is_exact
    np.testing.assert_allclose(snapshot.search(copies[:1], 10).scores, np.ones(10), atol=1e-6)


def test_any_ten_of_many_copies_answer_a_query_whose_ten_nearest_they_are() -> None:
    embeddings = with_copies(2_000, 1_200)
    built = build(Matrix(embeddings), 0.99)
    assert built.measured.recall >= 0.99
    assert built.measured.per_neighbour == 3 and built.measured.compared < 0.9  # not all of them, as a last resort
    assert recall_by_score(built, embeddings, embeddings[::40]) >= 0.99


def test_where_the_target_is_out_of_reach_no_more_is_visited_than_finds_the_most() -> None:
    # Rows that lie closer together than codes can tell, by more than scores round: 400 around each of 4 centres.
    random = np.random.default_rng(0)
    embeddings = unit_rows(random_rows(4)[np.arange(1_600) % 4] + 2e-5 * random.normal(size=(1_600, 32)))
    rows = Matrix(embeddings)
    measured = build(rows, 0.99).measured
    assert measured.recall < 0.99
    assert measured.compared < 0.9


def test_no_more_copies_are_found_than_candidates_are_looked_at() -> None:
    rows = Matrix(with_copies(1_000, 800))
    curves = curves_of(build(rows, 0.99), rows)
    assert curves.recall(np.inf, 1) <= 0.1
    assert 0.2 < curves.recall(np.inf, 4) <= 0.4


def test_what_scores_lower_than_the_tenth_best_is_no_hit_wherever_it_is_ranked() -> None:
    embeddings = np.repeat(np.eye(2, dtype=np.float32), [50, 10], axis=0)  # 50 copies along one axis, 10 others
    queries = HeldOut(embeddings[:1], np.array([-1]))
    queries.compare(0, embeddings, np.zeros(60, np.int64))
    [good] = queries._good([np.r_[50:55, 0:50, 55:60]], Matrix(embeddings))
    assert not good[:5].any() and not good[55:].any()
    assert good[5:15].all()


def test_a_stored_row_takes_no_place_among_its_own_neighbours() -> None:
    rows = Matrix(random_rows(400))
    curves = curves_of(build(rows, 0.99), rows)
    assert curves.place[~curves.blended[curves.query]].min() == 0


def test_only_queries_with_more_equal_neighbours_than_are_kept_have_rows_read_again() -> None:
    plain = Matrix(random_rows(1_000))
    curves_of(build(plain, 0.9), plain)
    assert plain.asked == []
    copies = Matrix(with_copies(1_000, 500))
    curves_of(build(copies, 0.9), copies)
    read = np.concatenate(copies.asked)
    assert len(np.unique(read)) == len(read) > 0  # each once, for all queries together
    assert (np.diff(read) > 0).all()


def test_the_least_slack_lets_enough_rows_of_that_score_be_among_the_candidates() -> None:
    # One query that wants 2 rows, for which 4 are good enough: (slack, place) of each.
    slack, place = np.array([9.0, 1.0, 1.0, 4.0]), np.array([0, 3, 50, 2])
    margins, compared = NO_STEPS
    curves = Curves(np.zeros(4, np.int64), slack, place, np.array([2]), np.array([True]), [margins], [compared])
    assert curves.least_slack(1.0, 100) == 1.0
    assert curves.least_slack(1.0, 30) == 4.0
    assert curves.least_slack(1.0, 3) == 9.0
    assert curves.least_slack(1.0, 1) is None and curves.least_slack(0.5, 1) == 9.0
    assert curves.recall(9.0, 100) == 1.0  # more than enough is no more than all


def test_where_no_query_has_a_neighbour_nothing_is_missed_with_no_slack() -> None:
    none, margins, compared = np.empty(0, np.int64), *NO_STEPS
    curves = Curves(none, np.empty(0), none, np.zeros(1, np.int64), np.array([True]), [margins], [compared])
    assert curves.least_slack(0.99, 30) == 0.0
    assert curves.recall(0.0, 30) == 1.0
