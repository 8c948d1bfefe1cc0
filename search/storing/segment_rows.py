"""Naming segments in the catalogue."""

from sqlalchemy import Connection, insert

from search.blobs.segments import SegmentRecord
from search.database.tables import segment


def put_segment(connection: Connection, space_id: int, written: SegmentRecord) -> int:
    """Name a segment in the catalogue; return its id."""
    values = {
        "space_id": space_id,
        "name": written.name,
        "rows": written.rows,
        "size_bytes": written.size_bytes,
        "sha256": written.sha256,
        "checksums": written.checksums,
    }
    return int(connection.execute(insert(segment).values(values).returning(segment.c.id)).scalar_one())
