"""What earlier runs found: rows that were compared with each other, their sketches, and the pairs among them."""

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from search.index.crowd import Crowd
from search.index.pair_finder import NearPairs
from search.index.sketch_lists import SketchLists
from search.index.sketches import Sketch
from search.pairing.crowded_pairs import CrowdedPairs
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
class FoundPairs:
    """Near pairs of images. one, other: (P,) int64 ids; scores: (P,) float32, exact. Ordered by the other and the one.

    Of one collection, one < other; of two, one is of the left and other of the right. recall: as measured, None where
    nothing can be missed. compared: how many images were new to this run. crowd: answers for the pairs that are too
    many to be listed, by ids, of two collections for those of the right; None where all are listed.
    """

    one: NDArray[np.int64]
    other: NDArray[np.int64]
    scores: NDArray[np.float32]
    recall: PairRecall | None = None
    compared: int = 0
    crowd: CrowdedPairs | None = None


@dataclass(frozen=True, eq=False)
class KnownPairs:
    """N rows, and all pairs among them that score at least `threshold`.

    ids, digests, places: (N,), of each row (search/pairing/identified_rows.py). sketches: (N, width) float16. one,
    other: (P,) int32, places of rows in ids, one < other; scores: (P,) float32. lists, homes: where rows are compared
    by lists; lists_done: how many of them, fewer than there are when a run was cut off. recall: None where nothing can
    be missed. fitted: how many rows the sketch was fitted for. crowded: (N,) bool, the rows whose pairs with each other
    are not among the pairs (search/index/crowd.py).
    """

    threshold: float
    sketch: Sketch
    fitted: int
    ids: NDArray[np.int64]
    digests: NDArray[np.uint64]
    places: NDArray[np.uint64]
    sketches: NDArray[np.float16]
    crowded: NDArray[np.bool_]
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
            crowded=self.crowded[keep],
            homes=homes,
            one=moved[self.one[pairs]],
            other=moved[self.other[pairs]],
            scores=self.scores[pairs],
        )

    def first(self, count: int) -> "KnownPairs":
        """Return what is known of the first rows."""
        return self.among(np.arange(len(self)) < count)

    def with_pairs(self, near: NearPairs, crowd: Crowd | None = None) -> "KnownPairs":
        """Return the same with more pairs of its rows, in either order; those that are known already count once.

        crowd: what grew while they were found. It grows further where all pairs together are too many.
        """
        if not len(near.rows) and crowd is None:
            return self
        crowd = Crowd.of(self.crowded if crowd is None else self.crowded | crowd.left)
        low = np.concatenate([self.one, np.minimum(near.rows, near.later).astype(np.int32)])
        high = np.concatenate([self.other, np.maximum(near.rows, near.later).astype(np.int32)])
        scores = np.concatenate([self.scores, near.scores])
        keys, first = np.unique(high.astype(np.int64) * len(self) + low, return_index=True)
        if len(keys) < len(low):
            low, high, scores = low[first], high[first], scores[first]
        kept = crowd.kept(low, high)
        if not kept.all():
            low, high, scores = low[kept], high[kept], scores[kept]
        return replace(self, one=low, other=high, scores=scores, crowded=crowd.left)


def still_true(known: KnownPairs, rows: IdentifiedRows) -> KnownPairs:
    """Return what is known of images that are still there with the very same embedding."""
    same, places = seen_again(known.ids, known.digests, known.places, rows)
    return replace(known, places=places).among(same)


def seen_again(
    ids: NDArray[np.int64], told: NDArray[np.uint64], places: NDArray[np.uint64], rows: IdentifiedRows
) -> tuple[NDArray[np.bool_], NDArray[np.uint64]]:
    """Return which images are among some rows with the very same embedding, (N,), and where these lie now, (N,).

    ids, told, places: (N,), of each image, what was known of it: told is its digest. Rows that lie elsewhere than
    before, after a compaction for instance, are read and compared by their digests.
    """
    at = np.searchsorted(rows.ids, ids)
    there = np.append(rows.ids, -1)[at] == ids
    now = np.where(there, np.append(rows.places, UNKNOWN)[at], UNKNOWN)
    same = (now != UNKNOWN) & (now == places)
    moved = np.flatnonzero(there & ~same)
    for start in range(0, len(moved), READ_ROWS):
        part = moved[start : start + READ_ROWS]
        same[part] = digests(rows.read(at[part])) == told[part]
    return same, now
