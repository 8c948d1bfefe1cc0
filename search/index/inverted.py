"""The approximate index: codes in lists by their nearest centroid, of which a query visits the nearest ones.

How many is decided by each query: lists are visited in the order of their centroids' distance until the next centroid
is farther than the k-th best code so far plus `slack`, a number that training.py finds for a recall target. Such a
query stops soon when its neighbours are near, and goes on when they are far. A filter may leave out all that is near,
and how far to go then is another number, `filtered_slack`, found with queries of that kind.

What comes back are candidates: rows by the distance of their codes. The caller ranks them by their embeddings.
"""

import math
from dataclasses import dataclass
from typing import Any, Final

import faiss
import numpy as np
from numpy.typing import NDArray

from search.index.mapped import open_index
from search.index.projection import Codes

INVERTED: Final = "ivf"
FIRST_LISTS: Final = 16  # visited before the rule is asked; each further step takes twice as many
MOST_LISTS: Final = 64  # of one step
GRAPH_LISTS: Final = 6_000  # from here on a graph finds the nearest centroids (above about 2 million rows)
GRAPH_LINKS: Final = 32
GRAPH_FIRST: Final = 256  # nearest centroids asked of the graph; who needs more compares all


@dataclass(frozen=True, slots=True)
class Explored:
    """A search that visited every list, step by step.

    found: rows, nearest codes first. needed: (L,), the slack with which each list is visited. margins: (S,), the slack
    with which each step is taken, ascending; compared: (S,), how many rows were compared after it.
    """

    found: NDArray[np.int64]
    needed: NDArray[np.float64]
    margins: NDArray[np.float64]
    compared: NDArray[np.int64]


class InvertedIndex:
    """Codes of N rows in L lists, searched by many threads at once."""

    kind = INVERTED

    def __init__(self, index: Any, slack: float, filtered_slack: float, owner: object = None) -> None:
        """index: FAISS's IndexIVFScalarQuantizer. slack, filtered_slack: in units of codes, squared.

        Infinite visits every list. owner: of the memory the index looks at.
        """
        self.slack = slack
        self.filtered_slack = filtered_slack
        self._index = index
        self._owner = owner
        self._graph = isinstance(faiss.downcast_index(index.quantizer), faiss.IndexHNSW)
        self._centroids: NDArray[np.float32] = index.quantizer.reconstruct_n(0, index.nlist)
        self._inverted: Any = index.invlists
        self._sizes = np.array([self._inverted.list_size(number) for number in range(index.nlist)], np.int64)
        self._list_of: NDArray[np.int32] | None = None

    @classmethod
    def empty(cls, centroids: Codes) -> "InvertedIndex":
        """Return an index without rows over (L, A) centroids."""
        lists, dims = centroids.shape
        flat = lists < GRAPH_LISTS
        quantizer = faiss.IndexFlatL2(dims) if flat else faiss.IndexHNSWFlat(dims, GRAPH_LINKS, faiss.METRIC_L2)
        quantizer.add(centroids)
        byte = faiss.ScalarQuantizer.QT_8bit_direct
        index = faiss.IndexIVFScalarQuantizer(quantizer, dims, lists, byte, faiss.METRIC_L2, False)
        index.is_trained = True
        return cls(index, math.inf, math.inf, owner=quantizer)

    @classmethod
    def load(
        cls, data: NDArray[np.uint8], rows: int, dims: int, slack: float, filtered_slack: float
    ) -> "InvertedIndex":
        """Return the index that `dump` wrote, without copying its codes. Only call it on bytes whose checksum is known.

        data: stays mapped as long as the index lives. dims: numbers per code.

        Raises:
            CorruptFile: the bytes are no inverted index of this shape.
        """
        index, owner = open_index(data, faiss.IndexIVFScalarQuantizer, rows, dims)
        return cls(index, slack, filtered_slack, owner)

    def dump(self) -> NDArray[np.uint8]:
        """Return the index as bytes; writing them durably is the caller's work (faiss.write_index does not)."""
        data: NDArray[np.uint8] = faiss.serialize_index(self._index)
        return data

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @property
    def lists(self) -> int:
        """How many lists there are."""
        return int(self._index.nlist)

    def nearest_lists(self, codes: Codes) -> NDArray[np.int64]:
        """Return the list with the nearest centroid of each code, (N,)."""
        nearest: NDArray[np.int64] = self._index.quantizer.search(codes, 1)[1].ravel()
        return nearest

    def add(self, codes: Codes, lists: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
        """Add (N, A) codes, whose row numbers follow those there are; return the list of each, (N,).

        lists: where each belongs, by default `nearest_lists`.
        """
        first = len(self)
        rows = np.arange(first, first + len(codes), dtype=np.int64)
        nearest = np.ascontiguousarray(self.nearest_lists(codes) if lists is None else lists)
        codes = np.ascontiguousarray(codes)
        self._index.add_core(len(codes), faiss.swig_ptr(codes), faiss.swig_ptr(rows), faiss.swig_ptr(nearest), None)
        self._sizes += np.bincount(nearest, minlength=self.lists)
        self._list_of = None
        return nearest

    def candidates(
        self,
        code: Codes,
        k: int,
        count: int,
        wanted: NDArray[np.uint8] | None = None,
        only: NDArray[np.int64] | None = None,
    ) -> tuple[NDArray[np.int64], int]:
        """Return at most `count` rows that may be the k nearest, nearest codes first, and how many rows were compared.

        code: (1, A) of the query. count: at least k. wanted: bitmap over all rows, little-endian, of those that may be
        returned. only: of a filter, the lists that hold any of those, ascending (`lists_of`); no other is visited.
        """
        slack = self.slack if only is None else self.filtered_slack
        walk = _Walk(self, code, k, count, wanted, only)
        while walk.left and walk.margin <= slack:
            walk.step()
        return walk.found, walk.compared

    def explore(
        self, code: Codes, k: int, count: int, wanted: NDArray[np.uint8] | None, only: NDArray[np.int64] | None
    ) -> "Explored":
        """Visit every list, and return what each slack would have done. The arguments are those of `candidates`."""
        walk = _Walk(self, code, k, count, wanted, only)
        needed = np.full(self.lists, np.inf)
        margins: list[float] = []
        compared: list[int] = []
        while walk.left:
            margins.append(max(walk.margin, margins[-1] if margins else -math.inf))
            needed[walk.step()] = margins[-1]
            compared.append(walk.compared)
        return Explored(walk.found, needed, np.array(margins), np.array(compared, np.int64))

    def visiting_order(
        self, code: Codes, only: NDArray[np.int64] | None, *, graph: bool = True
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return lists, nearest centroid first, and the squared distances of their centroids.

        only: these. graph: where there is one, the first few hundred, which it finds sooner.
        """
        if graph and self._graph and only is None:
            distances, lists = self._index.quantizer.search(code, min(GRAPH_FIRST, self.lists))
            return lists[0][lists[0] >= 0], distances[0][lists[0] >= 0]
        centroids = self._centroids if only is None else self._centroids[only]
        distances = np.empty(len(centroids), np.float32)
        # Not by NumPy's product, for which many threads would meet (search/index/projection.py).
        pointers = (faiss.swig_ptr(distances), faiss.swig_ptr(code), faiss.swig_ptr(centroids))
        faiss.fvec_L2sqr_ny(*pointers, centroids.shape[1], len(centroids))  # type: ignore[attr-defined]
        order = np.argsort(distances)
        return order if only is None else only[order], distances[order]

    def rows_in(self, lists: NDArray[np.int64]) -> int:
        """Return how many rows these lists hold."""
        return int(self._sizes[lists].sum())

    def lists_of(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the lists that hold any of these rows, ascending."""
        return np.flatnonzero(np.bincount(self.list_of_rows()[rows], minlength=self.lists))

    def list_of_rows(self) -> NDArray[np.int32]:
        """Return the list of each row, (N,)."""
        if self._list_of is None:
            list_of = np.empty(len(self), np.int32)
            for number in np.flatnonzero(self._sizes).tolist():
                ids = self._inverted.get_ids(number)
                list_of[faiss.rev_swig_ptr(ids, int(self._sizes[number]))] = number
            self._list_of = list_of
        return self._list_of

    def scan(
        self, code: Codes, lists: NDArray[np.int64], count: int, wanted: NDArray[np.uint8] | None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return the nearest codes of these lists: squared distances and row numbers, nearest first."""
        lists = np.ascontiguousarray(lists)
        distances = np.empty(count, np.float32)
        rows = np.empty(count, np.int64)
        unused = np.zeros(len(lists), np.float32)  # distances of the centroids: codes that are no residuals need none
        selector = None if wanted is None else faiss.IDSelectorBitmap(len(wanted), faiss.swig_ptr(wanted))
        parameters: Any = faiss.SearchParametersIVF(nprobe=len(lists), sel=selector)  # type: ignore[call-arg]
        self._index.search_preassigned_c(
            1,
            faiss.swig_ptr(code),
            count,
            faiss.swig_ptr(lists),
            faiss.swig_ptr(unused),
            faiss.swig_ptr(distances),
            faiss.swig_ptr(rows),
            False,
            parameters,
        )
        there = rows >= 0
        return distances[there], rows[there]


class _Walk:
    """One search on its way through the lists.

    left: whether there are more; margin: the slack that the next step takes. found: rows so far, nearest codes first;
    compared: how many rows.
    """

    def __init__(
        self,
        index: InvertedIndex,
        code: Codes,
        k: int,
        count: int,
        wanted: NDArray[np.uint8] | None,
        only: NDArray[np.int64] | None,
    ) -> None:
        self._index = index
        self._search = (code, k, count, wanted)
        self._lists, self._distances = index.visiting_order(code, only)
        self._whole = only is not None or len(self._lists) == index.lists
        self._place, self._step = 0, FIRST_LISTS
        self._best = np.empty(0, np.float32)
        self.found = np.empty(0, np.int64)
        self.compared = 0

    @property
    def left(self) -> bool:
        return self._place < len(self._lists)

    @property
    def margin(self) -> float:
        k = self._search[1]
        return float(self._distances[self._place] - self._best[k - 1]) if len(self._best) >= k else -math.inf

    def step(self) -> NDArray[np.int64]:
        """Visit the next lists, and return them."""
        code, _, count, wanted = self._search
        if not self._whole and self._place + self._step > len(self._lists):
            self._complete()
        lists = self._lists[self._place : self._place + self._step]
        near, rows = self._index.scan(code, lists, count, wanted)  # nearest first
        if len(self.found):
            found, best = np.concatenate([self.found, rows]), np.concatenate([self._best, near])
            order = np.argsort(best, kind="stable")[:count]
            rows, near = found[order], best[order]
        self.found, self._best = rows, near
        self.compared += self._index.rows_in(lists)
        self._place, self._step = self._place + self._step, min(2 * self._step, MOST_LISTS)
        return lists

    def _complete(self) -> None:
        """Put all other lists behind those visited: a graph names the nearest only, and may have missed some."""
        lists, distances = self._index.visiting_order(self._search[0], None, graph=False)
        visited = self._lists[: self._place]
        new = ~np.isin(lists, visited)
        self._lists = np.concatenate([visited, lists[new]])
        self._distances = np.concatenate([self._distances[: self._place], distances[new]])
        self._whole = True
