"""Removing images: tombstones at once, and nothing of them after `compact`.

A tombstone is the image's row, marked, with the sequence of the commit that removed it: readers find it as they find
every other change, and mask what an older generation knows. Ids are never used again.
"""

from collections.abc import Iterable

from sqlalchemy import func, or_, select

from search.database.database import Database
from search.database.sequences import next_sequence
from search.database.tables import image
from search.errors import ImageNotFound
from search.faults import fault
from search.records import Collection
from search.storing.tombstones import tombstone


def remove_images(database: Database, target: Collection, image_ids: Iterable[int]) -> int:
    """Remove images in one commit; return how many were still there. After this returns no search names them.

    Raises:
        StoreUnavailable: the database is locked, full or read-only; nothing was removed.
    """
    with database.writing() as connection:
        fault("removal.begin")
        gone = tombstone(connection, target.id, image_ids, next_sequence(connection, target))
        fault("removal.end")
    fault("removal.done")
    return gone


def remove_image(database: Database, target: Collection, image_id: int) -> None:
    """Remove one image.

    Raises:
        ImageNotFound: the collection has no image with this id, or has it no more.
    """
    if not remove_images(database, target, [image_id]):
        raise ImageNotFound(f"there is no image with id {image_id} in this collection")


def ids_at(database: Database, target: Collection, uri: str) -> list[int]:
    """Return the ids of the images at a uri, below it as a folder, or inside it as an archive; ascending."""
    # Compared letter by letter: LIKE takes capitals for small letters in SQLite, and % and _ are common in uris.
    below = [func.substr(image.c.uri, 1, len(start)) == start for start in (f"{uri.rstrip('/')}/", f"{uri}!/")]
    query = select(image.c.id).where(image.c.collection_id == target.id, ~image.c.deleted)
    with database.reading() as connection:
        return list(connection.execute(query.where(or_(image.c.uri == uri, *below)).order_by(image.c.id)).scalars())
