"""What a reader keeps between two looks at a collection: an open generation, and what is newer than it.

Whole pictures and their regions are followed alike, each by a follower of its own; they only differ in their ids.
"""

import logging
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from search.blobs.blobs import Blobs
from search.database.database import Database
from search.errors import CorruptFile
from search.finding.generations import Generation, Generations
from search.finding.segment_cache import SegmentCache
from search.index.post_transform import NONE, PostTransform
from search.records import Collection, Embeddings
from search.regions import Part
from search.storing.catalogue import Catalogue, Located

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Delta:
    """Rows newer than the generation. ids (M,) int64 ascending, embeddings (M, d); changed: all ids that moved on.

    embeddings: with the transform of the generation. stored: (M, D), as segments keep them, and lengths: (M,), those
    that transformed ones had (`PostTransform.with_lengths`); None without a transform.
    """

    ids: NDArray[np.int64]
    embeddings: Embeddings
    changed: NDArray[np.int64]
    stored: Embeddings | None = None
    lengths: NDArray[np.float32] | None = None


class Followed(NamedTuple):
    """One state. transform: of its embeddings. sequence: the last commit it knows."""

    generation: Generation | None
    delta: Delta
    transform: PostTransform
    sequence: int


class Follower:
    """Follows one index of a collection in one space. Not thread-safe."""

    def __init__(self, database: Database, blobs: Blobs, target: Collection, part: Part) -> None:
        self._generations = Generations(database, blobs, target, part)
        self._segments = SegmentCache(Catalogue(database), blobs, target.space.dims)
        self._damaged: set[int] = set()
        self._last: Followed | None = None

    def forget(self) -> None:
        """Let go of what is open; nobody searches it now."""
        self._last = None

    def renewed(self, target: Collection, transform: PostTransform | None = None) -> Followed:
        """Return the state as of the commits that `target` knows. transform: the one to have; None: the generation's.

        Raises:
            CorruptFile: a segment it needs is damaged. A damaged generation is left out.
        """
        old = self._last
        untrue: set[int] = set()
        while True:
            generation = self._newest(None if old is None else old.generation, untrue, transform)
            used = transform or (NONE if generation is None else generation.transform)
            if old is not None and generation is old.generation and used.fingerprint == old.transform.fingerprint:
                known, since = old.delta, old.sequence
            else:
                known, since = nothing(target.space.dims, used), 0 if generation is None else generation.record.sequence
            # Bounded above, so that what is committed meanwhile belongs to the next state alone.
            newer = self._generations.changed_since(since, until=target.sequence)
            # Asked last: what was purged before `newer` was read is missing there.
            if generation is not None and not self._generations.is_true(generation):
                untrue.add(generation.record.id)
            elif generation is None and len(known.ids) and self._generations.purged_after(since):
                old = None  # begun anew: removed images may be among those it knows
            else:
                self._last = Followed(generation, self._advanced(known, newer, used), used, target.sequence)
                return self._last

    def _newest(
        self, open_generation: Generation | None, untrue: set[int], transform: PostTransform | None
    ) -> Generation | None:
        """Return the newest generation that is sound; what is newer than it is then read from the segments."""
        for record in self._generations.newest():
            if record.id in self._damaged or record.id in untrue:
                continue
            found = open_generation
            if found is None or found.record.id != record.id:
                try:
                    found = self._generations.open(record)
                except CorruptFile as error:
                    # Looked at once: whatever rebuilds it gives it another id.
                    self._damaged.add(record.id)
                    log.warning("generation left out, searching what is older and the segments instead: %s", error)
                    continue
            if transform is None or found.transform.fingerprint == transform.fingerprint:
                return found
        return None

    def _advanced(self, known: Delta, newer: Located, transform: PostTransform) -> Delta:
        keep = ~np.isin(known.ids, newer.ids)
        alive = ~newer.deleted
        added = self._segments.read(newer.segments[alive], newer.rows[alive])
        ids = np.concatenate([known.ids[keep], newer.ids[alive]])
        order = np.argsort(ids, kind="stable")
        changed = np.union1d(known.changed, newer.ids)
        if known.stored is None or known.lengths is None:
            return Delta(ids[order], np.concatenate([known.embeddings[keep], added])[order], changed)
        transformed, lengths = transform.with_lengths(added)
        embeddings = np.concatenate([known.embeddings[keep], transformed])[order]
        stored = np.concatenate([known.stored[keep], added])[order]
        return Delta(ids[order], embeddings, changed, stored, np.concatenate([known.lengths[keep], lengths])[order])


def nothing(dims: int, transform: PostTransform) -> Delta:
    """Return a delta without rows. dims: of embeddings as segments keep them."""
    none, stored = np.empty(0, np.int64), np.empty((0, dims), np.float32)
    if transform.is_none:
        return Delta(none, stored, none)
    embeddings, lengths = transform.with_lengths(stored)
    return Delta(none, embeddings, none, stored, lengths)
