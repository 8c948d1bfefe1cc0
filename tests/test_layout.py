"""Maps: what looks alike lies together, the same embeddings give the same map, and it is kept for the next process."""

import numpy as np
import pytest
from numpy.typing import NDArray

from search.embeddings import unit_rows
from search.index.nearest_rows import nearest_rows
from search.mapping.layout import layout
from search.records import Embeddings

GROUPS, EACH = 6, 30


def grouped() -> tuple[Embeddings, NDArray[np.int64]]:
    """Rows around a few centres, in no order, and whose each is."""
    chance = np.random.default_rng(7)
    whose = chance.permutation(np.repeat(np.arange(GROUPS), EACH))
    rows = 3 * chance.normal(size=(GROUPS, 32))[whose] + chance.normal(size=(len(whose), 32))
    return unit_rows(rows.astype(np.float32)), whose


def test_rows_of_a_group_lie_nearer_each_other_than_to_other_groups() -> None:
    rows, whose = grouped()
    points = layout(rows)
    near, _ = nearest_rows(points, 5)
    assert (whose[near] == whose[:, np.newaxis]).mean() > 0.98
    assert points.min() >= 0
    assert points.max() <= 1
    assert (points.max(axis=0) - points.min(axis=0)).max() > 0.9  # the square is used


def test_the_same_rows_give_the_same_map() -> None:
    rows, _ = grouped()
    assert np.array_equal(layout(rows), layout(rows))


@pytest.mark.parametrize("count", range(6))
def test_any_number_of_rows_can_be_laid_out(count: int) -> None:
    points = layout(unit_rows(np.random.default_rng(1).normal(size=(count, 8)).astype(np.float32)))
    assert points.shape == (count, 2)
    assert points.dtype == np.float32
    assert np.isfinite(points).all()


def test_equal_rows_are_laid_out_side_by_side() -> None:
    points = layout(np.tile(unit_rows(np.ones((1, 8), np.float32)), (40, 1)))
    assert np.isfinite(points).all()
    assert len(np.unique(points, axis=0)) > 30


def test_a_row_is_no_neighbour_of_its_own_even_among_equals() -> None:
    rows = np.concatenate([np.zeros((4, 3)), np.eye(3)]).astype(np.float32)
    found, squared = nearest_rows(rows, 2)
    assert (found != np.arange(len(rows))[:, np.newaxis]).all()
    assert squared[:4].tolist() == [[0, 0]] * 4


def test_how_far_it_is_is_told() -> None:
    told: list[float] = []
    layout(grouped()[0], told.append)
    assert told == sorted(told)
    assert 0.9 < told[-1] < 1
