"""Which transform of embeddings finds most on a collection: the table of `quality --tune`, and its winner.

Transforms are fitted to the references alone, as an index fits them: a query has no part in it.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from search.calibration.metrics import PrecisionRecall, hits_at_1, precision_recall
from search.errors import UsageError
from search.index.post_transform import fit, sample_rows
from search.records import TRANSFORMS, Embeddings, TransformKind

# Of `merit`: less is no reason to change every score of a collection.
WORTH_IT: Final = 0.002
SEED: Final = 20261123


@dataclass(frozen=True, slots=True)
class TransformQuality:
    """What a transform finds. Shares from 0 to 1: recall_at_1, of queries that have a true reference; micro_ap, over
    all pairs; recall_at_p90, recall_at_p99: at the lowest threshold with that precision, 0 where none has it.

    why_not: why it could not be fitted, None where it was; its figures are 0 then.
    """

    transform: TransformKind
    recall_at_1: float = 0.0
    micro_ap: float = 0.0
    recall_at_p90: float = 0.0
    recall_at_p99: float = 0.0
    why_not: str | None = None

    @property
    def merit(self) -> float:
        """What transforms are compared by: half how well they rank, half how well one threshold serves all queries.

        Whitening makes scores of different queries comparable, and may cost a little of the ranking.
        """
        return (self.recall_at_1 + self.micro_ap) / 2

    def as_json(self) -> dict[str, object]:
        """Return the row as `quality --tune` prints it."""
        shape = asdict(self)
        for name in ("recall_at_1", "micro_ap", "recall_at_p90", "recall_at_p99"):
            shape[name] = None if self.why_not else round(shape[name], 4)
        return shape


@dataclass(frozen=True, slots=True)
class TransformTable:
    """A row for each transform that was tried, in their order. winner: None where none could be fitted."""

    rows: tuple[TransformQuality, ...]

    @property
    def winner(self) -> TransformKind | None:
        """Return the first whose merit is the highest, or so near that more is not worth it."""
        fitted = [row for row in self.rows if row.why_not is None]
        best = max((row.merit for row in fitted), default=0.0)
        return next((row.transform for row in fitted if row.merit >= best - WORTH_IT), None)

    def as_json(self) -> dict[str, object]:
        """Return the object that `quality --tune` prints."""
        return {"winner": self.winner, "rows": [row.as_json() for row in self.rows]}


def tune_transforms(
    queries: Embeddings,
    truth: NDArray[np.int64],
    references: Embeddings,
    kinds: Sequence[TransformKind] = TRANSFORMS,
) -> TransformTable:
    """Return what each transform finds of the true references of queries.

    queries: (Q, D), references: (R, D), float32 of unit length in one space. truth: (Q,), the row of the true reference
    of each query, -1 for those without. kinds: the simplest first. Costs Q * R scores in memory for one at a time.

    Raises:
        ValueError: no query has a true reference.
        UsageError: there is no such transform.
    """
    return TransformTable(tuple(_quality(kind, queries, truth, references) for kind in kinds))


def _quality(
    kind: TransformKind, queries: Embeddings, truth: NDArray[np.int64], references: Embeddings
) -> TransformQuality:
    random = np.random.default_rng(SEED)
    count = min(len(references), sample_rows(references.shape[1]))
    sample = references[np.sort(random.choice(len(references), count, replace=False))]
    try:
        transform = fit(kind, sample)
    except UsageError as error:
        if kind not in TRANSFORMS:
            raise
        return TransformQuality(kind, why_not=str(error))
    scores = transform.apply(queries) @ transform.apply(references).T
    curve = precision_recall(scores, truth)
    found = float(hits_at_1(scores, truth)[truth >= 0].mean())
    return TransformQuality(kind, found, curve.average_precision(), _recall(curve, 0.90), _recall(curve, 0.99))


def _recall(curve: PrecisionRecall, precision: float) -> float:
    point = curve.at_precision(precision)
    return 0.0 if point is None else point.recall
