"""Which contents show the same pixels, and which images show those of a content."""

from collections.abc import Iterable

from sqlalchemy import select

from search.database.database import Database, chunks
from search.database.tables import content, image


def contents_showing(database: Database, pixel_hashes: Iterable[bytes]) -> dict[bytes, set[bytes]]:
    """Return the contents (sha256) that show the same pixels, by the hash of those."""
    query = select(content.c.pixel_hash, content.c.sha256)
    found: dict[bytes, set[bytes]] = {}
    with database.reading() as connection:
        for part in chunks(pixel_hashes):
            for row in connection.execute(query.where(content.c.pixel_hash.in_(part))):
                found.setdefault(bytes(row.pixel_hash), set()).add(bytes(row.sha256))
    return found


def images_showing(database: Database, collection_id: int, hashes: Iterable[bytes]) -> dict[bytes, set[int]]:
    """Return the ids of the images of a collection that show the pixels of each content, by its sha256."""
    named, shown = content.alias(), content.alias()
    query = (
        select(named.c.sha256, image.c.id)
        .join(shown, shown.c.pixel_hash == named.c.pixel_hash)
        .join(image, image.c.content_id == shown.c.id)
        .where(image.c.collection_id == collection_id, ~image.c.deleted)
    )
    found: dict[bytes, set[int]] = {}
    with database.reading() as connection:
        for part in chunks(hashes):
            for row in connection.execute(query.where(named.c.sha256.in_(part))):
                found.setdefault(bytes(row.sha256), set()).add(row.id)
    return found
