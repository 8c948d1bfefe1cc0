"""Places of ids, and sets of rows as bits."""

import numpy as np
from numpy.typing import NDArray


def rows_of(ids: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where in ascending `ids` the `wanted` ones are, those that are there: ascending if wanted is."""
    if not len(ids) or not len(wanted):
        return np.empty(0, np.int64)
    if ids[-1] - ids[0] + 1 == len(ids):  # without gaps, as where nothing was ever removed
        inside: NDArray[np.int64] = wanted[(wanted >= ids[0]) & (wanted <= ids[-1])] - ids[0]
        return inside
    places = np.searchsorted(ids, wanted)
    places[places == len(ids)] = 0
    found: NDArray[np.int64] = places[ids[places] == wanted]
    return found


def held(ids: NDArray[np.int64], wanted: NDArray[np.int64]) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Return which of `wanted` are in ascending `ids`, and where; the places of others mean nothing.

    Costs nothing that grows with `ids`: it is asked before every search.
    """
    places = np.searchsorted(ids, wanted)
    if not len(ids):
        return np.zeros(len(wanted), np.bool_), places
    return ids[np.minimum(places, len(ids) - 1)] == wanted, places


def bitmap(size: int, rows: NDArray[np.int64], *, without: bool = False) -> NDArray[np.uint8]:
    """Return a bit for each of `size` rows, little-endian: set for the given ones, or for all but those."""
    bits = np.full(size, without, np.bool_)
    bits[rows] = not without
    return np.packbits(bits, bitorder="little")
