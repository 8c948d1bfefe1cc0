"""Thresholds keep what they promise, on pairs that nobody has seen; and say when there is too little to promise."""

from dataclasses import replace

import numpy as np
import pytest

from search.calibration.evidence import NO_STRATUM, Evidence
from search.calibration.thresholds import LabelledPairs

rng = np.random.default_rng


def evidence(
    scores: list[float], right: list[bool], *, sources: list[int] | None = None, queries: int | None = None
) -> Evidence:
    count = len(scores)
    of = list(range(count)) if sources is None else sources
    return Evidence(
        np.array(scores, np.float32),
        np.array(right, bool),
        np.array(of, np.int64),
        np.where(right, 0, NO_STRATUM).astype(np.int64),
        int(np.sum(right)) if queries is None else queries,
        int(np.sum(right)),
        np.array([score for score, same in zip(scores, right, strict=True) if not same], np.float32),
    )


def drawn(seed: int, images: int, copies: int = 3) -> Evidence:
    """Copies score .8 on average and the four others that each copy finds .4, each image more or less by itself."""
    random, others = rng(seed), 4 * copies
    own = random.normal(0, 0.05, (images, 1))
    same = 0.8 + own + random.normal(0, 0.1, (images, copies))
    other = 0.4 + own + random.normal(0, 0.1, (images, others))
    sources = np.repeat(np.arange(images), copies + others)
    right = np.tile(np.arange(copies + others) < copies, images)
    scores = np.concatenate([same, other], axis=1).ravel().astype(np.float32)
    strata = np.where(right, 0, NO_STRATUM).astype(np.int64)
    return Evidence(scores, right, sources, strata, images * copies, images * copies, scores[~right])


UNSEEN = drawn(999, 20_000)


def realised(threshold: float, prevalence: float) -> float:
    reported = UNSEEN.scores >= threshold
    right = UNSEEN.odds(prevalence) * (reported & UNSEEN.right).sum()
    return float(right / (right + (reported & ~UNSEEN.right).sum()))


def test_two_look_alikes_that_are_both_asked_for_are_one_piece_of_evidence() -> None:
    """Of 200 images with five copies each, 20 pairs of look-alikes find each other with every copy."""
    right = evidence([0.9] * 1000, [True] * 1000, sources=[image for image in range(200) for _ in range(5)])
    look_alikes = [image for image in range(40) for _ in range(5)]
    together = replace(
        right,
        scores=np.concatenate([right.scores, np.full(200, 0.9, np.float32)]),
        right=np.concatenate([right.right, np.zeros(200, bool)]),
        sources=np.concatenate([right.sources, look_alikes]),
        strata=np.concatenate([right.strata, np.full(200, NO_STRATUM)]),
    )
    one_by_one = LabelledPairs(together, 1.0).spread(0.9)
    partners = np.concatenate([together.sources[:1000], [image ^ 1 for image in look_alikes]])
    in_pairs = LabelledPairs(replace(together, others=partners), 1.0).spread(0.9)
    assert in_pairs > 1.2 * one_by_one


@pytest.mark.parametrize(("precision", "prevalence"), [(0.9, 0.5), (0.99, 0.5), (0.99, 1.0)])
def test_the_precision_on_unseen_pairs_is_what_was_asked_for_less_a_point_at_most(
    precision: float, prevalence: float
) -> None:
    reached = [LabelledPairs(drawn(seed, 2000, copies=3), prevalence, seed).threshold(precision) for seed in range(8)]
    scores = [one.score for one in reached if one.score is not None]
    kept = [realised(score, prevalence) for score in scores]
    assert len(kept) >= 5
    # A bound of 95 % may fail once in twenty times.
    assert sum(one < precision - 0.01 for one in kept) <= 1
    assert np.mean(kept) >= precision
    # And it is not bought by reporting nothing: the mean threshold leaves most copies above it.
    assert (UNSEEN.scores[UNSEEN.right] >= np.mean(scores)).mean() > 0.4


def test_the_threshold_is_the_lowest_score_that_is_shown() -> None:
    """300 right pairs, then nothing but wrong ones: everything right is above the threshold."""
    pairs = evidence([0.9] * 299 + [0.8] + [0.3] * 300, [True] * 300 + [False] * 300)
    found = LabelledPairs(pairs, 1.0).threshold(0.99)
    assert found.score == pytest.approx(0.8)
    assert found.pairs == 300
    assert found.bound is not None
    assert found.bound >= 0.99


def images_of_which(erring: int, images: int = 300) -> Evidence:
    """Return two copies of each image, found with .9; of the first so many images one copy finds another one, too."""
    own = [image for image in range(images) for _ in range(2)]
    return evidence(
        [0.9] * (2 * images + erring), [True] * 2 * images + [False] * erring, sources=[*own, *range(erring)]
    )


def test_295_images_without_an_error_are_too_few_for_99_per_cent() -> None:
    """One in .01/.99 of them, 1 in 99, may err: 1 - .05^(1/296) = .01007, 1 - .05^(1/295) = .01010."""
    assert LabelledPairs(images_of_which(0, 296), 1.0).threshold(0.99).score == pytest.approx(0.9)
    found = LabelledPairs(images_of_which(0, 295), 1.0).threshold(0.99)
    assert (found.score, found.bound, found.pairs, found.worth, found.needed) == (None, None, 590, 295, 296)


def test_an_image_that_errs_once_may_err_in_all_its_copies() -> None:
    """One wrong pair in 602 is one image in 300, and that may be 1.57 % of all: 98.4 % are shown, not 99."""
    pairs = LabelledPairs(images_of_which(1), 1.0)
    assert pairs.threshold(0.99).score is None
    found = pairs.threshold(0.98)
    assert found.score == pytest.approx(0.9)
    assert found.bound == pytest.approx(1 / (1 + 0.01572), abs=1e-3)


def test_pairs_of_one_image_count_as_the_few_that_they_are_worth() -> None:
    """The same scores, of 413 images and of 9: a dozen errors of one image are one error."""
    scores, right = [0.9] * 400 + [0.5] * 12 + [0.4], [True] * 400 + [False] * 12 + [True]
    apart = LabelledPairs(evidence(scores, right), 1.0)
    together = LabelledPairs(evidence(scores, right, sources=[row // 50 for row in range(400)] + [8] * 13), 1.0)
    assert apart.threshold(0.99).score == pytest.approx(0.9)
    assert together.threshold(0.99).score is None
    assert together.threshold(0.99).worth < 100


def test_a_rarer_picture_needs_a_higher_score() -> None:
    pairs = drawn(3, 300)
    rare, common = (LabelledPairs(pairs, prevalence).threshold(0.9).score for prevalence in (0.3, 1.0))
    assert rare is not None
    assert common is not None
    assert rare > common


def test_ties_never_help() -> None:
    pairs = evidence([0.9] * 400, [True] * 380 + [False] * 20)
    assert LabelledPairs(pairs, 1.0).threshold(0.99).score is None


def test_without_pairs_there_is_neither_threshold_nor_curve() -> None:
    none = LabelledPairs(evidence([], []), 0.5)
    assert none.threshold(0.9).score is None
    assert none.curve() == ()


def test_probability_rises_with_the_score_and_is_never_certain() -> None:
    knots = LabelledPairs(drawn(1, 100), 0.5).curve()
    scores, probabilities = zip(*knots, strict=True)
    assert list(scores) == sorted(scores)
    assert list(probabilities) == sorted(probabilities)
    assert probabilities[0] > 0
    assert probabilities[-1] < 1


def test_a_hundred_copies_of_ten_images_make_no_score_as_certain_as_a_hundred_images_do() -> None:
    """Rule of succession: 1 - 1 / (n + 2) after n without an error, where n counts images."""
    scores, right = [0.9] * 100 + [0.3] * 100, [True] * 100 + [False] * 100
    apart = LabelledPairs(evidence(scores, right), 1.0).curve()
    together = LabelledPairs(evidence(scores, right, sources=[row // 10 for row in range(200)]), 1.0).curve()
    for knots, images in ((apart, 100), (together, 10)):
        assert knots[-1][1] == pytest.approx(1 - 1 / (images + 2), abs=1e-6)
        assert knots[0][1] == pytest.approx(1 / (images + 2), abs=1e-6)


def test_the_probability_is_the_share_of_unseen_pairs_that_are_right() -> None:
    knots = np.array(LabelledPairs(drawn(2, 1000), 0.5).curve())
    for score in (0.55, 0.6, 0.65):
        near = np.abs(UNSEEN.scores - score) < 0.01
        right = UNSEEN.odds(0.5) * (near & UNSEEN.right).sum()
        truth = right / (right + (near & ~UNSEEN.right).sum())
        assert np.interp(score, knots[:, 0], knots[:, 1]) == pytest.approx(truth, abs=0.1)


def test_pairs_below_the_floor_do_not_count() -> None:
    pairs = evidence([0.9] * 300 + [0.2] * 100, [True] * 400)
    above = replace(pairs, floor=0.5)
    assert LabelledPairs(above, 1.0).threshold(0.9).score == pytest.approx(0.9)
    assert LabelledPairs(pairs, 1.0).threshold(0.9).score == pytest.approx(0.2)


def test_decoys_estimate_the_false_discovery_rate_without_labels() -> None:
    pairs = evidence([0.9, 0.8, 0.7, 0.85, 0.2], [True, True, True, False, False])
    assert pairs.false_discovery_rate(0.75) == pytest.approx(1 / 3)  # one hit of an absent picture, two of members
    assert pairs.false_discovery_rate(0.95) is None


def test_recall_is_told_by_stratum() -> None:
    assert evidence([0.9, 0.8, 0.4, 0.95], [True, True, True, False]).recall(0.7) == {"light": pytest.approx(2 / 3)}
