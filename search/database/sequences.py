"""Commit sequences and the locks that order what is written.

Every commit of a collection takes its next sequence first, which locks the collection's row until the commit's end:
commits of one collection follow each other, and who holds the rows of all collections is alone with the catalogue.
Readers look for news only when the sequence has moved.
"""

from collections.abc import Iterable

from sqlalchemy import Connection, func, select, update

from search.database.database import chunks
from search.database.tables import collection, segment
from search.errors import CollectionNotFound, SpaceMismatch
from search.records import Collection


def next_sequence(connection: Connection, target: Collection) -> int:
    """Take and return the next commit sequence of a collection, locking its row.

    Raises:
        CollectionNotFound: it was removed meanwhile.
        SpaceMismatch: it was promoted to another space meanwhile.
    """
    taken = connection.execute(
        update(collection)
        .where(collection.c.id == target.id)
        .values(sequence=collection.c.sequence + 1)
        .returning(collection.c.sequence, collection.c.space_id)
    ).first()
    if taken is None:
        raise CollectionNotFound("the collection was removed meanwhile; run again to create it")
    if taken.space_id != target.space_id:
        # Its embeddings would belong to a space that nobody searches any more.
        raise SpaceMismatch(
            f"collection {target.name!r} was promoted or rolled back to another space while it was being indexed; run "
            "the same command again, without --backbone, to go on in that space"
        )
    return int(taken.sequence)


def lock_collections(connection: Connection) -> list[int]:
    """Lock the rows of all collections, so that nothing is committed until this transaction ends; return their ids."""
    # In one order, so that two who lock everything wait for each other instead of deadlocking.
    query = select(collection.c.id).order_by(collection.c.id).with_for_update()
    return list(connection.execute(query).scalars())


def advance_all(connection: Connection) -> None:
    """Take a commit sequence of every collection, all locked, so that each reader looks again at what there is."""
    lock_collections(connection)
    connection.execute(update(collection).values(sequence=collection.c.sequence + 1))


def may_be_named(connection: Connection, collection_id: int, sequence: int, segment_ids: Iterable[int]) -> bool:
    """Tell what `is_true` tells, locking the collection's row, so that it stays so until the transaction ends."""
    connection.execute(select(collection.c.id).where(collection.c.id == collection_id).with_for_update())
    return is_true(connection, collection_id, sequence, segment_ids)


def is_true(connection: Connection, collection_id: int, sequence: int, segment_ids: Iterable[int]) -> bool:
    """Tell whether a generation of these commits and segments is still true.

    Since it was built, compaction may have purged the tombstone of an image it holds, or forgotten a segment it reads.
    """
    purged: int | None = connection.execute(
        select(collection.c.purged_sequence).where(collection.c.id == collection_id)
    ).scalar()
    if purged is None or sequence < purged:
        return False
    for part in chunks(segment_ids):
        there = select(func.count()).select_from(segment).where(segment.c.id.in_(part))
        if connection.execute(there).scalar_one() < len(part):
            return False
    return True
