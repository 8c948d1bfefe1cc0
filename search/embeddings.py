"""The only definition of unit length and therefore of cosine similarity."""

import numpy as np
from numpy.typing import NDArray

from search.records import Embeddings

HALF_TO_SINGLE = 13  # bits of a float32's fraction beyond those of a float16
SIGN_AND_NUMBER = np.uint32(0x8FFF_E000).view(np.int32)
EXPONENTS_APART = np.float32(2.0**112)  # their exponents are biased by 15 and 127
LONGEST = 2.0  # a row of unit length, rounded, has no other near it


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

    For rows this project wrote; one whose length is far from 1 comes back as zeros. Much faster than `unit_rows`, which
    looks at every number.
    """
    rows = widened(stored)
    lengths = np.sqrt(np.einsum("nd,nd->n", rows, rows))
    bad = ~((lengths > 0) & (lengths < LONGEST))
    if bad.any():
        rows[bad], lengths[bad] = 0.0, 1.0
    rows /= lengths[:, np.newaxis]
    return rows


def widened(stored: NDArray[np.float16]) -> Embeddings:
    """Return the same numbers as float32, exactly; infinities and NaN come back as numbers of 65,536 and more.

    A half's bits, moved to where a float32 has them, are the number times 2 ** -112, subnormal ones too. NumPy's own
    conversion goes number by number, and every search waits for it.
    """
    bits = np.ascontiguousarray(stored, "<f2").view(np.int16).astype(np.int32)
    bits <<= HALF_TO_SINGLE
    bits &= SIGN_AND_NUMBER  # without the copies of the sign that the wider integer brought
    rows: Embeddings = bits.view(np.float32)
    rows *= EXPONENTS_APART
    return rows


def cosines(rows: Embeddings, query: Embeddings) -> NDArray[np.float32]:
    """Return the cosine of each row with a query, (N,): one sum for each row, the same wherever the row lies.

    rows: (N, D), query: (1, D), float32 of unit length.
    """
    scores: NDArray[np.float32] = np.einsum("nd,d->n", rows, query[0])
    return scores
