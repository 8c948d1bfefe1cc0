"""What a reader searches: one generation plus the exact delta of everything newer.

A snapshot never changes once made. `SnapshotReader.current` makes a new one when the catalogue moved on, reading only
the rows it has not seen, so a search always sees every acknowledged image.
"""

import threading
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from search.blobs.blobs import Blobs
from search.database.database import Database
from search.embeddings import cosines
from search.errors import ImageNotFound
from search.finding.following import Delta, Follower
from search.finding.generations import Generation
from search.finding.ranked import Ranked
from search.finding.row_numbers import bitmap, held, rows_of
from search.index.exact import ExactIndex, near_best
from search.index.post_transform import NONE, PostTransform
from search.index.training import candidates_for
from search.records import Collection, Embeddings
from search.regions import IN_REGIONS, WHOLES
from search.storing.catalogue import Catalogue

BLOCK_ROWS = 4_096  # embeddings in memory while all are compared
READ_AT_ONCE = 1_024  # embeddings of several queries; more save nothing and take memory


class Snapshot:
    """One consistent state of a collection, searchable by many threads.

    Queries are (1, D) float32 of unit length, as their space has them; the transform of the generation is applied here,
    and scores are exact cosines of what comes out of it.
    """

    def __init__(
        self,
        target: Collection,
        generation: Generation | None,
        delta: Delta,
        *,
        transform: PostTransform | None = None,
        regions: "Snapshot | None" = None,
    ) -> None:
        """transform: that of the delta where there is no generation. regions: of the same images, with the ids of
        regions (search/regions.py); None where whole pictures alone are searched. They are searched by
        search/finding/region_search.py; all methods here are about whole pictures.
        """
        self.collection = target
        self.generation = generation
        self.delta = delta
        self.regions = regions
        # What is done to embeddings before they are compared; scores of another fingerprint are other scores.
        self.transform = transform or (NONE if generation is None else generation.transform)
        known = generation.ids if generation is not None else np.empty(0, np.int64)
        # Rows of the generation whose image has changed or gone since.
        self._stale = rows_of(known, delta.changed)
        self._living = (
            None if generation is None or not len(self._stale) else bitmap(len(known), self._stale, without=True)
        )

    def __len__(self) -> int:
        """Return how many images can be found."""
        return self._generation_rows() - len(self._stale) + len(self.delta.ids)

    @property
    def is_exact(self) -> bool:
        """Whether every search compares every image."""
        return self.generation is None or self.generation.projection is None

    def search(self, query: Embeddings, k: int) -> Ranked:
        """Return the k images closest to one query."""
        query = self.transform.apply(query)
        return self._ranked(query, k, self._newest(query, k), self._nearest(query, k))

    def search_each(self, queries: Embeddings, k: int) -> list[Ranked]:
        """Return what `search` returns of each query, (Q, D); an exact index is read once for all of them."""
        queries = self.transform.apply(queries)
        singly, new = queries[:, np.newaxis], queries @ self.delta.embeddings.T
        if self.generation is not None and isinstance(self.generation.index, ExactIndex):
            rows = self.generation.index.candidates_each(queries, k, self._stale)
        else:
            rows = [self._nearest(query, k) for query in singly]
        places = [near_best(row, k) for row in new]
        if self.generation is None or not 0 < sum(map(len, rows)) <= READ_AT_ONCE:
            return [self._ranked(*one) for one in zip(singly, repeat(k), places, rows)]
        known = self.generation.scores_each(rows, queries)
        return [self._best(*one) for one in zip(singly, repeat(k), places, rows, known)]

    def exact_search(self, query: Embeddings, k: int) -> Ranked:
        """Return what `search` returns, by comparing every image. Costs one pass over all segments."""
        query = self.transform.apply(query)
        places = self._newest(query, k)
        if self.is_exact or self.generation is None:
            return self._ranked(query, k, places, self._nearest(query, k))
        best, rows = np.empty(0, np.float32), np.empty(0, np.int64)
        for start in range(0, self._generation_rows(), BLOCK_ROWS):
            block = np.arange(start, min(start + BLOCK_ROWS, self._generation_rows()))
            block = np.setdiff1d(block, self._stale, assume_unique=True)
            best = np.concatenate([best, self.generation.scores_at(block, query)])
            rows = np.concatenate([rows, block])
            kept = np.argsort(-best, kind="stable")[:k]
            best, rows = best[kept], rows[kept]
        return self._ranked(query, k, places, rows)

    def candidates(self, query: Embeddings, count: int) -> NDArray[np.int64]:
        """Return the ids of about `count` images that are the closest, in no order that means anything."""
        query = self.transform.apply(query)
        scores = self.delta.embeddings @ query[0]
        places = near_best(scores, count)
        rows = self._nearest(query, count, ranked=False)
        if self.generation is None:
            return self.delta.ids[places]
        if len(rows) >= count:
            # Of what is new, only what is as close as the last of the others: filters are judged by how many pass.
            farthest = rows if self.is_exact else rows[-1:]
            places = places[scores[places] >= (self.generation.embeddings_at(farthest) @ query[0]).min()]
        return np.concatenate([self.delta.ids[places], self.generation.ids[rows]])

    def rank(self, query: Embeddings, k: int, among: NDArray[np.int64]) -> Ranked:
        """Return the k images closest to one query of a few, all of which are compared. among: image ids, ascending."""
        query = self.transform.apply(query)
        rows = np.empty(0, np.int64)
        if self.generation is not None:
            rows = np.setdiff1d(rows_of(self.generation.ids, among), self._stale, assume_unique=True)
        return self._ranked(query, k, rows_of(self.delta.ids, among), rows)

    def scores_among(self, queries: Embeddings, among: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return (Q, n) scores of queries, (Q, D), with the images of `among`, ascending, that are here; unordered."""
        known = self.delta.embeddings[rows_of(self.delta.ids, among)]
        if self.generation is not None:
            rows = np.setdiff1d(rows_of(self.generation.ids, among), self._stale, assume_unique=True)
            known = np.concatenate([self.generation.embeddings_at(rows), known])
        return np.asarray(np.clip(self.transform.apply(queries) @ known.T, -1.0, 1.0), np.float32)

    def search_among(self, query: Embeddings, k: int, among: NDArray[np.int64]) -> Ranked:
        """Return the k images closest to one query of those with an id in `among`; no other image is scored.

        among: (N,) image ids, ascending; ids that are not here do not matter.
        """
        query = self.transform.apply(query)
        here = rows_of(self.delta.ids, among)
        places = here[near_best(self.delta.embeddings[here] @ query[0], k)]
        rows = np.empty(0, np.int64)
        if self.generation is not None:
            wanted = np.setdiff1d(rows_of(self.generation.ids, among), self._stale, assume_unique=True)
            rows = self._nearest_among(query, k, wanted)
        return self._ranked(query, k, places, rows)

    def _nearest(self, query: Embeddings, k: int, *, ranked: bool = True) -> NDArray[np.int64]:
        """Return rows of the generation among which its k closest are. ranked: the caller will rank them."""
        generation = self.generation
        if generation is None:
            return np.empty(0, np.int64)
        if isinstance(generation.index, ExactIndex):
            return generation.index.candidates(query, k, self._stale)
        assert generation.projection is not None  # noqa: S101 -- every approximate index has one
        count = candidates_for(k, generation.per_neighbour) if ranked else k
        return generation.index.candidates(generation.projection.codes(query), k, count, self._living)[0]

    def _nearest_among(self, query: Embeddings, k: int, wanted: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return rows among which the k closest of the wanted ones are."""
        generation = self.generation
        if generation is None or len(wanted) <= k:
            return wanted
        if isinstance(generation.index, ExactIndex):
            return generation.index.candidates_among(query, k, wanted)
        assert generation.projection is not None  # noqa: S101 -- every approximate index has one
        count = candidates_for(k, generation.filtered_per_neighbour)
        if len(wanted) <= count:
            return wanted
        chosen = bitmap(len(generation.ids), wanted)
        code = generation.projection.codes(query)
        return generation.index.candidates(code, k, count, chosen, generation.index.lists_of(wanted))[0]

    def _newest(self, query: Embeddings, k: int) -> NDArray[np.int64]:
        """Return the places of the k closest rows of the delta."""
        return near_best(self.delta.embeddings @ query[0], k) if len(self.delta.ids) else np.empty(0, np.int64)

    def _ranked(self, query: Embeddings, k: int, places: NDArray[np.int64], rows: NDArray[np.int64]) -> Ranked:
        """Return the k best of some rows of the delta and of the generation.

        All are scored by the same sum over their embeddings, so that scores are true cosines, and equal embeddings
        score equal wherever they lie. query: transformed, as in all methods below.
        """
        known = None if self.generation is None or not len(rows) else self.generation.scores_at(rows, query)
        return self._best(query, k, places, rows, known)

    def _best(
        self,
        query: Embeddings,
        k: int,
        places: NDArray[np.int64],
        rows: NDArray[np.int64],
        known: NDArray[np.float32] | None,
    ) -> Ranked:
        """Return what `_ranked` does. known: the scores of the rows, None where there are none."""
        if self.generation is None or known is None:
            ids, scores = self.delta.ids[places], self._scores_of_new(places, query)
        else:
            ids, scores = self.generation.ids[rows], known
            if len(places):
                ids = np.concatenate([self.delta.ids[places], ids])
                scores = np.concatenate([self._scores_of_new(places, query), scores])
        order = np.lexsort((ids, -scores))[:k]
        return Ranked(ids[order], np.clip(scores[order], -1.0, 1.0))

    def _scores_of_new(self, places: NDArray[np.int64], query: Embeddings) -> NDArray[np.float32]:
        """Return the scores of rows of the delta, by the sum that scores rows of the generation."""
        delta, by_length = self.delta, self.generation is not None and self.generation.lengths is not None
        if not by_length or delta.stored is None or delta.lengths is None:
            return cosines(delta.embeddings[places], query)
        return self.transform.scores(query, delta.stored[places], delta.lengths[places])

    def embedding_of(self, image_id: int) -> Embeddings:
        """Return the embedding of one image as its segment keeps it, (1, D) float32 of unit length: a query.

        Raises:
            ImageNotFound: the image is not in this snapshot.
        """
        return self.embeddings_of(np.array([image_id], np.int64), stored=True)

    def all_ids(self) -> NDArray[np.int64]:
        """Return the ids of all images that can be found, ascending."""
        known = np.empty(0, np.int64) if self.generation is None else np.delete(self.generation.ids, self._stale)
        return np.sort(np.concatenate([known, self.delta.ids]))

    def embeddings_of(self, ids: NDArray[np.int64], *, stored: bool = False) -> Embeddings:
        """Return the embeddings of some images, transformed, in the order asked: (len(ids), d) float32.

        stored: as their segments keep them.

        Raises:
            ImageNotFound: one of them is not in this snapshot.
            CorruptFile: a segment is damaged.
        """
        new, places = self._in_delta(ids)
        known = self.delta.embeddings
        if stored and self.delta.stored is not None:
            known = self.delta.stored
        out = np.empty((len(ids), known.shape[1]), np.float32)
        out[new] = known[places[new]]
        if not new.all():
            generation, rows = self._in_generation(ids[~new])
            out[~new] = generation.stored_embeddings_at(rows) if stored else generation.embeddings_at(rows)
        return out

    def places_of(self, ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the segment and the row in it of each image's embedding, both (len(ids),); -1 of what is new.

        Raises:
            ImageNotFound: one of them is not in this snapshot.
        """
        new, _ = self._in_delta(ids)
        segments, rows = np.full((2, len(ids)), -1, np.int64)
        if not new.all():
            generation, found = self._in_generation(ids[~new])
            segments[~new], rows[~new] = generation.segments[found], generation.rows[found]
        return segments, rows

    def _in_delta(self, ids: NDArray[np.int64]) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """Return which images are in the delta, and where."""
        return held(self.delta.ids, ids)

    def _in_generation(self, ids: NDArray[np.int64]) -> tuple[Generation, NDArray[np.int64]]:
        if self.generation is None:
            raise ImageNotFound(f"there is no image with id {ids[0]} in this collection")
        known, rows = held(self.generation.ids, ids)
        strange = ~known | np.isin(rows, self._stale)
        if strange.any():
            raise ImageNotFound(f"there is no image with id {ids[strange][0]} in this collection")
        return self.generation, rows

    def sample(self, count: int) -> NDArray[np.int64]:
        """Return the ids of `count` images from all over the collection, ascending; fewer where there are fewer.

        Always the same ones, as long as the index is the same and none of them is removed.
        """
        known = self.generation.ids if self.generation is not None else self.delta.ids
        if len(known) < count <= len(self):
            known = np.union1d(known, self.delta.ids)
        looked = min(count, len(known))
        while True:  # where many were removed, more have to be looked at; all only where few are left
            found = _spread(known, looked)
            left = found[~self._are_gone(found)]
            if len(left) >= count or looked == len(known):
                return _spread(left, count)
            looked = min(2 * looked, len(known))

    def _are_gone(self, ids: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which of the ids in the generation or the delta belong to images that were removed."""
        return np.isin(ids, self.delta.changed) & ~np.isin(ids, self.delta.ids)

    def living(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return those of some image ids that can be found, in the same order."""
        known = self.generation.ids if self.generation is not None else np.empty(0, np.int64)
        old = np.isin(ids, known) & ~np.isin(ids, self.delta.changed)
        return ids[old | np.isin(ids, self.delta.ids)]

    def rows(self) -> tuple[NDArray[np.int64], Embeddings]:
        """Return all images that can be found: ids (N,) int64 ascending, embeddings (N, d) float32, transformed."""
        ids, embeddings = self.delta.ids, self.delta.embeddings
        if self.generation is not None:
            keep = np.delete(np.arange(self._generation_rows()), self._stale)
            ids = np.concatenate([self.generation.ids[keep], ids])
            embeddings = np.concatenate([self.generation.embeddings_at(keep), embeddings])
        order = np.argsort(ids, kind="stable")
        return ids[order], embeddings[order]

    def _generation_rows(self) -> int:
        return len(self.generation.ids) if self.generation is not None else 0


def _spread(ids: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return so many ids from all over, all where there are fewer."""
    return ids[np.linspace(0, len(ids) - 1, min(count, len(ids))).astype(np.intp)]


class SnapshotReader:
    """Follows a collection: gives the newest snapshot, cheaply when nothing changed. Thread-safe."""

    def __init__(self, database: Database, blobs: Blobs, target: Collection) -> None:
        self._catalogue = Catalogue(database)
        self._database = database
        self._blobs = blobs
        self._name = target.name
        self._lock = threading.Lock()
        self._state: tuple[object, ...] | None = None
        self._snapshot: Snapshot | None = None
        self._enter(target)

    def _enter(self, target: Collection) -> None:
        """Read from one space alone: its generations, its segments, and no rows of another."""
        self._space_id = target.space_id
        self._wholes = Follower(self._database, self._blobs, target, WHOLES)
        self._regions = Follower(self._database, self._blobs, target, IN_REGIONS)

    def current(self) -> Snapshot:
        """Return a snapshot that holds everything acknowledged before this call.

        Raises:
            CorruptFile: a segment it needs is damaged. A damaged generation is left out, not searched.
        """
        # Before the lock, so that nobody waits for another's question: what this call must see is committed already.
        state = self._catalogue.state_of(self._name)
        with self._lock:
            if state is not None and state == self._state and self._snapshot is not None:
                return self._snapshot
            target = self._catalogue.collection(self._name)
            if target.space_id != self._space_id:
                self._enter(target)  # the collection was promoted, or rolled back
            self._snapshot = self._renewed(target)
            self._state = state  # as it was before the collection was read: what came between is seen next time
            return self._snapshot

    def _renewed(self, target: Collection) -> Snapshot:
        wholes = self._wholes.renewed(target)
        if not target.regions_rule:
            self._regions.forget()
            return Snapshot(target, wholes.generation, wholes.delta)
        # What scores are compared with each other must have the same transform.
        found = self._regions.renewed(target, wholes.transform)
        regions = Snapshot(target, found.generation, found.delta, transform=found.transform)
        return Snapshot(target, wholes.generation, wholes.delta, regions=regions)
