"""Peers: FAISS flat and HNSW, hnswlib, usearch, LanceDB. Each is built once and kept as a file.

`search` is called with one query at a time, on one thread. `breadths` are the settings tried, from fast to thorough.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import faiss
import numpy as np
from numpy.typing import NDArray

LINKS = 32
EFFORT = 200  # of construction
BREADTHS = (16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 1024)
BLOCK = 10_000


class Peer(Protocol):
    """A library that finds neighbours by inner product."""

    breadths: tuple[int, ...]

    def build(self, rows: NDArray[np.float16], file: Path) -> None: ...

    def load(self, file: Path, dims: int) -> None: ...

    def search(self, query: NDArray[np.float32], k: int, breadth: int) -> NDArray[np.int64]: ...


def _blocks(rows: NDArray[np.float16]) -> Any:
    for start in range(0, len(rows), BLOCK):
        yield start, rows[start : start + BLOCK].astype(np.float32)


class FaissFlat:
    """Exact, float32."""

    breadths: tuple[int, ...] = (0,)

    def build(self, rows: NDArray[np.float16], file: Path) -> None:
        index = faiss.IndexFlatIP(rows.shape[1])
        for _, block in _blocks(rows):
            index.add(block)
        faiss.write_index(index, str(file))

    def load(self, file: Path, dims: int) -> None:
        faiss.omp_set_num_threads(1)
        self._index = faiss.read_index(str(file))

    def search(self, query: NDArray[np.float32], k: int, breadth: int) -> NDArray[np.int64]:
        found: NDArray[np.int64] = self._index.search(query, k)[1][0]
        return found


class FaissHnsw(FaissFlat):
    """A graph over float32."""

    breadths: tuple[int, ...] = BREADTHS

    def build(self, rows: NDArray[np.float16], file: Path) -> None:
        index = faiss.IndexHNSWFlat(rows.shape[1], LINKS, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = EFFORT
        for _, block in _blocks(rows):
            index.add(block)
        faiss.write_index(index, str(file))

    def search(self, query: NDArray[np.float32], k: int, breadth: int) -> NDArray[np.int64]:
        parameters: Any = faiss.SearchParametersHNSW(efSearch=breadth)  # type: ignore[attr-defined]
        found: NDArray[np.int64] = self._index.search(query, k, params=parameters)[1][0]
        return found


class Hnswlib:
    """A graph over float32, by the library of its inventors."""

    breadths: tuple[int, ...] = BREADTHS

    def build(self, rows: NDArray[np.float16], file: Path) -> None:
        import hnswlib

        index = hnswlib.Index(space="ip", dim=rows.shape[1])
        index.init_index(max_elements=len(rows), ef_construction=EFFORT, M=LINKS)
        for start, block in _blocks(rows):
            index.add_items(block, np.arange(start, start + len(block)))
        index.save_index(str(file))

    def load(self, file: Path, dims: int) -> None:
        import hnswlib

        self._index = hnswlib.Index(space="ip", dim=dims)
        self._index.load_index(str(file))
        self._index.set_num_threads(1)

    def search(self, query: NDArray[np.float32], k: int, breadth: int) -> NDArray[np.int64]:
        self._index.set_ef(breadth)
        found: NDArray[np.int64] = self._index.knn_query(query, k)[0][0].astype(np.int64)
        return found


class Usearch:
    """A graph over rows of one number type: float16. (int8 is smaller, and stays below the recall at any breadth.)"""

    breadths: tuple[int, ...] = BREADTHS

    def __init__(self, dtype: str) -> None:
        self._dtype = dtype

    def build(self, rows: NDArray[np.float16], file: Path) -> None:
        index = self._empty(rows.shape[1])
        for start, block in _blocks(rows):
            index.add(np.arange(start, start + len(block)), block)
        index.save(str(file))

    def load(self, file: Path, dims: int) -> None:
        self._index = self._empty(dims)
        self._index.load(str(file))

    def search(self, query: NDArray[np.float32], k: int, breadth: int) -> NDArray[np.int64]:
        self._index.expansion_search = breadth
        found: NDArray[np.int64] = self._index.search(query[0], k, threads=1).keys.astype(np.int64)
        return found

    def _empty(self, dims: int) -> Any:
        from usearch.index import Index

        return Index(ndim=dims, metric="cos", dtype=self._dtype, connectivity=LINKS, expansion_add=EFFORT)


class LanceDb:
    """A table on disk, with its index for low latency: lists, and in each a graph over bytes; the best are refined."""

    breadths: tuple[int, ...] = (4, 8, 16, 24, 32, 48, 64, 96, 128)  # lists visited

    def build(self, rows: NDArray[np.float16], file: Path) -> None:
        import lancedb
        import pyarrow as pa

        def batches() -> Any:
            for start, block in _blocks(rows):
                numbers = pa.array(np.arange(start, start + len(block)))
                vectors = pa.FixedSizeListArray.from_arrays(block.reshape(-1), rows.shape[1])
                yield pa.record_batch({"id": numbers, "vector": vectors})

        schema = pa.schema({"id": pa.int64(), "vector": pa.list_(pa.float32(), rows.shape[1])})
        table = lancedb.connect(file).create_table("rows", data=batches(), schema=schema)
        table.create_index(metric="cosine", vector_column_name="vector", index_type="IVF_HNSW_SQ")

    def load(self, file: Path, dims: int) -> None:
        import lancedb

        self._table = lancedb.connect(file).open_table("rows")

    def search(self, query: NDArray[np.float32], k: int, breadth: int) -> NDArray[np.int64]:
        asked: Any = self._table.search(query[0]).distance_type("cosine").nprobes(breadth).refine_factor(3).limit(k)
        found: NDArray[np.int64] = asked.select(["id", "_distance"]).to_arrow()["id"].to_numpy()
        return found


PEERS: Mapping[str, Peer] = {
    "faiss flat": FaissFlat(),
    "faiss hnsw": FaissHnsw(),
    "hnswlib": Hnswlib(),
    "usearch f16": Usearch("f16"),
    "lancedb": LanceDb(),
}
