"""The product's own ways to search, as modes of the quality bench: each is one small class over a collection."""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from api.quality.report import ACCURATE
from api.queries import QueryRequest
from api.workspace import Workspace
from indexer.quality.modes import DEPTH, Mode, Ranking
from search.records import Collection, Match

# What is verified gets on top of its score, which is at most 1 and at least -1: it comes first, as it does for users.
VERIFIED = 2.0


class StoreMode(Mode, Protocol):
    """A mode of the product. same_from: the score from which it says "the same picture", None where it never does."""

    same_from: float | None


class _Searching:
    """A collection that is searched as a user would. accurate: with a look at the pixels."""

    accurate = False

    def __init__(self, workspace: Workspace, target: Collection, references: Sequence[str]) -> None:
        """references: the keys under which they were indexed, in the order of the bench's rows."""
        self._workspace = workspace
        self._target = target
        self._rows = {key: row for row, key in enumerate(references)}

    def rank(self, query: bytes, name: str) -> Ranking:
        """Return the references as a user would see them.

        Raises:
            BadImage: the query cannot be decoded.
        """
        wanted = QueryRequest(DEPTH, accurate=self.accurate)
        found = self._workspace.search_by_picture(self._target, query, name, wanted)
        return ranking_of(found.matches, self._rows)


class Fast(_Searching):
    """What `lookalike search` does: one embedding of the query, the nearest references by their cosine.

    Up to 10,000 references every one is compared; of more, those that the approximate index finds.
    """

    name = "fast"
    same_from: float | None = None


class Accurate(_Searching):
    """What `lookalike search --accurate` does. What is verified counts more than any score."""

    name = ACCURATE
    accurate = True
    same_from: float | None = VERIFIED - 1  # a cosine is -1 at least


# What `quality` measures of every backbone, in the order of its rows; another mode is another class here.
MODES: tuple[Callable[[Workspace, Collection, Sequence[str]], StoreMode], ...] = (Fast, Accurate)


def ranking_of(matches: Sequence[Match], rows: dict[str, int]) -> Ranking:
    """Return matches as rows of the bench, in the order in which a user sees them. rows: by key.

    What stands before others for another reason than its score, as what has a part in common with the query does, gets
    a hair more than the best of those behind it.
    """
    scores = np.array([match.score + VERIFIED * (match.verified == "yes") for match in matches], np.float32)
    for place in range(len(scores) - 2, -1, -1):
        if scores[place] < scores[place + 1]:
            scores[place] = np.nextafter(scores[place + 1], np.float32(np.inf))
    return Ranking(
        np.array([rows[match.image.key] for match in matches], np.int64),
        scores,
        np.array([match.relation == "identical" for match in matches], bool),
    )
