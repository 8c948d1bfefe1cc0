"""The only definition of unit length and therefore of cosine similarity."""

import numpy as np
from numpy.typing import NDArray

from search.records import Embeddings


def unit_rows(rows: NDArray[np.floating]) -> Embeddings:
    """Return a new (N, D) float32 matrix whose rows have length 1; a row that cannot be scaled stays zero.

    rows: (N, D) of any float type. Rows that are zero or not finite come back as zeros, so that they match nothing:
    callers that must refuse them ask `usable_rows` first.
    """
    wide = np.where(np.isfinite(rows), rows, 0.0).astype(np.float32)
    wide[~usable_rows(rows)] = 0.0
    lengths = np.linalg.norm(wide, axis=1, keepdims=True)
    unit: Embeddings = np.divide(wide, lengths, out=np.zeros_like(wide), where=lengths > 0)
    return unit


def usable_rows(rows: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Return for each of the N rows whether it is finite and not zero: (N,) bool."""
    finite = np.isfinite(rows).all(axis=1)
    usable: NDArray[np.bool_] = finite & (np.abs(np.where(np.isfinite(rows), rows, 0.0)).max(axis=1, initial=0.0) > 0)
    return usable
