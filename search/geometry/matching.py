"""Which keypoints of a query and of each candidate look alike: one matrix product for a block of candidates.

Descriptors hold integers of at most 255, 128 of them, so their products stay below 2^24 and float32 holds them exactly:
matches do not depend on the order in which a library adds, nor on what else is in the block.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from search.geometry.keypoints import Keypoints

RATIO = 0.85  # the nearest must be this much nearer than the second nearest (distances, not their squares)
BLOCK_ROWS = 4096  # candidates' keypoints in one product: 13 MB of products with 800 keypoints of a query
# Multiplications from which on OpenBLAS asks its threads for help, and so many from which on they are of any: below,
# waiting for them takes 18 ms on a busy machine for what one thread does in 1.
_ALONE, _WORTH_THREADS = 2**18, 2**26


@dataclass(frozen=True, slots=True, eq=False)
class KeypointMatches:
    """Pairs of keypoints that look alike, best first. query, candidate: (M,) row numbers."""

    query: NDArray[np.intp]
    candidate: NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.query)


def match(query: Keypoints, candidates: Sequence[Keypoints]) -> Iterator[KeypointMatches]:
    """Yield the matches of the query's keypoints with each candidate's, in the order of the candidates.

    A match is mutual (each is the other's nearest), and clearly nearer than the query keypoint's second nearest there.
    """
    asked = query.descriptors.astype(np.float32)
    for block in _blocks(candidates):
        rows = np.concatenate([candidate.descriptors for candidate in block]).astype(np.float32)
        products = _products(rows, asked)
        squares = np.einsum("ij,ij->i", rows, rows)
        asked_squares = np.einsum("ij,ij->i", asked, asked)
        end = 0
        for candidate in block:
            begin, end = end, end + len(candidate)
            yield _mutual(squares[begin:end, None] - 2 * products[begin:end], asked_squares)


def _products(rows: NDArray[np.float32], asked: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return (rows, asked) the scalar products of all pairs."""
    found = np.empty((len(rows), len(asked)), np.float32)
    each = len(asked) * asked.shape[1]
    step = len(rows) if len(rows) * each >= _WORTH_THREADS else _ALONE // max(1, each)
    for start in range(0, len(rows), max(1, step)):
        part = slice(start, start + max(1, step))
        np.matmul(rows[part], asked.T, out=found[part])
    return found


def _blocks(candidates: Sequence[Keypoints]) -> Iterator[list[Keypoints]]:
    block: list[Keypoints] = []
    rows = 0
    for candidate in candidates:
        if block and rows + len(candidate) > BLOCK_ROWS:
            yield block
            block, rows = [], 0
        block.append(candidate)
        rows += len(candidate)
    if block:
        yield block


def _mutual(distances: NDArray[np.float32], asked_squares: NDArray[np.float32]) -> KeypointMatches:
    """distances: (candidate's, query's) squared, but for the query's own squares."""
    if distances.shape[0] < 2 or distances.shape[1] < 2:  # noqa: PLR2004 (no second nearest)
        none = np.empty(0, np.intp)
        return KeypointMatches(none, none)
    columns = np.arange(distances.shape[1])
    nearest = distances.argmin(axis=0)
    first = distances[nearest, columns]
    mutual = (distances + asked_squares).argmin(axis=1)[nearest] == columns
    chosen = np.flatnonzero(mutual)
    seconds = distances[:, chosen]
    seconds[nearest[chosen], np.arange(len(chosen))] = np.inf
    second = seconds.min(axis=0) + asked_squares[chosen]
    ratio = (first[chosen] + asked_squares[chosen]) / np.maximum(second, 1)
    kept = ratio <= RATIO**2
    order = np.argsort(ratio[kept], kind="stable")
    query = chosen[kept][order]
    return KeypointMatches(query, nearest[query])
