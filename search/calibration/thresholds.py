"""From labelled pairs to a threshold with the precision that was asked for, and to a probability for every score.

Precision is that of all pairs with scores of at least the threshold, at a stated prevalence: the share of queries whose
picture is in the collection. A threshold counts only where the lower 95 % bound of its precision meets what was asked:
that of the bootstrap over images, and that of Clopper and Pearson, over sources while few of them err, else over as
many pairs as the dependence within a source leaves.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from search.calibration.bounds import CONFIDENCE, lower_bound, pairs_needed, shown
from search.calibration.evidence import Evidence
from search.calibration.isotonic import isotonic

DRAWS: Final = 400
# How much pairs of one source hang together is measured where so many sources err: fewer say little about the one that
# is confused in all its copies.
ERRORS_TO_SEE: Final = 10

Knot = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Reached:
    """A threshold and what shows it. score: the least of the pairs that count, None where no score has the precision.

    bound: lower bound of the precision at the score. pairs: how many score at least this; worth: how many independent
    ones they are worth, which is that of the sources while few of them err; both of the score with the most of them
    among those that may have the precision, where there is no threshold. needed: sources without an error.
    """

    precision: float
    score: float | None
    bound: float | None
    pairs: int
    worth: float
    needed: int


def sources_needed(precision: float, prevalence: float) -> int:
    """Return how many sources without an error show a precision at best: 592 for .99 at a prevalence of .5.

    Raises:
        ValueError: no number of them shows it.
    """
    return pairs_needed(1 - prevalence * (1 - precision) / precision)


class LabelledPairs:
    """Evidence sorted once, of which thresholds and the curve are read."""

    def __init__(self, evidence: Evidence, prevalence: float, seed: int = 0) -> None:
        """prevalence: the share of queries whose picture is in the collection, above 0 and at most 1."""
        self._odds, self._prevalence = evidence.odds(prevalence), prevalence
        self._asked = len(np.unique(evidence.sources))
        looked_at = evidence.scores >= evidence.floor
        scores, right = evidence.scores[looked_at], evidence.right[looked_at]
        self._order = np.lexsort((right, -scores))  # of equal scores the wrong ones first: ties never help
        self._scores, self._right = scores[self._order].astype(np.float64), right[self._order]
        self._sources = evidence.sources[looked_at][self._order]
        others = evidence.sources if evidence.others is None else evidence.others
        self._others = others[looked_at][self._order]
        # A threshold is worth a look where it takes in another right pair, and only behind the last of a tie.
        last = np.append(self._scores[1:] != self._scores[:-1], np.ones(min(1, len(self._scores)), bool))
        (self._ends,) = np.nonzero(last & self._right)
        self._found = np.cumsum(self._right)[self._ends].astype(np.float64)
        self._reported = self._ends + 1.0
        self._recall = self._recall_of_hardest(evidence, looked_at)
        self._draws = self._drawn(seed)
        self._effect = self._dependence()
        self._erring = self._sources_that_err()

    def threshold(self, precision: float) -> Reached:
        """Return the lowest score whose lower bound of precision meets what is asked.

        Raises:
            ValueError: the precision is not between 0 and 1.
        """
        if not 0 < precision < 1:
            raise ValueError(f"no number of pairs shows a precision of {precision}")
        wanted, needed = self._raw(precision), sources_needed(precision, self._prevalence)
        lowest = np.nanpercentile(self._draws, 100 * (1 - CONFIDENCE), axis=0) if len(self._ends) else np.empty(0)
        likely = self._found >= wanted * self._reported
        worth = np.where(self._few, self._asked, self._reported / self._effect)
        whole = self._over_sources()
        for place in np.flatnonzero(likely & (lowest >= wanted))[::-1].tolist():
            if (whole[place] >= precision) if self._few[place] else self._shown_by_pairs(place, wanted):
                bound = min(self._at_prevalence(float(lowest[place])), self._bound(place, float(whole[place])))
                score, pairs = float(self._scores[self._ends[place]]), int(self._reported[place])
                return Reached(precision, score, bound, pairs, float(worth[place]), needed)
        most, best = int(self._reported[likely].max(initial=0)), float(worth[likely].max(initial=0))
        return Reached(precision, None, None, most, best, needed)

    @property
    def _few(self) -> NDArray[np.bool_]:
        return self._erring < ERRORS_TO_SEE

    def _over_sources(self) -> NDArray[np.float64]:
        """Return (T,) the bound of the precision over sources, of which each errs with all its copies or not at all.

        That is more than it was seen to do, but a few confusions say little about how often one is repeated. Nobody
        knows either which edits the queries will have: the recall is that of the stratum that is found least.
        """
        errors = np.arange(ERRORS_TO_SEE)
        most = [1 - lower_bound(max(0, self._asked - count), self._asked) for count in errors.tolist()]
        wrong = np.array(most)[np.minimum(self._erring, ERRORS_TO_SEE - 1)]
        right = self._prevalence * self._recall
        return np.asarray(right / (right + wrong), np.float64)

    def _recall_of_hardest(self, evidence: Evidence, looked_at: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Return (T,) the lowest share of the right pairs of a stratum that is found, at each threshold."""
        strata = evidence.strata[looked_at][self._order]
        shares = [np.ones(len(self._ends))]
        for stratum in np.unique(evidence.strata[evidence.right]).tolist():
            made = int((evidence.right & (evidence.strata == stratum)).sum())
            shares.append(np.cumsum(self._right & (strata == stratum))[self._ends] / made)
        return np.asarray(np.min(shares, axis=0), np.float64)

    def _shown_by_pairs(self, place: int, wanted: float) -> bool:
        effect = float(self._effect[place])
        return shown(wanted, float(self._found[place]) / effect, float(self._reported[place]) / effect)

    def _bound(self, place: int, over_sources: float) -> float:
        if self._few[place]:
            return over_sources
        effect = float(self._effect[place])
        share = lower_bound(float(self._found[place]) / effect, float(self._reported[place]) / effect)
        return self._at_prevalence(share)

    def spread(self, score: float) -> float:
        """Return how much the share of right pairs from a score on varies when the images are drawn again."""
        place = int(np.searchsorted(-self._scores[self._ends], -score, side="right")) - 1
        return float(self._draws[:, place].std())

    def curve(self) -> tuple[Knot, ...]:
        """Return the probability that a pair is one picture, by its score: rising knots, to be joined by lines.

        No score is certain: the highest and the lowest are as far from it as so many sources show (rule of succession).
        Their pairs are copies of a few images, which succeed and fail together: each image counts once.
        """
        if not len(self._scores) or not self._right.any():
            return ()
        levels, which = np.unique(self._scores, return_inverse=True)
        right = np.asarray(self._odds * np.bincount(which, self._right), np.float64)
        weights = right + np.bincount(which, ~self._right)
        shares = isotonic(right / weights, weights)
        (starts,) = np.nonzero(np.append(True, np.diff(shares) > 0))
        ends = np.append(starts[1:], len(shares)) - 1
        low = 1 / (len(np.unique(self._sources[which <= ends[0]])) + 2)
        high = 1 - 1 / (len(np.unique(self._sources[which >= starts[-1]])) + 2)
        told = np.clip(shares, low, high)
        knots = [(float(levels[row]), round(float(told[row]), 6)) for pair in zip(starts, ends) for row in pair]  # noqa: B905
        return tuple(dict.fromkeys(knots))

    def _raw(self, precision: float) -> float:
        """Return the share of right ones among the pairs as they are here that is a precision at the prevalence."""
        return precision / (precision + self._odds * (1 - precision))

    def _at_prevalence(self, share: float) -> float:
        return self._odds * share / (self._odds * share + 1 - share)

    def _drawn(self, seed: int) -> NDArray[np.float64]:
        """Return (DRAWS, T) the share of right pairs at each threshold, when the images are drawn again.

        A pair of two images comes as often as the one and the other do (Owen, "The pigeonhole bootstrap", 2007): the
        confusions of two look-alikes, asked for either of them, are one piece of evidence.
        """
        names, which = np.unique(np.concatenate([self._sources, self._others]), return_inverse=True)
        of_source, of_other = np.split(which, 2)
        itself = of_source == of_other
        random, shares = np.random.default_rng(seed), np.full((DRAWS, len(self._ends)), np.nan)
        for draw in range(DRAWS if len(names) else 0):
            times = random.multinomial(len(names), np.full(len(names), 1 / len(names)))
            once = times[of_source] * np.where(itself, 1, times[of_other])
            reported = np.cumsum(once)[self._ends]
            found = np.cumsum(once * self._right)[self._ends]
            np.divide(found, reported, out=shares[draw], where=reported > 0)
        # A draw that reports nothing has made no error.
        return np.where(np.isnan(shares), 1.0, shares)

    def _dependence(self) -> NDArray[np.float64]:
        """Return (T,) how many pairs are worth a single independent one, at each threshold."""
        share = self._found / self._reported
        alone = share * (1 - share) / self._reported
        seen = np.divide(self._draws.var(axis=0), alone, out=np.ones(len(alone)), where=share < 1)
        return np.asarray(np.maximum(1.0, seen))

    def _sources_that_err(self) -> NDArray[np.int64]:
        """Return (T,) how many sources have a wrong pair, at each threshold."""
        (wrong,) = np.nonzero(~self._right)
        first = np.zeros(len(self._sources), np.int64)
        first[wrong[np.unique(self._sources[wrong], return_index=True)[1]]] = 1
        return np.asarray(np.cumsum(first)[self._ends], np.int64)
