"""The approximate index against brute force, on points that can be checked by hand and on clustered ones."""

import math

import numpy as np
import pytest

from search.embeddings import unit_rows
from search.errors import CorruptFile
from search.finding.row_numbers import bitmap
from search.index.held_out import QUERIES, HeldOut
from search.index.inverted import InvertedIndex
from search.index.projection import Projection
from search.index.training import build, candidates_for, lists_for
from search.records import Embeddings


def clustered(rows: int, dims: int = 64, seed: int = 0) -> Embeddings:
    random = np.random.default_rng(seed)
    centres = random.normal(size=(rows // 40, dims))
    return unit_rows(centres[random.integers(0, len(centres), rows)] + 1.2 * random.normal(size=(rows, dims)))


class Matrix:
    """Rows in memory, as `build` reads them."""

    def __init__(self, embeddings: Embeddings) -> None:
        self._embeddings = embeddings

    def __len__(self) -> int:
        return len(self._embeddings)

    def read(self, numbers: np.ndarray) -> Embeddings:
        rows: Embeddings = self._embeddings[numbers]
        return rows


@pytest.fixture(scope="module")
def embeddings() -> Embeddings:
    return clustered(4_000)


def nearest(embeddings: Embeddings, query: Embeddings, k: int) -> list[int]:
    return [int(row) for row in np.argsort(-(embeddings @ query[0]), kind="stable")[:k]]


def corners() -> InvertedIndex:
    """Four lists at the corners of a square of side 200 in the first two of 16 numbers; rows 0 to 3 at the corners."""
    points = np.zeros((4, 16), np.float32)
    points[:, :2] = [(0, 0), (0, 200), (200, 0), (200, 200)]
    index = InvertedIndex.empty(points)
    index.add(points)
    return index


def code(*numbers: float) -> np.ndarray:
    row = np.zeros((1, 16), np.float32)
    row[0, : len(numbers)] = numbers
    return row


def test_rows_come_back_by_the_distance_of_their_codes() -> None:
    assert corners().candidates(code(10, 60), 4, 4)[0].tolist() == [0, 1, 2, 3]


def test_a_search_stops_where_the_next_centroid_is_farther_than_the_kth_row_and_the_slack(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("search.index.inverted.FIRST_LISTS", 1)
    index = corners()
    for slack, visited in ((0.0, 1), (200.0**2 - 1, 1), (200.0**2, 3), (2 * 200.0**2, 4)):
        index.slack = slack
        assert index.candidates(code(0, 0), 1, 4)[1] == visited, slack


def test_a_search_goes_on_until_it_has_k_rows_however_far_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.index.inverted.FIRST_LISTS", 1)
    index = corners()
    index.slack = index.filtered_slack = 0.0
    assert index.candidates(code(0, 0), 1, 4, bitmap(4, np.array([3])))[0].tolist() == [3]
    assert index.candidates(code(0, 0), 1, 4, bitmap(4, np.array([3])), np.array([3])) == (np.array([3]), 1)


def test_a_projection_keeps_distances_and_rounds_to_whole_bytes(embeddings: Embeddings) -> None:
    projection = Projection.fit([embeddings[:2000], embeddings[2000:]])
    codes = projection.codes(embeddings[:200])
    assert codes.shape == (200, 64)
    assert (codes == np.rint(codes)).all() and codes.min() >= 0 and codes.max() <= 255
    squared = 2 - 2 * embeddings[:200] @ embeddings[:200].T
    coded = ((codes[:, np.newaxis] - codes[np.newaxis]) ** 2).sum(axis=2) / projection.scale**2
    # Some numbers beyond the range of a byte are clipped, hence the few larger ones.
    assert np.quantile(np.abs(coded - squared), 0.99) < 0.03
    assert np.abs(coded - squared).max() < 0.1


def test_dims_that_are_no_multiple_of_sixteen_are_filled_up() -> None:
    rows = clustered(400, dims=21)
    assert Projection.fit([rows]).codes(rows).shape == (400, 32)


def test_with_every_list_visited_the_true_neighbours_are_among_the_candidates(embeddings: Embeddings) -> None:
    built = build(Matrix(embeddings), 0.9)
    built.index.slack = math.inf
    for row in range(0, 4_000, 100):
        query = embeddings[row : row + 1]
        found, compared = built.index.candidates(built.projection.codes(query), 10, 60)
        assert compared == 4_000
        assert set(nearest(embeddings, query, 10)) <= set(found.tolist())


@pytest.mark.parametrize("target", [0.8, 0.99])
def test_a_built_index_reaches_its_recall_target_on_queries_it_has_not_seen(
    embeddings: Embeddings, target: float
) -> None:
    built = build(Matrix(embeddings), target)
    assert built.measured.recall >= target
    queries = clustered(4_000, seed=1)[:300]  # other points of other clusters
    queries = unit_rows(0.8 * embeddings[np.arange(300) * 13] + 0.2 * queries)
    hits = 0
    for number in range(300):
        query = queries[number : number + 1]
        found, _ = built.index.candidates(built.projection.codes(query), 10, 30)
        hits += len(set(found.tolist()) & set(nearest(embeddings, query, 10)))
    assert hits / 3000 >= target - 0.02


def test_the_measured_recall_is_what_searches_find(embeddings: Embeddings) -> None:
    built = build(Matrix(embeddings), 0.95)
    measured = built.measured
    queries = HeldOut.choose(Matrix(embeddings), np.random.default_rng(0))
    queries.compare(0, embeddings, np.zeros(4_000, np.int64))
    codes = built.projection.codes(queries.embeddings)
    curves = queries.curves(built.index, codes, Matrix(embeddings))
    hits, compared = [], []
    for number in range(QUERIES):
        itself = int(queries._own[number] >= 0)
        count = candidates_for(10, measured.per_neighbour) + itself
        found, seen = built.index.candidates(codes[number : number + 1], 10 + itself, count)
        hits.append(len(set(queries._rows[number, :10].tolist()) & set(found.tolist())) / 10)
        compared.append(seen)
    blended = queries._own < 0
    expected = min(np.mean(np.array(hits)[blended]), np.mean(np.array(hits)[~blended]))
    # A search that stops early has fewer rivals, so it may find a little more than the whole search ranks high enough.
    assert curves.recall(measured.slack, count - itself) <= expected + 1e-9
    assert expected <= curves.recall(measured.slack, 10**6) + 1e-9
    assert curves.rows_compared(measured.slack) == np.mean(compared)


def test_a_lower_target_compares_fewer_rows(embeddings: Embeddings) -> None:
    low, high = (build(Matrix(embeddings), target).measured for target in (0.8, 0.99))
    assert low.compared < high.compared < 1


def test_held_out_queries_know_their_true_neighbours_and_never_themselves(embeddings: Embeddings) -> None:
    queries = HeldOut.choose(Matrix(embeddings), np.random.default_rng(0))
    no_lists = np.zeros(1_500, np.int64)
    for start in range(0, 4_000, 1_500):
        queries.compare(start, embeddings[start : start + 1_500], no_lists)
    scores = queries.embeddings @ embeddings.T
    for number, own in enumerate(queries._own.tolist()):
        ranking = [row for row in np.argsort(-scores[number], kind="stable").tolist() if row != own]
        assert queries._rows[number, :10].tolist() == ranking[:10]
    assert (queries._own >= 0).sum() == QUERIES // 2


def test_equal_embeddings_do_not_spoil_the_measured_recall() -> None:
    rows = np.repeat(clustered(400), 10, axis=0)  # every picture ten times
    assert build(Matrix(rows), 0.99).measured.recall >= 0.99


def test_a_dumped_index_answers_as_before_without_a_copy_of_its_codes(embeddings: Embeddings) -> None:
    built = build(Matrix(embeddings), 0.95)
    data = built.index.dump()
    loaded = InvertedIndex.load(data, 4_000, 64, built.measured.slack, built.measured.filtered_slack)
    for row in (0, 7, 3_999):
        one = built.projection.codes(embeddings[row : row + 1])
        assert loaded.candidates(one, 10, 30)[0].tolist() == built.index.candidates(one, 10, 30)[0].tolist()


@pytest.mark.parametrize("damage", ["cut", "foreign", "rows"])
def test_bytes_that_are_no_such_index_are_refused(embeddings: Embeddings, damage: str) -> None:
    data = build(Matrix(embeddings[:400]), 0.9).index.dump()
    if damage == "cut":
        data = data[: len(data) // 2].copy()
    if damage == "foreign":
        data = np.frombuffer(b"IxF2" + bytes(200), np.uint8)
    with pytest.raises(CorruptFile):
        InvertedIndex.load(data, 401 if damage == "rows" else 400, 64, 0.0, 0.0)


def test_filters_are_held_to_brute_force_however_rare_and_contrary_they_are(embeddings: Embeddings) -> None:
    built = build(Matrix(embeddings), 0.99)
    assert built.measured.filtered_recall >= 0.99
    random = np.random.default_rng(3)
    hits = 0
    for row in range(0, 4_000, 200):
        query = embeddings[row : row + 1]
        far = np.sort(np.argsort(embeddings @ query[0])[:300])  # the opposite of the query
        for wanted in (far, np.sort(random.choice(4_000, 40, replace=False)), np.arange(0, 4_000, 2)):
            best = wanted[np.argsort(-(embeddings[wanted] @ query[0]), kind="stable")[:10]]
            code, lists = built.projection.codes(query), built.index.lists_of(wanted)
            found, _ = built.index.candidates(code, 10, 30, bitmap(4_000, wanted), lists)
            assert set(found.tolist()) <= set(wanted.tolist())
            hits += len(set(best.tolist()) & set(found.tolist()))
    assert hits >= 0.98 * 20 * 3 * 10


def test_a_graph_of_centroids_finds_what_comparing_all_of_them_finds(
    embeddings: Embeddings, monkeypatch: pytest.MonkeyPatch
) -> None:
    flat = build(Matrix(embeddings), 0.99)
    monkeypatch.setattr("search.index.inverted.GRAPH_LISTS", 10)
    monkeypatch.setattr("search.index.inverted.GRAPH_FIRST", 32)
    graph = build(Matrix(embeddings), 0.99)
    graph.index.slack = flat.index.slack
    same = 0
    for row in range(0, 4_000, 40):
        one = flat.projection.codes(embeddings[row : row + 1])
        same += set(flat.index.candidates(one, 10, 30)[0][:10]) == set(graph.index.candidates(one, 10, 30)[0][:10])
    assert same >= 95
    graph.index.slack = math.inf
    assert graph.index.candidates(one, 10, 30)[1] == 4_000


def test_lists_grow_with_the_root_of_the_rows() -> None:
    assert [lists_for(rows) for rows in (1, 10_000, 1_000_000)] == [4, 400, 4_000]


def test_a_target_nobody_can_reach_is_reported_as_what_was_reached() -> None:
    random = np.random.default_rng(0)
    rows = unit_rows(random.normal(size=(2_000, 512)))  # no structure: 256 axes hold half of it
    built = build(Matrix(rows), 1.0)
    assert built.measured.recall_target == 1.0
    assert built.measured.per_neighbour > 3
