"""What ranked answers are worth: small cases worked out by hand, and one against counting."""

import numpy as np
import pytest

from search.calibration.answers import (
    Answers,
    Estimate,
    curve_of,
    estimate,
    figures_of,
    share_by_source,
    share_reaching,
    source_weights,
)
from search.calibration.metrics import RankedPairs, precision_recall


def answers(scores: list[list[float]], right: list[list[int]], sources: list[int] | None = None) -> Answers:
    """Answers of which `right` marks the right ones; a query with none has no right answer at all."""
    marks = np.array(right, bool)
    return Answers(
        np.array(scores, np.float32),
        marks,
        np.asarray(marks.any(axis=1), np.int64),
        np.array(sources if sources is not None else range(len(scores)), np.int64),
    )


def everything(found: Answers) -> dict[str, np.ndarray]:
    return {"all": np.ones(len(found), bool)}


def test_the_rank_of_the_right_answer_counts_from_1_and_is_beyond_the_list_where_it_is_missing() -> None:
    found = answers([[0.9, 0.8, 0.7], [0.9, 0.8, 0.7], [0.9, 0.8, 0.7]], [[1, 0, 0], [0, 0, 1], [0, 0, 0]])
    assert found.ranks().tolist() == [1, 3, 4]


def test_a_wrong_answer_that_scores_as_much_as_the_right_one_is_before_it() -> None:
    assert answers([[0.8, 0.8]], [[1, 0]]).ranks().tolist() == [2]


def test_precision_counts_the_pairs_of_queries_that_have_no_right_answer() -> None:
    found = answers([[0.9], [0.8], [0.7]], [[1], [0], [1]])
    curve = curve_of(found)
    np.testing.assert_allclose(curve.precision, [1, 1 / 2, 2 / 3])
    np.testing.assert_allclose(curve.recall, [1 / 2, 1 / 2, 1])
    assert curve.average_precision() == pytest.approx(1 / 2 * 1 + 1 / 2 * 2 / 3)


def test_what_was_never_listed_is_not_found() -> None:
    missing = Answers(np.full((2, 1), -np.inf, np.float32), np.zeros((2, 1), bool), np.ones(2, np.int64), np.arange(2))
    found = answers([[0.9]], [[1]])
    both = Answers(*(np.concatenate(pair) for pair in zip(_fields(found), _fields(missing), strict=True)))
    assert curve_of(both).recall.tolist() == [pytest.approx(1 / 3)]


def _fields(found: Answers) -> tuple[np.ndarray, ...]:
    return found.scores, found.right, found.positives, found.sources


def test_one_threshold_serves_all_groups() -> None:
    # Precision .99 allows no mistake here: the threshold is .8, above the wrong pair at .7.
    found = answers([[0.9], [0.8], [0.7], [0.6]], [[1], [1], [0], [1]])
    easy, hard = np.array([1, 1, 0, 0], bool), np.array([0, 0, 1, 1], bool)
    figures = figures_of(found, {"easy": easy, "hard": hard}, resamples=20)
    assert figures.thresholds[0.99] == pytest.approx(0.8)
    assert figures.groups["easy"].recall_at_precision[0.99].value == 1
    assert figures.groups["hard"].recall_at_precision[0.99].value == 0
    assert figures.groups["hard"].recall_at[1].value == 1
    assert (figures.groups["hard"].queries, figures.groups["hard"].sources) == (1, 1)


def test_without_any_threshold_of_that_precision_nothing_is_found() -> None:
    figures = figures_of(found := answers([[0.9], [0.8]], [[0], [1]]), everything(found), resamples=5)
    assert figures.thresholds[0.99] is None
    assert figures.groups["all"].recall_at_precision[0.99].value == 0


def test_a_group_without_right_answers_is_left_out() -> None:
    found = answers([[0.9], [0.8]], [[1], [0]])
    figures = figures_of(found, {"empty": np.array([False, True])}, resamples=5)
    assert figures.groups == {}


def test_recall_counts_every_right_answer_of_a_query_that_has_several() -> None:
    found = Answers(np.array([[0.9, 0.5, 0.4]], np.float32), np.array([[1, 0, 1]], bool), np.array([2]), np.array([0]))
    assert figures_of(found, everything(found), resamples=3).groups["all"].recall_at_precision[0.99].value == 0.5


def test_all_queries_of_a_photograph_are_drawn_together() -> None:
    weights = source_weights(np.array([5, 7, 5, 9]), 200, seed=1)
    assert weights[0].tolist() == [1, 1, 1, 1]
    np.testing.assert_array_equal(weights[:, 0], weights[:, 2])
    np.testing.assert_array_equal(weights[:, [0, 1, 3]].sum(axis=1), 3)


def test_the_interval_of_a_photograph_s_edits_is_wider_than_that_of_as_many_photographs() -> None:
    hits = np.tile([True, False], 40)
    together = share_by_source(np.sort(hits), np.arange(80) // 10)
    alone = share_by_source(hits, np.arange(80))
    assert together.value == alone.value == 0.5
    assert together.high - together.low > 2 * (alone.high - alone.low)


def test_draws_in_which_a_figure_is_not_defined_are_left_out_of_its_interval() -> None:
    made = estimate(np.array([0.5, np.nan, 0.4, 0.6]), 3)
    assert made.value == 0.5
    assert made.low == pytest.approx(0.4, abs=0.01)
    assert made.high == pytest.approx(0.6, abs=0.01)


def test_eight_photographs_without_a_mistake_leave_room_for_mistakes() -> None:
    # By hand: if a share p succeeded, all 8 of 8 would have a chance of p ** 8, which is .025 at p = .631.
    sources = np.arange(80) // 10
    all_right, none_right = (share_by_source(np.full(80, hit), sources) for hit in (True, False))
    assert (all_right.value, all_right.high) == (1, 1)
    assert all_right.low == pytest.approx(0.025 ** (1 / 8))
    assert (none_right.value, none_right.low) == (0, 0)
    assert none_right.high == pytest.approx(1 - 0.025 ** (1 / 8))


def test_all_figures_of_a_group_without_a_mistake_have_an_interval_and_more_photographs_a_narrower_one() -> None:
    def figures(photographs: int) -> list[Estimate]:
        found = answers([[0.9]] * photographs, [[1]] * photographs)
        group = figures_of(found, everything(found), resamples=5, with_average_precision=("all",)).groups["all"]
        assert group.average_precision is not None
        return [group.recall_at[1], group.recall_at_precision[0.99], group.average_precision]

    for few, many in zip(figures(10), figures(100), strict=True):
        assert few.value == many.value == 1
        assert few.low == pytest.approx(0.025 ** (1 / 10))
        assert many.low == pytest.approx(0.025 ** (1 / 100))


def test_only_wrong_answers_at_the_threshold_or_above_are_called_the_same() -> None:
    found = answers([[0.9, 0.2], [0.9, 0.8], [0.7, 0.1]], [[1, 0], [1, 0], [0, 0]])
    assert share_reaching(found, 0.8).tolist() == [False, True, False]
    assert share_reaching(found, None).tolist() == [False, False, False]


def test_figures_agree_with_counting_for_each_draw() -> None:
    rng = np.random.default_rng(3)
    right = np.zeros((40, 6), bool)
    right[:30, 0] = True
    scores = (rng.integers(0, 20, (40, 6)) + 12 * right).astype(np.float32)  # mostly above the wrong ones, with ties
    found = Answers(scores, right, np.asarray(right.any(axis=1), np.int64), np.arange(40) // 4)
    weights = source_weights(found.sources, 50, seed=0)
    figures = figures_of(found, everything(found), resamples=50, with_average_precision=("all",)).groups["all"]
    recalls = [_recall_at_precision(found, once, 0.90) for once in weights]
    averages = [_average_precision(found, once) for once in weights]
    assert figures.average_precision is not None
    for made, counted in ((figures.recall_at_precision[0.90], recalls), (figures.average_precision, averages)):
        assert len(set(counted)) > 10
        assert made.value == pytest.approx(counted[0])
        assert [made.low, made.high] == pytest.approx(np.percentile(counted[1:], [2.5, 97.5]).tolist())


def _reported(found: Answers, once: np.ndarray, threshold: float) -> tuple[float, float]:
    """Return precision and recall of a threshold, counting each query as often as it was drawn."""
    each, reported = np.broadcast_to(once[:, None], found.scores.shape), found.scores >= threshold
    truly, total = each[reported & found.right].sum(), each[reported].sum()
    return (float(truly / total) if total else 0.0), float(truly / once[found.positives > 0].sum())


def _recall_at_precision(found: Answers, once: np.ndarray, precision: float) -> float:
    """Try every score as a threshold, the low ones first."""
    points = (_reported(found, once, threshold) for threshold in np.unique(found.scores))
    return next((recall for reached, recall in points if reached >= precision), 0.0)


def _average_precision(found: Answers, once: np.ndarray) -> float:
    points = [(0.0, 0.0), *(_reported(found, once, threshold) for threshold in np.unique(found.scores)[::-1])]
    return sum(
        precision * (recall - before) for (_, before), (precision, recall) in zip(points[:-1], points[1:], strict=True)
    )


def test_weights_of_one_give_the_curve_without_weights() -> None:
    scores, truth = np.random.default_rng(0).random((5, 4), np.float32), np.array([0, 3, -1, 2, 2])
    right = np.zeros((5, 4), bool)
    right[[0, 1, 3, 4], [0, 3, 2, 2]] = True
    weighted = RankedPairs(scores.ravel(), right.ravel()).curve(4, np.ones(20))
    np.testing.assert_array_equal(weighted.recall, precision_recall(scores, truth).recall)
    np.testing.assert_array_equal(weighted.precision, precision_recall(scores, truth).precision)


def test_recall_is_refused_where_nothing_is_right() -> None:
    with pytest.raises(ValueError, match="recall is not defined"):
        figures_of(found := answers([[0.9]], [[0]]), everything(found))
