"""The best images of a query, as every way to search gives them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Ranked:
    """The best images of one query, best first, ties by lower id. ids (K,) int64, scores (K,) float32.

    Where regions were searched, too, scores are the best of each image. regions: (K,) int64, the number of the region
    that scores so, 0 for the whole picture. wholes: (K,) float32, what whole pictures score. Both None where not.
    """

    ids: NDArray[np.int64]
    scores: NDArray[np.float32]
    regions: NDArray[np.int64] | None = None
    wholes: NDArray[np.float32] | None = None

    def rows(self) -> Iterator[tuple[int, float, int, float]]:
        """Yield of each image its id, its score, the number of the region that scores so, and what its whole scores."""
        numbers = np.zeros(len(self.ids), np.int64) if self.regions is None else self.regions
        wholes = self.scores if self.wholes is None else self.wholes
        yield from zip(self.ids.tolist(), self.scores.tolist(), numbers.tolist(), wholes.tolist(), strict=True)
