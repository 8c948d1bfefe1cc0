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


def lengthened(stored: NDArray[np.float16]) -> Embeddings:
    """Return (N, D) float32 rows of unit length of rows that had it before they were rounded to float16.

    For rows this project wrote, which are finite and not zero; one that is neither comes back as zeros. Four times as
    fast as `unit_rows`, which looks at every number.
    """
    rows: Embeddings = stored.astype(np.float32)
    lengths = np.sqrt(np.einsum("nd,nd->n", rows, rows))
    bad = ~(np.isfinite(lengths) & (lengths > 0))
    if bad.any():
        rows[bad], lengths[bad] = 0.0, 1.0
    rows /= lengths[:, np.newaxis]
    return rows
