"""How low a share may truly be: bounds that can be checked by hand, and by summing the binomial distribution."""

from math import comb

import pytest

from search.calibration.bounds import lower_bound, pairs_needed


def chance_of_so_many_or_more(share: float, right: int, pairs: int) -> float:
    return sum(comb(pairs, k) * share**k * (1 - share) ** (pairs - k) for k in range(right, pairs + 1))


def test_without_a_wrong_pair_the_bound_is_the_root_of_a_twentieth() -> None:
    assert lower_bound(20, 20) == pytest.approx(0.05 ** (1 / 20))


@pytest.mark.parametrize(("right", "pairs"), [(1, 1), (1, 10), (7, 10), (95, 100), (290, 300), (500, 1000)])
def test_at_the_bound_what_was_seen_or_more_has_a_chance_of_a_twentieth(right: int, pairs: int) -> None:
    assert chance_of_so_many_or_more(lower_bound(right, pairs), right, pairs) == pytest.approx(0.05, rel=1e-6)


def test_a_thousand_times_as_many_pairs_bring_the_bound_to_the_share() -> None:
    assert lower_bound(900_000, 1_000_000) == pytest.approx(0.9, abs=0.001)


def test_nothing_right_or_nothing_at_all_shows_nothing() -> None:
    assert lower_bound(0, 50) == lower_bound(0, 0) == 0


def test_fractions_of_pairs_lie_between_whole_ones() -> None:
    assert lower_bound(9, 10) < lower_bound(9.5, 10.5) < lower_bound(10, 11)


def test_more_right_ones_than_pairs_are_refused() -> None:
    with pytest.raises(ValueError, match="11 of 10"):
        lower_bound(11, 10)


@pytest.mark.parametrize(("share", "pairs"), [(0.99, 299), (0.9, 29)])
def test_the_rule_of_three(share: float, pairs: int) -> None:
    assert pairs_needed(share) == pairs
    assert lower_bound(pairs, pairs) >= share > lower_bound(pairs - 1, pairs - 1)


def test_no_number_of_pairs_shows_certainty() -> None:
    with pytest.raises(ValueError, match=r"share of 1\.0"):
        pairs_needed(1.0)
