"""Pairs of a query and an image of which it is known, by other means than their score, whether they are one picture."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

STRATA = ("light", "medium", "heavy")
NO_STRATUM = -1


@dataclass(frozen=True, slots=True)
class Evidence:
    """P labelled pairs of Q queries, and D answers to known-absent queries.

    scores: (P,) float32. right: (P,) bool, whether the pair is one picture. sources: (P,) int64, the image behind the
    query: all that is asked of one image succeeds and fails together. strata: (P,) int64, which of STRATA the edit of
    a copy made for this is of, NO_STRATUM for all other pairs.
    queries: Q, edited ones and images asked for as they are. edited: how many of them are copies made for this.
    decoys: (D,) float32, what edited copies score against images of other pictures, while their own are left out.
    floor: pairs below it were not looked at. others: (P,) int64, the image that was found, that of the source where a
    copy found it; None where it is always that.
    """

    scores: NDArray[np.float32]
    right: NDArray[np.bool_]
    sources: NDArray[np.int64]
    strata: NDArray[np.int64]
    queries: int
    edited: int
    decoys: NDArray[np.float32]
    floor: float = -1.0
    others: NDArray[np.int64] | None = None

    def odds(self, prevalence: float) -> float:
        """Return how often each right pair counts, so that a query has its picture in the collection that often.

        A query has wrong answers whether its picture is there or not, so those count once.
        """
        right = int(self.right.sum())
        return prevalence * self.queries / right if right else 0.0

    def recall(self, threshold: float) -> dict[str, float]:
        """Return of the copies of each stratum the share that scores at least a threshold."""
        shares = {}
        for number, stratum in enumerate(STRATA):
            made = self.strata == number
            if made.any():
                shares[stratum] = float((self.scores[made] >= threshold).mean())
        return shares

    def false_discovery_rate(self, threshold: float) -> float | None:
        """Return hits of known-absent queries over hits of members, per query; None where there are no hits.

        An estimate that needs no label but that the picture is absent, and no prevalence.
        """
        absent = int((self.decoys >= threshold).sum())
        members = absent + int((self.scores[self.strata != NO_STRATUM] >= threshold).sum())
        return absent / members if members else None
