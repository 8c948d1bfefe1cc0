"""Every question asked of the catalogue about collections, images and files. It writes nothing."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import func, select

from search.blobs.segments import SegmentRecord
from search.conditions.content_tests import for_few
from search.conditions.filtering import Matches, matching_ids, passing_ids, reading_matches
from search.conditions.where import Condition
from search.database.database import CHUNK, Database, chunks
from search.database.tables import collection, content, embedding, image, ledger, segment
from search.errors import CollectionNotFound, CorruptFile, ImageNotFound
from search.records import Collection, ImageRecord, LedgerEntry
from search.storing.changed_rows import Located, changed_rows
from search.storing.collection_rows import COLLECTION_NAMED, STATE_NAMED, collection_in, every_collection
from search.storing.image_records import ids_of_content, image_in, images_of, images_with, records
from search.storing.labels import Labels
from search.storing.local_rows import LocalRows
from search.storing.quick_records import quick_records

__all__ = ["Catalogue", "KnownFile", "Located"]


@dataclass(frozen=True, slots=True)
class KnownFile:
    """What the catalogue knows of one uri: the image there."""

    image_id: int
    key: str
    uri: str
    content_id: int
    size_bytes: int
    mtime_ns: int


class Catalogue:
    """The read side of the SQL tables."""

    def __init__(self, database: Database) -> None:
        self._database = self.database = database
        self.labels = Labels(database)
        self.local = LocalRows(database)
        self._collections: dict[str, tuple[tuple[object, ...], Collection]] = {}  # by name, with the state it was in

    def collections(self) -> list[Collection]:
        """Return all collections by name."""
        with self._database.reading() as connection:
            return [collection_in(row) for row in connection.execute(every_collection().order_by(collection.c.name))]

    def collection(self, name: str) -> Collection:
        """Return the collection of this name.

        Raises:
            CollectionNotFound: there is none.
        """
        state, known = self.state_of(name), self._collections.get(name)
        if state is not None and known is not None and known[0] == state:
            return known[1]
        with self._database.reading() as connection:
            row = connection.execute(COLLECTION_NAMED, {"name": name}).first()
        if row is None:
            self._collections.pop(name, None)
            raise CollectionNotFound(
                f"there is no collection {name!r} in this store; `lookalike index FOLDER` makes one"
            )
        found = collection_in(row)
        if state is not None:
            self._collections[name] = (state, found)  # as it was before: what came between is seen next time
        return found

    def state_of(self, name: str) -> tuple[object, ...] | None:
        """Return what differs when the collection of this name does: for readers that ask before every search.

        None when there is no such collection, or the database does not answer; `collection` then says which.
        """
        return self._database.glance(STATE_NAMED, name=name)

    def files(self, collection_id: int, uris: Sequence[str]) -> dict[str, KnownFile]:
        """Return what is known of these uris, by uri; unknown ones are left out."""
        query = select(*_KNOWN_FILE).where(image.c.collection_id == collection_id, ~image.c.deleted)
        with self._database.reading() as connection:
            rows = [row for part in chunks(uris) for row in connection.execute(query.where(image.c.uri.in_(part)))]
        return {row.uri: KnownFile(*row) for row in rows}

    def known_keys(self, collection_id: int, keys: Sequence[str]) -> dict[str, int]:
        """Return the ids of the images with these keys, by key; unknown ones are left out."""
        query = select(image.c.key, image.c.id).where(image.c.collection_id == collection_id, ~image.c.deleted)
        with self._database.reading() as connection:
            rows = [row for part in chunks(keys) for row in connection.execute(query.where(image.c.key.in_(part)))]
        return {row.key: row.id for row in rows}

    def files_of_content(self, collection_id: int, content_id: int, limit: int = 64) -> list[KnownFile]:
        """Return at most `limit` images of a collection that hold this content, oldest first."""
        query = (
            select(*_KNOWN_FILE)
            .where(image.c.collection_id == collection_id, image.c.content_id == content_id, ~image.c.deleted)
            .order_by(image.c.id)
            .limit(limit)
        )
        with self._database.reading() as connection:
            return [KnownFile(*row) for row in connection.execute(query)]

    def embedded_contents(self, space_id: int, hashes: Sequence[bytes]) -> dict[bytes, int]:
        """Return the ids of the contents with these sha256 that have an embedding in the space, by hash."""
        query = (
            select(content.c.sha256, content.c.id)
            .join(embedding, embedding.c.content_id == content.c.id)
            .where(embedding.c.space_id == space_id, embedding.c.region == 0)
        )
        with self._database.reading() as connection:
            rows = [
                row for part in chunks(hashes) for row in connection.execute(query.where(content.c.sha256.in_(part)))
            ]
        return {bytes(row.sha256): row.id for row in rows}

    def uris(self, collection_id: int, page: int = 5000) -> Iterator[tuple[int, str]]:
        """Yield (image id, uri) of every image of a collection, by id, a page at a time."""
        last = 0
        query = select(image.c.id, image.c.uri).where(image.c.collection_id == collection_id, ~image.c.deleted)
        while True:
            with self._database.reading() as connection:
                rows = connection.execute(query.where(image.c.id > last).order_by(image.c.id).limit(page)).all()
            if not rows:
                return
            yield from ((row.id, row.uri) for row in rows)
            last = rows[-1].id

    def images(self, collection_id: int, *, after: int = 0, limit: int = 100) -> list[ImageRecord]:
        """Return a page of images by ascending id, those with an id above `after`."""
        query = images_of(collection_id).where(image.c.id > after).order_by(image.c.id).limit(limit)
        with self._database.reading() as connection:
            return records(connection, collection_id, query)

    def images_that(
        self, target: Collection, condition: Condition, *, after: int = 0, limit: int = 100
    ) -> list[ImageRecord]:
        """Return a page of the images that fulfil a condition by ascending id, those with an id above `after`."""
        query = images_of(target.id).where(image.c.id > after, for_few(condition.sql(target.label_space_id)))
        with self._database.reading() as connection:
            return records(connection, target.id, query.order_by(image.c.id).limit(limit))

    def images_of_content(
        self, target: Collection, sha256: bytes, pixel_hash: bytes, condition: Condition | None, limit: int
    ) -> list[ImageRecord]:
        """Return the images of a collection that hold these bytes or show these pixels, by ascending id.

        At most `limit` of those that fulfil the condition; None lets all through.
        """
        query = ids_of_content(target.id, sha256, pixel_hash)
        with self._database.reading() as connection:
            if condition is None:
                ids = np.fromiter(connection.execute(query.limit(limit)).scalars(), np.int64)
            else:
                ids = np.fromiter(connection.execute(query).scalars(), np.int64)
                ids = passing_ids(connection, target, condition, ids)[:limit]
            return [
                record
                for part in chunks(ids.tolist())
                for record in records(connection, target.id, images_with(target.id, part).order_by(image.c.id))
            ]

    def images_by_id(self, collection_id: int, ids: Iterable[int]) -> dict[int, ImageRecord]:
        """Return the images with these ids, by id; deleted and unknown ones are left out."""
        ids = list(ids)
        if len(ids) <= CHUNK and (found := quick_records(self._database, collection_id, ids)) is not None:
            return found
        with self._database.reading() as connection:
            return {
                record.id: record
                for part in chunks(ids)
                for record in records(connection, collection_id, images_with(collection_id, part))
            }

    def perceptual_hashes(self, ids: Iterable[int]) -> dict[int, bytes]:
        """Return the perceptual hashes of images, 32 bytes by id; unknown images are left out."""
        query = select(image.c.id, content.c.perceptual_hash).join(content, content.c.id == image.c.content_id)
        with self._database.reading() as connection:
            rows = [row for part in chunks(ids) for row in connection.execute(query.where(image.c.id.in_(part)))]
        return {row.id: bytes(row.perceptual_hash) for row in rows}

    def ids_of_contents(self, collection_id: int, hashes: Iterable[bytes]) -> list[int]:
        """Return the ids of the images of a collection that hold a content with one of these sha256, ascending."""
        query = select(image.c.id).join(content, content.c.id == image.c.content_id)
        query = query.where(image.c.collection_id == collection_id, ~image.c.deleted)
        with self._database.reading() as connection:
            found = [
                row.id for part in chunks(hashes) for row in connection.execute(query.where(content.c.sha256.in_(part)))
            ]
        return sorted(found)

    def by_content(self, ids: Iterable[int]) -> NDArray[np.int64]:
        """Return these ids in the order of what their images hold, (N,) int64: the same one in every store.

        Images are numbered as they come out of the decoding children, so their ids differ from run to run. Unknown ids
        are left out.
        """
        query = select(image.c.id, content.c.sha256).join(content, content.c.id == image.c.content_id)
        with self._database.reading() as connection:
            rows = [row for part in chunks(ids) for row in connection.execute(query.where(image.c.id.in_(part)))]
        return np.array([row.id for row in sorted(rows, key=lambda row: (bytes(row.sha256), row.id))], np.int64)

    def matching(self, target: Collection, condition: Condition) -> NDArray[np.int64]:
        """Return the ids of the images of a collection that a condition lets through, ascending."""
        with self._database.reading() as connection:
            return matching_ids(connection, target, condition)

    @contextmanager
    def matches(self, target: Collection, condition: Condition) -> Iterator[Matches]:
        """Give the images that a condition lets through, to be read as far as one wants, with one connection."""
        with self._database.reading() as connection, reading_matches(connection, target, condition) as found:
            yield found

    def image_by_id(self, collection_id: int, image_id: int) -> ImageRecord:
        """Return one image.

        Raises:
            ImageNotFound: the collection has no image with this id.
        """
        found = quick_records(self._database, collection_id, [image_id])
        if found:
            return found[image_id]
        with self._database.reading() as connection:
            return image_in(connection, collection_id, image_id)

    def image_by_key(self, collection_id: int, key: str) -> ImageRecord:
        """Return one image.

        Raises:
            ImageNotFound: the collection has no image with this key.
        """
        with self._database.reading() as connection:
            found = records(connection, collection_id, images_of(collection_id).where(image.c.key == key))
        if not found:
            raise ImageNotFound(f"there is no image with key {key!r} in this collection")
        return found[0]

    def newest_image_id(self, collection_id: int) -> int:
        """Return the highest image id of a collection, 0 when it is empty."""
        query = select(func.coalesce(func.max(image.c.id), 0)).where(image.c.collection_id == collection_id)
        with self._database.reading() as connection:
            return int(connection.execute(query).scalar_one())

    def count_pictures(self, collection_id: int, most: int) -> int:
        """Return how many different pictures a collection has, at most `most`, after which nothing is counted."""
        query = select(content.c.pixel_hash).join(image, content.c.id == image.c.content_id).distinct().limit(most)
        with self._database.reading() as connection:
            rows = connection.execute(query.where(image.c.collection_id == collection_id, ~image.c.deleted))
            return len(rows.all())

    def count_images(self, collection_id: int) -> int:
        """Return how many images a collection has, tombstones apart."""
        query = select(func.count()).where(image.c.collection_id == collection_id, ~image.c.deleted)
        with self._database.reading() as connection:
            return connection.execute(query).scalar_one()

    def changed_since(self, collection_id: int, space_id: int, sequence: int, *, until: int) -> Located:
        """Return where the embeddings of images lie that changed in commits (sequence, until], tombstones too."""
        with self._database.reading() as connection:
            return changed_rows(connection, collection_id, space_id, sequence, until=until)

    def count_changed_since(self, collection_id: int, sequence: int) -> int:
        """Return how many images changed in commits after `sequence`, tombstones too."""
        query = select(func.count()).where(image.c.collection_id == collection_id, image.c.sequence > sequence)
        with self._database.reading() as connection:
            return int(connection.execute(query).scalar_one())

    def segment(self, segment_id: int) -> SegmentRecord:
        """Return the record of a segment.

        Raises:
            CorruptFile: the catalogue names none with this id.
        """
        columns = (
            segment.c.name,
            segment.c.rows,
            segment.c.size_bytes,
            segment.c.sha256,
            segment.c.checksums,
        )
        with self._database.reading() as connection:
            row = connection.execute(select(*columns).where(segment.c.id == segment_id)).first()
        if row is None:
            raise CorruptFile(
                f"segment {segment_id} is not in the catalogue; `lookalike verify` tells what else is wrong"
            )
        return SegmentRecord(*row)

    def failures(self, collection_id: int) -> list[LedgerEntry]:
        """Return the ledger of a collection by uri."""
        query = select(*_LEDGER).where(ledger.c.collection_id == collection_id).order_by(ledger.c.uri)
        with self._database.reading() as connection:
            return [LedgerEntry(*row) for row in connection.execute(query)]

    def failures_at(self, collection_id: int, uris: Sequence[str]) -> dict[str, LedgerEntry]:
        """Return the ledger entries of these uris, by uri."""
        query = select(*_LEDGER).where(ledger.c.collection_id == collection_id)
        with self._database.reading() as connection:
            rows = [row for part in chunks(uris) for row in connection.execute(query.where(ledger.c.uri.in_(part)))]
        return {row.uri: LedgerEntry(*row) for row in rows}


_KNOWN_FILE = (
    image.c.id,
    image.c.key,
    image.c.uri,
    image.c.content_id,
    image.c.size_bytes,
    image.c.mtime_ns,
)
_LEDGER = (
    ledger.c.uri,
    ledger.c.reason,
    ledger.c.detail,
    ledger.c.attempts,
    ledger.c.size_bytes,
    ledger.c.mtime_ns,
)
