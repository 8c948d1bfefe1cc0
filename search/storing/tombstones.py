"""Deleting images: they stay as tombstones, so that every reader learns of it from the sequence of the commit."""

from collections.abc import Iterable

from sqlalchemy import Connection, update

from search.database.database import chunks
from search.database.tables import image


def tombstone(connection: Connection, collection_id: int, ids: Iterable[int], sequence: int) -> int:
    """Mark images of a collection as deleted in a commit; return how many were not before. Unknown ids do not matter.

    sequence: of the commit, taken in the same transaction (`search.storing.commits`).
    """
    removed = 0
    for part in chunks(ids):
        chosen = (image.c.collection_id == collection_id) & image.c.id.in_(part) & ~image.c.deleted
        removed += connection.execute(update(image).where(chosen).values(deleted=True, sequence=sequence)).rowcount
    return removed
