"""What the catalogue remembers of sources: which archives and manifests were indexed, and what images say of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, insert, select, update
from sqlalchemy.exc import IntegrityError

from search.database.database import Database, chunks
from search.database.tables import image, ledger, source
from search.storing.catalogue import KnownFile


@dataclass(frozen=True, slots=True)
class KnownSource:
    """An archive or manifest. stamp: what it looked like when all it held was last indexed. images: it named then.

    stored: images of the collection that came from it and are still there.
    """

    id: int
    uri: str
    stamp: str
    images: int
    stored: int


class Origins:
    """The sources of one collection."""

    def __init__(self, database: Database, collection_id: int) -> None:
        self.database = database
        self._collection_id = collection_id

    def sources(self, uris: Sequence[str]) -> dict[str, KnownSource]:
        """Return what is known of archives and manifests, by uri; unknown ones are left out."""
        here = source.c.collection_id == self._collection_id
        with self.database.reading() as connection:
            rows = [
                row
                for part in chunks(uris)
                for row in connection.execute(select(source).where(here, source.c.uri.in_(part)))
            ]
            stored = self._stored(connection) if rows else {}
        return {row.uri: KnownSource(row.id, row.uri, row.stamp, row.images, stored.get(row.id, 0)) for row in rows}

    def _stored(self, connection: Any) -> dict[int, int]:
        query = (
            select(image.c.source_id, func.count())
            .where(image.c.collection_id == self._collection_id, image.c.source_id.is_not(None), ~image.c.deleted)
            .group_by(image.c.source_id)
        )
        return {row[0]: row[1] for row in connection.execute(query)}

    def put(self, uri: str) -> int:
        """Return the id of a source, making it when it is new."""
        mine = select(source.c.id).where(source.c.collection_id == self._collection_id, source.c.uri == uri)
        try:
            with self.database.writing() as connection:
                known = connection.execute(mine).scalar()
                if known is not None:
                    return int(known)
                values = {"collection_id": self._collection_id, "uri": uri, "stamp": "", "images": 0}
                return int(connection.execute(insert(source).values(values).returning(source.c.id)).scalar_one())
        except IntegrityError:
            with self.database.reading() as connection:  # another process made it a moment ago
                return int(connection.execute(mine).scalar_one())

    def remember(self, source_id: int, stamp: str, images: int) -> None:
        """Note what a source looked like when all it held was indexed; "" when it must be read again."""
        with self.database.writing() as connection:
            connection.execute(update(source).where(source.c.id == source_id).values(stamp=stamp, images=images))

    def images_of(self, source_id: int, page: int = 5000) -> Iterator[tuple[int, str]]:
        """Yield (image id, uri) of every image that came from a source, by id, a page at a time."""
        last = 0
        query = select(image.c.id, image.c.uri).where(image.c.source_id == source_id, ~image.c.deleted)
        while True:
            with self.database.reading() as connection:
                rows = connection.execute(query.where(image.c.id > last).order_by(image.c.id).limit(page)).all()
            if not rows:
                return
            yield from ((row.id, row.uri) for row in rows)
            last = rows[-1].id

    def files_by_key(self, keys: Sequence[str]) -> dict[str, KnownFile]:
        """Return the images with these keys, by key; unknown ones are left out."""
        columns = (image.c.id, image.c.key, image.c.uri, image.c.content_id, image.c.size_bytes, image.c.mtime_ns)
        query = select(*columns).where(image.c.collection_id == self._collection_id, ~image.c.deleted)
        with self.database.reading() as connection:
            rows = [row for part in chunks(keys) for row in connection.execute(query.where(image.c.key.in_(part)))]
        return {row.key: KnownFile(*row) for row in rows}

    def metadata_of(self, ids: Sequence[int]) -> dict[int, dict[str, object]]:
        """Return the metadata of images, by id."""
        query = select(image.c.id, image.c.metadata)
        with self.database.reading() as connection:
            rows = [row for part in chunks(ids) for row in connection.execute(query.where(image.c.id.in_(part)))]
        return {row[0]: dict(row[1] or {}) for row in rows}

    def was_there(self, uri: str) -> bool:
        """Tell whether the collection has images at a uri, or below it as a folder or an archive.

        Reads all uris, so it is only for places that cannot be reached now.
        """
        return self._exists(image.c.uri, uri, ~image.c.deleted & (image.c.collection_id == self._collection_id))

    def _exists(self, column: Any, uri: str, where: Any) -> bool:
        below = [func.substr(column, 1, len(uri) + len(end)) == uri + end for end in ("/", "!/")]
        with self.database.reading() as connection:
            query = select(1).where(where, (column == uri) | below[0] | below[1]).limit(1)
            if connection.execute(query).first() is not None:
                return True
            here = source.c.collection_id == self._collection_id
            named = select(1).where(here, source.c.uri == uri, source.c.images > 0).limit(1)
            return connection.execute(named).first() is not None

    def failures_in(self, uri: str) -> list[tuple[str, str, str]]:
        """Return (uri, reason, detail) of the ledger for members of an archive."""
        inside = func.substr(ledger.c.uri, 1, len(uri) + 2) == uri + "!/"
        query = select(ledger.c.uri, ledger.c.reason, ledger.c.detail)
        with self.database.reading() as connection:
            rows = connection.execute(query.where(ledger.c.collection_id == self._collection_id, inside))
            return [(row[0], row[1], row[2]) for row in rows]
