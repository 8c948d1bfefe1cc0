"""The nearest rows of every row of a small matrix, exactly: what graphs of neighbours are made of."""

import faiss
import numpy as np
from numpy.typing import NDArray


def nearest_rows(rows: NDArray[np.float32], count: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return of each row of (N, d) its `count` nearest others: their numbers and squared distances, (N, count) each.

    Nearest first. count < N; compares each row with each, so N should be some ten thousands at most.
    """
    distances, found = faiss.knn(rows, rows, count + 1)
    # A row is its own nearest, but of equal rows another may come before it, or hide it altogether.
    itself = found == np.arange(len(rows))[:, np.newaxis]
    itself[~itself.any(axis=1), -1] = True
    others = ~itself
    return found[others].reshape(-1, count), distances[others].reshape(-1, count)
