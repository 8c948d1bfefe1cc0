"""Centring and whitening, on points that can be checked by hand and on samples of a known covariance."""

import numpy as np
import pytest

from search.embeddings import unit_rows
from search.errors import UsageError
from search.index.post_transform import MOST_AXES, NONE, PostTransform, fit, shrinkage
from search.records import TRANSFORMS, Embeddings


def drawn(variances: list[float], rows: int = 20_000, seed: int = 0) -> Embeddings:
    """Rows around a common offset whose numbers have these variances."""
    random = np.random.default_rng(seed)
    return np.float32(10) + (random.normal(size=(rows, len(variances))) * np.sqrt(variances)).astype(np.float32)


def test_without_a_transform_the_very_rows_come_back() -> None:
    rows = unit_rows(np.random.default_rng(0).normal(size=(3, 4)))
    assert NONE.apply(rows) is rows
    assert (fit("none", rows), NONE.dims_of(4)) == (NONE, 4)


def test_centring_turns_what_two_clusters_share_into_what_tells_them_apart() -> None:
    # Two clusters at 30 degrees on either side of (1, 0): cosine .5 before, and opposite each other after.
    up, down = np.array([np.sqrt(0.75), 0.5]), np.array([np.sqrt(0.75), -0.5])
    rows = np.array([up, down], np.float32)
    assert rows[0] @ rows[1] == pytest.approx(0.5)
    centred = fit("centre", rows)
    np.testing.assert_allclose(centred.mean, [np.sqrt(0.75), 0], atol=1e-6)
    np.testing.assert_allclose(centred.apply(rows), [[0, 1], [0, -1]], atol=1e-6)


@pytest.mark.parametrize(("kind", "power"), [("whiten-0.25", 0.25), ("whiten-0.5", 0.5)])
def test_whitening_scales_each_principal_axis_by_a_power_of_its_variance(kind: str, power: float) -> None:
    variances = [4.0, 1.0, 0.25]
    whitened = fit(kind, drawn(variances))
    assert whitened.matrix is not None
    np.testing.assert_allclose(np.abs(np.diag(whitened.matrix)), np.array(variances) ** -power, rtol=0.03)
    assert np.abs(whitened.matrix - np.diag(np.diag(whitened.matrix))).max() < 0.03
    turned = (drawn(variances, seed=1) - whitened.mean) @ whitened.matrix
    np.testing.assert_allclose(turned.var(axis=0), np.array(variances) ** (1 - 2 * power), rtol=0.06)


def test_rows_that_were_whitened_have_length_one_and_the_cosines_of_the_formula() -> None:
    rows = unit_rows(np.random.default_rng(0).normal(size=(300, 6)) * [3, 2, 1, 1, 1, 0.5] + 1)
    whitened = fit("whiten-0.25", rows)
    assert whitened.matrix is not None
    turned = (rows.astype(np.float64) - whitened.mean) @ whitened.matrix
    turned /= np.linalg.norm(turned, axis=1, keepdims=True)
    np.testing.assert_allclose(whitened.apply(rows), turned, atol=1e-5)


@pytest.mark.parametrize("kind", TRANSFORMS[1:])
def test_stored_rows_score_what_transformed_ones_would(kind: str) -> None:
    rows = unit_rows(np.random.default_rng(0).normal(size=(2_000, 40)) * np.linspace(5, 0.05, 40) + 1)
    transform = fit(kind, rows)
    rows[7], rows[1_500] = 0.0, transform.mean
    turned, lengths = transform.with_lengths(rows)
    found = transform.scores(turned[3:4], rows, lengths)
    np.testing.assert_allclose(found, turned @ turned[3], atol=1e-6)
    assert (found[3], found[7], found[1_500]) == (pytest.approx(1.0, abs=1e-6), 0.0, 0.0)
    assert (transform.scores(turned[3:4], rows[:5], lengths[:5]) == found[:5]).all()


def test_variances_are_shrunk_towards_their_mean_by_as_much_as_a_sample_is_uncertain() -> None:
    variances = np.diag([4.0, 1.0])
    # Ledoit and Wolf: (mean |x|^4 - |S|^2) / rows over |S - mean variance * I|^2, here (41 - 17) / rows / 4.5.
    assert shrinkage(variances, 41.0, 24) == pytest.approx(1 / 4.5)
    assert shrinkage(variances, 41.0, 10**9) == pytest.approx(0.0, abs=1e-6)
    assert shrinkage(variances, 41.0, 2) == 1.0
    assert shrinkage(np.eye(2), 8.0, 10) == 1.0


def test_few_rows_are_whitened_less_than_their_own_variances_say() -> None:
    few = fit("whiten-0.5", drawn([1.0] * 40, rows=40))
    assert few.matrix is not None
    scales = np.linalg.norm(few.matrix, axis=0)
    # The true variances are all 1. Those of so few rows reach from near 0 to near 4: scales apart by a factor of 100.
    assert scales.max() / scales.min() < 1.5


def test_axes_without_variance_are_dropped_and_no_more_than_a_few_hundred_are_kept() -> None:
    flat = drawn([1.0, 1.0, 1e-9, 1.0])
    whitened = fit("whiten-0.5", flat)
    assert whitened.dims_of(4) == 3
    wide = np.random.default_rng(0).normal(size=(700, MOST_AXES + 88)).astype(np.float32)
    assert fit("whiten-0.25", wide).dims_of(MOST_AXES + 88) == MOST_AXES


@pytest.mark.parametrize("kind", ["whiten-0.25", "whiten-0.5"])
def test_whitening_of_fewer_rows_than_dims_is_refused_with_both_numbers_and_what_helps(kind: str) -> None:
    rows = unit_rows(np.random.default_rng(0).normal(size=(8, 8)))
    fit(kind, rows)
    expected = rf"{kind} needs at least as many images as dims, 8, and there are 7: index more images, .* centre`"
    with pytest.raises(UsageError, match=expected):
        fit(kind, rows[:7])
    fit("centre", rows[:7])


@pytest.mark.parametrize("kind", TRANSFORMS[1:])
def test_rows_that_are_all_alike_are_refused(kind: str) -> None:
    rows = np.repeat(unit_rows(np.ones((1, 4))), 9, axis=0)
    with pytest.raises(UsageError, match="the 9 embeddings are all alike"):
        fit(kind, rows)
    with pytest.raises(UsageError, match="and there (is|are) 1"):
        fit(kind, rows[:1])


def test_an_unknown_transform_is_refused_with_those_there_are() -> None:
    with pytest.raises(UsageError, match="no transform 'bleach'; choose none, centre, whiten-0.25, whiten-0.5"):
        fit("bleach", np.eye(2, dtype=np.float32))


@pytest.mark.parametrize("kind", TRANSFORMS[1:])
def test_equal_rows_stay_equal_to_the_last_bit_wherever_they_come(kind: str) -> None:
    random = np.random.default_rng(0)
    transform = fit(kind, unit_rows(random.normal(size=(900, 300))))
    copies = np.repeat(unit_rows(random.normal(size=(1, 300))), 150, axis=0)
    turned = transform.apply(copies)
    assert (turned == turned[0]).all()
    for count in (1, 2, 63, 64, 65):
        assert (transform.apply(copies[:count]) == turned[0]).all(), count


@pytest.mark.parametrize("kind", TRANSFORMS[1:])
def test_what_has_no_direction_matches_nothing_afterwards(kind: str) -> None:
    transform = fit(kind, unit_rows(np.random.default_rng(0).normal(size=(50, 6))))
    nothing = np.stack([np.zeros(6, np.float32), transform.mean])
    assert not transform.apply(nothing).any()


def test_a_fingerprint_tells_transforms_apart_and_nothing_else() -> None:
    rows = unit_rows(np.random.default_rng(0).normal(size=(50, 6)))
    fitted = [fit(kind, rows) for kind in TRANSFORMS] + [fit("centre", rows[:49])]
    assert len({one.fingerprint for one in fitted}) == len(fitted)
    again = fit("whiten-0.5", rows)
    same = PostTransform(again.kind, again.mean, again.matrix, 7)  # as many rows say nothing about scores
    assert {again.fingerprint, same.fingerprint} == {fitted[3].fingerprint}
