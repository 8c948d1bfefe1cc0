"""The table of transforms: its figures from points that can be checked by hand, its winner, and what it leaves out."""

import numpy as np
import pytest

from search.calibration.transform_tuning import TransformQuality, TransformTable, tune_transforms
from search.embeddings import unit_rows
from search.errors import UsageError
from search.records import Embeddings, TransformKind


def edited(rows: int = 60, dims: int = 12) -> tuple[Embeddings, Embeddings]:
    """References that share one large direction, and queries in which that direction is what an edit has changed."""
    random = np.random.default_rng(0)
    own = random.normal(size=(rows, dims))
    shared = np.eye(1, dims)
    references = unit_rows(own + 6 * shared)
    queries = unit_rows(own + 0.3 * random.normal(size=(rows, dims)) + random.uniform(2, 6, (rows, 1)) * shared)
    return queries, references


def test_what_all_references_share_is_no_evidence_once_they_are_centred() -> None:
    queries, references = edited()
    table = tune_transforms(queries, np.arange(len(queries)), references, ("none", "centre"))
    none, centred = table.rows
    assert (none.transform, centred.transform) == ("none", "centre")
    assert centred.recall_at_1 > none.recall_at_1
    assert centred.micro_ap > none.micro_ap + 0.1
    assert table.winner == "centre"


def test_the_figures_without_a_transform_are_those_of_plain_cosines() -> None:
    # Three references on axes; the first query is right at .96, the second wrong at 1, and the third has no reference.
    references = np.eye(3, dtype=np.float32)
    queries = np.array([[0.96, 0.28, 0], [0, 0, 1], [0.6, 0.8, 0]], np.float32)
    (row,) = tune_transforms(queries, np.array([0, 1, -1]), references, ("none",)).rows
    # Pairs by score: wrong, right at .96, ..., and the missing one at 0 behind all nine but those that score as little.
    assert row.recall_at_1 == 0.5
    assert row.micro_ap == pytest.approx(0.5 * 1 / 2 + 0.5 * 2 / 9)
    assert (row.recall_at_p90, row.recall_at_p99) == (0.0, 0.0)


def test_the_transform_is_fitted_to_the_references_alone() -> None:
    queries, references = edited()
    alone = tune_transforms(queries[:1], np.array([0]), references, ("whiten-0.5",))
    with_others = tune_transforms(np.concatenate([queries[:1], -queries]), np.append(0, -np.ones(60, int)), references)
    assert alone.rows[0].recall_at_1 == with_others.rows[3].recall_at_1 == 1.0


def test_a_transform_that_cannot_be_fitted_is_in_the_table_with_its_reason() -> None:
    queries, references = edited(8)
    table = tune_transforms(queries, np.arange(8), references)
    assert [row.why_not is None for row in table.rows] == [True, True, False, False]
    shape = table.rows[2].as_json()
    assert (shape["transform"], shape["micro_ap"]) == ("whiten-0.25", None)
    assert "needs at least as many images as dims, 12, and there are 8" in str(shape["why_not"])
    assert table.winner in ("none", "centre")


def test_of_transforms_that_are_as_good_the_simplest_wins() -> None:
    def rows(*figures: float) -> tuple[TransformQuality, ...]:
        kinds: tuple[TransformKind, ...] = ("none", "centre", "whiten-0.5")
        pairs = zip(kinds, figures, strict=True)
        return tuple(TransformQuality(kind, recall_at_1=figure, micro_ap=figure) for kind, figure in pairs)

    assert TransformTable(rows(0.8, 0.801, 0.8015)).winner == "none"
    assert TransformTable(rows(0.8, 0.81, 0.811)).winner == "centre"
    assert TransformTable(rows(0.8, 0.81, 0.82)).winner == "whiten-0.5"
    # Ranking and one threshold for all count the same: .03 of one make up for .01 of the other.
    ranks, tells = TransformQuality("none", 0.91, 0.83), TransformQuality("whiten-0.25", 0.90, 0.86)
    assert TransformTable((ranks, tells)).winner == "whiten-0.25"
    assert TransformTable((ranks, TransformQuality("whiten-0.5", 0.88, 0.86))).winner == "none"
    assert TransformTable((TransformQuality("centre", why_not="too few"),)).winner is None


def test_an_unknown_transform_is_refused() -> None:
    queries, references = edited(8)
    with pytest.raises(UsageError, match="no transform 'bleach'"):
        tune_transforms(queries, np.arange(8), references, ("bleach",))  # type: ignore[arg-type]
