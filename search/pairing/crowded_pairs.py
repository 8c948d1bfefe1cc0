"""The near pairs of two rows of a crowd (search/index/crowd.py), found again when somebody asks for those of a row.

Complete and exact: the inequality of sketches leaves nothing out, and scores are what all pairs have.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from search.index.pair_scoring import RowSource
from search.index.sketches import Sketch, Sketches, in_parts

READ_ROWS = 8_192


@dataclass(frozen=True, eq=False)
class CrowdRows:
    """C rows of a crowd. names: (C,), what each is called, all different. numbers: (C,), of each in the source."""

    names: NDArray[np.int64]
    source: RowSource
    numbers: NDArray[np.int64]
    sketches: NDArray[np.float16]

    @classmethod
    def among(
        cls, crowded: NDArray[np.bool_], names: NDArray[np.int64], source: RowSource, sketches: NDArray[np.float16]
    ) -> "CrowdRows":
        """Return those of some rows that are of the crowd. All arrays: by row."""
        numbers = np.flatnonzero(crowded)
        return cls(names[numbers], source, numbers, sketches[numbers])


class CrowdedPairs:
    """Answers which rows of a crowd are near to one of it."""

    def __init__(self, asked: CrowdRows, answering: CrowdRows, sketch: Sketch, threshold: float) -> None:
        """asked: rows whose neighbours are wanted. answering: of which these are; of one collection the same."""
        self._asked = asked
        self._answering = answering
        self._sketch = sketch
        self._threshold = threshold
        self._places = {name: place for place, name in enumerate(asked.names.tolist())}
        self._sketches: Sketches | None = None

    def __len__(self) -> int:
        return len(self._asked.names)

    def __contains__(self, name: int) -> bool:
        return name in self._places

    def called(self, asked: NDArray[np.int64], answering: NDArray[np.int64]) -> "CrowdedPairs":
        """Return the same under other names. asked, answering: (C,) new names, in the order of the rows."""
        mine = replace(self._asked, names=asked)
        return CrowdedPairs(mine, replace(self._answering, names=answering), self._sketch, self._threshold)

    @property
    def names(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the names of the rows that are asked for, and of those that answer."""
        return self._asked.names, self._answering.names

    def of(self, name: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the names and the scores of the rows that are near to one, (P,) each; none for one outside the crowd.

        Raises:
            CorruptFile: a segment is damaged.
        """
        place = self._places.get(name)
        if place is None:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        if self._sketches is None:
            self._sketches = self._answering.sketches.astype(np.float32)
        own = self._asked.sketches[place].astype(np.float32)
        bound = np.float32(self._threshold - self._sketch.margin)
        near = np.flatnonzero((self._sketches @ own >= bound) & (self._answering.names != name))
        scores = self._scores(place, near)
        reached = scores >= np.float32(self._threshold)
        return self._answering.names[near[reached]], scores[reached]

    def _scores(self, place: int, near: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the exact cosines of a row and others, as `exact_scores` has them."""
        own = self._asked.source.read(self._asked.numbers[[place]]).astype(np.float64)
        scores = np.empty(len(near), np.float32)
        for part in in_parts(len(near), READ_ROWS):
            rows = self._answering.source.read(self._answering.numbers[near[part]])
            scores[part] = np.vecdot(own, rows.astype(np.float64))
        return scores
