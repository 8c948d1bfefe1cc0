"""Comparing many rows with many on a GPU, by FAISS: candidates in float16, the exact scores on the CPU.

FAISS has no range search on GPUs, so each row asks for its nearest: few, then as many as a search may return. Whoever
has more than that is compared with all rows of the block on the CPU.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from typing import Final

import numpy as np
from numpy.typing import NDArray

from search.index.devices import MOST_NEIGHBOURS, DeviceFlat, FaissGpu
from search.index.exact import ExactIndex
from search.index.pair_finder import (
    Candidates,
    CoarseSearch,
    Nearest,
    NearPairs,
    Progress,
    Tile,
    float16_margin,
    float32_margin,
    nearest_exactly,
    tiles,
)
from search.records import Embeddings

QUERY_ROWS: Final = 4_096
DEVICE_BYTES: Final = 4 * 2**30  # of rows on the device at a time
FIRST_NEIGHBOURS: Final = 64
SQUARE: Final = 4_096  # of rows compared at once on the CPU


class GpuPairs:
    """A PairFinder (search/index/pair_finder.py) for a GPU that FAISS sees."""

    def __init__(self, gpu: FaissGpu, *, query_rows: int = QUERY_ROWS, device_rows: int | None = None) -> None:
        """query_rows: asked at once. device_rows: on the device at once, by default what fits DEVICE_BYTES."""
        self._gpu = gpu
        self._query_rows = query_rows
        self._device_rows = device_rows

    def pairs(
        self, embeddings: Embeddings, threshold: float, progress: Progress = lambda done, total: None
    ) -> NearPairs:
        """Return all pairs that score at least a threshold.

        Raises:
            DeviceFailed: the GPU cannot finish the work.
        """
        rows, dims = embeddings.shape
        candidates = Candidates(embeddings, threshold)
        width = self._rows_at_once(dims)
        for first, those in groupby(tiles(rows, self._query_rows, width), key=lambda tile: tile.first):
            with self._loaded(embeddings[first : first + width]) as index:
                for tile in those:
                    _search_tile(index, embeddings, tile, threshold, candidates)
                    progress(tile.done, rows)
        return candidates.found()

    def between(
        self,
        left: Embeddings,
        right: Embeddings,
        threshold: float,
        progress: Progress = lambda done, total: None,
    ) -> NearPairs:
        """Return all pairs of a left and a right row that score at least a threshold.

        Raises:
            DeviceFailed: the GPU cannot finish the work.
        """
        candidates = Candidates(left, threshold, right)
        width = self._rows_at_once(left.shape[1])
        for first in range(0, len(right), width):
            last = min(first + width, len(right))
            with self._loaded(right[first:last]) as index:
                for start in range(0, len(left), self._query_rows):
                    tile = Tile(start, min(start + self._query_rows, len(left)), first, last, last)
                    _search_tile(index, left, tile, threshold, candidates, right)
            progress(last, len(right))
        return candidates.found()

    def nearest(
        self, queries: Embeddings, embeddings: Embeddings, k: int, progress: Progress = lambda done, total: None
    ) -> Nearest:
        """Return the k best rows of each query.

        Raises:
            DeviceFailed: the GPU cannot finish the work.
        """
        width = self._rows_at_once(embeddings.shape[1])
        found = Nearest(np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64))
        starts = range(0, len(embeddings), width)
        for number, first in enumerate(starts):
            part = embeddings[first : first + width]
            advance = _share(progress, number, len(starts))
            with self._loaded(part) as index:
                near = _nearest(index, queries, part, k, self._query_rows, advance)
            found = _merged(found, Nearest(near.scores, near.rows + first), k)
        return found

    def _rows_at_once(self, dims: int) -> int:
        return self._device_rows or max(1, DEVICE_BYTES // (2 * dims))

    @contextmanager
    def _loaded(self, rows: Embeddings) -> Iterator[DeviceFlat]:
        with self._gpu.flat(rows.shape[1], inner_product=True, float16=True) as index:
            # In blocks: the device holds them in float32 as well while they are added.
            for start in range(0, len(rows), self._query_rows):
                index.add(rows[start : start + self._query_rows])
            yield index


def _search_tile(
    index: DeviceFlat,
    embeddings: Embeddings,
    tile: Tile,
    threshold: float,
    candidates: Candidates,
    others: Embeddings | None = None,
) -> None:
    there = tile.last - tile.first
    bound = np.float32(threshold - float16_margin(embeddings.shape[1]))
    waiting = np.arange(tile.start, tile.stop)
    for most in (FIRST_NEIGHBOURS, MOST_NEIGHBOURS):
        count = min(most, there)
        scores, rows = index.search(embeddings[waiting], count)
        whole = (scores[:, -1] < bound) | (count == there)
        places, ranks = np.nonzero((scores >= bound) & whole[:, np.newaxis])
        candidates.add(waiting[places], rows[places, ranks] + tile.first)
        waiting = waiting[~whole]
        if not len(waiting):
            return
    _compare_all((embeddings, embeddings if others is None else others), waiting, tile, threshold, candidates)


def _compare_all(
    sides: tuple[Embeddings, Embeddings],
    waiting: NDArray[np.int64],
    tile: Tile,
    threshold: float,
    candidates: Candidates,
) -> None:
    """Compare rows with a tile on the CPU, in squares."""
    embeddings, there = sides
    bound = np.float32(threshold - float32_margin(embeddings.shape[1]))
    for start in range(0, len(waiting), SQUARE):
        rows = waiting[start : start + SQUARE]
        for first in range(tile.first, tile.last, SQUARE):
            scores = embeddings[rows] @ there[first : min(first + SQUARE, tile.last)].T
            places, others = np.nonzero(scores >= bound)
            candidates.add(rows[places], others + first)


def _share(progress: Progress, part: int, parts: int) -> Progress:
    return lambda done, total: progress((part * total + done) // parts, total)


def _nearest(
    index: DeviceFlat, queries: Embeddings, part: Embeddings, k: int, height: int, progress: Progress
) -> Nearest:
    """Return the k best of a part; where the device finds too few to be sure, the CPU looks again."""
    exact: list[ExactIndex] = []

    def top(asked: Embeddings, count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        if count <= MOST_NEIGHBOURS:
            blocks = [index.search(asked[at : at + height], count) for at in range(0, len(asked), height)]
            return np.concatenate([scores for scores, _ in blocks]), np.concatenate([rows for _, rows in blocks])
        if not exact:
            exact.append(ExactIndex.build(part))
        found = exact[0].search(asked, count)
        return found.scores, found.rows

    return nearest_exactly(queries, part, k, CoarseSearch(top, float16_margin(part.shape[1])), progress)


def _merged(one: Nearest, other: Nearest, k: int) -> Nearest:
    scores = np.concatenate([one.scores, other.scores], axis=1)
    rows = np.concatenate([one.rows, other.rows], axis=1)
    order = np.lexsort((rows, -scores), axis=1)[:, :k]
    return Nearest(np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1))
