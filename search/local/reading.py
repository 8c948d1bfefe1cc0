"""Searching the local features of a collection: the published index, and what is newer than it.

What is newer is kept in an index of the same kind in memory, to which each look adds what it has not seen. Both name
contents; the catalogue says at the time of each search which living images hold them and fulfil its condition.
"""

import logging
import threading
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, select

from search.blobs.blobs import Blobs
from search.conditions.filtering import passing_ids
from search.conditions.where import Condition
from search.database.database import Database, chunks
from search.database.tables import image
from search.errors import CorruptFile
from search.geometry.verify import Query
from search.index.local_index import LocalIndex
from search.local.published import LocalIndexes, PublishedIndex
from search.local.voting import Votes, ranked, votes_of
from search.records import Collection
from search.storing.catalogue import Catalogue

log = logging.getLogger(__name__)

MOST_IMAGES: Final = 20  # that the features of a query propose
LEAST_VOTES: Final = 2.0  # below them agreement is chance
AT_ONCE: Final = 200  # contents whose images are looked up together
TRIES: Final = 3


class LocalReader:
    """Follows the local features of one collection. Thread-safe."""

    def __init__(self, database: Database, blobs: Blobs, target: Collection) -> None:
        self._database = database
        self._catalogue = Catalogue(database)
        self._indexes = LocalIndexes(database, blobs, target)
        self._name = target.name
        self._lock = threading.Lock()
        self._seen: tuple[int, int | None] | None = None
        self._damaged: set[int] = set()
        self._published: PublishedIndex | None = None
        self._newer = LocalIndex.empty()
        self._newer_contents = np.empty(0, np.int64)

    def images(self, query: Query, condition: Condition | None) -> list[int]:
        """Return the ids of the images that share most with a query, or with its mirror image, at most MOST_IMAGES.

        condition: what they must fulfil.

        Raises:
            CorruptFile: a segment of what is newer than the index is damaged.
        """
        target = self._catalogue.collection(self._name)
        if not target.local and self._indexes.current() is None:
            return []
        with self._lock:  # FAISS must not be searched while it is added to
            self._follow(target)
            found = [votes_of(self._newer, one) for one in (query.keypoints, query.mirror)]
            published = self._published
        if published is not None:
            found += [votes_of(published.index, one) for one in (query.keypoints, query.mirror)]
        votes = ranked(np.concatenate([one.owners for one in found]), np.concatenate([one.votes for one in found]))
        return self._holding(target, votes, condition)

    def _holding(self, target: Collection, votes: Votes, condition: Condition | None) -> list[int]:
        """Return the images that hold contents with enough votes and fulfil a condition, most votes first."""
        contents = votes.owners[votes.votes >= LEAST_VOTES]
        images: list[int] = []
        with self._database.reading() as connection:
            for part in chunks(contents.tolist(), AT_ONCE):
                images += _images_of(connection, target, part, condition)
                if len(images) >= MOST_IMAGES:
                    break
        return images[:MOST_IMAGES]

    def _follow(self, target: Collection) -> None:
        """Look for what was committed or published since the last look."""
        for attempt in range(TRIES):
            record = self._indexes.current()
            state = (target.sequence, None if record is None else record.id)
            if state == self._seen:
                return
            try:
                self._renew()
            except CorruptFile:
                # Compaction may have moved what was about to be read; the next look finds it in its new place.
                if attempt == TRIES - 1:
                    raise
                continue
            self._seen = state
            return

    def _renew(self) -> None:
        published = self._opened()
        if published is not self._published:
            self._published, self._newer, self._newer_contents = published, LocalIndex.empty(), np.empty(0, np.int64)
        located = self._indexes.newer(published)
        new = ~np.isin(located.contents, self._newer_contents)
        # All of them are read first: what fails half-way is read again, and must not be there twice.
        for features, owners in list(self._indexes.features(located.those(new))):
            self._newer.add(features, owners)
        self._newer_contents = np.union1d(self._newer_contents, located.contents)

    def _opened(self) -> PublishedIndex | None:
        """Return the newest index, None where it is damaged: everything is then read from the segments."""
        record = self._indexes.current()
        if record is None or record.id in self._damaged:
            return None
        if self._published is not None and self._published.record.id == record.id:
            return self._published
        try:
            return self._indexes.open(record)
        except CorruptFile as error:
            self._damaged.add(record.id)
            log.warning("index of local features left out, reading the segments instead: %s", error)
            return None


def _images_of(
    connection: Connection, target: Collection, contents: list[int], condition: Condition | None
) -> list[int]:
    """Return the living images of contents that fulfil a condition, in the order of the contents."""
    query = select(image.c.content_id, image.c.id).where(
        image.c.collection_id == target.id, ~image.c.deleted, image.c.content_id.in_(contents)
    )
    held: dict[int, list[int]] = {}
    # The sum keeps SQLite from going through all images of the collection in their order.
    for row in connection.execute(query.order_by(image.c.id + 0)):
        held.setdefault(row.content_id, []).append(row.id)
    found = [one for content_id in contents for one in held.get(content_id, ())]
    if condition is None:
        return found
    passing = _set(passing_ids(connection, target, condition, np.array(found, np.int64)))
    return [one for one in found if one in passing]


def _set(ids: NDArray[np.int64]) -> frozenset[int]:
    return frozenset(ids.tolist())
