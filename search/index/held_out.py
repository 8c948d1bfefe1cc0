"""Queries with their true neighbours: what an approximate index is measured with.

Half are stored rows, which do not count as their own neighbours; half are blends of two, which lie where no row does. A
further set may not use the lists that are nearest to them, as when a filter runs against a query.
"""

from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from search.embeddings import unit_rows
from search.index.inverted import InvertedIndex
from search.index.projection import Codes
from search.records import Embeddings

NEIGHBOURS: Final = 10  # recall@10 is what is held
QUERIES: Final = 400
FILTERED_QUERIES: Final = 120
LEFT_OUT: Final = (0.1, 0.5, 0.9)  # shares of the nearest lists that those filters leave out
BLEND: Final = 0.7  # the share of the first of two rows in a blend
TIES: Final = 30  # neighbours kept, so that equal ones count alike
TIE: Final = 1e-6
NO_SCORE: Final = -2.0  # below every cosine
DEEPEST: Final = 20 * NEIGHBOURS  # candidates looked at


class Rows(Protocol):
    """Stored rows by number."""

    def __len__(self) -> int: ...

    def read(self, numbers: NDArray[np.int64]) -> Embeddings:
        """Return (len(numbers), D) float32 of unit length."""
        ...


@dataclass(frozen=True, slots=True)
class Curves:
    """What each slack and each number of candidates would find of the neighbours of Q queries.

    needed, place: (Q, 10), the slack and the number of candidates that each neighbour takes, infinite where there is
    none. blended: (Q,). margins, compared: per query, the steps of a whole search (`inverted.Explored`).
    """

    needed: NDArray[np.float64]
    place: NDArray[np.float64]
    there: NDArray[np.bool_]
    blended: NDArray[np.bool_]
    margins: list[NDArray[np.float64]]
    compared: list[NDArray[np.int64]]

    def recall(self, slack: float, candidates: int) -> float:
        """Return recall@10, of stored rows or of blends, whichever is lower."""
        hit = (self.needed <= slack) & (self.place < candidates)
        kinds = [kind for kind in (self.blended, ~self.blended) if self.there[kind].any()]
        return min((float(hit[kind].sum() / self.there[kind].sum()) for kind in kinds), default=1.0)

    def rows_compared(self, slack: float) -> float:
        """Return how many rows a query compares on average."""
        steps = [max(1, int(np.searchsorted(margins, slack, side="right"))) for margins in self.margins]
        return float(np.mean([compared[step - 1] for step, compared in zip(steps, self.compared, strict=True)]))

    def least_slack(self, recall: float, candidates: int) -> float | None:
        """Return the least slack that reaches a recall, None when none does."""
        slacks = np.unique(self.needed[self.there])
        low, high = 0, len(slacks) - 1
        if self.recall(float(slacks[high]), candidates) < recall:
            return None
        while low < high:
            middle = (low + high) // 2
            enough = self.recall(float(slacks[middle]), candidates) >= recall
            low, high = (low, middle) if enough else (middle + 1, high)
        return float(slacks[high])


class HeldOut:
    """Q queries. embeddings: (Q, D). Their neighbours are found while `compare` is shown all rows."""

    def __init__(
        self, embeddings: Embeddings, own: NDArray[np.int64], left_out: NDArray[np.bool_] | None = None
    ) -> None:
        """own: the row that a query is, -1 where it is none: (Q,). left_out: lists a filter leaves out: (Q, L)."""
        self.embeddings = embeddings
        self._own = own
        self._left_out = left_out
        self._scores = np.full((len(own), TIES), NO_SCORE, np.float32)
        self._rows = np.full((len(own), TIES), -1, np.int64)

    @classmethod
    def choose(cls, rows: Rows, random: np.random.Generator) -> "HeldOut":
        """Return queries without a filter."""
        chosen = some_rows(rows, random, QUERIES)
        stored = rows.read(chosen)
        blends = unit_rows(BLEND * stored + (1 - BLEND) * stored[random.permutation(len(stored))])
        blended = random.permutation(len(stored)) < len(stored) // 2
        return cls(np.where(blended[:, np.newaxis], blends, stored), np.where(blended, -1, chosen))

    @classmethod
    def choose_filtered(cls, embeddings: Embeddings, codes: Codes, index: InvertedIndex) -> "HeldOut":
        """Return queries with a filter that leaves out the lists nearest to them: a tenth, half or most of all."""
        left_out = np.zeros((len(codes), index.lists), np.bool_)
        for number in range(len(codes)):
            nearest = index.visiting_order(codes[number : number + 1], None, graph=False)[0]
            left_out[number, nearest[: int(LEFT_OUT[number % len(LEFT_OUT)] * index.lists)]] = True
        return cls(embeddings, np.full(len(codes), -1), left_out)

    def compare(self, first: int, block: Embeddings, lists: NDArray[np.int64]) -> None:
        """Take rows `first` and following into account. lists: of the index, where they are: (n,)."""
        scores = self.embeddings @ block.T
        if self._left_out is not None:
            scores[self._left_out[:, lists]] = NO_SCORE
        mine = np.flatnonzero((self._own >= first) & (self._own < first + len(block)))
        scores[mine, self._own[mine] - first] = NO_SCORE
        few = min(TIES, scores.shape[1])
        near = np.argpartition(-scores, few - 1, axis=1)[:, :few]
        scores = np.concatenate([self._scores, np.take_along_axis(scores, near, axis=1)], axis=1)
        rows = np.concatenate([self._rows, near + first], axis=1)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :TIES]
        self._scores = np.take_along_axis(scores, order, axis=1)
        self._rows = np.take_along_axis(rows, order, axis=1)

    def curves(self, index: InvertedIndex, codes: Codes) -> Curves:
        """Search an index of all rows for the codes of these queries, visiting every list. Costs Q * N distances."""
        list_of = index.list_of_rows()
        needed = np.full((len(codes), NEIGHBOURS), np.inf)
        place = np.full((len(codes), NEIGHBOURS), np.inf)
        margins, compared = [], []
        for number in range(len(codes)):
            wanted, only = self._filter(number, list_of)
            # A stored row finds itself, too, and before all others.
            itself = int(self._own[number] >= 0)
            seen = index.explore(codes[number : number + 1], NEIGHBOURS + itself, DEEPEST + itself, wanted, only)
            margins.append(seen.margins)
            compared.append(seen.compared)
            true = self._neighbours(number)
            if len(true):
                at = np.full(len(list_of), np.inf)
                at[seen.found] = np.arange(len(seen.found)) - itself
                order = np.lexsort((seen.needed[list_of[true]], at[true]))[:NEIGHBOURS]
                needed[number, : len(order)] = seen.needed[list_of[true[order]]]
                place[number, : len(order)] = at[true[order]]
        counts = np.array([min(NEIGHBOURS, len(self._neighbours(number))) for number in range(len(codes))])
        there = np.arange(NEIGHBOURS) < counts[:, np.newaxis]
        return Curves(needed, place, there, self._own < 0, margins, compared)

    def _neighbours(self, number: int) -> NDArray[np.int64]:
        """Return the 10 nearest rows of a query, and those that score as the last of them does."""
        scores = self._scores[number]
        there = scores > NO_SCORE
        expected = max(1, min(NEIGHBOURS, int(there.sum())))
        near: NDArray[np.int64] = self._rows[number][there & (scores >= scores[expected - 1] - TIE)]
        return near

    def _filter(
        self, number: int, list_of: NDArray[np.int32]
    ) -> tuple[NDArray[np.uint8], NDArray[np.int64]] | tuple[None, None]:
        if self._left_out is None:
            return None, None
        wanted = ~self._left_out[number]
        return np.packbits(wanted[list_of], bitorder="little"), np.flatnonzero(wanted)


def some_rows(rows: Rows, random: np.random.Generator, count: int) -> NDArray[np.int64]:
    """Return at most `count` row numbers at random, ascending, so that reading them goes one way through the files."""
    return np.sort(random.choice(len(rows), min(len(rows), count), replace=False))
