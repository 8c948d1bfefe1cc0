import numpy as np
import pytest

from search.embeddings import lengthened, unit_rows, widened

ALL_HALVES = np.arange(65_536, dtype=np.uint16).view(np.float16)
FINITE = ALL_HALVES[np.isfinite(ALL_HALVES)]


def test_each_of_the_finite_halves_is_widened_exactly_with_its_sign() -> None:
    expected = FINITE.astype(np.float32)
    assert np.array_equal(widened(FINITE).view(np.uint32), expected.view(np.uint32))


def test_what_is_widened_may_lie_anywhere_in_memory() -> None:
    matrix = np.arange(24, dtype=np.float16).reshape(4, 6)
    assert np.array_equal(widened(matrix[::2, 1:4]), matrix[::2, 1:4].astype(np.float32))


def test_rounded_rows_get_their_length_back_and_keep_their_direction() -> None:
    rows = unit_rows(np.random.default_rng(0).normal(size=(20, 300)))
    again = lengthened(rows.astype(np.float16))
    assert np.linalg.norm(again, axis=1) == pytest.approx(1.0, abs=1e-6)
    assert (again * rows).sum(axis=1) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("bad", [0.0, np.nan, np.inf, -np.inf, 3.0])
def test_a_row_that_never_had_unit_length_matches_nothing(bad: float) -> None:
    stored = np.array([[0.6, 0.8], [bad, 0.0]], np.float16)
    assert lengthened(stored).tolist() == [pytest.approx([0.6, 0.8], abs=1e-3), [0.0, 0.0]]
