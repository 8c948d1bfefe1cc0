"""What is said above the groups of a report: how many copies there are of each kind, and where near copies score."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Final, TypedDict

import numpy as np

from search.duplicates.groups import EXACT, DuplicateGroup, DuplicateKind

_BINS: Final = 40
_STEP: Final = 0.01


class ScoreCounts(TypedDict):
    """How many near copies have which score. counts: of the scores from start on, each for step more; the last ends at
    1 or above it. lowest, median, highest: of all of them.
    """

    lowest: float
    median: float
    highest: float
    start: float
    step: float
    counts: list[int]


def kinds_of(groups: Sequence[DuplicateGroup]) -> dict[DuplicateKind, int]:
    """Return how many copies there are of each kind that there is."""
    return dict(Counter(member.kind for group in groups for member in group.members))


def scores_of(groups: Sequence[DuplicateGroup], threshold: float | None) -> ScoreCounts | None:
    """Count the scores of all members that are no exact copies; None where all are. threshold: to be in the range."""
    scores = [member.score for group in groups for member in group.members if member.kind not in EXACT]
    if not scores:
        return None
    low = min(*scores, 1.0 if threshold is None else threshold)
    step = _STEP * max(1, math.ceil((1 - low) / _STEP / _BINS))
    start = math.floor(low / step + 1e-9) * step
    bins = max(1, math.ceil((1 - start) / step - 1e-9))
    counts, _ = np.histogram(np.minimum(scores, 1.0), bins=bins, range=(start, start + bins * step))
    return {
        "lowest": min(scores),
        "median": float(np.median(scores)),
        "highest": max(scores),
        "start": start,
        "step": step,
        "counts": counts.tolist(),
    }
