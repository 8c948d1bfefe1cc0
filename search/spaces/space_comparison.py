"""How two spaces of one collection differ: what their neighbours share, and which pairs count as near copies."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from search.duplicates.thresholds import default_threshold
from search.finding.segment_cache import SegmentCache
from search.records import Collection, Embeddings
from search.storing.store import Store

K = 10
BLOCK_ROWS = 4_096
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class SpaceComparison:
    """Two spaces over the images that both have, seen from sampled images as queries; every search was exact.

    overlap: the share of the k nearest images that both name, averaged over the queries; None without neighbours.
    kept, lost, gained: pairs of a query and another image that reach the default threshold of both spaces, of the old
    one only, of the new one only; each pair once.
    """

    images: int
    queries: int
    k: int
    overlap: float | None
    old_threshold: float
    new_threshold: float
    kept: int
    lost: int
    gained: int

    def as_json(self) -> dict[str, object]:
        """Return the comparison as `reembed` prints it."""
        return {
            "images": self.images,
            "queries": self.queries,
            "k": self.k,
            "overlap_at_k": None if self.overlap is None else round(self.overlap, 4),
            "pairs": {
                "old_threshold": self.old_threshold,
                "new_threshold": self.new_threshold,
                "kept": self.kept,
                "lost": self.lost,
                "gained": self.gained,
            },
        }


def compare_spaces(
    store: Store,
    old: Collection,
    new: Collection,
    *,
    samples: int = 200,
    seed: int = 0,
    progress: Progress = lambda done, total: None,
) -> SpaceComparison:
    """Compare two spaces of a collection. old, new: the collection as it is in each.

    Costs two exact searches of `samples` queries; reads 4,096 embeddings at a time. progress: (images done, in all).

    Raises:
        CorruptFile: a segment is damaged.
    """
    before, after = _Rows(store, old), _Rows(store, new)
    common = np.intersect1d(before.ids, after.ids)
    sampled = np.sort(np.random.default_rng(seed).choice(common, min(samples, len(common)), replace=False))
    thresholds = (default_threshold(old.space), default_threshold(new.space))
    queries = (before.of(sampled), after.of(sampled))
    nearest = (_Nearest(len(sampled)), _Nearest(len(sampled)))
    kept = lost = gained = 0
    for start in range(0, len(common), BLOCK_ROWS):
        ids = common[start : start + BLOCK_ROWS]
        scores = [asked @ rows.of(ids).T for asked, rows in zip(queries, (before, after), strict=True)]
        itself = sampled[:, np.newaxis] == ids
        for one, found in zip(scores, nearest, strict=True):
            one[itself] = -np.inf
            found.add(ids, one)
        # A pair of two queries is met from both; it counts from the one with the lower id.
        once = ~(np.isin(ids, sampled) & (ids < sampled[:, np.newaxis]))
        was, becomes = ((one >= threshold) & once for one, threshold in zip(scores, thresholds, strict=True))
        kept += int((was & becomes).sum())
        lost += int((was & ~becomes).sum())
        gained += int((becomes & ~was).sum())
        progress(start + len(ids), len(common))
    k = min(K, len(common) - 1)
    overlap = _overlap(nearest[0].ids[:, :k], nearest[1].ids[:, :k]) if k > 0 else None
    return SpaceComparison(len(common), len(sampled), K, overlap, *thresholds, kept, lost, gained)


class _Rows:
    """The living images of a collection in one space, and their embeddings on demand."""

    def __init__(self, store: Store, target: Collection) -> None:
        located = store.catalogue.changed_since(target.id, target.space_id, 0, until=target.sequence)
        alive = ~located.deleted
        self.ids = located.ids[alive]
        self._places = (located.segments[alive], located.rows[alive])
        self._segments = SegmentCache(store.catalogue, store.blobs, target.space.dims)

    def of(self, ids: NDArray[np.int64]) -> Embeddings:
        here = np.searchsorted(self.ids, ids)
        segments, rows = self._places
        return self._segments.read(segments[here], rows[here])


class _Nearest:
    """The k best images of each query so far: ids (Q, k), best first, ties by lower id."""

    def __init__(self, queries: int) -> None:
        self.ids = np.empty((queries, 0), np.int64)
        self._scores = np.empty((queries, 0), np.float32)

    def add(self, ids: NDArray[np.int64], scores: NDArray[np.float32]) -> None:
        """Take a block of images with higher ids than those before. scores: (Q, len(ids))."""
        every = np.concatenate([self.ids, np.broadcast_to(ids, scores.shape)], axis=1)
        scored = np.concatenate([self._scores, scores], axis=1)
        best = np.argsort(-scored, axis=1, kind="stable")[:, :K]
        self.ids = np.take_along_axis(every, best, axis=1)
        self._scores = np.take_along_axis(scored, best, axis=1)


def _overlap(one: NDArray[np.int64], other: NDArray[np.int64]) -> float:
    shared = (one[:, :, np.newaxis] == other[:, np.newaxis, :]).any(axis=2)
    return float(shared.mean())
