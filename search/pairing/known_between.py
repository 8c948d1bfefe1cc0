"""What earlier runs found between two collections: the rows of both that were compared, and the pairs across."""

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from search.index.crowd import Crowd
from search.index.pair_finder import NearPairs
from search.index.sketches import Sketch
from search.pairing.identified_rows import IdentifiedRows
from search.pairing.known_pairs import PairRecall, seen_again


@dataclass(frozen=True, eq=False)
class KnownRows:
    """N rows of a side. ids, digests, places: (N,), as in search/pairing/identified_rows.py. sketches: (N, width).

    crowded: (N,), which rows have too many pairs to be listed with each other.
    """

    ids: NDArray[np.int64]
    digests: NDArray[np.uint64]
    places: NDArray[np.uint64]
    sketches: NDArray[np.float16]
    crowded: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.ids)

    def among(self, keep: NDArray[np.bool_]) -> "KnownRows":
        """Return some of the rows. keep: (N,)."""
        rows = (self.ids, self.digests, self.places, self.sketches, self.crowded)
        return KnownRows(*(each[keep] for each in rows))  # type: ignore[arg-type]

    def with_more(self, other: "KnownRows") -> "KnownRows":
        """Return the rows of both, the other ones last."""
        ids, places = np.concatenate([self.ids, other.ids]), np.concatenate([self.places, other.places])
        told, sketches = np.concatenate([self.digests, other.digests]), np.concatenate([self.sketches, other.sketches])
        return KnownRows(ids, told, places, sketches, np.concatenate([self.crowded, other.crowded]))


@dataclass(frozen=True, eq=False)
class KnownBetween:
    """Rows of two sides, every left one compared with every right one, and the pairs that score at least `threshold`.

    one: (P,) int32, places in the left rows; other: (P,) int32, in the right ones; scores: (P,) float32. recall: None
    where nothing can be missed. Pairs of two crowded rows are not among them (search/index/crowd.py).
    """

    threshold: float
    sketch: Sketch
    left: KnownRows
    right: KnownRows
    one: NDArray[np.int32] = field(default_factory=lambda: np.empty(0, np.int32))
    other: NDArray[np.int32] = field(default_factory=lambda: np.empty(0, np.int32))
    scores: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))
    recall: PairRecall | None = None

    @property
    def sides(self) -> tuple[KnownRows, KnownRows]:
        """Return the left rows and the right ones."""
        return self.left, self.right

    def among(self, left: NDArray[np.bool_], right: NDArray[np.bool_]) -> "KnownBetween":
        """Return what is known of some rows of each side. left, right: as many as there are rows."""
        if left.all() and right.all():
            return self
        pairs = left[self.one] & right[self.other]
        places = np.cumsum(left, dtype=np.int32) - 1, np.cumsum(right, dtype=np.int32) - 1
        return replace(
            self,
            left=self.left.among(left),
            right=self.right.among(right),
            one=places[0][self.one[pairs]],
            other=places[1][self.other[pairs]],
            scores=self.scores[pairs],
        )

    def first(self, left: int, right: int) -> "KnownBetween":
        """Return what is known of the first rows of each side."""
        return self.among(np.arange(len(self.left)) < left, np.arange(len(self.right)) < right)

    @property
    def crowd(self) -> Crowd:
        """Return the crowded rows of both sides, as a crowd that may grow."""
        return Crowd.of(self.left.crowded, self.right.crowded)

    def with_pairs(self, near: NearPairs, crowd: Crowd) -> "KnownBetween":
        """Return the same with more pairs of its rows, which were not compared before.

        crowd: what grew while they were found. It grows further where all pairs together are too many.
        """
        crowd = Crowd.of(crowd.left, crowd.right)
        one = np.concatenate([self.one, near.rows.astype(np.int32)])
        other = np.concatenate([self.other, near.later.astype(np.int32)])
        scores = np.concatenate([self.scores, near.scores])
        kept = crowd.kept(one, other)
        return replace(
            self,
            left=replace(self.left, crowded=crowd.left),
            right=replace(self.right, crowded=crowd.right),
            one=one[kept],
            other=other[kept],
            scores=scores[kept],
        )


def still_true_of(known: KnownBetween, left: IdentifiedRows, right: IdentifiedRows) -> KnownBetween:
    """Return what is known of images that are still there with the very same embedding."""
    kept, rows = [], []
    for side, now in zip(known.sides, (left, right), strict=True):
        same, places = seen_again(side.ids, side.digests, side.places, now)
        kept.append(same)
        rows.append(replace(side, places=places))
    return replace(known, left=rows[0], right=rows[1]).among(kept[0], kept[1])
