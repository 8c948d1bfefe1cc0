"""Local features in the catalogue: the record of each content is a row of a segment, in a space of their own.

So all that holds for embeddings holds for them: a batch's records become durable before the transaction that names
them, compaction merges their segments, backups keep them, `verify` compares their checksums. What differs is what the
bytes mean: a record is RECORD_BYTES bytes (search/geometry/local_features.py), which a segment takes for half as many
numbers. Another recipe or other centres are another space, whose records are made by the next `index`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, func, select

from search.blobs.segments import SegmentRecord
from search.database.bulk import insert_missing_rows
from search.database.database import Database, chunks
from search.database.tables import embedding, image, space
from search.errors import StoreUnavailable
from search.geometry.local_features import MADE_BY, QUANTISER_SHA256, RECORD_BYTES
from search.records import CODES, Collection, SpaceSpec
from search.storing.segment_rows import put_segment

LOCAL_SPACE: Final = SpaceSpec(
    backbone="local-features",
    weights_sha256=QUANTISER_SHA256,
    preparation=f'{{"made_by": "{MADE_BY}"}}',
    dims=RECORD_BYTES // 2,
    pooling=CODES,
    numeric=CODES,
)
_COLUMNS = ("content_id", "space_id", "region", "segment_id", "row")


@dataclass(frozen=True, slots=True)
class LocatedRecords:
    """Where records lie: parallel arrays, (N,) each, ordered by content id."""

    contents: NDArray[np.int64]
    segments: NDArray[np.int64]
    rows: NDArray[np.int64]

    def those(self, chosen: NDArray[np.bool_]) -> "LocatedRecords":
        """Return the chosen ones."""
        return LocatedRecords(self.contents[chosen], self.segments[chosen], self.rows[chosen])


def as_stored(records: Iterable[NDArray[np.uint8] | None]) -> NDArray[np.float16]:
    """Return those records that are there as the numbers a segment keeps, (N, RECORD_BYTES / 2), bit by bit."""
    found = [record for record in records if record is not None]
    joined = np.concatenate(found) if found else np.empty(0, np.uint8)
    return joined.reshape(-1, RECORD_BYTES).view("<f2")


def as_records(stored: NDArray[np.float16]) -> NDArray[np.uint8]:
    """Return the records of which `as_stored` made these numbers, (N, RECORD_BYTES) uint8."""
    return np.ascontiguousarray(stored).view(np.uint8).reshape(-1, RECORD_BYTES)


def space_of(connection: Connection, fingerprint: str) -> int | None:
    """Return the id of the space with this fingerprint, None when the store has none."""
    found: int | None = connection.execute(select(space.c.id).where(space.c.fingerprint == fingerprint)).scalar()
    return found


def local_space_id(connection: Connection) -> int:
    """Return the id of the space of records.

    Raises:
        StoreUnavailable: there is none, as no collection asked for local features (`Store.open_collection`).
    """
    found = space_of(connection, LOCAL_SPACE.fingerprint)
    if found is None:
        raise StoreUnavailable("no collection of this store keeps local features; run `lookalike index --local`")
    return found


def put_records(connection: Connection, written: SegmentRecord | None, contents: Sequence[int]) -> None:
    """Name a segment whose rows are the records of these contents, in order; a content keeps the one it has.

    written: None where there are none.

    Raises:
        StoreUnavailable: no collection asked for local features.
    """
    if written is None:
        return
    space_id = local_space_id(connection)
    segment_id = put_segment(connection, space_id, written)
    # Sorted, as the contents are; of two files with one content the first row counts.
    rows = sorted((content_id, space_id, 0, segment_id, row) for row, content_id in enumerate(contents))
    insert_missing_rows(connection, embedding, _COLUMNS, rows)


class LocalRows:
    """Questions about records. Until the first collection asks for local features there is no space of theirs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def missing(self, content_ids: Sequence[int]) -> set[int]:
        """Return those of the contents that have no record."""
        with self._database.reading() as connection:
            here = embedding.c.space_id == space_of(connection, LOCAL_SPACE.fingerprint)
            query = select(embedding.c.content_id).where(here)
            known = {
                found
                for part in chunks(sorted(set(content_ids)))
                for found in connection.execute(query.where(embedding.c.content_id.in_(part))).scalars()
            }
        return set(content_ids) - known

    def located(self, target: Collection, *, sequence: int = 0, segment_id: int = 0) -> LocatedRecords:
        """Return the records of the living images of a collection.

        sequence, segment_id: only of images that changed in later commits, and those in later segments.
        """
        with self._database.reading() as connection:
            space_id = space_of(connection, LOCAL_SPACE.fingerprint)
            newer = (image.c.sequence > sequence) | (embedding.c.segment_id > segment_id)
            query = (
                select(embedding.c.content_id, embedding.c.segment_id, embedding.c.row)
                .join(image, image.c.content_id == embedding.c.content_id)
                .where(image.c.collection_id == target.id, ~image.c.deleted, embedding.c.space_id == space_id, newer)
                .distinct()
                .order_by(embedding.c.content_id)
            )
            table = np.array([tuple(row) for row in connection.execute(query)], np.int64).reshape(-1, 3)
        return LocatedRecords(table[:, 0].copy(), table[:, 1].copy(), table[:, 2].copy())

    def count(self, target: Collection) -> int:
        """Return how many images of a collection have local features."""
        with self._database.reading() as connection:
            space_id = space_of(connection, LOCAL_SPACE.fingerprint)
            mine = (image.c.collection_id == target.id) & ~image.c.deleted & (embedding.c.space_id == space_id)
            query = select(func.count(image.c.id)).join(embedding, embedding.c.content_id == image.c.content_id)
            return int(connection.execute(query.where(mine)).scalar_one())
