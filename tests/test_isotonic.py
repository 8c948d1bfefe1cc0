"""The probability curve: never falling, and as near to what was measured as such a curve can be."""

from itertools import product

import numpy as np
import pytest

from search.calibration.isotonic import isotonic


def fitted(values: list[float], weights: list[float] | None = None) -> list[float]:
    return list(isotonic(np.array(values), np.array(weights or [1.0] * len(values))))


def test_what_rises_stays_as_it_is() -> None:
    assert fitted([0.1, 0.2, 0.2, 0.9]) == pytest.approx([0.1, 0.2, 0.2, 0.9])


def test_two_that_fall_become_their_mean() -> None:
    assert fitted([0.0, 1.0, 0.0, 1.0]) == [0.0, 0.5, 0.5, 1.0]


def test_a_pooled_block_may_fall_below_the_one_before_and_takes_it_in() -> None:
    assert fitted([0.0, 3.0, 2.0, 1.0]) == [0.0, 2.0, 2.0, 2.0]
    assert fitted([3.0, 2.0, 1.0]) == [2.0, 2.0, 2.0]


def test_weights_pull_the_mean() -> None:
    assert fitted([1.0, 0.0], [3.0, 1.0]) == [0.75, 0.75]


@pytest.mark.parametrize("seed", range(20))
def test_no_rising_curve_of_a_grid_is_nearer(seed: int) -> None:
    random = np.random.default_rng(seed)
    values, weights = random.integers(0, 5, 5) / 4, random.integers(1, 4, 5).astype(float)
    found = isotonic(values, weights)
    assert (np.diff(found) >= 0).all()
    grid = np.array([one for one in product(np.linspace(0, 1, 9), repeat=5) if list(one) == sorted(one)])
    nearest = (weights * (grid - values) ** 2).sum(axis=1).min()
    assert (weights * (found - values) ** 2).sum() <= nearest + 1e-12


def test_nothing_stays_nothing() -> None:
    assert fitted([]) == []


def test_a_weight_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="one weight above 0"):
        isotonic(np.array([1.0]), np.array([0.0]))
