"""Queries with their true neighbours: what an approximate index is measured with.

Half are stored rows, which do not count as their own neighbours; half are blends of two, which lie where no row does. A
further set may not use the lists that are nearest to them, as when a filter runs against a query.

Found is what scores as high as the tenth best row does: of a thousand copies, any ten are right.
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
TIES: Final = 30  # neighbours kept; where all of them are as good as the tenth, there may be any number more
TIE: Final = 1e-6  # of scores: how far two sums over the same numbers may lie apart
NO_SCORE: Final = -2.0  # below every cosine
DEEPEST: Final = 20 * NEIGHBOURS  # candidates looked at
READ_ROWS: Final = 4_096  # embeddings in memory at once


class Rows(Protocol):
    """Stored rows by number."""

    def __len__(self) -> int: ...

    def read(self, numbers: NDArray[np.int64]) -> Embeddings:
        """Return (len(numbers), D) float32 of unit length."""
        ...


@dataclass(frozen=True, slots=True)
class Curves:
    """What each slack and each number of candidates would find of the neighbours of Q queries.

    query, needed, place: (M,), of each row found that is as good as the last neighbour of a query: that query, the
    slack it takes, and the row's place among the candidates, from 0. expected: (Q,), how many of them are to be found:
    10, or all that a query has. blended: (Q,). margins, compared: per query, the steps of a whole search
    (`inverted.Explored`).
    """

    query: NDArray[np.int64]
    needed: NDArray[np.float64]
    place: NDArray[np.int64]
    expected: NDArray[np.int64]
    blended: NDArray[np.bool_]
    margins: list[NDArray[np.float64]]
    compared: list[NDArray[np.int64]]

    def recall(self, slack: float, candidates: int) -> float:
        """Return recall@10, of stored rows or of blends, whichever is lower; 1 where no query has a neighbour."""
        found = self.query[(self.needed <= slack) & (self.place < candidates)]
        hits = np.minimum(np.bincount(found, minlength=len(self.expected)), self.expected)
        kinds = [kind for kind in (self.blended, ~self.blended) if self.expected[kind].any()]
        return min((float(hits[kind].sum() / self.expected[kind].sum()) for kind in kinds), default=1.0)

    def rows_compared(self, slack: float) -> float:
        """Return how many rows a query compares on average."""
        steps = [max(1, int(np.searchsorted(margins, slack, side="right"))) for margins in self.margins]
        return float(np.mean([compared[step - 1] for step, compared in zip(steps, self.compared, strict=True)]))

    def least_slack(self, recall: float, candidates: int) -> float | None:
        """Return the least slack that reaches a recall, None when none does; 0 where there is nothing to find."""
        if self.recall(np.inf, candidates) < recall:
            return None
        slacks = np.unique(self.needed[self.place < candidates])
        if not len(slacks):
            return 0.0
        low, high = 0, len(slacks) - 1
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

    def curves(self, index: InvertedIndex, codes: Codes, rows: Rows) -> Curves:
        """Search an index of all rows for the codes of these queries, visiting every list. Costs Q * N distances.

        rows: those that were compared; of some queries with many equal neighbours, a few hundred are read again.
        """
        list_of = index.list_of_rows()
        candidates, needed, margins, compared = [], [], [], []
        for number in range(len(codes)):
            wanted, only = self._filter(number, list_of)
            # A stored row may find itself, too, which is no neighbour.
            itself = int(self._own[number] >= 0)
            seen = index.explore(codes[number : number + 1], NEIGHBOURS + itself, DEEPEST + itself, wanted, only)
            margins.append(seen.margins)
            compared.append(seen.compared)
            candidates.append(seen.found[seen.found != self._own[number]])
            needed.append(seen.needed[list_of[candidates[-1]]])
        good = self._good(candidates, rows)
        return Curves(
            np.repeat(np.arange(len(codes)), [int(each.sum()) for each in good]),
            np.concatenate([slack[each] for slack, each in zip(needed, good, strict=True)]),
            np.concatenate([np.flatnonzero(each) for each in good]),
            self._expected(),
            self._own < 0,
            margins,
            compared,
        )

    def _expected(self) -> NDArray[np.int64]:
        """Return how many neighbours each query has, at most 10: (Q,)."""
        expected: NDArray[np.int64] = np.minimum(NEIGHBOURS, np.count_nonzero(self._scores > NO_SCORE, axis=1))
        return expected

    def _least(self) -> NDArray[np.float32]:
        """Return the score from which on a row is as good as the last neighbour of each query, (Q,)."""
        expected = self._expected()
        last = self._scores[np.arange(len(expected)), np.maximum(expected, 1) - 1]
        return np.where(expected > 0, last - np.float32(TIE), np.float32(np.inf))

    def _good(self, candidates: list[NDArray[np.int64]], rows: Rows) -> list[NDArray[np.bool_]]:
        """Tell for each query which of its candidates are as good as its last neighbour."""
        least = self._least()
        kept = self._scores >= least[:, np.newaxis]
        good = [np.isin(found, self._rows[number][kept[number]]) for number, found in enumerate(candidates)]
        unknown = [np.empty(0, np.int64) for _ in candidates]
        for number in np.flatnonzero(kept.all(axis=1)).tolist():
            # Up to the place where enough are known: who comes later is needed no more.
            last = np.searchsorted(np.cumsum(good[number]), NEIGHBOURS)
            unknown[number] = np.flatnonzero(~good[number][:last])
        queries = np.repeat(np.arange(len(candidates)), [len(places) for places in unknown])
        numbers = np.concatenate([found[places] for found, places in zip(candidates, unknown, strict=True)])
        enough = self._scored(queries, numbers, rows) >= least[queries]
        for number, places in enumerate(unknown):
            good[number][places] = enough[queries == number]
        return good

    def _scored(self, queries: NDArray[np.int64], numbers: NDArray[np.int64], rows: Rows) -> NDArray[np.float32]:
        """Return the scores of pairs of a query and a row, (P,). Each row is read once, in the order of the files."""
        scores = np.empty(len(numbers), np.float32)
        distinct, place = np.unique(numbers, return_inverse=True)
        for start in range(0, len(distinct), READ_ROWS):
            block = rows.read(distinct[start : start + READ_ROWS])
            here = np.flatnonzero((place >= start) & (place < start + len(block)))
            scores[here] = (self.embeddings @ block.T)[queries[here], place[here] - start]
        return scores

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
