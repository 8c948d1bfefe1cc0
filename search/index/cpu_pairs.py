"""Comparing many rows with many on the CPU: sketches first (search/index/sketches.py), then the rows themselves."""

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from search.index.exact import ExactIndex
from search.index.pair_finder import (
    CoarseSearch,
    Nearest,
    NearPairs,
    Progress,
    Tile,
    float32_margin,
    nearest_exactly,
    tiles,
)
from search.index.pair_scoring import HeldRows, PairScoring
from search.index.sketches import Sketches, drawn, fit
from search.records import Embeddings

QUERY_ROWS: Final = 1_024
TILE_HEIGHT: Final = 1_024
TILE_WIDTH: Final = 2_048  # 8 MiB of products: they stay in the cache of two cores


class CpuPairs:
    """A PairFinder (search/index/pair_finder.py) that every machine has."""

    def pairs(
        self, embeddings: Embeddings, threshold: float, progress: Progress = lambda done, total: None
    ) -> NearPairs:
        """Return all pairs that score at least a threshold; none is missed, by the inequality of sketches.

        Costs O(N^2 * width), and O(D) for each pair whose sketches are near.

        Raises:
            TooManyPairs: more are near than memory should hold.
        """
        rows = HeldRows(embeddings)
        sketch = fit(embeddings[drawn(len(rows))], threshold)
        scoring = PairScoring(rows, rows, threshold)
        sketches = sketch.of(rows.rows).astype(np.float32)
        for tile in compare_later(scoring, sketches, np.float32(threshold - sketch.margin)):
            progress(tile.done, len(rows))
        return scoring.found()

    def between(
        self,
        left: Embeddings,
        right: Embeddings,
        threshold: float,
        progress: Progress = lambda done, total: None,
    ) -> NearPairs:
        """Return all pairs of a left and a right row that score at least a threshold.

        Raises:
            TooManyPairs: more are near than memory should hold.
        """
        sources = (HeldRows(left), HeldRows(right))
        sketch = fit(np.concatenate([rows[drawn(len(rows), QUERY_ROWS // 2)] for rows in (left, right)]), threshold)
        scoring = PairScoring(*sources, threshold)
        sketches = (sketch.of(left).astype(np.float32), sketch.of(right).astype(np.float32))
        for done in compare_both(scoring, sketches, np.float32(threshold - sketch.margin)):
            progress(done, len(right))
        return scoring.found()

    def nearest(
        self, queries: Embeddings, embeddings: Embeddings, k: int, progress: Progress = lambda done, total: None
    ) -> Nearest:
        """Return the k best rows of each query. Costs O(Q * N * D)."""
        index = ExactIndex.build(embeddings)

        def top(part: Embeddings, count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
            found = index.search(part, count)
            return found.scores, found.rows

        coarse = CoarseSearch(top, float32_margin(embeddings.shape[1]), QUERY_ROWS)
        return nearest_exactly(queries, embeddings, k, coarse, progress)


def compare_later(scoring: PairScoring, sketches: Sketches, bound: np.float32, start: int = 0) -> Iterator[Tile]:
    """Add every pair of a row from `start` on with an earlier row whose sketches reach a bound.

    Yields each tile that is done. sketches: (N, width) of both sides of `scoring`.
    """
    for tile in tiles(len(sketches), TILE_HEIGHT, TILE_WIDTH, start):
        rows, later = np.arange(tile.start, tile.stop), np.arange(tile.first, tile.last)
        parts = (sketches[tile.start : tile.stop], sketches[tile.first : tile.last])
        places, others = scoring.near_places(rows, later, parts, bound)
        near, after = places + tile.start, others + tile.first
        kept = after > near
        scoring.add(near[kept], after[kept])
        yield tile


def compare_both(scoring: PairScoring, sketches: tuple[Sketches, Sketches], bound: np.float32) -> Iterator[int]:
    """Add every pair of a left and a right row whose sketches reach a bound; yields the right rows compared so far."""
    left, right = sketches
    for first in range(0, len(right), TILE_WIDTH):
        others = np.arange(first, min(first + TILE_WIDTH, len(right)))
        for start in range(0, len(left), TILE_HEIGHT):
            rows = np.arange(start, min(start + TILE_HEIGHT, len(left)))
            near, after = scoring.near_places(rows, others, (left[rows[0] : rows[-1] + 1], right[others]), bound)
            scoring.add(near + start, after + first)
        yield int(others[-1]) + 1
