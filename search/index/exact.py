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
BLOCK_ROWS = 384  # of a product with a batch: what a core's cache holds of a few thousand dims
LARGEST_SCORES = 8_000_000  # numbers in memory while a batch is compared
ALL_FROM = 4  # a quarter of the rows
GROUP = 16  # scores of which the highest is looked at first
ROUNDING = np.float32(1e-5)  # of scores: far above what sums of a few thousand products differ by


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

    def candidates(self, query: Embeddings, k: int, exclude: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the rows among which the k best of one query are, in no order; none of `exclude`.

        Usually k, and more where the k-th scores as others do but for rounding. query: (1, D) float32 of unit length.
        Thread-safe. Costs O(N * D).
        """
        scores = self.embeddings() @ query[0]
        scores[exclude] = -np.inf
        found = near_best(scores, min(k, len(scores) - len(exclude)))
        wanted: NDArray[np.int64] = found[scores[found] > -np.inf]
        return wanted

    def candidates_each(self, queries: Embeddings, k: int, exclude: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """Return what `candidates` returns of each of some queries, (Q, D), in one product."""
        scores = _products(queries, self.embeddings())
        scores[:, exclude] = -np.inf
        wanted = min(k, scores.shape[1] - len(exclude))
        found = [near_best(row, wanted) for row in scores]
        return [places[row[places] > -np.inf] for places, row in zip(found, scores, strict=True)]

    def candidates_among(self, query: Embeddings, k: int, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return those of `rows` among which the k best of them are, in no order; no other row counts.

        query: (1, D) float32 of unit length. rows: (R,) row numbers, each once. Thread-safe. Costs O(min(N, R) * D).
        """
        xb = self.embeddings()
        # Reading all in a row is sooner done than copying many.
        scores = (xb @ query[0])[rows] if ALL_FROM * len(rows) > len(xb) else xb[rows] @ query[0]
        return rows[near_best(scores, k)]

    def search(self, xq: Embeddings, k: int) -> Neighbours:
        """Return the k best rows of each query, best first; rows that score the same but for rounding in any order.

        xq: (Q, D) float32 of unit length. Thread-safe. Costs O(Q * N * D).
        """
        xb = self.embeddings()
        k = min(k, len(xb))
        found = Neighbours(np.empty((len(xq), k), np.int64), np.empty((len(xq), k), np.float32))
        at_once = max(1, LARGEST_SCORES // max(1, len(xb)))
        for start in range(0, len(xq), at_once):
            part = slice(start, start + at_once)
            scores = _products(xq[part], xb)
            best = _best(scores, k)
            order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1, kind="stable")
            found.rows[part] = np.take_along_axis(best, order, axis=1)
            found.scores[part] = np.take_along_axis(scores, found.rows[part], axis=1)
        return found

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


def near_best(scores: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """Return the places of the k highest scores, and of all that are as high as the k-th but for rounding, ascending.

    A product's last bits depend on where a row lies, so equal rows can score a little differently: whoever wants a
    certain one of them compares these again by one and the same sum. scores: (N,), of rows of unit length.
    """
    if k <= 0:
        return np.empty(0, np.int64)
    if k >= len(scores):
        return np.arange(len(scores))
    kth = np.partition(scores, len(scores) - k)[len(scores) - k]
    return np.flatnonzero(scores >= kth - ROUNDING)


def _best(scores: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """Return the places of the k highest of each row of (Q, N) scores, in no order: (Q, k)."""
    rest = scores.shape[1] - k
    if k == 0 or rest == 0:
        return np.tile(np.arange(k), (len(scores), 1))
    groups = scores.shape[1] // GROUP
    if groups < ALL_FROM * k:
        return np.argpartition(scores, rest, axis=1)[:, rest:]
    # The k-th highest of the groups' maxima: at least k scores reach it, and few do. A tenth of the time.
    maxima = scores[:, : GROUP * groups].reshape(len(scores), GROUP, groups).max(axis=1)
    bounds = np.partition(maxima, groups - k, axis=1)[:, groups - k]
    found = np.empty((len(scores), k), np.int64)
    for row, bound, places in zip(scores, bounds, found, strict=True):
        near = np.flatnonzero(row >= bound)
        places[:] = near[np.argpartition(row[near], len(near) - k)[len(near) - k :]]
    return found


def _products(xq: Embeddings, xb: Embeddings) -> NDArray[np.float32]:
    """Return the score of each query and row, (Q, N)."""
    scores = np.empty((len(xq), len(xb)), np.float32)
    for start in range(0, len(xb), BLOCK_ROWS):
        np.matmul(xq, xb[start : start + BLOCK_ROWS].T, out=scores[:, start : start + BLOCK_ROWS])
    return scores
