"""The exact index: every row compared with every query.

Letters are FAISS's own: xq queries, xb database, D scores, I row numbers, lims range limits.
"""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import faiss
import numpy as np
from numpy.typing import NDArray

from search.index.mapped import open_index
from search.records import Embeddings

EXACT = "exact"


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The best rows of each query. rows: (Q, k) int64, -1 where fewer exist; scores: (Q, k) float32."""

    rows: NDArray[np.int64]
    scores: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Pairs:
    """Rows that score at least a threshold: queries (P,) int64, rows (P,) int64, scores (P,) float32."""

    queries: NDArray[np.int64]
    rows: NDArray[np.int64]
    scores: NDArray[np.float32]


class ExactIndex:
    """Every row compared with every query: recall 1 by construction, at the speed of memory."""

    kind = EXACT

    def __init__(self, index: "faiss.IndexFlat", owner: object = None) -> None:
        """owner: of the memory the index looks at."""
        self._index = index
        self._owner = owner

    @classmethod
    def build(cls, xb: Embeddings) -> "ExactIndex":
        """Return an index over (N, D) float32 rows of unit length; row numbers are positions in xb."""
        index = faiss.IndexFlatIP(xb.shape[1])
        index.add(np.ascontiguousarray(xb))
        return cls(index)

    @classmethod
    def load(cls, data: NDArray[np.uint8], rows: int, dims: int) -> "ExactIndex":
        """Return the index that `dump` wrote, without copying it. Only call it on bytes whose checksum is known.

        data: stays mapped as long as the index lives.

        Raises:
            CorruptFile: the bytes are no exact index of this shape.
        """
        index, owner = open_index(data, faiss.IndexFlat, rows, dims)
        return cls(index, owner)

    @staticmethod
    def streamed(parts: Iterable[Embeddings], rows: int, dims: int) -> Iterator[bytes]:
        """Yield what `dump` would return of an index over all parts, without ever holding more than one of them.

        parts: (n, D) float32 each, `rows` together. FAISS writes a flat index as its head, which names the number of
        rows (int64 at byte 8) and, as its last 8 bytes, that of numbers, and then the numbers.
        """
        one = ExactIndex.build(np.zeros((1, dims), np.float32)).dump()
        head = bytearray(one[: len(one) - 4 * dims])
        struct.pack_into("<q", head, 8, rows)
        struct.pack_into("<q", head, len(head) - 8, rows * dims)
        yield bytes(head)
        for part in parts:
            yield np.ascontiguousarray(part, "<f4").tobytes()

    def dump(self) -> bytes:
        """Return the index as bytes; writing them durably is the caller's work (faiss.write_index does not)."""
        return bytes(faiss.serialize_index(self._index).tobytes())

    def search(self, xq: Embeddings, k: int, exclude: NDArray[np.int64]) -> Neighbours:
        """Return the k best rows of each query, best first, leaving out the rows in `exclude`.

        xq: (Q, D) float32 of unit length. Thread-safe. Costs O(Q * N * D).
        """
        k = min(k, self._index.ntotal)
        if k == 0:
            return Neighbours(np.empty((len(xq), 0), np.int64), np.empty((len(xq), 0), np.float32))
        parameters = None
        if len(exclude):
            # FAISS's stubs do not know the keyword its Python wrapper takes.
            selector = faiss.IDSelectorNot(faiss.IDSelectorBatch(exclude))
            parameters = faiss.SearchParameters(sel=selector)  # type: ignore[call-arg]
        scores, rows = self._index.search(np.ascontiguousarray(xq), k, params=parameters)
        return Neighbours(rows, scores)

    def search_among(self, xq: Embeddings, k: int, rows: NDArray[np.int64]) -> Neighbours:
        """Return the k best of these rows for each query, best first; no other row is scored.

        xq: (Q, D) float32 of unit length. rows: (R,) row numbers, each once. Thread-safe. Costs O(Q * (N + R * D)).
        """
        k = min(k, len(rows))
        if k == 0:
            return Neighbours(np.empty((len(xq), 0), np.int64), np.empty((len(xq), 0), np.float32))
        wanted = np.zeros(self._index.ntotal, np.bool_)
        wanted[rows] = True
        bits = np.packbits(wanted, bitorder="little")
        selector = faiss.IDSelectorBitmap(len(bits), faiss.swig_ptr(bits))
        scores, found = self._index.search(
            np.ascontiguousarray(xq),
            k,
            params=faiss.SearchParameters(sel=selector),  # type: ignore[call-arg]
        )
        return Neighbours(found, scores)

    def range_search(self, xq: Embeddings, threshold: float) -> Pairs:
        """Return every (query, row) that scores at least `threshold`, ordered by query.

        xq: (Q, D) float32 of unit length.
        """
        # FAISS keeps scores strictly above the radius.
        radius = float(np.nextafter(np.float32(threshold), np.float32(-2)))
        lims, scores, rows = self._index.range_search(np.ascontiguousarray(xq), radius)
        ends = lims.astype(np.int64)
        queries = np.repeat(np.arange(len(xq)), ends[1:] - ends[:-1])
        return Pairs(queries, rows.astype(np.int64), scores)

    def embeddings(self) -> Embeddings:
        """Return all rows as a (N, D) float32 view; do not write to it."""
        flat: NDArray[np.float32] = faiss.rev_swig_ptr(self._index.get_xb(), self._index.ntotal * self._index.d)
        return flat.reshape(self._index.ntotal, self._index.d)
