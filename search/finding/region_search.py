"""Searching whole pictures and their regions at once: an image scores what its best part does.

Of the regions four times as many are asked for as images are wanted: the best regions of k images are among the 4 k
best regions, so that nothing that belongs to the k best images is missed.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from search.finding.ranked import Ranked
from search.finding.snapshot import Snapshot
from search.records import Collection, Embeddings
from search.regions import REGIONS, images_of_rows, rows_of_images

WHOLE: Final = 0  # instead of the number of a region


class RegionSearch:
    """A snapshot with regions, searched like one without: its queries and answers are those of `Snapshot`."""

    def __init__(self, wholes: Snapshot, regions: Snapshot) -> None:
        self.collection: Collection = wholes.collection
        self._wholes = wholes
        self._regions = regions

    def __len__(self) -> int:
        """Return how many images can be found."""
        return len(self._wholes)

    @property
    def is_exact(self) -> bool:
        """Whether every search compares every image and every region."""
        return self._wholes.is_exact and self._regions.is_exact

    def search(self, query: Embeddings, k: int) -> Ranked:
        """Return the k images of which any part is closest to one query."""
        return self._best(query, k, self._wholes.search(query, k), self._regions.search(query, REGIONS * k))

    def search_each(self, queries: Embeddings, k: int) -> list[Ranked]:
        """Return what `search` returns of each query, (Q, D); exact indexes are read once for all of them."""
        found = zip(self._wholes.search_each(queries, k), self._regions.search_each(queries, REGIONS * k), strict=True)
        return [self._best(query[np.newaxis], k, *pair) for query, pair in zip(queries, found, strict=True)]

    def exact_search(self, query: Embeddings, k: int) -> Ranked:
        """Return what `search` returns, by comparing everything."""
        wholes, regions = self._wholes.exact_search(query, k), self._regions.exact_search(query, REGIONS * k)
        return self._best(query, k, wholes, regions)

    def candidates(self, query: Embeddings, count: int) -> NDArray[np.int64]:
        """Return the ids of the `count` images of which any part is closest.

        Not those of whole pictures and those of regions: the ones would go on where the others have ended, and a filter
        is judged by how many of the closest pass.
        """
        return self.search(query, count).ids

    def rank(self, query: Embeddings, k: int, among: NDArray[np.int64]) -> Ranked:
        """Return the k images of which any part is closest to one query, of a few. among: image ids, ascending."""
        regions = self._regions.rank(query, REGIONS * k, rows_of_images(among))
        return self._best(query, k, self._wholes.rank(query, k, among), regions)

    def search_among(self, query: Embeddings, k: int, among: NDArray[np.int64]) -> Ranked:
        """Return what `search` does, of the images with an id in `among`: (N,) ascending."""
        regions = self._regions.search_among(query, REGIONS * k, rows_of_images(among))
        return self._best(query, k, self._wholes.search_among(query, k, among), regions)

    def _best(self, query: Embeddings, k: int, wholes: Ranked, regions: Ranked) -> Ranked:
        """Return the k best of images found by their whole or by regions; where both score the same, by the whole."""
        images, numbers = images_of_rows(regions.ids)
        ids = np.concatenate([wholes.ids, images])
        scores = np.concatenate([wholes.scores, regions.scores])
        parts = np.concatenate([np.full(len(wholes.ids), WHOLE, np.int64), numbers])
        by_image = np.lexsort((parts, -scores, ids))
        first = by_image[np.unique(ids[by_image], return_index=True)[1]]
        order = first[np.lexsort((ids[first], -scores[first]))][:k]
        return Ranked(ids[order], scores[order], parts[order], self._scores_of_wholes(query, ids[order]))

    def _scores_of_wholes(self, query: Embeddings, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return what the whole pictures of images score. ids: in any order, each once."""
        ranked = self._wholes.rank(query, len(ids), np.sort(ids))
        ascending = np.argsort(ranked.ids)
        scores = np.full(len(ids), -1.0, np.float32)  # of an image whose whole is not here: it went meanwhile
        places = np.searchsorted(ranked.ids[ascending], ids)
        here = np.flatnonzero(np.isin(ids, ranked.ids))
        scores[here] = ranked.scores[ascending][places[here]]
        return scores


Searched = Snapshot | RegionSearch


def everywhere(snapshot: Snapshot) -> Searched:
    """Return what searches all that a collection is to be searched in: whole pictures, or regions, too."""
    return snapshot if snapshot.regions is None else RegionSearch(snapshot, snapshot.regions)
