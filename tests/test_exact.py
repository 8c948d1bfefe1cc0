"""Exact search, on three axes anyone can check, and against brute force."""

import numpy as np
import pytest

from search.blobs.generation_files import Section, packed, unpacked
from search.embeddings import unit_rows
from search.index import exact
from search.index.exact import ExactIndex, near_best

AXES = np.eye(3, dtype=np.float32)
NOBODY = np.empty(0, np.int64)
SOME = unit_rows(np.random.default_rng(0).normal(size=(700, 24)))


def query(*numbers: float) -> np.ndarray:
    return np.array([numbers], np.float32)


def test_the_axes_come_in_the_order_of_a_query_s_numbers() -> None:
    found = ExactIndex.build(AXES).search(query(0.1, 0.7, 0.3), 3)
    assert found.rows.tolist() == [[1, 2, 0]]
    assert found.scores[0] == pytest.approx([0.7, 0.3, 0.1])


def test_the_candidates_of_a_query_are_its_best_rows() -> None:
    index = ExactIndex.build(AXES)
    assert index.candidates(query(0.1, 0.7, 0.3), 2, NOBODY).tolist() == [1, 2]
    assert index.candidates(query(0.1, 0.7, 0.3), 2, np.array([1])).tolist() == [0, 2]
    assert index.candidates(query(0.1, 0.7, 0.3), 9, np.array([1])).tolist() == [0, 2]
    assert index.candidates(query(0.1, 0.7, 0.3), 0, NOBODY).tolist() == []


def test_the_candidates_of_several_queries_are_those_of_each() -> None:
    index = ExactIndex.build(AXES)
    both = np.concatenate([query(0.1, 0.7, 0.3), query(0.9, 0.1, 0.4)])
    assert [rows.tolist() for rows in index.candidates_each(both, 2, NOBODY)] == [[1, 2], [0, 2]]
    assert [rows.tolist() for rows in index.candidates_each(both, 9, np.array([1]))] == [[0, 2], [0, 2]]
    assert [rows.tolist() for rows in index.candidates_each(both, 0, NOBODY)] == [[], []]


@pytest.mark.parametrize("dims", [3, 64, 200, 512])
@pytest.mark.parametrize("copies", [5, 150])
def test_all_copies_are_candidates_though_products_differ_in_their_last_bits(dims: int, copies: int) -> None:
    rows = unit_rows(np.random.default_rng(dims).normal(size=(300, dims)))
    rows[50 : 50 + copies] = rows[50]
    found = ExactIndex.build(rows).candidates(rows[50:51], 3, NOBODY)
    assert found.tolist() == list(range(50, 50 + copies))
    assert ExactIndex.build(rows).candidates_among(rows[50:51], 3, np.arange(40, 60)).tolist() == list(
        range(50, min(60, 50 + copies))
    )


@pytest.mark.parametrize("queries", [1, 2, 64])
@pytest.mark.parametrize("k", [0, 1, 10, 700, 10**9])
def test_it_finds_what_sorting_all_scores_finds(queries: int, k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact, "LARGEST_SCORES", 7_000)  # ten queries at a time
    found = ExactIndex.build(SOME).search(SOME[:queries], k)
    scores = SOME[:queries] @ SOME.T
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    # The last bit of a product depends on how many queries it was made for.
    assert found.scores == pytest.approx(np.take_along_axis(scores, best, axis=1), abs=1e-6)
    assert k == 0 or (found.rows[:, 0] == np.arange(queries)).all()


@pytest.mark.parametrize("count", [0, 1, 5, 100, 699])
def test_among_some_rows_it_finds_the_best_of_them_whether_few_or_many(count: int) -> None:
    rows = np.sort(np.random.default_rng(1).choice(700, count, replace=False))
    found = ExactIndex.build(SOME).candidates_among(SOME[3:4], 10, rows)
    scores = SOME[rows] @ SOME[3]
    assert found.tolist() == sorted(rows[np.argsort(-scores, kind="stable")[:10]].tolist())


def test_the_numbers_of_an_opened_generation_lie_where_the_processor_likes_them() -> None:
    # Unaligned ones are right too, but NumPy copies all of them for each search.
    size = len(ExactIndex.build(SOME).dump())
    section = Section(size, ExactIndex.streamed([SOME], *SOME.shape), lead=size - SOME.nbytes)
    written = b"".join(packed({"before": Section(5, [b"12345"]), "index": section, "after": Section(1, [b"6"])}, {}))
    place = np.empty(len(written) + 64, np.uint8)
    aligned = place[-place.ctypes.data % 64 :][: len(written)]
    aligned[:] = np.frombuffer(written, np.uint8)
    sections, _ = unpacked("some", aligned)
    opened = ExactIndex.load(sections["index"], *SOME.shape).embeddings()
    assert opened.ctypes.data % 64 == 0
    assert np.array_equal(opened, SOME)
    assert (sections["before"].tobytes(), sections["after"].tobytes()) == (b"12345", b"6")


@pytest.mark.parametrize(
    ("scores", "best"), [([], []), ([1.0], [0]), ([3, 1, 2, 3], [0, 3]), ([0, 1, 1 - 1e-7, 1, 0.9], [1, 2, 3])]
)
def test_the_two_best_of_some_scores_and_what_is_as_high(scores: list[float], best: list[int]) -> None:
    assert near_best(np.array(scores, np.float32), 2).tolist() == best


@pytest.mark.parametrize(("rows", "k"), [(70, 1), (1_000, 5), (1_003, 10), (1_000, 300)])
def test_a_batch_finds_the_best_of_all_places_also_among_equal_ones(rows: int, k: int) -> None:
    random = np.random.default_rng(rows)
    xb = unit_rows(random.integers(-1, 2, (rows, 6)) + np.float32(0.01))  # few different rows
    queries = unit_rows(random.normal(size=(7, 6)))
    expected = np.sort(queries.astype(np.float64) @ xb.T.astype(np.float64), axis=1)[:, ::-1][:, :k]
    found = ExactIndex.build(xb).search(queries, k)
    np.testing.assert_allclose(found.scores, expected, atol=1e-6)
    assert all(len(set(places)) == k for places in found.rows.tolist())
