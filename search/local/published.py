"""The published index of a collection's local features: a generation in the space of their records.

A cache, as every generation: it is built from the records in the segments, named in the catalogue with its checksums,
and left out where it is damaged. It knows contents, not images. What a content's features are never changes, so an
index cannot become wrong, only incomplete: which images hold a content is asked of the catalogue by each search.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import func, insert, select

from search.blobs.blobs import Blobs
from search.blobs.checksums import CheckedBlob, StreamedChecksums
from search.blobs.generation_files import array_section, packed, unpacked
from search.database.database import Database
from search.database.sequences import lock_collections
from search.database.tables import collection, generation, segment
from search.errors import CorruptFile
from search.faults import fault
from search.finding.generation_writing import FOLDER, SUFFIX, summed
from search.finding.generations import GenerationRecord, Generations
from search.finding.segment_cache import SegmentCache
from search.geometry.local_features import RECORD_BYTES, features_in
from search.index.local_index import LOCAL, LocalIndex
from search.records import Collection
from search.storing.catalogue import Catalogue
from search.storing.local_rows import LOCAL_SPACE, LocalRows, LocatedRecords, as_records, space_of
from search.storing.store import Store

READ_RECORDS: Final = 4_096  # in memory while an index is built: 20 MB


@dataclass(frozen=True, slots=True, eq=False)
class PublishedIndex:
    """An open index. contents: (N,) int64 ascending, those whose features it holds."""

    record: GenerationRecord
    index: LocalIndex
    contents: NDArray[np.int64]

    @property
    def segment(self) -> int:
        """The newest segment when it was built: records in later ones are not in it."""
        return int(self.record.facts["segment"])


class LocalIndexes:
    """Publishes and opens the indexes of one collection's local features."""

    def __init__(self, database: Database, blobs: Blobs, target: Collection) -> None:
        self._database = database
        self._blobs = blobs
        self._target = target

    def current(self) -> GenerationRecord | None:
        """Return the newest index, None before the first."""
        named = self._generations()
        return None if named is None else named.current()

    def open(self, record: GenerationRecord) -> PublishedIndex:
        """Return an index whose every byte was compared with its checksum.

        Raises:
            CorruptFile: it is missing, truncated, damaged or foreign.
        """
        blob = CheckedBlob(self._blobs, record.name, record.size_bytes, record.checksums)
        sections, numbers = unpacked(record.name, blob.read(0, record.size_bytes))
        if "contents" not in sections:
            raise CorruptFile(f"{record.name} is no index of local features")
        index = LocalIndex.load(sections["index"], int(numbers["features"]))
        return PublishedIndex(record, index, sections["contents"].view("<i8"))

    def publish(self) -> GenerationRecord | None:
        """Build, write and name an index of all local features of the collection; None when there are none.

        Raises:
            CorruptFile: a segment it needs is damaged.
            StoreUnavailable: the disk is full or the database does not answer; the old index stays.
        """
        named = self._generations()
        if named is None:
            return None
        sequence, newest = self._moment()
        located = LocalRows(self._database).located(self._target)
        if not len(located.contents):
            return None
        index = LocalIndex.empty()
        for features, owners in self.features(located):
            index.add(features, owners)
        sections = {"index": array_section(index.dump()), "contents": array_section(located.contents)}
        sums = StreamedChecksums()
        parts = summed(packed(sections, {"features": len(index)}), sums)
        name = self._blobs.write(FOLDER, SUFFIX, parts, point="generation")
        values = {
            "collection_id": self._target.id,
            "space_id": named.space_id,
            "sequence": sequence,
            "kind": LOCAL,
            "rows": len(located.contents),
            "name": name,
            "size_bytes": sums.size,
            "sha256": sums.sha256.digest(),
            "checksums": sums.blocks(),
            "facts": {"segment": newest, "features": len(index)},
        }
        with self._database.writing() as connection:
            fault("generation.row")
            connection.execute(insert(generation).values(values))
        fault("generation.done")
        named.retire()
        return named.current()

    def features(self, located: LocatedRecords) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.int64]]]:
        """Yield the features of located records and the contents they are of, a few thousand records at a time.

        Raises:
            CorruptFile: a segment is missing or damaged.
        """
        for start in range(0, len(located.contents), READ_RECORDS):
            part = slice(start, start + READ_RECORDS)
            cache = SegmentCache(Catalogue(self._database), self._blobs, RECORD_BYTES // 2)
            features, owners = features_in(as_records(cache.stored(located.segments[part], located.rows[part])))
            yield features, located.contents[part][owners]

    def newer(self, current: PublishedIndex | None) -> LocatedRecords:
        """Return the records that an index does not hold; all of them where there is none."""
        rows = LocalRows(self._database)
        if current is None:
            return rows.located(self._target)
        found = rows.located(self._target, sequence=current.record.sequence, segment_id=current.segment)
        new = ~np.isin(found.contents, current.contents)
        return found.those(new)

    def _moment(self) -> tuple[int, int]:
        """Return the collection's last commit, and the newest segment, at a moment when nothing is being committed."""
        with self._database.writing() as connection:
            lock_collections(connection)
            here = select(collection.c.sequence).where(collection.c.id == self._target.id)
            newest = select(func.coalesce(func.max(segment.c.id), 0))
            return connection.execute(here).scalar_one(), connection.execute(newest).scalar_one()

    def _generations(self) -> Generations | None:
        """Return what names the generations of the records' space, None while no collection has any."""
        with self._database.reading() as connection:
            space_id = space_of(connection, LOCAL_SPACE.fingerprint)
        if space_id is None:
            return None
        return Generations(self._database, self._blobs, replace(self._target, space_id=space_id, space=LOCAL_SPACE))


def publish_local_if_due(store: Store, target: Collection) -> bool:
    """Publish an index of local features when what is newer than the current one is worth it, or that is damaged.

    Return whether it was published.

    Raises:
        CorruptFile: a segment it needs is damaged.
        StoreUnavailable: the disk is full or the database does not answer; the old index stays.
    """
    indexes = LocalIndexes(store.database, store.blobs, target)
    record = indexes.current()
    try:
        current = None if record is None else indexes.open(record)
    except CorruptFile:
        return indexes.publish() is not None
    due = Generations(store.database, store.blobs, target).due(record, len(indexes.newer(current).contents))
    return due and indexes.publish() is not None


def renew_local(store: Store, target: Collection) -> bool:
    """Publish an index of local features where the current one is damaged, or holds contents that no image has.

    Return whether it was published.

    Raises:
        CorruptFile: a segment it needs is damaged.
        StoreUnavailable: the disk is full or the database does not answer; the old index stays.
    """
    indexes = LocalIndexes(store.database, store.blobs, target)
    record = indexes.current()
    living = LocalRows(store.database).located(target).contents
    try:
        sound = record is not None and bool(np.isin(indexes.open(record).contents, living).all())
    except CorruptFile:
        sound = False
    return not sound and indexes.publish() is not None
