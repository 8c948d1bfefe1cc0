"""The planner of searches with a condition: which of three ways to the k best that fulfil it.

Most conditions are met by many of the nearest images, so those are asked for first and put to the test: one SQL query
about a few hundred ids. When too few of them pass, because the condition is rare or goes against the query, SQL names
all images that fulfil it; the index then compares those alone, either every one of them or, of many, their codes in the
lists that the stopping rule of search/index/inverted.py visits. That rule waits for k images that fulfil the condition,
so it goes as far as they are.
"""

from typing import Final

import numpy as np

from search.catalogue import Catalogue
from search.records import Embeddings
from search.snapshot import Ranked, Snapshot
from search.where import Condition

TRIED: Final = 300  # of the nearest, at least
TRIED_PER_MATCH: Final = 10
# So many of the tried must pass for each match wanted: codes order them nearly as their embeddings do, not exactly.
SPARE: Final = 3
FEW_IMAGES: Final = 2_000  # up to here SQL answers about all of them as quickly as about some


def search_where(snapshot: Snapshot, catalogue: Catalogue, query: Embeddings, k: int, condition: Condition) -> Ranked:
    """Return the k images closest to one query, (1, D) float32 of unit length, of those that fulfil a condition."""
    tried = max(TRIED, TRIED_PER_MATCH * k)
    if len(snapshot) > max(FEW_IMAGES, 2 * tried):
        nearest = np.unique(snapshot.candidates(query, tried))
        passing = catalogue.passing(snapshot.collection, condition, nearest)
        if len(passing) >= SPARE * k:
            return snapshot.rank(query, k, passing)
    return snapshot.search_among(query, k, catalogue.matching(snapshot.collection, condition))
