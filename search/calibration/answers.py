"""Ranked answers to queries of which the right ones are known, and what they are worth.

Precision is micro: one threshold for all queries, over all pairs that it reports, those of queries without any right
answer among them. Intervals come from drawing the *sources* again (the photographs), not the queries: the edits of one
photograph succeed and fail together, and an interval over queries would be far too narrow. At 0 and 1 they come from
Clopper and Pearson, over sources, too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from search.calibration.bounds import lower_bound
from search.calibration.metrics import PrecisionRecall, RankedPairs

RESAMPLES = 500
PRECISIONS = (0.90, 0.99)
_INTERVAL = (2.5, 97.5)  # per cent
_ONE_SIDE = 0.975  # confidence of one end of it
_ALL = 1e-9  # from 0 or 1: rounding


@dataclass(frozen=True, slots=True)
class Answers:
    """What was found for each of Q queries, the K best of it.

    scores: (Q, K) float32, best first, minus infinity where fewer were found. right: (Q, K) bool. positives: (Q,)
    int64, how many right answers there are, found or not. sources: (Q,) int64, the photograph behind each query.
    """

    scores: NDArray[np.float32]
    right: NDArray[np.bool_]
    positives: NDArray[np.int64]
    sources: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.positives)

    def ranks(self) -> NDArray[np.int64]:
        """Return (Q,) the place of the best right answer, from 1; K + 1 where there is none.

        Ties never help: a wrong answer that scores as much as the right one is before it.
        """
        best = np.where(self.right, self.scores, -np.inf).max(axis=1, initial=-np.inf)
        before = ((self.scores >= best[:, None]) & ~self.right).sum(axis=1)
        return np.asarray(np.where(self.right.any(axis=1), before + 1, self.scores.shape[1] + 1), np.int64)

    def chosen(self, which: NDArray[np.bool_]) -> "Answers":
        """Return the answers to these queries, (Q,) bool."""
        return Answers(self.scores[which], self.right[which], self.positives[which], self.sources[which])

    def listed(self) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.bool_]]:
        """Return all pairs that were found, (P,) each: the query's row, the score, whether it is right."""
        rows, places = np.nonzero(np.isfinite(self.scores))
        return rows, self.scores[rows, places], self.right[rows, places]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and its 95 % interval over sources."""

    value: float
    low: float
    high: float

    def as_json(self) -> dict[str, float]:
        """Return the figure as it is printed with --json."""
        return {"value": round(self.value, 4), "low": round(self.low, 4), "high": round(self.high, 4)}


@dataclass(frozen=True, slots=True)
class GroupFigures:
    """What one group of queries has. recall_at: the rank -> recall. recall_at_precision: the precision -> recall.

    queries, sources: those with a right answer. average_precision: None where it was not asked for.
    """

    queries: int
    sources: int
    recall_at: Mapping[int, Estimate]
    recall_at_precision: Mapping[float, Estimate]
    average_precision: Estimate | None = None

    def as_json(self) -> dict[str, object]:
        """Return the figures as they are printed with --json."""
        shape: dict[str, object] = {"queries": self.queries, "sources": self.sources}
        shape |= {f"recall@{rank}": one.as_json() for rank, one in self.recall_at.items()}
        shape |= {f"recall@p{precision:.2f}": one.as_json() for precision, one in self.recall_at_precision.items()}
        if self.average_precision is not None:
            shape["micro_ap"] = self.average_precision.as_json()
        return shape


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of all groups at one threshold for each precision, None where no threshold has it."""

    thresholds: Mapping[float, float | None]
    groups: Mapping[str, GroupFigures]


def source_weights(sources: NDArray[np.int64], count: int, seed: int) -> NDArray[np.float64]:
    """Return (count + 1, Q): how often each query counts, first once each, then in draws of as many sources.

    Sources are drawn with replacement; all queries of a source come and go together.
    """
    names, which = np.unique(sources, return_inverse=True)
    draws = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), size=count)
    weights: NDArray[np.float64] = np.concatenate([np.ones((1, len(names))), draws])[:, which]
    return weights


def estimate(values: NDArray[np.float64], sources: int) -> Estimate:
    """Return the first value, and the interval of the others; draws in which it is not defined are left out.

    sources: how many it is of. Where all of them succeed, or all fail, so do all draws of them, which says nothing:
    that end is the one of Clopper and Pearson over sources, if it is farther away.
    """
    value, drawn = float(values[0]), values[1:][np.isfinite(values[1:])]
    low, high = (float(end) for end in np.percentile(drawn, _INTERVAL)) if len(drawn) else (value, value)
    if value > 1 - _ALL:
        low = min(low, lower_bound(sources, sources, _ONE_SIDE))
    elif value < _ALL:
        high = max(high, 1 - lower_bound(sources, sources, _ONE_SIDE))
    return Estimate(value, low, high)


def curve_of(answers: Answers) -> PrecisionRecall:
    """Return precision and recall by threshold.

    Raises:
        ValueError: no query has a right answer.
    """
    _, scores, right = answers.listed()
    return RankedPairs(scores, right).curve(float(answers.positives.sum()))


def figures_of(
    answers: Answers,
    groups: Mapping[str, NDArray[np.bool_]],
    *,
    with_average_precision: Sequence[str] = (),
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Figures:
    """Return the figures of groups of queries, (Q,) bool each; one without a right answer is left out.

    The thresholds are those of all queries together, drawn again with the sources. with_average_precision: the groups
    whose own micro average precision is wanted.

    Raises:
        ValueError: no query has a right answer.
    """
    weights = source_weights(answers.sources, resamples, seed)
    curves = _Curves(answers, weights)
    thresholds = {precision: curves.thresholds(precision) for precision in PRECISIONS}
    ranks, found = answers.ranks(), _Found(answers, weights)
    measured = {}
    for name, group in groups.items():
        asked = group & (answers.positives > 0)
        if not asked.any():
            continue
        average, sources = None, len(np.unique(answers.sources[asked]))
        if name in with_average_precision:
            average = estimate(_Curves(answers.chosen(group), weights[:, group]).average_precisions(), sources)
        measured[name] = GroupFigures(
            queries=int(asked.sum()),
            sources=sources,
            recall_at={rank: estimate(_share(weights, asked, ranks <= rank), sources) for rank in (1, 10)},
            recall_at_precision={
                p: estimate(found.recalls(asked, limits), sources) for p, limits in thresholds.items()
            },
            average_precision=average,
        )
    told = {p: float(limits[0]) if np.isfinite(limits[0]) else None for p, limits in thresholds.items()}
    return Figures(told, measured)


def share_reaching(answers: Answers, threshold: float | None) -> NDArray[np.bool_]:
    """Return (Q,) whether a wrong answer reaches the threshold; none does where there is no threshold."""
    if threshold is None:
        return np.zeros(len(answers), bool)
    return np.asarray(((answers.scores >= threshold) & ~answers.right).any(axis=1))


def share_by_source(hits: NDArray[np.bool_], sources: NDArray[np.int64], seed: int = 0) -> Estimate:
    """Return the share of (Q,) hits with its interval over sources."""
    everything = np.ones(len(hits), bool)
    return estimate(_share(source_weights(sources, RESAMPLES, seed), everything, hits), len(np.unique(sources)))


def _share(weights: NDArray[np.float64], asked: NDArray[np.bool_], hits: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return (B,) the share of the asked queries that are hits, NaN where none is drawn."""
    total = weights[:, asked].sum(axis=1)
    return _ratio(weights[:, asked & hits].sum(axis=1), total)


def _ratio(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0))


class _Found:
    """The right answers that were listed, to count those above any threshold."""

    def __init__(self, answers: Answers, weights: NDArray[np.float64]) -> None:
        rows, scores, right = answers.listed()
        self._rows, self._scores = rows[right], scores[right]
        self._positives = answers.positives
        self._weights = weights

    def recalls(self, asked: NDArray[np.bool_], limits: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return (B,) the share of the right answers to the asked queries with scores of at least each limit."""
        here = asked[self._rows]
        reached = self._scores[here] >= limits[:, None]
        found = (self._weights[:, self._rows[here]] * reached).sum(axis=1)
        return _ratio(found, (self._weights * (self._positives * asked)).sum(axis=1))


class _Curves:
    """A precision-recall curve for each draw of the sources."""

    def __init__(self, answers: Answers, weights: NDArray[np.float64]) -> None:
        rows, scores, right = answers.listed()
        pairs, totals = RankedPairs(scores, right), weights @ answers.positives
        if not answers.positives.any():
            raise ValueError("no query has a right answer: recall is not defined")
        self._average = np.full(len(weights), np.nan)
        self._thresholds = {precision: np.full(len(weights), np.nan) for precision in PRECISIONS}
        for draw, (once, total) in enumerate(zip(weights, totals, strict=True)):
            if total <= 0:
                continue
            curve = pairs.curve(total, once[rows])
            self._average[draw] = curve.average_precision()
            for precision, limits in self._thresholds.items():
                point = curve.at_precision(precision)
                limits[draw] = np.inf if point is None else point.threshold

    def average_precisions(self) -> NDArray[np.float64]:
        """Return (B,) the micro average precision, NaN where no query with a right answer is drawn."""
        return self._average

    def thresholds(self, precision: float) -> NDArray[np.float64]:
        """Return (B,) the lowest threshold with this precision, infinity where none has it."""
        return self._thresholds[precision]
