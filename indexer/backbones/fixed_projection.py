"""From a backbone's dims to fewer, the same way for every collection: `index --dims`.

A projection onto random orthonormal axes keeps cosines up to an error with a standard deviation of about
(1 - cosine ** 2) / sqrt(dims) (Johnson and Lindenstrauss, 1984). The axes depend on the two numbers of dims alone, and
on no picture, so spaces of one backbone and the same dims stay comparable wherever they were made.
"""

from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from search.errors import UsageError
from search.records import Embeddings

LEAST_DIMS: Final = 16
_SEED: Final = 1984


def projected(raw: Embeddings, dims: int) -> Embeddings:
    """Return (N, dims) float32 of (N, D) raw embeddings; the very rows where they have so many dims already.

    Rows with numbers that are not finite come back with such numbers.
    """
    if raw.shape[1] == dims:
        return raw
    with np.errstate(invalid="ignore", over="ignore"):
        reduced: Embeddings = (raw.astype(np.float64) @ axes(raw.shape[1], dims)).astype(np.float32)
    return reduced


def require_dims(dims: int, full: int, name: str) -> int:
    """Return how many dims to project on. full: those of the backbone called `name`.

    Raises:
        UsageError: there are not so many, or too few would be left.
    """
    if not min(LEAST_DIMS, full) <= dims <= full:
        raise UsageError(f"--dims {dims}: {name} makes embeddings of {full} dims; choose {LEAST_DIMS} to {full}")
    return dims


@lru_cache(maxsize=4)
def axes(full: int, dims: int) -> NDArray[np.float64]:
    """Return (full, dims) orthonormal columns, equal on all machines up to rounding.

    Raises:
        ValueError: there are no more than `full` orthonormal axes.
    """
    if not 0 < dims <= full:
        raise ValueError(f"there are no {dims} orthonormal axes of {full} dims")
    # Raw bits: of NumPy's random streams only these are promised never to change.
    words = np.random.PCG64([_SEED, full, dims]).random_raw(-(-full * dims // 64))
    bits = np.unpackbits(words.astype("<u8").view(np.uint8))[: full * dims]
    columns, triangle = np.linalg.qr(2.0 * bits.reshape(full, dims) - 1.0)
    # Libraries differ in the signs.
    found: NDArray[np.float64] = columns * np.where(np.diag(triangle) < 0, -1.0, 1.0)
    return found
