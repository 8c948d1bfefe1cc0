"""Removing images: tombstones at once, and nothing of them after `compact`.

A tombstone is the image's row, marked, with the sequence of the commit that removed it: readers find it as they find
every other change, and mask what an older generation knows. Ids are never used again.
"""

from collections.abc import Iterable, Mapping

from sqlalchemy import exists, func, or_, select, update

from search.database.database import Database, chunks
from search.database.sequences import next_sequence
from search.database.tables import content, embedding, image
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


def images_holding(database: Database, target: Collection, contents: Mapping[str, bytes]) -> dict[int, str]:
    """Return the uris of the images of a collection, by id, that hold at their uri the bytes of this sha256."""
    query = select(image.c.id, image.c.uri, content.c.sha256).join(content, content.c.id == image.c.content_id)
    query = query.where(image.c.collection_id == target.id, ~image.c.deleted)
    with database.reading() as connection:
        rows = [row for part in chunks(contents) for row in connection.execute(query.where(image.c.uri.in_(part)))]
    return {row.id: row.uri for row in rows if bytes(row.sha256) == contents[row.uri]}


def recall_images(database: Database, target: Collection, image_ids: Iterable[int]) -> int:
    """Take tombstones off in one commit; return how many images are there again, with their ids, keys and embeddings.

    Those alone that lost nothing yet: `compact` drops embeddings that nothing uses, and a key or a place may have been
    taken by another image.

    Raises:
        StoreUnavailable: the database is locked, full or read-only; nothing was changed.
    """
    other = image.alias()
    taken = exists().where(
        other.c.collection_id == image.c.collection_id,
        ~other.c.deleted,
        or_(other.c.key == image.c.key, other.c.uri == image.c.uri),
    )
    known = exists().where(
        embedding.c.content_id == image.c.content_id, embedding.c.space_id == target.space_id, embedding.c.region == 0
    )
    back = 0
    with database.writing() as connection:
        sequence = next_sequence(connection, target)
        for part in chunks(image_ids):
            chosen = (image.c.collection_id == target.id) & image.c.id.in_(part) & image.c.deleted & known & ~taken
            back += connection.execute(update(image).where(chosen).values(deleted=False, sequence=sequence)).rowcount
    return back
