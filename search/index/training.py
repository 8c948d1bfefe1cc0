"""Making an approximate index of stored rows, tuned to a recall.

Two passes over the rows: a sample gives the projection and the centroids; all of them are then coded and, on the way,
compared exactly with held-out queries. With their true neighbours known, the settings are those that compare least and
still find the share that is asked for.
"""

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import faiss
import numpy as np
from numpy.typing import NDArray

from search.errors import DeviceFailed
from search.index.devices import FaissGpu, faiss_gpu
from search.index.held_out import FILTERED_QUERIES, NEIGHBOURS, Curves, HeldOut, Rows, some_rows
from search.index.inverted import InvertedIndex
from search.index.projection import AXES, Codes, Projection
from search.records import Embeddings

BLOCK_ROWS: Final = 4_096
SAMPLE_ROWS: Final = 40_000  # for the projection
ROWS_PER_CENTROID: Final = 40
ITERATIONS: Final = 10
# Of the misses allowed, kept back: the held-out queries are a sample. There are fewer of those with a filter.
MARGIN: Final = 0.4
FILTERED_MARGIN: Final = 0.5
# Candidates that are ranked exactly, for each neighbour wanted.
PER_NEIGHBOUR: Final = (3, 4, 6, 8, 12, 20)
FEWEST: Final = 30
# What one candidate costs, which is read and compared in full, in rows compared by their codes.
CANDIDATE_COST: Final = 150
SEED: Final = 20261122

Progress = Callable[[int, int], None]
# (n, A) codes give the list of each, (n,).
Assign = Callable[[Codes], NDArray[np.int64]]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Measured:
    """What an index was found to do on held-out queries, and its settings.

    recall: of their 10 nearest; filtered_recall: the same where a filter leaves out what is nearest; compared: the
    share of all rows that a query compares. slack, filtered_slack: search/index/inverted.py. per_neighbour,
    filtered_per_neighbour: candidates that are ranked exactly, for each neighbour wanted.
    """

    recall_target: float
    recall: float
    filtered_recall: float
    slack: float
    filtered_slack: float
    per_neighbour: int
    filtered_per_neighbour: int
    queries: int
    compared: float


@dataclass(frozen=True, slots=True)
class Built:
    """An index with the projection its codes come from."""

    projection: Projection
    index: InvertedIndex
    measured: Measured


def candidates_for(k: int, per_neighbour: int) -> int:
    """Return how many candidates are ranked exactly for the k nearest."""
    return max(FEWEST, per_neighbour * k)


def lists_for(rows: int) -> int:
    """Return how many lists an index of so many rows has: 4 times the root, so that they grow as their lengths do."""
    return max(1, round(4 * math.sqrt(rows)))


def build(
    rows: Rows, recall_target: float, progress: Progress = lambda done, total: None, *, most_axes: int = AXES
) -> Built:
    """Return an approximate index over all rows, tuned to find `recall_target` of the 10 nearest on average.

    progress: called with (rows coded, rows in all). most_axes: numbers of a code, at most. Where FAISS sees a GPU, it
    finds the centroids and the nearest of each row; the index is one for CPUs all the same.

    Raises:
        LookalikeError: two FAISS wheels are installed.
    """
    gpu = faiss_gpu()
    if gpu is not None:
        try:
            return _build(rows, recall_target, progress, gpu, most_axes)
        except DeviceFailed as error:
            log.warning("%s; the index is built on the CPU instead, which takes longer", error)
    return _build(rows, recall_target, progress, None, most_axes)


def _build(rows: Rows, recall_target: float, progress: Progress, gpu: FaissGpu | None, most_axes: int) -> Built:
    random = np.random.default_rng(SEED)
    projection = Projection.fit(_blocks(rows, some_rows(rows, random, SAMPLE_ROWS)), most_axes)
    centroids = _centroids(rows, projection, random, gpu)
    index = InvertedIndex.empty(centroids)
    queries = HeldOut.choose(rows, random)
    embeddings = rows.read(some_rows(rows, random, FILTERED_QUERIES))
    filtered = HeldOut.choose_filtered(embeddings, projection.codes(embeddings), index)
    with _assigning(index, centroids, gpu) as nearest:
        for start in range(0, len(rows), BLOCK_ROWS):
            block = rows.read(np.arange(start, min(start + BLOCK_ROWS, len(rows))))
            codes = projection.codes(block)
            lists = index.add(codes, nearest(codes))
            queries.compare(start, block, lists)
            filtered.compare(start, block, lists)
            progress(start + len(block), len(rows))
    curves = queries.curves(index, projection.codes(queries.embeddings), rows)
    contrary = filtered.curves(index, projection.codes(filtered.embeddings), rows)
    return Built(projection, index, tuned(index, curves, contrary, recall_target))


def tuned(index: InvertedIndex, curves: Curves, contrary: Curves, recall_target: float) -> Measured:
    """Give an index the settings that reach a target at the least cost, and return what was measured with them.

    contrary: of the queries with a filter that leaves out what is nearest.
    """
    aim = recall_target + MARGIN * (1 - recall_target)
    filtered_aim = recall_target + FILTERED_MARGIN * (1 - recall_target)
    per_neighbour, slack = _cheapest(curves, aim)
    filtered_per_neighbour, filtered_slack = _cheapest(contrary, filtered_aim)
    candidates = candidates_for(NEIGHBOURS, per_neighbour)
    filtered_candidates = candidates_for(NEIGHBOURS, filtered_per_neighbour)
    # Never below 0: where 10 neighbours are found at once, the 300 that another search asks for may lie elsewhere.
    index.slack = max(0.0, slack)
    # Never less than without a filter: those queries are few.
    index.filtered_slack = max(index.slack, filtered_slack)
    return Measured(
        recall_target,
        curves.recall(index.slack, candidates),
        contrary.recall(index.filtered_slack, filtered_candidates),
        index.slack,
        index.filtered_slack,
        per_neighbour,
        filtered_per_neighbour,
        len(curves.expected),
        curves.rows_compared(index.slack) / len(index),
    )


def _cheapest(curves: Curves, aim: float) -> tuple[int, float]:
    """Return the candidates for each neighbour, and the slack, that reach an aim at the least cost.

    An aim out of reach becomes the most that can be reached: to visit more lists than find that would change nothing.
    """
    reachable = min(aim, curves.recall(math.inf, candidates_for(NEIGHBOURS, PER_NEIGHBOUR[-1])))
    costs = {}
    for per_neighbour in PER_NEIGHBOUR:
        candidates = candidates_for(NEIGHBOURS, per_neighbour)
        slack = curves.least_slack(reachable, candidates)
        if slack is not None:
            costs[per_neighbour, slack] = curves.rows_compared(slack) + CANDIDATE_COST * candidates
    return min(costs, key=lambda each: costs[each])


@contextmanager
def _assigning(index: InvertedIndex, centroids: Codes, gpu: FaissGpu | None) -> Iterator[Assign]:
    """Yield what finds the list of each code: a GPU compares all centroids, also where the CPU walks a graph."""
    if gpu is None:
        yield index.nearest_lists
        return
    with gpu.flat(centroids.shape[1], inner_product=False, float16=False) as flat:
        flat.add(centroids)
        yield lambda codes: flat.search(codes, 1)[1].ravel()


def _centroids(rows: Rows, projection: Projection, random: np.random.Generator, gpu: FaissGpu | None) -> Codes:
    lists = lists_for(len(rows))
    sample = some_rows(rows, random, lists * ROWS_PER_CENTROID)
    codes = np.concatenate([projection.codes(part) for part in _blocks(rows, sample)])
    clustering = faiss.Kmeans(
        projection.dims,
        lists,
        niter=ITERATIONS,
        seed=SEED,
        min_points_per_centroid=1,
        max_points_per_centroid=ROWS_PER_CENTROID,
    )
    if gpu is None:
        clustering.train(codes)
    else:
        with gpu.flat(projection.dims, inner_product=False, float16=False) as flat:
            flat.train(clustering, codes)
    return np.asarray(clustering.centroids, np.float32)


def _blocks(rows: Rows, numbers: NDArray[np.int64]) -> Iterator[Embeddings]:
    for start in range(0, len(numbers), BLOCK_ROWS):
        yield rows.read(numbers[start : start + BLOCK_ROWS])
