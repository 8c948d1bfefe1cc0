"""Images as records: what the catalogue knows of each, with its labels, for answers."""

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import Connection, Select, select, union

from search.database.tables import content, image
from search.errors import ImageNotFound
from search.records import ImageRecord
from search.storing.labels import labels_of_images


def image_in(connection: Connection, collection_id: int, image_id: int) -> ImageRecord:
    """Return one image as a transaction sees it.

    Raises:
        ImageNotFound: the collection has no image with this id.
    """
    found = records(connection, collection_id, images_of(collection_id).where(image.c.id == image_id))
    if not found:
        raise ImageNotFound(f"there is no image with id {image_id} in this collection")
    return found[0]


def images_at(connection: Connection, collection_id: int, uri: str) -> list[ImageRecord]:
    """Return the images at a uri, by id: one, none, or several whose keys name the same file."""
    return records(connection, collection_id, images_of(collection_id).where(image.c.uri == uri).order_by(image.c.id))


def images_of(collection_id: int) -> Select[tuple[object, ...]]:
    """Return the query for the living images of a collection, to be narrowed and given to `records`."""
    return _living().where(image.c.collection_id == collection_id)


def _living() -> Select[tuple[object, ...]]:
    return (
        select(
            image.c.id,
            image.c.key,
            image.c.uri,
            content.c.width,
            content.c.height,
            content.c.size_bytes,
            content.c.format,
            content.c.sha256,
            content.c.pixel_hash,
            content.c.contrast,
            content.c.taken_at,
            image.c.mtime_ns,
            image.c.metadata,
        )
        .join(content, content.c.id == image.c.content_id)
        .where(~image.c.deleted)
    )


def images_with(collection_id: int, ids: Sequence[int]) -> Select[tuple[object, ...]]:
    """Return the query for the living images of a collection that have one of these ids."""
    # The sum keeps SQLite from going through all images of the collection by its index to find ten of them.
    ours = image.c.collection_id + 0 == collection_id
    return _living().where(image.c.id.in_(ids), ours)


def ids_of_content(collection_id: int, sha256: bytes, pixel_hash: bytes) -> Select[tuple[int]]:
    """Return the query for the living images of a collection that hold these bytes or show these pixels, by id."""
    # Each hash has an index of its own, which an OR would not always use.
    same = union(
        select(content.c.id).where(content.c.sha256 == sha256),
        select(content.c.id).where(content.c.pixel_hash == pixel_hash),
    ).subquery()
    ours = select(image.c.id).where(image.c.collection_id == collection_id, ~image.c.deleted)
    # The sum keeps SQLite from going through all images of the collection in their order to find a few of them.
    return ours.where(image.c.content_id.in_(select(same.c.id))).order_by(image.c.id + 0)


def records(connection: Connection, collection_id: int, query: Select[tuple[object, ...]]) -> list[ImageRecord]:
    """Return the images of a query, with their labels."""
    found = [ImageRecord(**row._mapping) for row in connection.execute(query)]
    labels = labels_of_images(connection, collection_id, [record.id for record in found])
    return [replace(record, labels=labels[record.id]) if record.id in labels else record for record in found]
