"""What a bench measures: ways from the bytes of a picture to a ranked list of references.

A mode is one small class: a name, and `rank`. Whatever else it does with a query (variants, verification), it answers
with rows of the bench's references and scores, best first.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from indexer.quality.collection import BenchQuery
from indexer.quality.shelf import Shelf
from search.calibration.answers import Answers

DEPTH = 100  # answers that count: what comes later is not found, as no user looks there


@dataclass(frozen=True, slots=True)
class Ranking:
    """The answer to one query, best first, at most DEPTH.

    rows: (K,) int64, in the list of references the mode was made with. scores: (K,) float32, higher is closer.
    identical: (K,) bool, what the mode calls the very same picture.
    """

    rows: NDArray[np.int64]
    scores: NDArray[np.float32]
    identical: NDArray[np.bool_]


class Mode(Protocol):
    """A way to search. Called by many threads at once."""

    name: str

    def rank(self, query: bytes, name: str) -> Ranking:
        """Return the best references; name is for messages.

        Raises:
            BadImage: the query cannot be decoded.
        """
        ...


@dataclass(frozen=True, slots=True)
class Ranked:
    """What a mode answered to Q queries: (Q, DEPTH) rows, -1 where there are fewer; scores; what it calls identical."""

    rows: NDArray[np.int64]
    scores: NDArray[np.float32]
    identical: NDArray[np.bool_]

    def without_itself(self) -> "Ranked":
        """Return the same without each query among its own answers, where queries are the references in order."""
        own = self.rows == np.arange(len(self.rows))[:, None]
        scores = np.where(own, -np.inf, self.scores).astype(np.float32)
        order = np.argsort(-scores, axis=1, kind="stable")
        rows, identical = np.where(own, -1, self.rows), self.identical & ~own
        return Ranked(*(np.take_along_axis(values, order, axis=1) for values in (rows, scores, identical)))


def ranked_by(
    mode: Mode, shelf: Shelf, files: Sequence[str], threads: int, progress: Callable[[int, int], None]
) -> Ranked:
    """Return what the mode answers to each of these pictures.

    Raises:
        BadImage: the mode cannot decode one of them.
    """
    rows = np.full((len(files), DEPTH), -1, np.int64)
    scores = np.full((len(files), DEPTH), -np.inf, np.float32)
    identical = np.zeros((len(files), DEPTH), bool)
    executor = ThreadPoolExecutor(threads, "quality")
    try:
        for done, one in enumerate(executor.map(lambda file: mode.rank(shelf.read(file), file), files)):
            found = len(one.rows)
            rows[done, :found], scores[done, :found], identical[done, :found] = one.rows, one.scores, one.identical
            progress(done + 1, len(files))
    finally:
        executor.shutdown(cancel_futures=True)
    return Ranked(rows, scores, identical)


def best_first(scores: NDArray[np.float32], identical: NDArray[np.bool_]) -> Ranking:
    """Return the DEPTH best of (R,) scores of all references; equal ones by their row."""
    order = np.argsort(-scores, kind="stable")[:DEPTH]
    return Ranking(order.astype(np.int64), scores[order], identical[order])


def answers_to(ranked: Ranked, queries: Sequence[BenchQuery]) -> Answers:
    """Return what was found with what is right."""
    truth = np.array([query.truth for query in queries], np.int64)
    sources = np.array([query.source for query in queries], np.int64)
    right = (ranked.rows == truth[:, None]) & (truth >= 0)[:, None]
    return Answers(ranked.scores, right, (truth >= 0).astype(np.int64), sources)


def answers_in_groups(ranked: Ranked, group_size: int) -> Answers:
    """Return what was found for pictures that stand in groups one after another: right is all of one's own group."""
    group = np.arange(len(ranked.rows)) // group_size
    right = (ranked.rows >= 0) & (ranked.rows // group_size == group[:, None])
    return Answers(ranked.scores, right, np.full(len(group), group_size - 1, np.int64), group)
