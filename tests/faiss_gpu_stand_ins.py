"""FAISS's GPU index without a GPU: flat, rounded to float16 where asked, no range search, 2,048 neighbours at most."""

import threading
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from search.index.devices import FaissGpu


class StandInFlat:
    """Adds no more rows than the device holds, and fails like FAISS when it must."""

    def __init__(self, device: "StandInGpu", dims: int, inner_product: bool, float16: bool) -> None:
        self._device = device
        self._float16 = float16
        self._index = faiss.IndexFlatIP(dims) if inner_product else faiss.IndexFlatL2(dims)
        device.made.append((inner_product, float16))
        device.live += 1

    def __del__(self) -> None:
        self._device.live -= 1

    def _rounded(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        return rows.astype(np.float16).astype(np.float32) if self._float16 else rows

    def add(self, rows: NDArray[np.float32]) -> None:
        if self._index.ntotal + len(rows) > self._device.memory_rows:
            raise RuntimeError("Error in allocMemory: out of memory")
        self._index.add(self._rounded(rows))
        self._device.most_rows = max(self._device.most_rows, self._index.ntotal)

    def search(self, queries: NDArray[np.float32], k: int) -> Any:
        assert self._device.busy.acquire(blocking=False), "two threads used the resources at once"
        try:
            if k > self._device.most_neighbours:
                raise RuntimeError("GPU index only supports min/max-K selection up to 2048")
            self._device.searches.append((len(queries), k))
            return self._index.search(self._rounded(queries), k)
        finally:
            self._device.busy.release()


class StandInGpu(FaissGpu):
    """memory_rows: how many rows one index holds. searches: (queries, k) of each. live: indexes not yet given back."""

    def __init__(self, memory_rows: int = 10**9, most_neighbours: int = 2_048) -> None:
        super().__init__(lambda dims, inner_product, float16: StandInFlat(self, dims, inner_product, float16))
        self.memory_rows = memory_rows
        self.most_neighbours = most_neighbours
        self.most_rows = 0
        self.made: list[tuple[bool, bool]] = []
        self.searches: list[tuple[int, int]] = []
        self.live = 0
        self.busy = threading.Lock()
