"""What earlier runs found: rows that were compared with each other, their sketches, and the pairs among them."""

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from search.index.sketch_lists import SketchLists
from search.index.sketches import Sketch
from search.pairing.identified_rows import UNKNOWN, IdentifiedRows, digests

READ_ROWS = 4_096


@dataclass(frozen=True, slots=True)
class PairRecall:
    """Of the pairs of some rows that were compared with all others, how many the lists had found."""

    found: int = 0
    pairs: int = 0
    rows: int = 0

    @property
    def share(self) -> float:
        """Return the recall; 1 where the sample has no pair."""
        return self.found / self.pairs if self.pairs else 1.0

    def with_more(self, other: "PairRecall") -> "PairRecall":
        """Return both together."""
        return PairRecall(self.found + other.found, self.pairs + other.pairs, self.rows + other.rows)


@dataclass(frozen=True, eq=False)
class KnownPairs:
    """N rows, and all pairs among them that score at least `threshold`.

    ids, digests, places: (N,), of each row (search/pairing/identified_rows.py). sketches: (N, width) float16. one,
    other: (P,) int32, places of rows in ids, one < other; scores: (P,) float32. lists, homes: where rows are compared
    by lists; lists_done: how many of them, fewer than there are when a run was cut off. recall: None where nothing can
    be missed. fitted: how many rows the sketch was fitted for.
    """

    threshold: float
    sketch: Sketch
    fitted: int
    ids: NDArray[np.int64]
    digests: NDArray[np.uint64]
    places: NDArray[np.uint64]
    sketches: NDArray[np.float16]
    one: NDArray[np.int32] = field(default_factory=lambda: np.empty(0, np.int32))
    other: NDArray[np.int32] = field(default_factory=lambda: np.empty(0, np.int32))
    scores: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))
    lists: SketchLists | None = None
    homes: NDArray[np.int32] = field(default_factory=lambda: np.empty(0, np.int32))
    lists_done: int = 0
    recall: PairRecall | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def is_whole(self) -> bool:
        """Whether every row was compared with every other that it is to be compared with."""
        return self.lists is None or self.lists_done >= len(self.lists)

    def among(self, keep: NDArray[np.bool_]) -> "KnownPairs":
        """Return what is known of some of the rows. keep: (N,)."""
        if keep.all():
            return self
        moved = np.cumsum(keep, dtype=np.int32) - 1
        pairs = keep[self.one] & keep[self.other]
        homes = self.homes if self.lists is None else self.homes[keep]
        return replace(
            self,
            ids=self.ids[keep],
            digests=self.digests[keep],
            places=self.places[keep],
            sketches=self.sketches[keep],
            homes=homes,
            one=moved[self.one[pairs]],
            other=moved[self.other[pairs]],
            scores=self.scores[pairs],
        )

    def first(self, count: int) -> "KnownPairs":
        """Return what is known of the first rows."""
        return self.among(np.arange(len(self)) < count)

    def with_pairs(self, one: NDArray[np.int64], other: NDArray[np.int64], scores: NDArray[np.float32]) -> "KnownPairs":
        """Return the same with more pairs of its rows, in either order; those that are known already count once."""
        if not len(one):
            return self
        low = np.concatenate([self.one, np.minimum(one, other).astype(np.int32)])
        high = np.concatenate([self.other, np.maximum(one, other).astype(np.int32)])
        all_scores = np.concatenate([self.scores, scores])
        keys, first = np.unique(high.astype(np.int64) * len(self) + low, return_index=True)
        if len(keys) < len(low):
            low, high, all_scores = low[first], high[first], all_scores[first]
        return replace(self, one=low, other=high, scores=all_scores)


def still_true(known: KnownPairs, rows: IdentifiedRows) -> KnownPairs:
    """Return what is known of images that are still there with the very same embedding.

    Rows that lie elsewhere than before, after a compaction for instance, are read and compared by their digests.
    """
    at = np.searchsorted(rows.ids, known.ids)
    there = np.append(rows.ids, -1)[at] == known.ids
    kept = known.among(there)
    at = at[there]
    places = rows.places[at]
    same = (places != UNKNOWN) & (places == kept.places)
    moved = np.flatnonzero(~same)
    for start in range(0, len(moved), READ_ROWS):
        part = moved[start : start + READ_ROWS]
        same[part] = digests(rows.read(at[part])) == kept.digests[part]
    return replace(kept, places=places).among(same)
