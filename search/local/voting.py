"""Which pictures share local features with a query: each feature votes, and votes that agree count.

A feature of the query votes for the pictures of the nearest entries of the index, the more the nearer an entry is than
the farthest of them. So a feature that is everywhere, whose nearest entries are all equally near, says next to nothing.
Votes for a picture agree when they turn and scale the query alike, as in Jegou, Douze and Schmid, "Hamming embedding
and weak geometric consistency" (2008); in each such bin a feature of the query votes once, so that a pattern that
repeats does not count for each repetition.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from search.geometry.keypoints import Keypoints
from search.geometry.local_features import SIZES_AN_OCTAVE, directions_of, sizes_of
from search.index.local_index import LocalIndex, NearFeatures

# Where an index has so few features that the farthest of the nearest is something else altogether.
FARTHEST: Final = 260.0**2
DIRECTIONS: Final = 16  # bins of turning
_DIRECTION = 256 // DIRECTIONS
_SIZE = SIZES_AN_OCTAVE // 2  # a bin of scaling is half an octave
_SCALES = 1024 // DIRECTIONS
_MIDDLE = _SCALES // 2


@dataclass(frozen=True, slots=True, eq=False)
class Votes:
    """The pictures that got votes, most votes first, ties by lower owner. owners: (N,); votes: (N,)."""

    owners: NDArray[np.int64]
    votes: NDArray[np.float64]


def votes_of(index: LocalIndex, query: Keypoints) -> Votes:
    """Return what the features of a query vote for in one index."""
    if not len(query) or not len(index):
        return Votes(np.empty(0, np.int64), np.empty(0, np.float64))
    return counted(index.nearest(query.descriptors), directions_of(query), sizes_of(query))


def counted(near: NearFeatures, directions: NDArray[np.uint8], sizes: NDArray[np.uint8]) -> Votes:
    """Return the votes for each owner: those of its best bin. directions, sizes: of the query's features, (Q,) each."""
    weights = _weights(near.distances)
    query, place = np.nonzero(weights > 0)
    turned = ((near.directions[query, place].astype(np.int64) - directions[query]) % 256) // _DIRECTION
    scaled = (near.sizes[query, place].astype(np.int64) - sizes[query]) // _SIZE + _MIDDLE
    owners = near.owners[query, place]
    # Each vote counts in the bin it falls into and the next ones, so that no border parts those that agree.
    keys = np.concatenate(
        [
            owners * 1024 + (turned + more) % DIRECTIONS * _SCALES + np.clip(scaled + larger, 0, _SCALES - 1)
            for more in (0, 1)
            for larger in (0, 1)
        ]
    )
    bins, totals = _once_each(keys, np.tile(query, 4), np.tile(weights[query, place], 4))
    found, first = np.unique(bins // 1024, return_index=True)
    best = np.maximum.reduceat(totals, first) if len(found) else totals
    return ranked(found, best)


def ranked(owners: NDArray[np.int64], votes: NDArray[np.float64]) -> Votes:
    """Return votes by number. owners: may come more than once; the most votes of each count."""
    order = np.lexsort((-votes, owners))
    owners, votes = owners[order], votes[order]
    first = np.unique(owners, return_index=True)[1]
    owners, votes = owners[first], votes[first]
    order = np.lexsort((owners, -votes))
    return Votes(owners[order], votes[order])


def _weights(distances: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return what each entry gets of the vote of its feature: (Q, NEAREST), 1 where it is the same, 0 at the last."""
    farthest = np.minimum(distances[:, -1:].astype(np.float64), FARTHEST)
    return np.maximum(0.0, 1.0 - np.minimum(distances, FARTHEST) / np.maximum(farthest, 1.0))


def _once_each(
    keys: NDArray[np.int64], query: NDArray[np.intp], weights: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the keys, ascending, and the sum of the best vote of each feature of the query for each of them."""
    order = np.lexsort((-weights, query, keys))
    keys, query, weights = keys[order], query[order], weights[order]
    new = np.ones(len(keys), np.bool_)
    new[1:] = (keys[1:] != keys[:-1]) | (query[1:] != query[:-1])
    keys, weights = keys[new], weights[new]
    bins, first = np.unique(keys, return_index=True)
    return bins, np.add.reduceat(weights, first) if len(bins) else weights
