"""Rows that are near to very many others: their pairs with each other are not kept, but found when they are asked for.

A folder of 20,000 frames of one scene has 200 million near pairs, one of a million has 500,000 million. No memory and
no disk holds such numbers, and nobody needs them at once: who forms groups asks for the neighbours of one picture at a
time. So where there are too many pairs, the rows with most of them become the crowd, and a pair is kept only when one
of its rows is not of the crowd. Rows that are not have few pairs each, so what is kept is bounded; the other pairs are
a product of matrices away (search/pairing/crowded_pairs.py). Nothing is missed: whichever rows are of the crowd, each
pair is either kept or can be asked for.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from search.errors import UsageError

# Pairs that are kept: 12 bytes each, and while groups are formed about 80.
MOST_PAIRS: Final = 2**25


class TooManyPairs(UsageError):
    """More pairs are near than memory should hold, and whoever asked knows of no crowd."""


@dataclass(frozen=True, eq=False)
class Crowd:
    """left, right: (N,) bool, which rows of each side are of the crowd; of one collection both are the same array.

    Both are changed in place, and only ever grow.
    """

    left: NDArray[np.bool_]
    right: NDArray[np.bool_]

    @classmethod
    def of(cls, left: NDArray[np.bool_], right: NDArray[np.bool_] | None = None) -> "Crowd":
        """Return a crowd of its own that begins with some rows. right: None for one collection."""
        mine = left.copy()
        return cls(mine, mine if right is None else right.copy())

    def holds(self, one: NDArray[np.integer], other: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Return which pairs are of two rows of the crowd: (P,)."""
        both: NDArray[np.bool_] = self.left[one] & self.right[other]
        return both

    def kept(self, one: NDArray[np.integer], other: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Return which of some pairs are to be kept, (P,); where they are too many, the crowd grows first."""
        kept = ~self.holds(one, other)
        if np.count_nonzero(kept) > MOST_PAIRS:
            self._grow(one[kept], other[kept])
            kept &= ~self.holds(one, other)
        return kept

    def _grow(self, one: NDArray[np.integer], other: NDArray[np.integer]) -> None:
        """Let in the rows with most pairs, until those of all the others are an eighth of what may be kept at most.

        An eighth, so that it grows seldom: each pair that turns up before its rows are let in is scored in vain.
        """
        sides = (self.left,) if self.right is self.left else (self.left, self.right)
        counts = [np.bincount(one, minlength=len(self.left)), np.bincount(other, minlength=len(self.right))]
        pairs = np.concatenate(counts) if len(sides) > 1 else counts[0] + counts[1]
        outside = np.sort(pairs[~np.concatenate(sides)])
        few = np.cumsum(outside) <= MOST_PAIRS // 8
        least = outside[np.count_nonzero(few)]  # all with as many are let in, so that equal rows are treated alike
        self.left[:] |= pairs[: len(self.left)] >= least
        if len(sides) > 1:
            self.right[:] |= pairs[len(self.left) :] >= least
