"""Exact comparisons of many rows with many, whatever compares them: what a finder promises, and how it keeps it.

A finder compares coarsely (in another order of adding, or in float16), asks for a margin more than it needs, and scores
what it found here, once more. So all finders return the same rows and, to the last bit, the same scores.
"""

import math
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from search.index import crowd
from search.index.crowd import TooManyPairs
from search.records import Embeddings

BLOCK_PAIRS: Final = 1_024  # scored at once: 32 MiB in float64 at 2,048 dims
BLOCK_ANSWERS: Final = 2**20  # candidates of one block of queries
SPARE: Final = 32  # candidates beyond k, at first

Progress = Callable[[int, int], None]


class NearPairs(NamedTuple):
    """Pairs of rows, by the later row. rows, later: (P,) int64, rows < later; scores: (P,) float32."""

    rows: NDArray[np.int64]
    later: NDArray[np.int64]
    scores: NDArray[np.float32]


class Nearest(NamedTuple):
    """The best rows of each query, best first, equal ones by number. scores: (Q, k) float32; rows: (Q, k) int64."""

    scores: NDArray[np.float32]
    rows: NDArray[np.int64]


class Tile(NamedTuple):
    """Rows start to stop against the later rows first to last. done: rows compared after it, as a progress shows it."""

    start: int
    stop: int
    first: int
    last: int
    done: int


class PairFinder(Protocol):
    """Compares every row with every other, exactly. Thread-safe."""

    def pairs(
        self, embeddings: Embeddings, threshold: float, progress: Progress = lambda done, total: None
    ) -> NearPairs:
        """Return all pairs that score at least a threshold.

        embeddings: (N, D) float32 of unit length. progress: called with (rows compared, rows in all).

        Raises:
            TooManyPairs: more are near than memory should hold.
            DeviceFailed: a GPU cannot finish the work; the CPU still can.
        """
        ...

    def between(
        self,
        left: Embeddings,
        right: Embeddings,
        threshold: float,
        progress: Progress = lambda done, total: None,
    ) -> NearPairs:
        """Return all pairs of a row of one matrix and one of another that score at least a threshold.

        left: (M, D), right: (N, D), both float32 of unit length. `rows` of the answer are of the left, `later` of the
        right. progress: called with (rows of the right compared, all of them).

        Raises:
            TooManyPairs: more are near than memory should hold.
            DeviceFailed: a GPU cannot finish the work; the CPU still can.
        """
        ...

    def nearest(
        self, queries: Embeddings, embeddings: Embeddings, k: int, progress: Progress = lambda done, total: None
    ) -> Nearest:
        """Return the k best rows of each query, fewer where there are fewer rows.

        queries: (Q, D), embeddings: (N, D), both float32 of unit length. progress: called with (queries answered,
        queries in all).

        Raises:
            DeviceFailed: a GPU cannot finish the work; the CPU still can.
        """
        ...


def float32_margin(dims: int) -> float:
    """Return how far a dot product in float32 of rows of unit length can be from the exact one, in any order."""
    return (dims + 4) * 2.0**-24


def float16_margin(dims: int) -> float:
    """Return the same where rows were rounded to float16, and products of blocks perhaps as well.

    Two roundings of the rows and four of sums, of 2^-11 each, and numbers below the least normal one.
    """
    return 6 * 2.0**-11 + 2 * math.sqrt(dims) * 2.0**-25 + float32_margin(dims)


def exact_scores(
    left: Embeddings, rows: NDArray[np.int64], right: Embeddings, others: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return the cosine of left[rows[i]] and right[others[i]], (P,): added in float64, then rounded."""
    scores = np.empty(len(rows), np.float32)
    for start in range(0, len(rows), BLOCK_PAIRS):
        part = slice(start, start + BLOCK_PAIRS)
        scores[part] = np.vecdot(left[rows[part]].astype(np.float64), right[others[part]].astype(np.float64))
    return scores


def tiles(rows: int, height: int, width: int, begin: int = 0) -> Iterator[Tile]:
    """Yield tiles of at most (height, width) that hold each pair of a row and a later one once, by later rows.

    begin: the first row that counts as a later one.
    """
    everything, covered = (rows * (rows + 1) - begin * (begin + 1)) / 2, 0.0
    for first in range(begin, rows, width):
        last = min(first + width, rows)
        for start in range(0, last, height):
            stop = min(start + height, last)
            # Row r is paired with itself and what follows it in the tile: counted so that the sum is exact.
            for_each = np.minimum(last - first, last - np.arange(start, stop))
            covered += float(for_each.sum())
            yield Tile(start, stop, first, last, rows if stop == rows else int(rows * covered / everything))


def ordered(near: NearPairs) -> NearPairs:
    """Return pairs ordered by the later row and then the other."""
    order = np.lexsort((near.rows, near.later))
    return NearPairs(near.rows[order], near.later[order], near.scores[order])


class Candidates:
    """Pairs that coarse scores let through, of which the exact ones are kept."""

    def __init__(self, embeddings: Embeddings, threshold: float, others: Embeddings | None = None) -> None:
        """threshold: compared as float32, as scores are. others: what the second of a pair is a row of.

        Without others, pairs are of the same rows.
        """
        self._embeddings = embeddings
        self._others = others
        self._threshold = np.float32(threshold)
        self._kept: list[NearPairs] = []
        self._found = 0

    def add(self, rows: NDArray[np.int64], others: NDArray[np.int64]) -> None:
        """Score pairs of rows, and keep those that are near. Of the same rows, a pair counts with the later second.

        Raises:
            TooManyPairs: more are near than memory should hold.
        """
        if self._others is None:
            later = others > rows
            rows, others = rows[later], others[later]
        scores = exact_scores(
            self._embeddings, rows, self._embeddings if self._others is None else self._others, others
        )
        near = scores >= self._threshold
        self._kept.append(NearPairs(rows[near], others[near], scores[near]))
        self._found += int(np.count_nonzero(near))
        if self._found > crowd.MOST_PAIRS:
            raise TooManyPairs(
                f"more than {crowd.MOST_PAIRS:,} pairs score at least {self._threshold:.2f}: choose a higher threshold"
            )

    def found(self) -> NearPairs:
        """Return all that were kept, ordered by the later row and then the other."""
        empty = NearPairs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))
        rows, later, scores = (np.concatenate(parts) for parts in zip(empty, *self._kept, strict=True))
        return ordered(NearPairs(rows, later, scores))


# (n, D) queries and a count give the coarse scores, descending, and the rows of that many: (n, count) both.
Top = Callable[[Embeddings, int], tuple[NDArray[np.float32], NDArray[np.int64]]]


class CoarseSearch(NamedTuple):
    """A search whose scores err by at most `margin`. at_once: most queries of a call."""

    top: Top
    margin: float
    at_once: int = BLOCK_ANSWERS


def nearest_exactly(
    queries: Embeddings,
    embeddings: Embeddings,
    k: int,
    coarse: CoarseSearch,
    progress: Progress = lambda done, total: None,
) -> Nearest:
    """Return the k best rows of each query by their exact scores, given coarse ones.

    Whoever has more rows within the margin of its k-th than were asked for is asked again, for four times as many.
    """
    count = min(k, len(embeddings))
    found = Nearest(np.empty((len(queries), count), np.float32), np.empty((len(queries), count), np.int64))
    waiting, wanted = np.arange(len(queries)), min(len(embeddings), 2 * count + SPARE)
    answered = 0
    while len(waiting) and count:
        unsettled: list[NDArray[np.int64]] = []
        at_once = max(1, min(coarse.at_once, BLOCK_ANSWERS // wanted))
        for start in range(0, len(waiting), at_once):
            numbers = waiting[start : start + at_once]
            scores, rows = coarse.top(queries[numbers], wanted)
            bounds = scores[:, count - 1] - 2 * coarse.margin
            settled = (scores[:, -1] < bounds) | (wanted == len(embeddings))
            for place in np.flatnonzero(settled).tolist():
                near = rows[place][scores[place] >= bounds[place]]
                found.scores[numbers[place]], found.rows[numbers[place]] = _best(
                    queries[numbers[place]], embeddings, near, count
                )
            unsettled.append(numbers[~settled])
            answered += int(settled.sum())
            progress(answered, len(queries))
        waiting, wanted = np.concatenate(unsettled), min(len(embeddings), 4 * wanted)
    return found


def _best(
    query: NDArray[np.float32], embeddings: Embeddings, rows: NDArray[np.int64], count: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    scores = exact_scores(query[np.newaxis], np.zeros(len(rows), np.int64), embeddings, rows)
    order = np.lexsort((rows, -scores))[:count]
    return scores[order], rows[order]
