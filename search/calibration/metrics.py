"""How well scores find the true reference: recall@1, micro average precision, precision and recall by threshold.

Scores are (Q, R), higher is closer; truth is (Q,), the row of the true reference or -1 for a query without one.
Precision and recall are micro figures: over all pairs of a query and a reference, as in Douze et al., "The 2021 Image
Similarity Dataset and Challenge". Ties never help: a wrong pair that scores as much as the right one is a mistake.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """What one threshold gives: pairs with scores of at least this are reported."""

    threshold: float
    precision: float
    recall: float

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall."""
        return 2 * self.precision * self.recall / max(self.precision + self.recall, 1e-12)


@dataclass(frozen=True, slots=True)
class PrecisionRecall:
    """One entry for each different score, the highest first."""

    thresholds: NDArray[np.float64]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]

    def average_precision(self) -> float:
        """Return the area under the curve, by steps: uAP."""
        return float(np.sum(np.diff(self.recall, prepend=0) * self.precision))

    def best_f1(self) -> OperatingPoint:
        """Return the point with the highest F1, the highest threshold among equals."""
        f1 = 2 * self.precision * self.recall / np.maximum(self.precision + self.recall, 1e-12)
        return self._point(int(f1.argmax()))

    def at_precision(self, precision: float) -> OperatingPoint | None:
        """Return the lowest threshold with at least this precision, None when no threshold has it."""
        (enough,) = np.nonzero(self.precision >= precision)
        return self._point(int(enough[-1])) if len(enough) else None

    def at_threshold(self, threshold: float) -> OperatingPoint:
        """Return what this threshold gives; precision is 1 when it reports no pair."""
        reported = int(np.searchsorted(-self.thresholds, -threshold, side="right"))
        if reported == 0:
            return OperatingPoint(threshold, precision=1.0, recall=0.0)
        return OperatingPoint(threshold, float(self.precision[reported - 1]), float(self.recall[reported - 1]))

    def _point(self, row: int) -> OperatingPoint:
        return OperatingPoint(float(self.thresholds[row]), float(self.precision[row]), float(self.recall[row]))


def hits_at_1(scores: NDArray[np.float32], truth: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return (Q,), True where the true reference scores strictly more than any other; False without a true one."""
    matched = truth >= 0
    rows = np.arange(len(truth))
    others = scores.astype(np.float64)
    true_scores = others[rows, np.maximum(truth, 0)]
    others[rows[matched], truth[matched]] = -np.inf
    return np.asarray(matched & (true_scores > others.max(1)))


def precision_recall(scores: NDArray[np.float32], truth: NDArray[np.int64]) -> PrecisionRecall:
    """Return the curve over all Q x R pairs.

    Raises:
        ValueError: no query has a true reference.
    """
    (matched,) = np.nonzero(truth >= 0)
    right = np.zeros(scores.shape, bool)
    right[matched, truth[matched]] = True
    return RankedPairs(scores.ravel(), right.ravel()).curve(len(matched))


class RankedPairs:
    """Pairs of a query and a reference, sorted once, of which many curves can be drawn: each with other weights."""

    def __init__(self, scores: NDArray[np.float32], right: NDArray[np.bool_]) -> None:
        """scores, right: (P,), of each pair; right where the reference is the true one."""
        self._order = np.argsort(-scores, kind="stable")
        self._right = right[self._order]
        ranked = scores[self._order]
        # Equal scores are reported together or not at all, so only the last of a tie is a threshold.
        (self._last,) = np.nonzero(np.append(ranked[1:] != ranked[:-1], np.ones(min(1, len(ranked)), bool)))
        self._thresholds = ranked[self._last].astype(np.float64)

    def curve(self, positives: float, weights: NDArray[np.floating] | None = None) -> PrecisionRecall:
        """Return the curve; what was never ranked among the pairs counts as not reported.

        positives: how many pairs are right, also of those that are not here, by weight. weights: (P,) how often each
        pair counts, in the order the pairs were given; once each without.

        Raises:
            ValueError: no pair is right.
        """
        if positives <= 0:
            raise ValueError("no query has a true reference: recall is not defined")
        counts = np.ones(len(self._order)) if weights is None else weights[self._order].astype(np.float64)
        found, reported = np.cumsum(counts * self._right)[self._last], np.cumsum(counts)[self._last]
        precision = np.divide(found, reported, out=np.zeros(len(found)), where=reported > 0)
        return PrecisionRecall(self._thresholds, precision, found / positives)
