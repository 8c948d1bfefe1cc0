"""Generations: one published version of a collection's index, a cache that segments can always rebuild."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import delete, func, insert, select, update

from search.blobs.blobs import Blobs
from search.blobs.checksums import CheckedBlob
from search.blobs.generation_files import unpacked
from search.database.database import Database
from search.database.sequences import is_true, may_be_named
from search.database.tables import collection, generation
from search.embeddings import cosines
from search.errors import CorruptFile, StoreUnavailable
from search.faults import fault
from search.finding.fitted_transforms import chosen_anew, kept_or_anew, recorded, write_down
from search.finding.generation_parts import STREAMED_ROWS, Places, StoredRows, places_in, transform_in
from search.finding.generation_writing import Progress, Written, write_generation
from search.finding.segment_cache import SegmentCache
from search.index.exact import EXACT, ExactIndex
from search.index.inverted import InvertedIndex
from search.index.post_transform import NONE, PostTransform
from search.index.projection import Projection
from search.records import NO_TRANSFORM, Collection, Embeddings
from search.regions import IN_REGIONS, WHOLES, Part
from search.storing.catalogue import Catalogue, Located
from search.storing.region_rows import regions_changed_since

KEPT: Final = 2  # the current one, and the one before it for readers that are just opening it
# Above this many rows an approximate index is faster; up to it comparing all is.
EXACT_ROWS: Final = 10_000
# A delta is searched exactly, so publishing can wait until it is worth the work, but not until searching it is.
DELTA_ROWS: Final = 1_000
DELTA_SHARE: Final = 0.1
LARGEST_DELTA: Final = 20_000

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class GenerationRecord:
    """A generation as the catalogue names it.

    sequence: the last commit it knows. facts: what was measured of it. part: what it knows, whole pictures or regions.
    """

    id: int
    sequence: int
    kind: str
    rows: int
    name: str
    size_bytes: int
    sha256: bytes
    checksums: bytes
    facts: dict[str, Any] = field(default_factory=dict)
    part: str = WHOLES

    @property
    def measured(self) -> dict[str, float]:
        """Return what was measured of an approximate index (search/index/training.py), nothing of an exact one."""
        return {name: fact for name, fact in self.facts.items() if name != "transform"}


class Generation:
    """An open generation. ids, segments, rows, lengths: its `Places`."""

    def __init__(
        self,
        record: GenerationRecord,
        index: ExactIndex | InvertedIndex,
        projection: Projection | None,
        places: Places,
        stored: SegmentCache,
        transform: PostTransform = NONE,
    ) -> None:
        """transform: what was done to the embeddings that the index knows."""
        self.record = record
        self.transform = transform
        self.index = index
        self.projection = projection
        self.ids, self.segments, self.rows, self.lengths = places
        self._stored = stored

    @property
    def per_neighbour(self) -> int:
        """Return how many candidates are ranked by their embeddings for each neighbour wanted."""
        return int(self.record.facts.get("per_neighbour", 1))

    @property
    def filtered_per_neighbour(self) -> int:
        """Return the same for searches with a filter."""
        return int(self.record.facts.get("filtered_per_neighbour", 1))

    def embeddings_at(self, rows: NDArray[np.int64]) -> Embeddings:
        """Return the transformed embeddings of index rows, (len(rows), d) float32 of unit length, in the order asked.

        Raises:
            CorruptFile: a segment that holds one of them is damaged.
        """
        if isinstance(self.index, ExactIndex):
            return self.index.embeddings()[rows]
        if self.transform.is_none or len(rows) <= STREAMED_ROWS:
            return self.transform.apply(self.stored_embeddings_at(rows))
        # So that they are never all in memory as they were before, too.
        out = np.empty((len(rows), self.transform.dims_of(self._stored.dims)), np.float32)
        for start in range(0, len(rows), STREAMED_ROWS):
            part = slice(start, start + STREAMED_ROWS)
            out[part] = self.transform.apply(self.stored_embeddings_at(rows[part]))
        return out

    def scores_at(self, rows: NDArray[np.int64], query: Embeddings) -> NDArray[np.float32]:
        """Return the scores of index rows with a transformed query, (1, d), in the order asked: (len(rows),).

        Raises:
            CorruptFile: a segment that holds one of them is damaged.
        """
        if self.lengths is None:
            return cosines(self.embeddings_at(rows), query)
        return self.transform.scores(query, self.stored_embeddings_at(rows), self.lengths[rows])

    def scores_each(self, rows: Sequence[NDArray[np.int64]], queries: Embeddings) -> list[NDArray[np.float32]]:
        """Return what `scores_at` returns of each of some transformed queries, (Q, d), and its rows, read at once.

        Raises:
            CorruptFile: a segment that holds one of them is damaged.
        """
        starts, together = np.cumsum([len(one) for one in rows])[:-1], np.concatenate(rows)
        if self.lengths is None:
            parts = np.split(self.embeddings_at(together), starts)
            return [cosines(part, query) for part, query in zip(parts, queries[:, np.newaxis], strict=True)]
        parts, lengths = np.split(self.stored_embeddings_at(together), starts), np.split(self.lengths[together], starts)
        each = zip(queries[:, np.newaxis], parts, lengths, strict=True)
        return [self.transform.scores(query, part, length) for query, part, length in each]

    def stored_embeddings_at(self, rows: NDArray[np.int64]) -> Embeddings:
        """Return the embeddings of index rows as segments keep them, (len(rows), D) float32 of unit length.

        Raises:
            CorruptFile: a segment that holds one of them is damaged.
        """
        if isinstance(self.index, ExactIndex) and self.transform.is_none:
            return self.index.embeddings()[rows]
        return self._stored.read(self.segments[rows].astype(np.int64), self.rows[rows].astype(np.int64))


class Generations:
    """Opens the generations of one collection, those of whole pictures or those of regions; publishes both together."""

    def __init__(self, database: Database, blobs: Blobs, target: Collection, part: Part = WHOLES) -> None:
        self._database = database
        self._blobs = blobs
        self._target = target
        self.space_id = target.space_id
        self._catalogue = Catalogue(database)
        self._part = part
        self._searched = (generation.c.collection_id == target.id, generation.c.space_id == target.space_id)
        self._mine = (*self._searched, generation.c.part == part)
        self._newest = (generation.c.sequence.desc(), generation.c.id.desc())

    def current(self) -> GenerationRecord | None:
        """Return the newest generation, None before the first."""
        return next(iter(self.newest()), None)

    def newest(self) -> list[GenerationRecord]:
        """Return the generations there are, the newest first."""
        columns = [generation.c[name] for name in GenerationRecord.__dataclass_fields__]
        query = select(*columns).where(*self._mine).order_by(*self._newest).limit(KEPT)
        with self._database.reading() as connection:
            return [GenerationRecord(*row) for row in connection.execute(query)]

    def is_true(self, found: Generation) -> bool:
        """Return whether an open generation may be searched: nothing that it needs or hides was purged since."""
        newest = self.current()
        # What is purged is judged by whole pictures: the newest index of regions may be older.
        if self._part == WHOLES and newest is not None and newest.id == found.record.id:
            return True
        with self._database.reading() as connection:
            return is_true(connection, self._target.id, found.record.sequence, np.unique(found.segments).tolist())

    def purged_after(self, sequence: int) -> bool:
        """Return whether an image was purged from the catalogue whose removal is newer than a commit."""
        with self._database.reading() as connection:
            return not is_true(connection, self._target.id, sequence, [])

    def changed_since(self, sequence: int, *, until: int) -> Located:
        """Return where what an index of this part knows lies, that changed in commits (sequence, until]."""
        if self._part == IN_REGIONS:
            return regions_changed_since(self._database, self._target, sequence, until=until)
        return self._catalogue.changed_since(self._target.id, self._target.space_id, sequence, until=until)

    def open(self, record: GenerationRecord) -> Generation:
        """Return a generation whose every byte was compared with its checksum.

        Raises:
            CorruptFile: it is missing, truncated, damaged or foreign.
        """
        blob = CheckedBlob(self._blobs, record.name, record.size_bytes, record.checksums)
        whole = blob.read(0, record.size_bytes)
        sections, numbers = unpacked(record.name, whole)
        dims = self._target.space.dims
        places = places_in(sections)
        stored = SegmentCache(self._catalogue, self._blobs, dims)
        transform = transform_in(sections, numbers, dims)
        dims = transform.dims_of(dims)
        if record.kind == EXACT:
            index = ExactIndex.load(sections["index"], record.rows, dims)
            return Generation(record, index, None, places, stored, transform)
        axes = sections["axes"].view("<f4").reshape(dims, -1)
        projection = Projection(sections["mean"].view("<f4"), axes, numbers["low"], numbers["scale"])
        slacks = (numbers["slack"], numbers["filtered_slack"])
        inverted = InvertedIndex.load(sections["index"], record.rows, projection.dims, *slacks)
        return Generation(record, inverted, projection, places, stored, transform)

    def due(self, current: GenerationRecord | None, changed_rows: int) -> bool:
        """Tell whether so many rows newer than the current generation are worth a new one."""
        if current is None:
            return changed_rows > 0
        return changed_rows > min(LARGEST_DELTA, max(DELTA_ROWS, DELTA_SHARE * current.rows))

    def publish(
        self, sequence: int, progress: Progress = lambda done, total: None, *, transform: str | None = None
    ) -> GenerationRecord | None:
        """Build, write and name a generation of all commits up to `sequence`; None when there is nothing in it.

        Where regions are searched, theirs is named in the same transaction.

        progress: called with (rows done, rows in all). transform: fit this one now, and use it from now on; by default
        the one that the collection has.

        Raises:
            UsageError: there is no such transform, or too little that it could be fitted to; nothing was changed.
            CorruptFile: a segment it needs is damaged.
            StoreUnavailable: the disk is full or the database does not answer; the old generation stays.
        """
        target, dims = self._target, self._target.space.dims
        known = self._catalogue.collection(target.name)
        located = _living(self._catalogue.changed_since(target.id, target.space_id, 0, until=sequence))
        raw = StoredRows(self._catalogue, self._blobs, dims, located)
        used = self._kept(known.transform, raw) if transform is None else chosen_anew(transform, raw, dims)
        if not len(raw):
            self._choose(transform)
            return None
        indexes = {WHOLES: StoredRows(self._catalogue, self._blobs, dims, located, used)}
        if known.regions_rule:
            regions = _living(regions_changed_since(self._database, target, 0, until=sequence))
            indexes = {IN_REGIONS: StoredRows(self._catalogue, self._blobs, dims, regions, used)} | indexes
        written = self._written({part: rows for part, rows in indexes.items() if len(rows)}, progress)
        if self._named(sequence, written, known.transform, transform, used):
            fault("generation.done")
            total = sum(one.values["rows"] for one in written)
            progress(total, total)
            self.retire([one.values["part"] for one in written])
        return self.current()

    def _written(self, indexes: Mapping[Part, StoredRows], progress: Progress) -> list[Written]:
        """Write the generation of each part: of whole pictures last, for releases that take the last one for it."""
        total, written = sum(map(len, indexes.values())), list[Written]()
        for part, rows in indexes.items():
            before = sum(one.values["rows"] for one in written)
            recall = self._target.recall_target if len(rows) > EXACT_ROWS else None
            told = _shifted(progress, before, total)
            written.append(write_generation(self._blobs, part, rows, recall, told))
        return written

    def _kept(self, kind: str, raw: StoredRows) -> PostTransform:
        """Return the transform for a generation, where nobody asked for a new one."""
        if kind == NO_TRANSFORM or not len(raw):
            return NONE
        with self._database.reading() as connection:
            try:
                known = recorded(connection, self._target)
            except CorruptFile as error:
                log.warning("the catalogue is damaged: %s", error)
                known = None
        return kept_or_anew(known or self._published(kind), kind, raw, raw.dims)

    def _published(self, kind: str) -> PostTransform | None:
        """Return the transform of the newest generation that has one of this kind, None if there is none."""
        for record in self.newest():
            if record.facts.get("transform") == kind:
                with suppress(CorruptFile):
                    return self.open(record).transform
        return None

    def _choose(self, transform: str | None) -> None:
        """Remember a transform for a collection without images."""
        if transform is not None:
            with self._database.writing() as connection:
                here = update(collection).where(collection.c.id == self._target.id)
                connection.execute(here.values(transform=transform))

    def _named(
        self, sequence: int, written: Sequence[Written], before: str, wanted: str | None, used: PostTransform
    ) -> bool:
        """Name generations of one sequence, and their transform with them; return whether that was done.

        Not where a compaction or another choice meanwhile knows better: what was written is then swept. before: the
        transform that the collection was to have when the generation was begun. wanted: the one it is to have from now
        on, None for the same.

        Raises:
            StoreUnavailable: it was not done, and somebody waits for its transform.
        """
        mine = {"collection_id": self._target.id, "space_id": self._target.space_id, "sequence": sequence}
        segments = sorted({segment_id for one in written for segment_id in one.segments})
        here = collection.c.id == self._target.id
        newer = select(func.count()).select_from(generation).where(*self._mine)
        with self._database.writing() as connection:
            fault("generation.row")
            may_be = may_be_named(connection, self._target.id, sequence, segments)
            if wanted is None:
                may_be = may_be and connection.execute(select(collection.c.transform).where(here)).scalar() == before
            else:  # nor behind one that others would search instead
                newer = newer.where(generation.c.sequence > sequence)
                may_be = may_be and not connection.execute(newer).scalar()
            if may_be:
                for one in written:
                    connection.execute(insert(generation).values(mine | one.values))
                if wanted is not None:
                    connection.execute(update(collection).where(here).values(transform=wanted))
                write_down(connection, self._target, used)
        if wanted is not None and not may_be:
            raise StoreUnavailable("the collection changed meanwhile, so the old search index stays; try again")
        return may_be

    def is_sound(self, record: GenerationRecord) -> bool:
        """Return whether every byte of a generation is what was written, in the format of this release."""
        try:
            blob = CheckedBlob(self._blobs, record.name, record.size_bytes, record.checksums)
            unpacked(record.name, blob.read(0, record.size_bytes))
        except CorruptFile:
            return False
        return True

    def retire(self, published: Sequence[Part] = (WHOLES,)) -> None:
        """Forget all generations of the collection but the newest of these parts, so all of parts that are not named.

        A part that is not named has no rows any more. The files go with the next sweep.
        """
        with self._database.writing() as connection:
            kept: list[int] = []
            for part in published:
                newest = select(generation.c.id).where(*self._searched, generation.c.part == part)
                kept += connection.execute(newest.order_by(*self._newest).limit(KEPT)).scalars()
            connection.execute(delete(generation).where(*self._searched, generation.c.id.not_in(kept)))


def _living(located: Located) -> Located:
    alive = ~located.deleted
    return Located(located.ids[alive], located.segments[alive], located.rows[alive], located.deleted[alive])


def _shifted(progress: Progress, before: int, total: int) -> Progress:
    """Return who is told of one index of several: so many rows are in others."""
    return lambda done, _of: progress(before + done, total)
