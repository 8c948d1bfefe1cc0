"""Comparing many rows with many on the CPU, by FAISS."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from search.index.exact import ExactIndex
from search.index.pair_finder import (
    Candidates,
    CoarseSearch,
    Nearest,
    NearPairs,
    Progress,
    float32_margin,
    nearest_exactly,
)
from search.records import Embeddings

QUERY_ROWS: Final = 1_024


class CpuPairs:
    """A PairFinder (search/index/pair_finder.py) that every machine has."""

    def pairs(
        self, embeddings: Embeddings, threshold: float, progress: Progress = lambda done, total: None
    ) -> NearPairs:
        """Return all pairs that score at least a threshold, by range search in blocks. Costs O(N^2 * D)."""
        index = ExactIndex.build(embeddings)
        candidates = Candidates(embeddings, threshold)
        bound = threshold - float32_margin(embeddings.shape[1])
        for start in range(0, len(embeddings), QUERY_ROWS):
            block = index.range_search(embeddings[start : start + QUERY_ROWS], bound)
            candidates.add(block.queries + start, block.rows)
            progress(min(start + QUERY_ROWS, len(embeddings)), len(embeddings))
        return candidates.found()

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
