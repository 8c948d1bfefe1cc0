"""Sketches in lists by their nearest centroid, so that a row is compared with what lies near instead of with all.

A row visits the list of centroid c when it lies within `slack` of the border between its own cell and that of c. Two
rows are compared when one of them visits the list of the other. If both were farther from that border, they would be
2 * slack apart at least, so with half the distance that a threshold allows nothing is missed; a smaller slack is
usually enough, and the pairs of a sample, which is compared with all rows, tell which.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import faiss
import numpy as np
from numpy.typing import NDArray

from search.index.sketches import Sketch, Sketches, drawn, in_parts

LISTS_PER_ROOT: Final = 4  # lists for the square root of the number of rows
TRAINED_PER_LIST: Final = 24
ROUNDS: Final = 4
CUSHION: Final = 1.25  # of the slack that the sample needs, for the rows that are not in it
# Of the distance that the threshold allows: what is kept at least, and where the sample has few pairs. With .1 a run
# over 100,000 rows missed 2 of 245 pairs; of 900 pairs of other runs none needed .14.
LEAST, LEAST_OF_FEW = 0.17, 0.3
FEW_PAIRS: Final = 200
PART_ROWS: Final = 2_048


@dataclass(frozen=True, eq=False)
class SketchLists:
    """centroids: (L, width) float32. slack: of two rows that may both visit. alone: of those that visit others."""

    centroids: NDArray[np.float32]
    slack: float = 0.0
    alone: float = 0.0

    @classmethod
    def fit(cls, sketches: Sketches) -> "SketchLists":
        """Return lists for (N, width) sketches; `tuned` says how far rows go."""
        rows = len(sketches)
        lists = max(1, min(int(LISTS_PER_ROOT * math.sqrt(rows)), rows))
        training = sketches[drawn(rows, TRAINED_PER_LIST * lists)]
        means = faiss.Kmeans(sketches.shape[1], lists, niter=ROUNDS, seed=1, min_points_per_centroid=1)
        means.train(np.ascontiguousarray(training, np.float32))
        return cls(np.ascontiguousarray(means.centroids, np.float32))

    def __len__(self) -> int:
        return len(self.centroids)

    @cached_property
    def _halves(self) -> NDArray[np.float32]:
        """Half the squared length of each centroid, (L,)."""
        halves: NDArray[np.float32] = np.einsum("lw,lw->l", self.centroids, self.centroids) / np.float32(2)
        return halves

    def homes(self, sketches: Sketches) -> NDArray[np.int32]:
        """Return the list of each row: (N,) int32."""
        homes = np.empty(len(sketches), np.int32)
        for part in in_parts(len(sketches)):
            homes[part] = (sketches[part] @ self.centroids.T - self._halves).argmax(axis=1)
        return homes

    def visits(
        self, sketches: Sketches, homes: NDArray[np.int32], slack: float, lists: slice = slice(None)
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return (rows, lists) of all visits to some lists, rows to their own left out: (V,) each.

        sketches: (N, width); homes: (N,), best ascending, since rows of one home are judged together.
        """
        chosen, halves = self.centroids[lists], self._halves[lists]
        first = lists.start or 0
        rows, visited = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        for part in in_parts(len(sketches), PART_ROWS):
            here, where = np.unique(homes[part], return_inverse=True)
            own = np.einsum("nw,nw->n", sketches[part], self.centroids[homes[part]]) - self._halves[homes[part]]
            near = sketches[part] @ chosen.T
            near -= halves
            near -= own[:, np.newaxis]
            near += (np.float32(slack) * self._apart(here, chosen))[where]
            places = np.flatnonzero(near >= 0)
            row, to = places // len(chosen) + part.start, places % len(chosen) + first
            away = homes[row] != to
            rows.append(row[away])
            visited.append(to[away])
        return np.concatenate(rows), np.concatenate(visited)

    def needed(self, sketches: Sketches, homes: NDArray[np.int32], lists: NDArray[np.int32]) -> NDArray[np.float32]:
        """Return the slack with which each row visits a list: (N,), 0 for its own."""
        mine, theirs = self.centroids[homes], self.centroids[lists]
        own = np.einsum("nw,nw->n", sketches, mine) - self._halves[homes]
        other = np.einsum("nw,nw->n", sketches, theirs) - self._halves[lists]
        apart = np.linalg.norm(mine - theirs, axis=1)
        needed = np.divide(own - other, apart, out=np.zeros_like(own), where=apart > 0)
        return np.asarray(np.maximum(needed, 0), np.float32)

    def tuned(self, reach: float, either: NDArray[np.float32], alone: NDArray[np.float32]) -> "SketchLists":
        """Return the same lists with a slack.

        reach: the distance of two sketches that are just near. either: the slack that each pair of a sample needs where
        both may visit; alone: where one of them does.
        """
        least = reach * (LEAST if len(either) >= FEW_PAIRS else LEAST_OF_FEW)
        slack = min(reach / 2, max(least, CUSHION * float(either.max(initial=0.0))))
        by_itself = min(reach, max(least, CUSHION * float(alone.max(initial=0.0))))
        return SketchLists(self.centroids, slack, by_itself)

    def _apart(self, homes: NDArray[np.int32], chosen: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the distances of the centroids of some homes and others: (H, n)."""
        mine = self.centroids[homes]
        squared = -2 * mine @ chosen.T
        squared += np.einsum("lw,lw->l", mine, mine)[:, np.newaxis] + np.einsum("lw,lw->l", chosen, chosen)
        return np.asarray(np.sqrt(np.maximum(squared, 0)), np.float32)


def reach_of(sketch: Sketch, threshold: float, longest: float) -> float:
    """Return the largest distance of two sketches whose rows score at least a threshold.

    longest: the length of the longest sketch; they are 1 and a little more.
    """
    return math.sqrt(max(0.0, 2 * longest**2 - 2 * (threshold - sketch.margin))) + 1e-5


class Members:
    """Which rows are in which list. homes: (N,)."""

    def __init__(self, homes: NDArray[np.int32], lists: int) -> None:
        self._order = np.argsort(homes, kind="stable")
        self._ends = np.searchsorted(homes[self._order], np.arange(lists + 1))

    def of(self, number: int) -> NDArray[np.int64]:
        """Return the rows of a list, ascending."""
        rows: NDArray[np.int64] = self._order[self._ends[number] : self._ends[number + 1]]
        return rows


def grouped(rows: NDArray[np.int64], lists: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Yield each list that is visited, with the rows that visit it."""
    order = np.argsort(lists, kind="stable")
    rows, lists = rows[order], lists[order]
    each, starts = np.unique(lists, return_index=True)
    # Without any visit there is still one part, which is empty.
    yield from zip(each.tolist(), np.split(rows, starts[1:]), strict=False)
