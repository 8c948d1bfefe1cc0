"""Comparing many rows with many by torch: for GPUs that torch sees and FAISS does not (search/index/pair_finder.py).

Tiles of products, in float16 on a GPU, give candidates; their exact scores are computed on the CPU.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from search.errors import DeviceFailed
from search.index.pair_finder import (
    Candidates,
    CoarseSearch,
    Nearest,
    NearPairs,
    Progress,
    float16_margin,
    float32_margin,
    nearest_exactly,
    tiles,
)
from search.records import Embeddings

TILE_HEIGHT: Final = 4_096
TILE_WIDTH: Final = 32_768


class TorchPairs:
    """A PairFinder that multiplies matrices on a torch device."""

    def __init__(
        self, device: str, *, dtype: torch.dtype | None = None, height: int = TILE_HEIGHT, width: int = TILE_WIDTH
    ) -> None:
        """dtype: float16 or float32; default: float16 except on a CPU. height, width: of a tile, in rows."""
        self._device = torch.device(device)
        self._dtype = dtype or (torch.float32 if self._device.type == "cpu" else torch.float16)
        self._height, self._width = height, width

    def pairs(
        self, embeddings: Embeddings, threshold: float, progress: Progress = lambda done, total: None
    ) -> NearPairs:
        """Return all pairs that score at least a threshold.

        Raises:
            DeviceFailed: the device cannot finish the work.
        """
        candidates = Candidates(embeddings, threshold)
        bound = threshold - self._margin(embeddings)
        held, right = -1, torch.empty(0)
        for tile in tiles(len(embeddings), self._height, self._width):
            if tile.first != held:
                held, right = tile.first, self._loaded(embeddings[tile.first : tile.last])
            near = self._near(embeddings[tile.start : tile.stop], right, bound)
            candidates.add(near[:, 0] + tile.start, near[:, 1] + tile.first)
            progress(tile.done, len(embeddings))
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
            DeviceFailed: the device cannot finish the work.
        """
        candidates = Candidates(left, threshold, right)
        bound = threshold - self._margin(left)
        for first in range(0, len(right), self._width):
            part = right[first : first + self._width]
            there = self._loaded(part)
            for start in range(0, len(left), self._height):
                near = self._near(left[start : start + self._height], there, bound)
                candidates.add(near[:, 0] + start, near[:, 1] + first)
            progress(first + len(part), len(right))
        return candidates.found()

    def nearest(
        self, queries: Embeddings, embeddings: Embeddings, k: int, progress: Progress = lambda done, total: None
    ) -> Nearest:
        """Return the k best rows of each query.

        Raises:
            DeviceFailed: the device cannot finish the work.
        """

        def top(part: Embeddings, count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
            return self._top(part, embeddings, count)

        return nearest_exactly(queries, embeddings, k, CoarseSearch(top, self._margin(embeddings)), progress)

    def _near(self, rows: Embeddings, right: torch.Tensor, bound: float) -> NDArray[np.int64]:
        """Return the places of all products that reach the bound, (P, 2)."""
        left = self._loaded(rows)
        with _failures(self._device):
            # Compared in float32: the bound itself must not be rounded upwards.
            found: NDArray[np.int64] = torch.nonzero((left @ right.T).float() >= bound).cpu().numpy()
            return found

    def _top(
        self, queries: Embeddings, embeddings: Embeddings, count: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        left = self._loaded(queries)
        starts = range(0, len(queries), self._height)
        with _failures(self._device):
            scores = [torch.empty((0, 0), device=self._device)] * len(starts)
            rows = [torch.empty((0, 0), dtype=torch.int64, device=self._device)] * len(starts)
            # Rows outside: each of them goes to the device once, however many queries there are.
            for first in range(0, len(embeddings), self._width):
                right = self._loaded(embeddings[first : first + self._width]).T
                for number, start in enumerate(starts):
                    products = (left[start : start + self._height] @ right).float()
                    best, places = products.topk(min(count, products.shape[1]))
                    if first:
                        best = torch.cat([scores[number], best], dim=1)
                        places = torch.cat([rows[number], places + first], dim=1)
                        best, order = best.topk(min(count, best.shape[1]))
                        places = places.gather(1, order)
                    scores[number], rows[number] = best, places
            return torch.cat(scores).cpu().numpy(), torch.cat(rows).cpu().numpy()

    def _loaded(self, rows: Embeddings) -> torch.Tensor:
        # Copied: what is mapped from a file is not writable, and torch takes no such array without a warning.
        with _failures(self._device):
            return torch.from_numpy(np.array(rows, np.float32)).to(self._device).to(self._dtype)

    def _margin(self, embeddings: Embeddings) -> float:
        dims = embeddings.shape[1]
        return float32_margin(dims) if self._dtype == torch.float32 else float16_margin(dims)


@contextmanager
def _failures(device: torch.device) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # torch's errors of memory and of CUDA are such
        reason = str(error).splitlines()[0]
        raise DeviceFailed(f"torch cannot finish this on {device}: {reason}") from error
