"""Recompute what must hold in a store and name every fault. Reads only; repairing is another command's work."""

import json
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select

from search.blobs.segments import FOLDER as SEGMENTS
from search.blobs.segments import HEADER, Segment, SegmentRecord
from search.database.tables import generation, segment, space
from search.embeddings import usable_rows
from search.errors import CorruptFile, LookalikeError
from search.finding.fitted_transforms import damaged
from search.finding.generation_writing import FOLDER as GENERATIONS
from search.finding.generations import Generation, GenerationRecord, Generations
from search.finding.segment_cache import SegmentCache
from search.index.devices import check_wheels
from search.records import CODES, Collection, Fault
from search.regions import FIRST, IN_REGIONS, REGIONS, WHOLES, Part
from search.storing.catalogue import Catalogue, Located
from search.storing.store import Store
from search.upkeep.invariants import broken
from search.upkeep.local_faults import local_faults

READ_ROWS = 4_096  # embeddings in memory at once
TRIES = 3


def verify(store: Store, *, deep: bool = False) -> list[Fault]:
    """Return every fault found in a store, none when all is well. docs/operations.md lists what must hold.

    Checks the database's own structure, that every image has an embedding, that every embedding lies in a segment,
    and each 64 KiB block of each segment and generation. deep: also the sha256 of whole files, and everything else
    that can be computed again. FAISS must have been installed once only.
    """
    try:
        faults = list(_database_faults(store, deep))
    except CorruptFile as error:
        return [Fault("database_damaged", store.settings.catalogue, str(error))]
    faults += _wheel_faults()
    faults += _segment_faults(store, deep)
    for target in store.catalogue.collections():
        for part in (WHOLES, IN_REGIONS) if target.regions_rule else (WHOLES,):
            faults += _generation_faults(store, target, part, deep)
        faults += local_faults(store, target, deep=deep)
    return faults + (list(_transform_faults(store)) if deep else [])


def unnamed_files(store: Store) -> list[str]:
    """Return the files of segments and generations that the catalogue does not name: leftovers, no faults.

    They are swept when they are an hour old; younger ones may belong to a commit that is about to name them.
    """
    unnamed = []
    for folder, table in ((SEGMENTS, segment), (GENERATIONS, generation)):
        names = store.blobs.names(folder)
        with store.database.reading() as connection:
            # Asked after the folder was listed, so that a file named meanwhile is not told.
            named = set(connection.execute(select(table.c.name)).scalars())
        unnamed += sorted(set(names) - named)
    return unnamed


def _wheel_faults() -> list[Fault]:
    try:
        check_wheels()
    except LookalikeError as error:
        return [Fault("two_faiss_wheels", "this Python", str(error))]
    return []


def _database_faults(store: Store, deep: bool) -> Iterator[Fault]:
    with store.database.reading() as connection:
        if connection.dialect.name == "sqlite":
            for row in connection.exec_driver_sql("PRAGMA integrity_check"):
                if row[0] != "ok":
                    yield Fault("database_damaged", store.settings.catalogue, str(row[0]))
        yield from broken(connection, deep=deep)


def _segment_faults(store: Store, deep: bool) -> Iterator[Fault]:
    columns = (segment.c.name, segment.c.rows, segment.c.size_bytes, segment.c.sha256, segment.c.checksums)
    query = select(*columns, space.c.dims, space.c.numeric).join(space, space.c.id == segment.c.space_id)
    with store.database.reading() as connection:
        rows = connection.execute(query.order_by(segment.c.id)).all()
    stored = frozenset(store.blobs.names(SEGMENTS))
    for row in rows:
        record = SegmentRecord(*row[:5])
        if record.size_bytes != HEADER.size + 2 * record.rows * row.dims:
            detail = f"{record.rows} rows of {row.dims} dims do not take {record.size_bytes} bytes"
            yield Fault("segment_misrecorded", record.name, detail)
            continue
        try:
            _require_stored(record.name, stored)
            opened = Segment(store.blobs, record, row.dims)
            opened.check()
            yield from _unusable_rows(record, opened) if row.numeric != CODES else ()
        except CorruptFile as error:
            if _is_named(store, record.name):  # else it was compacted away meanwhile
                yield Fault("segment_damaged", record.name, str(error))
            continue
        if deep and store.blobs.sha256(record.name) != record.sha256:
            yield Fault("segment_changed", record.name, "its sha256 is not the recorded one")


def _unusable_rows(record: SegmentRecord, opened: Segment) -> Iterator[Fault]:
    for start in range(0, record.rows, READ_ROWS):
        rows = np.arange(start, min(start + READ_ROWS, record.rows))
        for bad in rows[~usable_rows(opened.stored(rows).astype(np.float32))]:
            yield Fault("embedding_unusable", record.name, f"row {bad} is zero or not finite")


def _is_named(store: Store, name: str) -> bool:
    with store.database.reading() as connection:
        return connection.execute(select(segment.c.id).where(segment.c.name == name)).first() is not None


def _require_stored(name: str, stored: frozenset[str]) -> None:
    """Tell of a blob that is gone although a cache still has a copy.

    Raises:
        CorruptFile: it is not among those that are stored.
    """
    if name not in stored:
        raise CorruptFile(f"{name} is missing")


def _generation_faults(store: Store, target: Collection, part: Part, deep: bool) -> list[Fault]:
    """Return the faults of the newest generation; a newer one may be published while it is looked at."""
    generations = Generations(store.database, store.blobs, target, part)
    faults: list[Fault] = []
    for _ in range(TRIES):
        try:
            record = generations.current()
            faults = [] if record is None else list(_faults_of(store, target, generations, record, deep))
            now = generations.current()
        except json.JSONDecodeError:
            return []  # its facts: named already
        if not faults or (record is not None and now is not None and now.id == record.id):
            break
    return faults


def _faults_of(
    store: Store, target: Collection, generations: Generations, record: GenerationRecord, deep: bool
) -> Iterator[Fault]:
    try:
        _require_stored(record.name, frozenset(store.blobs.names(GENERATIONS)))
        opened = generations.open(record)
    except CorruptFile as error:
        yield Fault("generation_damaged", record.name, f"{error}; the next `index` rebuilds it")
        return
    if deep and store.blobs.sha256(record.name) != record.sha256:
        yield Fault("generation_changed", record.name, "its sha256 is not the recorded one")
    yield from _unknown_segments(store, opened)
    located = generations.changed_since(0, until=record.sequence)
    yield from _wrong_images(generations, opened, located)
    if deep and len(np.unique(opened.ids)) == len(opened.ids):
        for row_id in _misplaced(store, target, opened, located):
            detail = f"{_called(row_id, record)} has the embedding of another"
            yield Fault("place_wrong_in_generation", record.name, detail)


def _transform_faults(store: Store) -> Iterator[Fault]:
    """Yield the collections whose transform is not what was fitted."""
    with store.database.reading() as connection:
        for name, why in damaged(connection).values():
            yield Fault("transform_damaged", name, f"{why}; the next index takes that of the one there is")


def _unknown_segments(store: Store, opened: Generation) -> Iterator[Fault]:
    with store.database.reading() as connection:
        known = np.array(connection.execute(select(segment.c.id)).scalars().all(), np.int64)
    for segment_id in np.setdiff1d(opened.segments, known).tolist():
        detail = f"it reads segment {segment_id}, which is not there"
        yield Fault("generation_without_segment", opened.record.name, detail)


def _wrong_images(generations: Generations, opened: Generation, located: Located) -> Iterator[Fault]:
    """Yield the images that a generation lacks, has too much, or has twice."""
    record = opened.record
    living = located.ids[~located.deleted]
    for row_id in np.setdiff1d(living, opened.ids).tolist():
        yield Fault("image_not_in_generation", record.name, f"{_called(row_id, record)} is missing from the index")
    newer = generations.changed_since(record.sequence, until=2**62)
    for row_id in np.setdiff1d(opened.ids, np.union1d(living, newer.ids)).tolist():
        detail = f"{_called(row_id, record)} is in the index, but in no collection"
        yield Fault("stranger_in_generation", record.name, detail)
    if len(np.unique(opened.ids)) != len(opened.ids):
        yield Fault("image_twice_in_generation", record.name, "an image is in the index more than once")


def _called(row_id: int, record: GenerationRecord) -> str:
    """Return what people call a row of an index."""
    if record.part == WHOLES:
        return f"image {row_id}"
    return f"region {row_id % REGIONS + FIRST} of image {row_id // REGIONS}"


def _misplaced(store: Store, target: Collection, opened: Generation, located: Located) -> Iterable[int]:
    """Yield the images whose place in the index holds another embedding than their place in the catalogue.

    The places themselves may differ: compaction copies embeddings, and an index from before reads the originals.
    """
    ids, ours, theirs = np.intersect1d(located.ids[~located.deleted], opened.ids, return_indices=True)
    alive = np.flatnonzero(~located.deleted)[ours]
    here = (located.segments[alive], located.rows[alive])
    there = (opened.segments[theirs].astype(np.int64), opened.rows[theirs].astype(np.int64))
    moved = np.flatnonzero((here[0] != there[0]) | (here[1] != there[1]))
    for start in range(0, len(moved), READ_ROWS):
        part = moved[start : start + READ_ROWS]
        cache = SegmentCache(Catalogue(store.database), store.blobs, target.space.dims)
        try:
            one, other = (cache.read(place[0][part], place[1][part]) for place in (here, there))
        except CorruptFile:
            return  # named as a damaged segment already
        yield from _ints(ids[part][~(one == other).all(axis=1)])


def _ints(numbers: NDArray[np.int64]) -> list[int]:
    return [int(number) for number in numbers]
