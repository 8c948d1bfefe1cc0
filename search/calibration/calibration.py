"""What the scores of one collection mean: measured once, kept with the evidence, true for one space and transform."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np

from search.calibration.evidence import Evidence
from search.calibration.thresholds import Knot, LabelledPairs, Reached

AUTOMATIC: Final = 0.99  # the precision from which nobody need look
REVIEW: Final = 0.90  # and that from which somebody should
PREVALENCE: Final = 0.5
SAMPLES: Final = 2_000  # images: .99 takes 600 of which none errs, or these with three that do
OUTGROWN: Final = 2  # times the images that were there: hits of wrong ones grow with their number


@dataclass(frozen=True, slots=True)
class Operating:
    """One threshold: see `Reached` of search/calibration/thresholds.py.

    recall: of edited copies, by stratum; false_discovery_rate: the estimate by known-absent queries. Both at the score,
    nothing where there is none.
    """

    precision: float
    score: float | None
    bound: float | None
    pairs: int
    worth: float
    needed: int
    recall: Mapping[str, float] = field(default_factory=dict)
    false_discovery_rate: float | None = None

    @classmethod
    def at(cls, reached: Reached, evidence: Evidence) -> "Operating":
        """Return a threshold with what else is known at its score."""
        facts = asdict(reached)
        if reached.score is None:
            return cls(**facts)
        return cls(
            **facts,
            recall=evidence.recall(reached.score),
            false_discovery_rate=evidence.false_discovery_rate(reached.score),
        )

    @property
    def explanation(self) -> str:
        """Return in a sentence what was reached, or what is missing."""
        if self.score is not None and self.bound is not None:
            return f"{100 * self.bound:.1f} % at least of the pairs from {self.score:.3f} on are the same picture"
        missing = f"{self.needed:,} such without an error would show it"
        pairs = f"{self.pairs:,} {'pair is' if self.pairs == 1 else 'pairs are'} worth only"
        worth = f"{self.worth:,.0f}"
        if self.worth >= self.needed:
            return f"not enough evidence for {100 * self.precision:g} %: too many of {self.pairs:,} pairs are wrong"
        return (
            f"not enough evidence for {100 * self.precision:g} %: {pairs} {worth} independent "
            f"{'one' if worth == '1' else 'ones'}; {missing}"
        )


@dataclass(frozen=True, slots=True)
class Calibration:
    """What `calibrate` found out about a collection.

    collection_id, space_id: of the catalogue; transform: the fingerprint of what is done to embeddings before they are
    compared; images: how many could be found then. mode: what the score is, `fast` for the cosine of the whole picture.
    knots: (score, probability), rising, to be joined by lines; none where even the review threshold could not be shown.
    prevalence: the share of queries whose picture is in the collection. verified: the lower bound of the precision of
    pairs that geometric verification calls the same picture, None where too few were looked at. evidence: counts.
    made_at: seconds since 1970.
    """

    collection_id: int
    space_id: int
    transform: str
    images: int
    automatic: Operating
    review: Operating
    knots: tuple[Knot, ...]
    prevalence: float
    verified: float | None
    evidence: Mapping[str, int]
    samples: int
    seed: int
    made_at: float
    mode: str = "fast"

    def probability(self, score: float, prevalence: float | None = None) -> float | None:
        """Return how probable it is that a match with this score shows the query's picture; None if nobody knows.

        prevalence: the share of queries whose picture is there, by default the one that was measured with.
        """
        if not self.knots:
            return None
        scores, probabilities = zip(*self.knots, strict=True)
        found = float(np.interp(score, scores, probabilities))
        if prevalence is None:
            return found
        odds = prevalence / self.prevalence * found / (1 - found)
        return odds / (1 + odds)

    def objection(self, space_id: int, transform: str, images: int) -> str | None:
        """Return why it does not hold for a collection as it is now, None if it does."""
        if space_id != self.space_id:
            return "it was made in another space"
        if transform != self.transform:
            return "embeddings were compared after another transform"
        if images >= OUTGROWN * max(1, self.images):
            return f"the collection had {self.images:,} images then and has {images:,} now"
        return None

    def is_less_than(self, before: "Calibration") -> bool:
        """Tell whether it rests on fewer images than one of before that has a threshold, or has lost one of these."""
        points = ((self.automatic, before.automatic), (self.review, before.review))
        if all(there.score is None for _, there in points):
            return False
        lost = any(here.score is None and there.score is not None for here, there in points)
        return lost or self.sampled < before.sampled

    @property
    def sampled(self) -> int:
        """Return of how many images edited copies were made."""
        return self.evidence.get("images", self.samples)

    @property
    def date(self) -> str:
        """Return when it was made, ISO 8601 in UTC."""
        return datetime.fromtimestamp(self.made_at, UTC).isoformat(timespec="seconds")

    def as_json(self) -> dict[str, object]:
        """Return what `calibrate` prints, without the ids of the catalogue."""
        shape = self.findings()
        made_at = {"made_at": self.date, "transform": self.transform}
        explained = {"explanations": [self.automatic.explanation, self.review.explanation]}
        return made_at | shape | explained

    def findings(self) -> dict[str, object]:
        """Return everything but what has a column of its own, as JSON."""
        shape = asdict(self)
        for name in ("collection_id", "space_id", "transform", "made_at"):
            del shape[name]
        return shape | {"knots": [list(knot) for knot in self.knots]}

    @classmethod
    def found(cls, findings: Mapping[str, Any], **columns: Any) -> "Calibration":
        """Return the calibration with these findings and columns.

        Raises:
            TypeError, KeyError, ValueError: the findings are not those of a calibration.
        """
        return cls(
            automatic=Operating(**findings["automatic"]),
            review=Operating(**findings["review"]),
            knots=tuple((float(score), float(probability)) for score, probability in findings["knots"]),
            **{name: findings[name] for name in _PLAIN},
            **columns,
        )


_PLAIN: Sequence[str] = ("images", "prevalence", "verified", "evidence", "samples", "seed", "mode")


def operating_points(
    evidence: Evidence, precision: float, prevalence: float, seed: int
) -> tuple[Operating, Operating, tuple[Knot, ...]]:
    """Return the automatic threshold, that for review, and the knots of the curve, none without the latter.

    precision: of the automatic one.

    Raises:
        ValueError: the precision is not between 0 and 1.
    """
    pairs = LabelledPairs(evidence, prevalence, seed)
    automatic, review = (Operating.at(pairs.threshold(asked), evidence) for asked in (precision, REVIEW))
    if review.score is None or (automatic.score is not None and automatic.score < review.score):
        review = automatic if automatic.score is not None else review
    return automatic, review, () if review.score is None else pairs.curve()
