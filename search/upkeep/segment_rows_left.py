"""What of a damaged segment can still be read: its rows in blocks that are intact."""

from dataclasses import dataclass

import numpy as np
from sqlalchemy import select

from search.blobs.segments import Segment, SegmentRecord
from search.database.tables import embedding, segment, space
from search.embeddings import usable_rows
from search.errors import CorruptFile
from search.records import CODES
from search.storing.store import Store
from search.upkeep.merging import Row


@dataclass(frozen=True, slots=True)
class StoredSegment:
    """A segment as the catalogue names it, and its space. codes: its rows are no embeddings."""

    id: int
    space_id: int
    dims: int
    codes: bool
    record: SegmentRecord


def segment_named(store: Store, name: str) -> StoredSegment | None:
    """Return the segment of this name, None where the catalogue names none."""
    columns = (segment.c.name, segment.c.rows, segment.c.size_bytes, segment.c.sha256, segment.c.checksums)
    query = select(segment.c.id, space.c.id, space.c.dims, space.c.numeric, *columns)
    query = query.join(space, space.c.id == segment.c.space_id)
    with store.database.reading() as connection:
        row = connection.execute(query.where(segment.c.name == name)).first()
    return None if row is None else StoredSegment(row[0], row[1], row[2], row[3] == CODES, SegmentRecord(*row[4:]))


def split_rows(store: Store, found: StoredSegment) -> tuple[list[Row], list[Row], Segment | None]:
    """Return the used rows whose every block is intact, those that are lost, and the segment if it can be opened."""
    query = select(embedding.c.content_id, embedding.c.region, embedding.c.segment_id, embedding.c.row)
    query = query.where(embedding.c.segment_id == found.id, embedding.c.space_id == found.space_id)
    with store.database.reading() as connection:
        rows = [Row(*row) for row in connection.execute(query.order_by(embedding.c.row))]
    try:
        opened = Segment(store.blobs, found.record, found.dims, read_head=False)
    except CorruptFile:
        return [], rows, None
    sound = [row for row in rows if _is_sound(opened, row.row, found)]
    kept = frozenset(sound)
    return sound, [row for row in rows if row not in kept], opened


def _is_sound(opened: Segment, row: int, found: StoredSegment) -> bool:
    try:
        stored = opened.stored(np.array([row], np.int64))
        return found.codes or bool(usable_rows(stored.astype(np.float32))[0])
    except CorruptFile:
        return False
