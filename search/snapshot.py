"""What a reader searches: one generation plus the exact delta of everything newer.

A snapshot never changes once made. `SnapshotReader.current` makes a new one when the catalogue moved on, reading only
the rows it has not seen, so a search always sees every acknowledged image.
"""

import logging
import threading
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from search.blobs import Blobs
from search.catalogue import Catalogue, Located
from search.database import Database
from search.errors import CorruptFile, ImageNotFound
from search.generations import Generation, Generations
from search.records import Collection, Embeddings
from search.segment_cache import SegmentCache

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Delta:
    """Rows newer than the generation. ids (M,) int64 ascending, embeddings (M, D); changed: all ids that moved on."""

    ids: NDArray[np.int64]
    embeddings: Embeddings
    changed: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Ranked:
    """The best images of one query, best first, ties by lower id. ids (K,) int64, scores (K,) float32."""

    ids: NDArray[np.int64]
    scores: NDArray[np.float32]


class Snapshot:
    """One consistent state of a collection, searchable by many threads."""

    def __init__(self, target: Collection, generation: Generation | None, delta: Delta) -> None:
        self.collection = target
        self.generation = generation
        self.delta = delta
        known = generation.ids if generation is not None else np.empty(0, np.int64)
        # Rows of the generation whose image has changed or gone since.
        self._stale = np.flatnonzero(np.isin(known, delta.changed))

    def __len__(self) -> int:
        """Return how many images can be found."""
        return self._generation_rows() - len(self._stale) + len(self.delta.ids)

    def search(self, query: Embeddings, k: int) -> Ranked:
        """Return the k images closest to one query, (1, D) float32 of unit length. Scores are exact cosines."""
        places = _first(self.delta.embeddings @ query[0], k)
        rows = np.empty(0, np.int64)
        if self.generation is not None:
            found = self.generation.index.search(query, k, self._stale).rows[0]
            rows = found[found >= 0]
        return self._ranked(query, k, places, rows)

    def search_among(self, query: Embeddings, k: int, among: NDArray[np.int64]) -> Ranked:
        """Return the k images closest to one query of those with an id in `among`; no other image is scored.

        query: (1, D) float32 of unit length. among: (N,) image ids, ascending; ids that are not here do not matter.
        """
        here = np.flatnonzero(np.isin(self.delta.ids, among))
        places = here[_first(self.delta.embeddings[here] @ query[0], k)]
        rows = np.empty(0, np.int64)
        if self.generation is not None:
            wanted = np.setdiff1d(np.flatnonzero(np.isin(self.generation.ids, among)), self._stale)
            rows = self.generation.index.search_among(query, k, wanted).rows[0]
        return self._ranked(query, k, places, rows)

    def _ranked(self, query: Embeddings, k: int, places: NDArray[np.int64], rows: NDArray[np.int64]) -> Ranked:
        """Return the k best of some rows of the delta and of the generation.

        All are scored once more by the same sum, so that equal embeddings score equal wherever they lie.
        """
        ids, embeddings = self.delta.ids[places], self.delta.embeddings[places]
        if self.generation is not None:
            ids = np.concatenate([ids, self.generation.ids[rows]])
            embeddings = np.concatenate([embeddings, self.generation.index.embeddings()[rows]])
        scores = np.einsum("nd,d->n", embeddings, query[0])
        order = np.lexsort((ids, -scores))[:k]
        return Ranked(ids[order], np.clip(scores[order], -1.0, 1.0))

    def embedding_of(self, image_id: int) -> Embeddings:
        """Return the embedding of one image, (1, D) float32 of unit length.

        Raises:
            ImageNotFound: the image is not in this snapshot.
        """
        place = np.flatnonzero(self.delta.ids == image_id)
        if len(place):
            return self.delta.embeddings[place[:1]]
        if self.generation is not None and image_id not in self.delta.changed:
            row = int(np.searchsorted(self.generation.ids, image_id))
            if row < len(self.generation.ids) and self.generation.ids[row] == image_id:
                return self.generation.index.embeddings()[row : row + 1]
        raise ImageNotFound(f"there is no image with id {image_id} in this collection")

    def rows(self) -> tuple[NDArray[np.int64], Embeddings]:
        """Return all images that can be found: ids (N,) int64 ascending, embeddings (N, D) float32."""
        ids, embeddings = self.delta.ids, self.delta.embeddings
        if self.generation is not None:
            keep = np.delete(np.arange(self._generation_rows()), self._stale)
            ids = np.concatenate([self.generation.ids[keep], ids])
            embeddings = np.concatenate([self.generation.index.embeddings()[keep], embeddings])
        order = np.argsort(ids, kind="stable")
        return ids[order], embeddings[order]

    def _generation_rows(self) -> int:
        return len(self.generation.ids) if self.generation is not None else 0


class SnapshotReader:
    """Follows a collection: gives the newest snapshot, cheaply when nothing changed. Thread-safe."""

    def __init__(self, database: Database, blobs: Blobs, target: Collection) -> None:
        self._catalogue = Catalogue(database)
        self._generations = Generations(database, blobs, target)
        self._segments = SegmentCache(self._catalogue, blobs, target.space.dims)
        self._name = target.name
        self._snapshot: Snapshot | None = None
        self._lock = threading.Lock()

    def current(self) -> Snapshot:
        """Return a snapshot that holds everything acknowledged before this call.

        Raises:
            CorruptFile: a segment it needs is damaged. A damaged generation is left out, not searched.
        """
        with self._lock:
            target = self._catalogue.collection(self._name)
            old = self._snapshot
            if old is None or old.collection != target:
                self._snapshot = self._renewed(target, old)
            assert self._snapshot is not None  # noqa: S101 -- set just above; for the type checker
            return self._snapshot

    def _renewed(self, target: Collection, old: Snapshot | None) -> Snapshot:
        generation = self._newest(old.generation if old is not None else None)
        same = old is not None and generation is old.generation
        known = old.delta if old is not None and same else self._nothing(target)
        if old is not None and same:
            since = old.collection.sequence
        else:
            since = generation.record.sequence if generation is not None else 0
        # Bounded above, so that what is committed meanwhile belongs to the next snapshot alone.
        newer = self._catalogue.changed_since(target.id, target.space_id, since, until=target.sequence)
        return Snapshot(target, generation, self._advanced(known, newer))

    def _newest(self, open_generation: Generation | None) -> Generation | None:
        record = self._generations.current()
        if record is None:
            return None
        if open_generation is not None and open_generation.record.id == record.id:
            return open_generation
        try:
            return self._generations.open(record)
        except CorruptFile as error:
            log.warning("generation left out, searching the segments instead: %s", error)
            return None

    def _nothing(self, target: Collection) -> Delta:
        none = np.empty(0, np.int64)
        return Delta(none, np.empty((0, target.space.dims), np.float32), none)

    def _advanced(self, known: Delta, newer: Located) -> Delta:
        keep = ~np.isin(known.ids, newer.ids)
        alive = ~newer.deleted
        added = self._segments.read(newer.segments[alive], newer.rows[alive])
        ids = np.concatenate([known.ids[keep], newer.ids[alive]])
        embeddings = np.concatenate([known.embeddings[keep], added])
        order = np.argsort(ids, kind="stable")
        return Delta(ids[order], embeddings[order], np.union1d(known.changed, newer.ids))


def _first(scores: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """Return the places of the k highest scores, ties by place."""
    return np.argsort(-scores, kind="stable")[:k]
