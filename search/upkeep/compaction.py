"""Job: compact a store. What deletes, updates and many small commits leave behind goes; no backbone is needed.

Steps, each a transaction or less, so that a crash between any two leaves a whole store and the next run goes on:
drop the embeddings that no living image uses, and of regions that nobody searches; merge segments
(search/upkeep/merging.py); publish a generation where the newest knows removed images or replaced segments; purge the
tombstones it knows; drop contents without an image; forget retired segments that no generation reads; sweep the files
that nobody names.

Whatever readers may still hold goes together with a new commit sequence, so that they look again before they use it.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
from sqlalchemy import ColumnElement, Connection, Table, and_, delete, exists, func, select, true, update

from search.database.sequences import advance_all, lock_collections, next_sequence
from search.database.tables import (
    collection,
    content,
    content_label,
    embedding,
    generation,
    image,
    metadata,
    segment,
    space,
)
from search.duplicates.answer_file import FOLDER as ANSWERS_FOLDER
from search.duplicates.answer_file import prune as prune_answers
from search.errors import CorruptFile
from search.faults import fault
from search.finding.generations import GenerationRecord, Generations
from search.index.local_index import LOCAL
from search.local.published import LocalIndexes, renew_local
from search.pairing.pair_file import FOLDER as PAIRS_FOLDER
from search.pairing.pair_file import sweep as sweep_pairs
from search.records import Collection, SpaceSpec
from search.regions import IN_REGIONS, WHOLES
from search.storing.store import SWEEP_AGE_S, Store
from search.upkeep.merging import Part, SegmentMerger, groups

log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]


@dataclass(slots=True)
class CompactSummary:
    """What a compaction did.

    published: rows of the new generation by collection. waiting: replaced segments whose files stay until no
    generation reads them and an hour has passed. damaged: segments left alone because a checksum does not match;
    not_published: collections whose new index would need one of them.
    """

    segments_before: int = 0
    segments_after: int = 0
    embeddings_dropped: int = 0
    tombstones_purged: int = 0
    contents_dropped: int = 0
    published: dict[str, int] = field(default_factory=dict)
    waiting: int = 0
    files_removed: int = 0
    damaged: list[str] = field(default_factory=list)
    not_published: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, object]:
        """Return the object of `compact`."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def compact(
    store: Store, progress: Progress = lambda done, total: None, *, older_than_s: float = SWEEP_AGE_S
) -> CompactSummary:
    """Compact all collections of a store; searches and other jobs go on meanwhile.

    progress: called with (rows copied, rows to copy). older_than_s: age guard of files that readers may still open.

    Raises:
        StoreUnavailable: the disk is full or the database does not answer; run again to go on.
    """
    summary = CompactSummary()
    summary.embeddings_dropped = _drop_embeddings(store)
    _merge(store, summary, progress)
    for target in store.catalogue.collections():
        try:
            record = _published_if_needed(store, target)
        except CorruptFile as error:
            log.warning("no new index for %s: %s", target.name, error)
            summary.not_published.append(target.name)
        else:
            summary.published |= {} if record is None else {target.name: record.rows}
        summary.tombstones_purged += _purge_tombstones(store, target)
        _renew_local(store, target, summary)
    summary.contents_dropped = _drop_contents(store)
    _forget_segments(store, older_than_s)
    with store.database.reading() as connection:
        summary.segments_after = _count_segments(connection, segment.c.retired_at.is_(None))
        summary.waiting = _count_segments(connection, segment.c.retired_at.is_not(None))
    fault("compact.sweep")
    summary.files_removed = len(store.sweep(older_than_s))
    sweep_pairs(store.root / PAIRS_FOLDER, [target.id for target in store.catalogue.collections()], older_than_s)
    prune_answers(store.root / ANSWERS_FOLDER, partial(_living_contents, store))
    return summary


def _living_contents(store: Store, names: Sequence[bytes]) -> set[bytes]:
    with store.database.reading() as connection:
        return {bytes(name) for name in connection.scalars(select(content.c.sha256).where(content.c.sha256.in_(names)))}


def _count_segments(connection: Connection, which: ColumnElement[bool]) -> int:
    return connection.execute(select(func.count()).select_from(segment).where(which)).scalar_one()


def _drop_embeddings(store: Store) -> int:
    """Drop the embeddings of contents that no living image of any collection holds, and of regions nobody searches."""
    used = exists().where(image.c.content_id == embedding.c.content_id, ~image.c.deleted)
    asked = used.where(image.c.collection_id == collection.c.id, collection.c.regions_rule > 0)
    with store.database.writing() as connection:
        lock_collections(connection)
        dropped = connection.execute(delete(embedding).where(~used)).rowcount
        dropped += connection.execute(delete(embedding).where(embedding.c.region > 0, ~asked)).rowcount
        whole_only = select(collection.c.id).where(collection.c.regions_rule == 0)
        of_regions = (generation.c.part == IN_REGIONS) & generation.c.collection_id.in_(whole_only)
        connection.execute(delete(generation).where(of_regions))
        fault("compact.drop")
    return dropped


def _merge(store: Store, summary: CompactSummary, progress: Progress) -> None:
    with store.database.reading() as connection:
        spaces = [(row.id, row.dims) for row in connection.execute(select(space.c.id, space.c.dims))]
    copied = 0

    def count(rows: int) -> None:
        nonlocal copied
        copied += rows
        progress(min(copied, total), total)

    work: list[tuple[SegmentMerger, list[Part]]] = []
    for one in spaces:
        merger = SegmentMerger(store.database, store.blobs, one, count)
        parts = merger.parts()
        summary.segments_before += len(parts)
        work += [(merger, group) for group in groups(parts)]
    total = sum(part.used for _, group in work for part in group)
    for merger, group in work:
        sound = [part for part in group if not part.used or merger.sound(part)]
        summary.damaged += sorted(part.record.name for part in set(group) - set(sound))
        for again in groups(sound):
            merger.merge(again)


def _published_if_needed(store: Store, target: Collection) -> GenerationRecord | None:
    """Publish a generation unless the newest one knows all removals, reads no retired segment and has few news."""
    generations = Generations(store.database, store.blobs, target)
    current = generations.current()
    since = 0 if current is None else current.sequence
    changed = store.catalogue.count_changed_since(target.id, since)
    if current is not None and not _is_outdated(store, target, generations, current):
        if not generations.due(current, changed):
            return None
    elif current is None and not generations.due(None, store.catalogue.count_images(target.id)):
        return None
    return generations.publish(store.catalogue.collection(target.name).sequence)


def _renew_local(store: Store, target: Collection, summary: CompactSummary) -> None:
    """Publish an index of local features without those of contents that went."""
    try:
        if LocalIndexes(store.database, store.blobs, target).current() is not None:
            renew_local(store, target)
    except CorruptFile as error:
        log.warning("no new index of local features for %s: %s", target.name, error)
        summary.not_published.append(target.name)


def _is_outdated(store: Store, target: Collection, generations: Generations, current: GenerationRecord) -> bool:
    removed = (image.c.collection_id == target.id) & image.c.deleted & (image.c.sequence > current.sequence)
    with store.database.reading() as connection:
        if connection.execute(select(exists().where(removed))).scalar():
            return True
        retired = list(connection.execute(select(segment.c.id).where(segment.c.retired_at.is_not(None))).scalars())
    indexes = [(generations, current)]
    if store.catalogue.collection(target.name).regions_rule:
        regions = Generations(store.database, store.blobs, target, IN_REGIONS)
        indexes += [(regions, record) for record in regions.newest()[:1]]
    try:
        return any(np.isin(owner.open(record).segments, retired).any() for owner, record in indexes)
    except CorruptFile:
        return True


def _purge_tombstones(store: Store, target: Collection) -> int:
    """Purge the tombstones that the collection's index knows; what has no living image needs no index.

    An index of a space that was left would bring them back, and goes too: whoever returns there builds another.
    """
    mine = (image.c.collection_id == target.id) & image.c.deleted
    with store.database.reading() as connection:
        if not connection.execute(select(exists().where(mine))).scalar():
            return 0
    with store.database.writing() as connection:
        now = next_sequence(connection, target)
        living = exists().where(image.c.collection_id == target.id, ~image.c.deleted)
        if not connection.execute(select(living)).scalar():
            connection.execute(delete(generation).where(generation.c.collection_id == target.id))
        mine_searched = (generation.c.collection_id == target.id) & (generation.c.space_id == target.space_id)
        # The newest: the one before it is only for readers that are just opening it.
        # An index of regions that was left behind by it is not true any more (`Generations.is_true`).
        newest = select(func.max(generation.c.id)).where(mine_searched, generation.c.part == WHOLES)
        known = select(func.coalesce(func.min(generation.c.sequence), now)).where(generation.c.id.in_(newest))
        known_tombstones = and_(mine, image.c.sequence <= connection.execute(known).scalar_one())
        last = connection.execute(select(func.max(image.c.sequence)).where(known_tombstones)).scalar()
        purged = connection.execute(delete(image).where(known_tombstones)).rowcount
        if last is not None:
            # An index that is still being built from before must not be named: it would bring the images back.
            here = update(collection).where(collection.c.id == target.id, collection.c.purged_sequence < last)
            connection.execute(here.values(purged_sequence=last))
            left = (generation.c.collection_id == target.id) & (generation.c.space_id != target.space_id)
            left &= generation.c.kind != LOCAL  # which knows contents, and brings no image back
            connection.execute(delete(generation).where(left, generation.c.sequence < last))
        fault("compact.purge")
    return purged


def _drop_contents(store: Store) -> int:
    """Drop contents that nothing refers to but their embeddings and labels."""
    own = (embedding, content_label)
    used = [_refers(table) for table in metadata.sorted_tables if table not in own]
    gone = and_(*[~one for one in used if one is not None])
    with store.database.writing() as connection:
        lock_collections(connection)
        for table in own:
            unused = select(content.c.id).where(gone)
            connection.execute(delete(table).where(table.c.content_id.in_(unused)))
        dropped = connection.execute(delete(content).where(gone)).rowcount
        fault("compact.contents")
    return dropped


def _refers(table: Table) -> ColumnElement[bool] | None:
    """Return the condition that a row of a table refers to the content at hand, None where none can."""
    columns = [column for column in table.c for key in column.foreign_keys if key.column is content.c.id]
    return exists().where(columns[0] == content.c.id) if columns else None


def _forget_segments(store: Store, older_than_s: float) -> None:
    """Forget segments that were replaced long ago and that no index reads any more; their files go with the sweep."""
    retired = segment.c.retired_at < time.time() - older_than_s
    with store.database.reading() as connection:
        if not connection.execute(select(exists().where(retired))).scalar():
            return
    _forget_superseded(store, older_than_s)
    kept = {(target.id, record.id): _segments_of(store, target, record) for target, record in _all_generations(store)}
    if None in kept.values():
        return  # one cannot be read: `repair` first
    needed = {segment_id for ids in kept.values() for segment_id in ids or ()}
    with store.database.writing() as connection:
        advance_all(connection)
        named = set(connection.execute(select(generation.c.id)).scalars())
        candidates = set(connection.execute(select(segment.c.id).where(retired)).scalars())
        if not named <= {generation_id for _, generation_id in kept}:
            return  # another was published meanwhile
        unused = ~exists().where(embedding.c.segment_id == segment.c.id)
        for segment_id in sorted(candidates - needed):
            connection.execute(delete(segment).where(segment.c.id == segment_id, unused))
        fault("compact.forget")


def _forget_superseded(store: Store, older_than_s: float) -> None:
    """Forget the generation before the newest one, and those of spaces that were left, once no reader can open them."""
    searched = {target.id: target.space_id for target in store.catalogue.collections()}
    newest: dict[tuple[int, int, str], GenerationRecord] = {}
    for target, record in _all_generations(store):
        newest[target.id, target.space_id, record.part] = record
    for (collection_id, space_id, part), record in newest.items():
        written_at = store.blobs.written_at(record.name)
        if written_at is None or written_at > time.time() - older_than_s:
            continue
        mine = (generation.c.collection_id == collection_id) & (generation.c.space_id == space_id)
        mine &= generation.c.part == part
        with store.database.writing() as connection:
            kept = searched.get(collection_id) == space_id or record.kind == LOCAL
            superseded = generation.c.id < record.id if kept else true()
            connection.execute(delete(generation).where(mine, superseded))


def _all_generations(store: Store) -> Iterator[tuple[Collection, GenerationRecord]]:
    """Yield every generation there is, with its collection in the space it was made for, oldest first."""
    columns = [generation.c[name] for name in GenerationRecord.__dataclass_fields__]
    with store.database.reading() as connection:
        joined = select(generation.c.space_id, collection.c.name, *columns)
        joined = joined.join(collection, collection.c.id == generation.c.collection_id)
        rows = connection.execute(joined.order_by(generation.c.id)).all()
    for row in rows:
        yield _in_space(store, row[1], row[0]), GenerationRecord(*row[2:])


def _in_space(store: Store, name: str, space_id: int) -> Collection:
    """Return a collection as it is in a space; it may be on its way to another backbone, or have left this one."""
    target = store.catalogue.collection(name)
    if target.space_id == space_id:
        return target
    with store.database.reading() as connection:
        query = select(*[space.c[field] for field in SpaceSpec.__dataclass_fields__]).where(space.c.id == space_id)
        return replace(target, space_id=space_id, space=SpaceSpec(*connection.execute(query).one()))


def _segments_of(store: Store, target: Collection, record: GenerationRecord) -> set[int] | None:
    if record.kind == LOCAL:
        return set()  # it holds all that it needs
    try:
        return set(np.unique(Generations(store.database, store.blobs, target).open(record).segments).tolist())
    except CorruptFile:
        return None
