"""FAISS's GPU index without a GPU: flat, rounded to float16 where asked, no range search, 2,048 neighbours at most."""

import threading
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from search.index.devices import FaissGpu


class StandInFlat:
    """Adds no more rows than the device holds, and fails like FAISS when it must."""

    def __init__(self, device: "StandInGpu", dims: int, float16: bool) -> None:
        self._device = device
        self._float16 = float16
        self._index = faiss.IndexFlatIP(dims)
        device.made.append((True, float16))
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


class StandInDistances(faiss.IndexFlatL2):
    """For squared distances: an index that FAISS itself can train with."""

    _device: "StandInGpu | Any" = None  # FAISS's classes take no attributes they do not know

    def __init__(self, device: "StandInGpu", dims: int) -> None:
        super().__init__(dims)
        self._device = device
        device.made.append((False, False))
        device.live += 1

    def __del__(self) -> None:
        self._device.filled.append(self.ntotal)
        self._device.live -= 1

    def search(self, queries: NDArray[np.float32], k: int) -> Any:  # type: ignore[override]
        self._device.searches.append((len(queries), k))
        if self._device.broken:
            raise RuntimeError("CUDA error 700\nan illegal memory access was encountered")
        return super().search(queries, k)


class StandInGpu(FaissGpu):
    """memory_rows: how many rows one index holds. searches: (queries, k) of each. filled: rows
    of each index of distances in the end. live: indexes not yet given back."""

    def __init__(self, memory_rows: int = 10**9, most_neighbours: int = 2_048) -> None:
        super().__init__(self._flat)
        self.memory_rows = memory_rows
        self.most_neighbours = most_neighbours
        self.most_rows = 0
        self.made: list[tuple[bool, bool]] = []
        self.searches: list[tuple[int, int]] = []
        self.live = 0
        self.broken = False
        self.filled: list[int] = []
        self.busy = threading.Lock()

    def _flat(self, dims: int, inner_product: bool, float16: bool) -> Any:
        if inner_product:
            return StandInFlat(self, dims, float16)
        assert not float16, "distances of codes, up to 255, do not survive float16"
        return StandInDistances(self, dims)
