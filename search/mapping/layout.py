"""Where pictures lie on a map: near each other where their embeddings are, far from each other where not.

Each row is joined to its nearest rows; then, beginning from the two principal axes, joined points attract and random
pairs of points repel each other, less and less: the objective of UMAP (McInnes, Healy, Melville 2018) with the curve
1 / (1 + d^2) of t-SNE, all edges at once instead of one after the other, which NumPy does fast. Everything random has
a fixed seed, so that the same rows give the same map.
"""

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from search.index.nearest_rows import nearest_rows
from search.records import Embeddings

Points = NDArray[np.float32]

AXES: Final = 50  # principal ones, which keep who is whose neighbour
NEIGHBOURS: Final = 15
STEPS: Final = 300
REPELLED_BY: Final = 10  # random points, for each point and step
REPULSION: Final = 5.0  # for each attraction, as UMAP's negative samples
GRAVITY: Final = 0.03  # towards the middle, so that groups far from all others take no room from them
STRIDE: Final = 4.0  # no point goes farther in one step
RATE: Final = 1.0
BEGIN: Final = 10.0  # standard deviation of the points at first
BISECTIONS: Final = 40
TINY: Final = 1e-3


def layout(rows: Embeddings, tell: Callable[[float], None] = lambda share: None) -> Points:
    """Return points (N, 2) float32 in the square from 0 to 1, one for each row of (N, D) float32 of unit length.

    tell: called now and then with the share that is done.
    """
    if len(rows) < 3:  # noqa: PLR2004 -- two points are as far apart as can be, one is in the middle
        return np.linspace((0.5, 0.5), (1, 0.5) if len(rows) > 1 else (0.5, 0.5), len(rows), dtype=np.float32)
    reduced = _principal(rows)
    heads, tails, weights = _edges(reduced, min(NEIGHBOURS, len(rows) - 1))
    chance = np.random.default_rng(1)
    points = reduced[:, :2] if reduced.shape[1] > 1 else np.column_stack([reduced, np.zeros(len(reduced))])
    points = BEGIN * points / max(float(points.std(axis=0).max()), TINY)
    points = (points + chance.normal(scale=TINY, size=points.shape)).astype(np.float32)
    strength = np.bincount(heads, weights, len(rows)).astype(np.float32)
    for step in range(STEPS):
        moves = _attraction(points, heads, tails, weights) + _repulsion(points, strength, chance)
        moves -= GRAVITY * points
        left = 1 - step / STEPS
        points += RATE * left * np.clip(moves, -STRIDE, STRIDE)
        if step % 10 == 0:
            tell(step / STEPS)
    return _in_square(points)


def _principal(rows: Embeddings) -> NDArray[np.float32]:
    """Return rows on their principal axes, at most `AXES`, the same way round however they were computed."""
    centred = rows - rows.mean(axis=0)
    axes = np.linalg.eigh((centred.T @ centred).astype(np.float64))[1][:, ::-1][:, :AXES]
    largest = axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])]
    return np.ascontiguousarray(centred @ (axes * np.sign(largest)).astype(np.float32))


def _edges(rows: NDArray[np.float32], count: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Return who is joined to whom, both ways, and how strongly: heads, tails, weights from 0 to 1, (E,) each."""
    found, squared = nearest_rows(rows, count)
    weights = _memberships(np.sqrt(np.maximum(squared, 0)))
    heads, tails = np.repeat(np.arange(len(rows)), count), found.ravel()
    # Joined if either says so: a + b - ab, as of independent chances.
    names = np.concatenate([heads * len(rows) + tails, tails * len(rows) + heads])
    both, places = np.unique(names, return_inverse=True)
    missing = np.ones(len(both), np.float32)
    np.multiply.at(missing, places, 1 - np.tile(weights.ravel(), 2))
    return both // len(rows), both % len(rows), 1 - missing


def _memberships(distances: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return how much each neighbour is one: 1 for the nearest, and log2 of their number for all of a row together."""
    beyond = distances - distances[:, :1]
    wanted = np.log2(max(distances.shape[1], 2))
    low, high = np.zeros(len(distances)), np.full(len(distances), max(float(beyond.max()), TINY) * 100)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        total = np.exp(-beyond / np.maximum(middle, 1e-12)[:, np.newaxis]).sum(axis=1)
        low, high = np.where(total < wanted, middle, low), np.where(total < wanted, high, middle)
    floor = TINY * max(float(distances.mean()), TINY)
    weights: NDArray[np.float32] = np.exp(-beyond / np.maximum(high, floor)[:, np.newaxis]).astype(np.float32)
    return weights


def _attraction(
    points: Points, heads: NDArray[np.int64], tails: NDArray[np.int64], weights: NDArray[np.float32]
) -> Points:
    apart = points[tails] - points[heads]
    pull = weights * 2 / (1 + (apart * apart).sum(axis=1))
    return _summed(heads, apart * pull[:, np.newaxis], len(points))


def _repulsion(points: Points, strength: NDArray[np.float32], chance: np.random.Generator) -> Points:
    others = chance.integers(0, len(points), (len(points), REPELLED_BY))
    apart = points[:, np.newaxis] - points[others]
    squared = (apart * apart).sum(axis=2)
    push = 2 / ((TINY + squared) * (1 + squared))
    share = (REPULSION / REPELLED_BY) * strength[:, np.newaxis, np.newaxis]
    moves: Points = (share * np.clip(apart * push[:, :, np.newaxis], -STRIDE, STRIDE)).sum(axis=1)
    return moves


def _summed(places: NDArray[np.int64], moves: Points, count: int) -> Points:
    sums = [np.bincount(places, moves[:, axis], count) for axis in (0, 1)]
    return np.column_stack(sums).astype(np.float32)


def _in_square(points: Points) -> Points:
    """Return points moved and scaled into the square from 0 to 1, all of them, in one scale for both axes.

    Points far outside, a few in ten thousand, are brought to the rim, so that they do not leave the others no room.
    """
    low, high = np.quantile(points, [0.0005, 0.9995], axis=0)
    middle, half = (low + high) / 2, max(float((high - low).max()) / 2, TINY)
    moved: Points = np.clip(0.5 + (points - middle) / (2.08 * half), 0, 1).astype(np.float32)
    return moved
