"""Making an approximate index of stored rows, and measuring what it finds.

Two passes over the rows: a sample gives the projection and the centroids; all of them are then coded and, on the way,
compared exactly with held-out queries. With their true neighbours known, `slack` is the least with which the index
finds the share of them that is asked for. Half of those queries are stored rows (which do not count as their own
neighbours), half are blends of two, which lie where no row does. A further set of queries may not use what is nearest
to them: these give the slack of filters, which may run against a query.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol

import faiss
import numpy as np
from numpy.typing import NDArray

from search.embeddings import unit_rows
from search.index.inverted import InvertedIndex
from search.index.projection import Codes, Projection
from search.records import Embeddings

BLOCK_ROWS: Final = 4_096
SAMPLE_ROWS: Final = 40_000  # for the projection
ROWS_PER_CENTROID: Final = 40
ITERATIONS: Final = 10
HELD_OUT: Final = 400
CONTRARY: Final = 120  # queries with a filter
LEFT_OUT: Final = (0.1, 0.5, 0.9)  # shares of the nearest lists that those filters leave out
BLEND: Final = 0.7  # the share of the first of two rows in a query
NEIGHBOURS: Final = 10  # recall@10 is what is held
TIES: Final = 30  # true neighbours kept, so that equal ones count alike
TIE: Final = 1e-6
NO_SCORE: Final = -2.0  # below every cosine
MARGIN: Final = 0.25  # of the misses allowed, kept back: the held-out queries are a sample
TRIALS: Final = 12
# How many candidates are ranked exactly for each neighbour wanted: the first that suffices when every list is visited.
PER_NEIGHBOUR: Final = (3, 5, 8, 12, 20)
CODE_MISSES: Final = 1 / 3
FEWEST: Final = 30
SEED: Final = 20261122

Progress = Callable[[int, int], None]


class Rows(Protocol):
    """Stored rows by number."""

    def __len__(self) -> int: ...

    def read(self, numbers: NDArray[np.int64]) -> Embeddings:
        """Return (len(numbers), D) float32 of unit length."""
        ...


@dataclass(frozen=True, slots=True)
class Measured:
    """What an index was found to do on held-out queries. recall: of their 10 nearest; compared: share of all rows.

    filtered_recall: the same where a filter leaves out what is nearest.
    """

    recall_target: float
    recall: float
    filtered_recall: float
    slack: float
    filtered_slack: float
    per_neighbour: int
    queries: int
    compared: float


@dataclass(frozen=True, slots=True)
class Built:
    """An index with the projection its codes come from."""

    projection: Projection
    index: InvertedIndex
    measured: Measured


def lists_for(rows: int) -> int:
    """Return how many lists an index of so many rows has: 4 times the root, so that they grow as their lengths do."""
    return max(1, round(4 * math.sqrt(rows)))


def build(rows: Rows, recall_target: float, progress: Progress = lambda done, total: None) -> Built:
    """Return an approximate index over all rows, tuned to find `recall_target` of the 10 nearest on average.

    progress: called with (rows coded, rows in all).
    """
    random = np.random.default_rng(SEED)
    projection = Projection.fit(_blocks(rows, _sample(random, len(rows), SAMPLE_ROWS)))
    index = InvertedIndex.empty(_centroids(rows, projection, random))
    queries = HeldOut.choose(rows, random)
    contrary = HeldOut.choose_contrary(rows, random, projection, index)
    for start in range(0, len(rows), BLOCK_ROWS):
        block = rows.read(np.arange(start, min(start + BLOCK_ROWS, len(rows))))
        lists = index.add(projection.codes(block))
        queries.compare(start, block, lists)
        contrary.compare(start, block, lists)
        progress(start + len(block), len(rows))
    return Built(projection, index, tuned(index, projection, queries, contrary, recall_target))


def tuned(
    index: InvertedIndex, projection: Projection, queries: "HeldOut", contrary: "HeldOut", recall_target: float
) -> Measured:
    """Set the least slacks that reach the target, and return what was measured with them."""
    codes, filtered = projection.codes(queries.embeddings), projection.codes(contrary.embeddings)
    aim = recall_target + MARGIN * (1 - recall_target)
    index.slack, per_neighbour = math.inf, PER_NEIGHBOUR[0]
    # Codes alone may miss a third of what may be missed; the rest is for lists that are not visited.
    ceiling = aim + (1 - CODE_MISSES) * (1 - aim)
    index.filtered_slack = math.inf
    for per_neighbour in PER_NEIGHBOUR:
        sets = ((queries, codes), (contrary, filtered))
        if all(some.measure(index, coded, per_neighbour)[0] >= ceiling for some, coded in sets):
            break

    def reached(slack: float) -> bool:
        index.slack = slack
        return queries.measure(index, codes, per_neighbour)[0] >= aim

    def reached_filtered(slack: float) -> bool:
        index.filtered_slack = slack
        return contrary.measure(index, filtered, per_neighbour)[0] >= aim

    # From no list beyond the first step to more than the distance of any two codes.
    span = float(np.square(np.ptp(codes, axis=0)).sum())
    index.slack = _least(reached, -span, span)
    # Never below 0: there a list may be nearer than what was found, and those queries are few.
    index.filtered_slack = _least(reached_filtered, max(0.0, index.slack), span)
    recall, compared = queries.measure(index, codes, per_neighbour)
    return Measured(
        recall_target,
        recall,
        contrary.measure(index, filtered, per_neighbour)[0],
        index.slack,
        index.filtered_slack,
        per_neighbour,
        len(codes),
        compared,
    )


def _least(reached: Callable[[float], bool], low: float, high: float) -> float:
    """Return about the least number for which `reached` holds, `high` when it holds for none."""
    if reached(low):
        return low
    for _ in range(TRIALS):
        middle = (low + high) / 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high


class HeldOut:
    """Queries with their true neighbours. embeddings: (Q, D)."""

    def __init__(
        self, embeddings: Embeddings, own: NDArray[np.int64], left_out: NDArray[np.bool_] | None = None
    ) -> None:
        """own: the row that a query is, -1 where it is none: (Q,). left_out: lists a filter leaves out: (Q, L)."""
        self.embeddings = embeddings
        self._own = own
        self._left_out = left_out
        self._wanted: list[NDArray[np.uint8]] = []
        self._scores = np.full((len(own), TIES), NO_SCORE, np.float32)
        self._rows = np.full((len(own), TIES), -1, np.int64)

    @classmethod
    def choose(cls, rows: Rows, random: np.random.Generator) -> "HeldOut":
        """Return queries made of stored rows, half of them blends; their neighbours are yet to be found."""
        count = min(HELD_OUT, len(rows))
        chosen = _sample(random, len(rows), count)
        stored = rows.read(chosen)
        blends = unit_rows(BLEND * stored + (1 - BLEND) * stored[random.permutation(count)])
        blended = random.permutation(count) < count // 2
        own = np.where(blended, -1, chosen)
        return cls(np.where(blended[:, np.newaxis], blends, stored), own)

    @classmethod
    def choose_contrary(
        cls, rows: Rows, random: np.random.Generator, projection: Projection, index: InvertedIndex
    ) -> "HeldOut":
        """Return queries with a filter that leaves out the lists nearest to them: a tenth, half or most."""
        count = min(CONTRARY, len(rows))
        embeddings = rows.read(_sample(random, len(rows), count))
        left_out = np.zeros((count, index.lists), np.bool_)
        for number, code in enumerate(projection.codes(embeddings)):
            share = LEFT_OUT[number % len(LEFT_OUT)]
            left_out[number, index.nearest_lists(code[np.newaxis])[: int(share * index.lists)]] = True
        return cls(embeddings, np.full(count, -1), left_out)

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

    def measure(self, index: InvertedIndex, codes: Codes, per_neighbour: int) -> tuple[float, float]:
        """Return the recall@10 of an index for the codes of these queries, and the share of its rows it compared."""
        hits, compared, possible = 0, 0, 0
        # One more than wanted, for a query that finds itself.
        count = max(FEWEST, per_neighbour * NEIGHBOURS) + 1
        for number in range(len(codes)):
            code = codes[number : number + 1]
            wanted, only = self._filter(index, number)
            found, seen = index.candidates(code, NEIGHBOURS + int(self._own[number] >= 0), count, wanted, only)
            compared += seen
            expected = min(NEIGHBOURS, int((self._scores[number] > NO_SCORE).sum()))
            possible += expected
            if expected:
                true = self._rows[number][self._scores[number] >= self._scores[number][expected - 1] - TIE]
                hits += min(expected, int(np.isin(true, found, assume_unique=True).sum()))
        return hits / max(1, possible), compared / (len(index) * len(codes))

    def _filter(
        self, index: InvertedIndex, number: int
    ) -> tuple[NDArray[np.uint8], NDArray[np.int64]] | tuple[None, None]:
        if self._left_out is None:
            return None, None
        if not self._wanted:
            lists = index.list_of_rows()
            self._wanted = [np.packbits(~out[lists], bitorder="little") for out in self._left_out]
        return self._wanted[number], np.flatnonzero(~self._left_out[number])


def _centroids(rows: Rows, projection: Projection, random: np.random.Generator) -> Codes:
    lists = lists_for(len(rows))
    sample = _sample(random, len(rows), lists * ROWS_PER_CENTROID)
    codes = np.concatenate([projection.codes(part) for part in _blocks(rows, sample)])
    clustering = faiss.Kmeans(
        projection.dims,
        lists,
        niter=ITERATIONS,
        seed=SEED,
        min_points_per_centroid=1,
        max_points_per_centroid=ROWS_PER_CENTROID,
    )
    clustering.train(codes)
    return np.asarray(clustering.centroids, np.float32)


def _sample(random: np.random.Generator, rows: int, count: int) -> NDArray[np.int64]:
    """Return at most `count` row numbers, ascending, so that reading them goes one way through the files."""
    return np.sort(random.choice(rows, min(rows, count), replace=False))


def _blocks(rows: Rows, numbers: NDArray[np.int64]) -> Iterator[Embeddings]:
    for start in range(0, len(numbers), BLOCK_ROWS):
        yield rows.read(numbers[start : start + BLOCK_ROWS])
