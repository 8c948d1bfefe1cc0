"""The planner of searches with a condition: which of three ways to the k best that fulfil it.

When few images fulfil the condition, SQL names them, and every one of them is compared. Else most conditions are met by
many of the nearest images, so those are put to the test: one SQL query about a few hundred ids. When too few of them
pass, because the condition goes against the query, SQL goes on where it had found the first few, until it has named all
images that fulfil it; the index then compares their codes in the lists that the stopping rule of
search/index/inverted.py visits. That rule waits for k images that fulfil the condition, so it goes as far as they are.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from search.conditions.where import Condition
from search.finding.ranked import Ranked
from search.finding.region_search import Searched
from search.records import Embeddings
from search.storing.catalogue import Catalogue

TRIED: Final = 300  # of the nearest, at least
TRIED_PER_MATCH: Final = 10
# So many of the tried must pass for each match wanted: codes order them nearly as their embeddings do, not exactly.
SPARE: Final = 3
FEW_IMAGES: Final = 3_000  # up to here naming and comparing all of them takes no longer than the trial


def search_where(snapshot: Searched, catalogue: Catalogue, query: Embeddings, k: int, condition: Condition) -> Ranked:
    """Return the k images closest to one query, (1, D) float32 of unit length, of those that fulfil a condition."""
    return search_each_where(snapshot, catalogue, query, k, condition)[0]


def search_each_where(
    snapshot: Searched, catalogue: Catalogue, queries: Embeddings, k: int, condition: Condition
) -> list[Ranked]:
    """Return what `search_where` returns of each of some queries, (Q, D); the database is asked once for all of them.

    Queries are best of one kind, such as the views of one picture: what is near to any of them is put to the test.
    """
    with catalogue.matches(snapshot.collection, condition) as matches:
        among = matches.first(FEW_IMAGES)
        if len(among) < FEW_IMAGES:
            return [snapshot.rank(query, k, among) for query in _singly(queries)]
        nearby = [_nearby(snapshot, query, k) for query in _singly(queries)]
        passing = matches.passing(np.unique(np.concatenate(nearby)))
        chosen = [np.intersect1d(near, passing) for near in nearby]
        if any(len(one) < SPARE * k for one in chosen):
            among = matches.all()
    return [
        snapshot.rank(query, k, one) if len(one) >= SPARE * k else snapshot.search_among(query, k, among)
        for query, one in zip(_singly(queries), chosen, strict=True)
    ]


def _singly(queries: Embeddings) -> list[Embeddings]:
    return [query[np.newaxis] for query in queries]


def _nearby(snapshot: Searched, query: Embeddings, k: int) -> NDArray[np.int64]:
    """Return the nearest images, each once; none where they would be most of all."""
    tried = max(TRIED, TRIED_PER_MATCH * k)
    if len(snapshot) <= 2 * tried:
        return np.empty(0, np.int64)
    return np.unique(snapshot.candidates(query, tried))
