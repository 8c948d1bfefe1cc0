"""From pairs that may be near to pairs that are: coarse scores in float32, then exact ones of what is within reach."""

from typing import Final, Protocol

import faiss
import numpy as np
from numpy.typing import NDArray

from search.index import crowd
from search.index.crowd import Crowd, TooManyPairs
from search.index.pair_finder import NearPairs, exact_scores, float32_margin, ordered
from search.index.sketches import Sketches, in_parts
from search.records import Embeddings

BATCH_PAIRS: Final = 2**18  # scored at once
BATCH_BYTES: Final = 2**28  # of rows that are read for them
READ_ROWS: Final = 8_192
# Of a tile: from here on the product of whole rows is cheaper than fetching the rows of each pair.
DENSE: Final = 1 / 16
FEW: Final = 4_096  # pairs that are fetched all the same


class RowSource(Protocol):
    """Rows of unit length by number, wherever they lie."""

    @property
    def dims(self) -> int:
        """Numbers of a row."""
        ...

    def __len__(self) -> int: ...

    def read(self, numbers: NDArray[np.int64]) -> Embeddings:
        """Return (len(numbers), D) float32, in the order asked.

        Raises:
            CorruptFile: what holds one of them is damaged.
        """
        ...


class HeldRows:
    """Rows in memory. rows: (M, D) float32, of length 1 or 0. order: the place of each, (N,); None: as given."""

    def __init__(self, rows: Embeddings, order: NDArray[np.int64] | None = None) -> None:
        self.rows = np.ascontiguousarray(rows, np.float32)
        self.dims = int(rows.shape[1])
        self._order = order

    @classmethod
    def of(cls, source: RowSource) -> "HeldRows":
        """Return all rows of a source, read a part at a time: what reading takes beside them stays small."""
        if isinstance(source, HeldRows):
            return source
        rows = np.empty((len(source), source.dims), np.float32)
        for part in in_parts(len(source), READ_ROWS):
            rows[part] = source.read(np.arange(part.start, part.stop))
        return cls(rows)

    def __len__(self) -> int:
        return len(self.rows if self._order is None else self._order)

    def lies_at(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return where rows lie."""
        return np.ascontiguousarray(numbers if self._order is None else self._order[numbers], np.int64)

    def read(self, numbers: NDArray[np.int64]) -> Embeddings:
        """As RowSource.read; rows that follow each other come as a view."""
        places = self.lies_at(numbers)
        if len(places) and places[-1] - places[0] == len(places) - 1 and (np.diff(places) == 1).all():
            return self.rows[places[0] : places[-1] + 1]
        picked: Embeddings = self.rows[places]
        return picked


class PairScoring:
    """Takes pairs of rows as they turn up, and keeps those that score at least a threshold."""

    def __init__(self, left: RowSource, right: RowSource, threshold: float, crowd: Crowd | None = None) -> None:
        """threshold: compared as float32, as scores are. crowd: grows where there are too many; pairs of two rows of it
        are left out. Without one, too many are refused.
        """
        self._left, self._right = left, right
        self.crowd = crowd
        self._threshold = np.float32(threshold)
        self._coarse = self._threshold - np.float32(float32_margin(left.dims))
        self._waiting: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
        self._many = 0
        self._kept: list[tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]] = []
        self._found = 0

    def near_places(
        self,
        rows: NDArray[np.int64],
        others: NDArray[np.int64],
        sketches: tuple[Sketches, Sketches],
        bound: np.float32,
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the places in `rows` and `others` of all pairs that may be near: (P,) each.

        sketches: of both, (n, width) and (m, width). bound: least product of two sketches. Where it lets many through,
        the rows themselves are multiplied.
        """
        products = sketches[0] @ sketches[1].T
        places = np.flatnonzero(products >= bound)
        if len(places) > max(FEW, DENSE * products.size):
            products = self._left.read(rows) @ self._right.read(others).T
            places = np.flatnonzero(products >= self._coarse)
        return places // max(1, len(others)), places % max(1, len(others))

    def add(self, rows: NDArray[np.int64], others: NDArray[np.int64]) -> None:
        """Take pairs: a row of the left, one of the right.

        Raises:
            TooManyPairs: more are near than may be kept, and there is no crowd.
        """
        if self.crowd is not None:
            apart = ~self.crowd.holds(rows, others)
            rows, others = rows[apart], others[apart]
        self._waiting.append((rows, others))
        self._many += len(rows)
        if self._many >= BATCH_PAIRS:
            self._score()

    def found(self) -> NearPairs:
        """Return all near pairs so far, ordered by the right row and then the left, and begin anew.

        Raises:
            TooManyPairs: as `add`.
        """
        self._score()
        empty = (np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.float32))
        rows, others, scores = (np.concatenate(parts) for parts in zip(empty, *self._kept, strict=True))
        self._kept, self._found = [], 0
        return ordered(NearPairs(rows.astype(np.int64), others.astype(np.int64), scores))

    def _score(self) -> None:
        waiting, self._waiting, self._many = self._waiting, [], 0
        if not waiting:
            return
        rows, others = (np.concatenate(parts) for parts in zip(*waiting, strict=True))
        at_once = BATCH_PAIRS
        if not (isinstance(self._left, HeldRows) and isinstance(self._right, HeldRows)):
            at_once = max(1, BATCH_BYTES // (8 * self._left.dims))
        for start in range(0, len(rows), at_once):
            self._score_batch(rows[start : start + at_once], others[start : start + at_once])

    def _score_batch(self, rows: NDArray[np.int64], others: NDArray[np.int64]) -> None:
        left, places = _fetched(self._left, rows)
        right, other_places = _fetched(self._right, others)
        near = np.flatnonzero(_coarse_scores(left, places, right, other_places) >= self._coarse)
        scores = exact_scores(left, places[near], right, other_places[near])
        reached = scores >= self._threshold
        near, scores = near[reached], scores[reached]
        self._kept.append((rows[near].astype(np.int32), others[near].astype(np.int32), scores))
        self._found += len(near)
        if self._found > crowd.MOST_PAIRS:
            self._thin_out()

    def _thin_out(self) -> None:
        """Leave out the pairs of a crowd, which grows until few enough are left."""
        if self.crowd is None:
            raise TooManyPairs(
                f"more than {crowd.MOST_PAIRS:,} pairs score at least {self._threshold:.2f}: choose a higher threshold"
            )
        rows, others, scores = (np.concatenate(parts) for parts in zip(*self._kept, strict=True))
        kept = self.crowd.kept(rows, others)
        self._kept = [(rows[kept], others[kept], scores[kept])]
        self._found = int(np.count_nonzero(kept))


def _fetched(source: RowSource, numbers: NDArray[np.int64]) -> tuple[Embeddings, NDArray[np.int64]]:
    """Return rows in memory, and the place of each number among them."""
    if isinstance(source, HeldRows):
        return source.rows, source.lies_at(numbers)
    each, places = np.unique(numbers, return_inverse=True)
    return np.ascontiguousarray(source.read(each)), places.astype(np.int64)


def _coarse_scores(
    left: Embeddings, rows: NDArray[np.int64], right: Embeddings, others: NDArray[np.int64]
) -> NDArray[np.float32]:
    scores = np.empty(len(rows), np.float32)
    pointers = [faiss.swig_ptr(each) for each in (left, rows, right, others, scores)]
    faiss.pairwise_indexed_inner_product(left.shape[1], len(rows), *pointers)  # type: ignore[attr-defined]
    return scores
