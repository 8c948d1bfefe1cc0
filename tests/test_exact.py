"""Exact search, on three axes anyone can check, and against brute force."""

import numpy as np
import pytest

from search.blobs.generation_files import Section, packed, unpacked
from search.embeddings import unit_rows
from search.index import exact
from search.index.exact import ExactIndex, first

AXES = np.eye(3, dtype=np.float32)
NOBODY = np.empty(0, np.int64)
SOME = unit_rows(np.random.default_rng(0).normal(size=(700, 24)))


def query(*numbers: float) -> np.ndarray:
    return np.array([numbers], np.float32)


def test_the_axes_come_in_the_order_of_a_query_s_numbers() -> None:
    found = ExactIndex.build(AXES).search(query(0.1, 0.7, 0.3), 3, NOBODY)
    assert found.rows.tolist() == [[1, 2, 0]]
    assert found.scores[0] == pytest.approx([0.7, 0.3, 0.1])


def test_of_equal_scores_the_lower_row_comes_first_even_where_only_some_fit() -> None:
    same = ExactIndex.build(np.repeat(AXES[:1], 50, axis=0))
    assert same.search(query(1, 0, 0), 4, NOBODY).rows.tolist() == [[0, 1, 2, 3]]


def test_excluded_rows_are_not_found_and_missing_ones_are_minus_one() -> None:
    found = ExactIndex.build(AXES).search(query(0.1, 0.7, 0.3), 5, np.array([1]))
    assert found.rows.tolist() == [[2, 0, -1]]


@pytest.mark.parametrize("queries", [1, 2, 64])
@pytest.mark.parametrize("k", [1, 10, 700, 10**9])
def test_it_finds_what_sorting_all_scores_finds(queries: int, k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact, "LARGEST_SCORES", 7_000)  # ten queries at a time
    found = ExactIndex.build(SOME).search(SOME[:queries], k, NOBODY)
    scores = SOME[:queries] @ SOME.T
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    # The last bit of a product depends on how many queries it was made for.
    assert found.scores == pytest.approx(np.take_along_axis(scores, best, axis=1), abs=1e-6)
    assert (found.rows[:, 0] == np.arange(queries)).all()


@pytest.mark.parametrize("count", [0, 1, 5, 100, 699])
def test_among_some_rows_it_finds_the_best_of_them_whether_few_or_many(count: int) -> None:
    rows = np.sort(np.random.default_rng(1).choice(700, count, replace=False))
    found = ExactIndex.build(SOME).search_among(SOME[3:4], 10, rows)
    scores = SOME[rows] @ SOME[3]
    assert found.rows.tolist() == [rows[np.argsort(-scores, kind="stable")[:10]].tolist()]


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


@pytest.mark.parametrize(("scores", "best"), [([], []), ([1.0], [0]), ([3, 1, 2, 3], [0, 3]), ([0] * 50, [0, 1])])
def test_the_first_two_of_some_scores(scores: list[float], best: list[int]) -> None:
    assert first(np.array(scores, np.float32), 2).tolist() == best
