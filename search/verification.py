"""Recompute what must hold in a store and name every fault. Reads only; repairing is another command's work."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from sqlalchemy import Connection, Select, and_, exists, func, select

from search.catalogue import Catalogue
from search.embeddings import usable_rows
from search.errors import CorruptFile, LookalikeError
from search.generations import FOLDER as GENERATIONS
from search.generations import Generations
from search.index.devices import check_wheels
from search.records import Collection, Fault
from search.segments import FOLDER as SEGMENTS
from search.segments import Segment, SegmentRecord
from search.store import Store
from search.tables import collection, content, embedding, image, segment, space


def verify(store: Store, *, deep: bool = False) -> list[Fault]:
    """Return every fault found in a store, none when all is well.

    Checks the database's own structure, that every image has an embedding, that every embedding lies in a segment,
    and each 64 KiB block of each segment and generation; and that FAISS was installed once. deep: also the sha256 of
    whole files.
    """
    try:
        faults = list(_database_faults(store))
    except CorruptFile as error:
        return [Fault("database_damaged", store.settings.catalogue, str(error))]
    faults += _wheel_faults()
    faults += _segment_faults(store, deep)
    for target in store.catalogue.collections():
        faults += _generation_faults(store, target, deep)
    return faults


def _wheel_faults() -> list[Fault]:
    try:
        check_wheels()
    except LookalikeError as error:
        return [Fault("two_faiss_wheels", "this Python", str(error))]
    return []


def _database_faults(store: Store) -> Iterator[Fault]:
    with store.database.reading() as connection:
        if connection.dialect.name == "sqlite":
            for row in connection.exec_driver_sql("PRAGMA integrity_check"):
                if row[0] != "ok":
                    yield Fault("database_damaged", store.settings.catalogue, str(row[0]))
        for kind, query, detail in _QUERIES:
            yield from _rows_of(connection, kind, query, detail)


def _rows_of(connection: Connection, kind: str, query: Select[Any], detail: str) -> Iterator[Fault]:
    for row in connection.execute(query):
        yield Fault(kind, str(row[0]), detail.format(row[1]))


_has_embedding = exists().where(
    embedding.c.content_id == image.c.content_id,
    embedding.c.space_id == collection.c.space_id,
    embedding.c.region == 0,
)
_QUERIES: tuple[tuple[str, Select[Any], str], ...] = (
    (
        "image_without_embedding",
        select(image.c.uri, image.c.id)
        .join(collection, collection.c.id == image.c.collection_id)
        .where(~image.c.deleted, ~_has_embedding),
        "image {} cannot be found by search",
    ),
    (
        "image_without_content",
        select(image.c.uri, image.c.id)
        .outerjoin(content, content.c.id == image.c.content_id)
        .where(content.c.id.is_(None)),
        "image {} names a content that is not there",
    ),
    (
        "embedding_outside_segment",
        select(embedding.c.content_id, embedding.c.row)
        .outerjoin(segment, segment.c.id == embedding.c.segment_id)
        .where(segment.c.id.is_(None) | (embedding.c.row >= segment.c.rows) | (embedding.c.row < 0)),
        "its row {} is in no segment",
    ),
    (
        "image_of_the_future",
        select(image.c.uri, image.c.sequence)
        .join(collection, and_(collection.c.id == image.c.collection_id))
        .where(image.c.sequence > collection.c.sequence),
        "its commit {} never happened",
    ),
    (
        "key_used_twice",
        select(image.c.key, func.count())
        .where(~image.c.deleted)
        .group_by(image.c.collection_id, image.c.key)
        .having(func.count() > 1),
        "{} images have this key",
    ),
)


def _segment_faults(store: Store, deep: bool) -> Iterator[Fault]:
    columns = (segment.c.name, segment.c.rows, segment.c.size_bytes, segment.c.sha256, segment.c.checksums)
    query = select(*columns, space.c.dims).join(space, space.c.id == segment.c.space_id)
    with store.database.reading() as connection:
        rows = connection.execute(query).all()
    stored = frozenset(store.blobs.names(SEGMENTS))
    for row in rows:
        record = SegmentRecord(*row[:5])
        try:
            _require_stored(record.name, stored)
            embeddings = Segment(store.blobs, record, row.dims).read_all()
        except CorruptFile as error:
            yield Fault("segment_damaged", record.name, str(error))
            continue
        for bad in np.flatnonzero(~usable_rows(embeddings)):
            yield Fault("embedding_unusable", record.name, f"row {bad} is zero or not finite")
        if deep and store.blobs.sha256(record.name) != record.sha256:
            yield Fault("segment_changed", record.name, "its sha256 is not the recorded one")


def _require_stored(name: str, stored: frozenset[str]) -> None:
    """Tell of a blob that is gone although a cache still has a copy.

    Raises:
        CorruptFile: it is not among those that are stored.
    """
    if name not in stored:
        raise CorruptFile(f"{name} is missing")


def _generation_faults(store: Store, target: Collection, deep: bool) -> Iterator[Fault]:
    generations = Generations(store.database, store.blobs, target)
    record = generations.current()
    if record is None:
        return
    try:
        _require_stored(record.name, frozenset(store.blobs.names(GENERATIONS)))
        opened = generations.open(record)
    except CorruptFile as error:
        yield Fault("generation_damaged", record.name, f"{error}; the next `index` rebuilds it")
        return
    if deep and store.blobs.sha256(record.name) != record.sha256:
        yield Fault("generation_changed", record.name, "its sha256 is not the recorded one")
    located = Catalogue(store.database).changed_since(target.id, target.space_id, 0, until=record.sequence)
    unknown = np.setdiff1d(located.ids[~located.deleted], opened.ids)
    for image_id in unknown.tolist():
        yield Fault("image_not_in_generation", record.name, f"image {image_id} is missing from the index")
