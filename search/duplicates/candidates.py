"""Which pictures are worth comparing with which: the pairs of a range search, by picture, best first."""

import numpy as np
from numpy.typing import NDArray

from search.index.pair_finder import NearPairs
from search.pairing.crowded_pairs import CrowdedPairs


class Candidates:
    """The neighbours of each of N pictures: 12 bytes a pair, twice. Those within a crowd are found when asked for."""

    def __init__(self, pictures: int, pairs: NearPairs, crowd: CrowdedPairs | None = None) -> None:
        """pairs: each once, of the numbers of pictures. crowd: answers for those that are too many, by numbers, too."""
        self._crowd = crowd
        one = np.concatenate([pairs.rows, pairs.later])
        other = np.concatenate([pairs.later, pairs.rows])
        scores = np.minimum(np.concatenate([pairs.scores, pairs.scores]), np.float32(1))
        order = np.lexsort((other, -scores, one))
        self._others, self._scores = other[order], scores[order]
        self._starts = np.searchsorted(one[order], np.arange(pictures + 1))

    def of(self, picture: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the neighbours of a picture and their scores, best first, ties by lower number."""
        part = slice(self._starts[picture], self._starts[picture + 1])
        others, scores = self._others[part], self._scores[part]
        if self._crowd is None or picture not in self._crowd:
            return others, scores
        more, theirs = self._crowd.of(picture)
        new = ~np.isin(more, others)  # what people said is listed in any case
        others = np.concatenate([others, more[new]])
        scores = np.concatenate([scores, np.minimum(theirs[new], np.float32(1))])
        order = np.lexsort((others, -scores))
        return others[order], scores[order]

    def has_any(self, picture: int) -> bool:
        """Tell whether a picture has a neighbour."""
        listed = bool(self._starts[picture] < self._starts[picture + 1])
        return listed or (self._crowd is not None and picture in self._crowd)


def numbered(pairs: NearPairs, pictures: NDArray[np.int64]) -> NearPairs:
    """Return pairs of rows as pairs of the pictures that these rows are of. pictures: (R,) by row."""
    return NearPairs(pictures[pairs.rows], pictures[pairs.later], pairs.scores)


def joined(one: NearPairs, other: NearPairs) -> NearPairs:
    """Return the pairs of both; one that is in both counts once, with the score of the first."""
    new = ~np.isin(_names(other), _names(one))
    return NearPairs(
        np.concatenate([one.rows, other.rows[new]]),
        np.concatenate([one.later, other.later[new]]),
        np.concatenate([one.scores, other.scores[new]]),
    )


def _names(pairs: NearPairs) -> NDArray[np.int64]:
    """Return a number for each pair: numbers of pictures are below 2^31."""
    return (np.minimum(pairs.rows, pairs.later) << 31) | np.maximum(pairs.rows, pairs.later)
