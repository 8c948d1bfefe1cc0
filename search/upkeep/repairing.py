"""Repairing what `verify` found: first told, then done. Nothing is touched that is not proven broken.

What a damaged segment still holds soundly is saved into a segment of its own. What it lost cannot be computed from
anything else, so its images go to the ledger as `embedding_lost`, with their keys, ids and metadata, and the next
`index` or `retry` reads their files again. Everything else is computed again from what is sound.
"""

import hashlib
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from sqlalchemy import Connection, delete, exists, insert, select, update

from search.database.database import chunks
from search.database.sequences import advance_all
from search.database.tables import (
    api_key,
    calibration,
    collection,
    content,
    content_label,
    embedding,
    generation,
    image,
    job,
    ledger,
    post_transform,
    reembedding,
    segment,
    source,
    space,
    synonym,
)
from search.errors import CorruptFile
from search.faults import fault
from search.finding.generations import Generations
from search.local.published import LocalIndexes
from search.records import CODES, Fault
from search.storing.store import Store
from search.upkeep.merging import Row, SegmentMerger
from search.upkeep.references import IMAGE_SOURCE, LABELS_FROM
from search.upkeep.region_repairs import drop_incomplete, lacks_an_index, lose_regions
from search.upkeep.row_repairs import (
    KEPT_AS,
    Act,
    compute_paths,
    compute_synonyms,
    count_commits,
    drop_orphans,
    empty,
    forget,
    forget_transforms,
    keep_text,
    unretire,
)
from search.upkeep.segment_rows_left import segment_named, split_rows

log = logging.getLogger(__name__)

LOST = "embedding_lost"


@dataclass(slots=True)
class Repair:
    """What is done about one fault. action None: nothing can be done here, and hint says what the user can do.

    lost: uris of the images whose files must be read again. what: of them is lost; without an embedding an image is not
    found, without local features it is found as images without them are.
    """

    fault: Fault
    action: str | None
    hint: str = ""
    lost: list[str] = field(default_factory=list)
    what: Literal["embedding", "local features"] = "embedding"

    def as_json(self) -> dict[str, object]:
        """Return the item of `repair`."""
        shape = self.fault.as_json() | {"action": self.action, "hint": self.hint, "lost": self.lost}
        return shape | {"lost_of": self.what} if self.lost else shape


def repairs(store: Store, faults: Sequence[Fault], *, apply: bool) -> list[Repair]:
    """Return what is, or with `apply` was, done about each fault, in an order in which each finds what it needs.

    Raises:
        StoreUnavailable: the disk is full or the database does not answer; run again to go on.
    """
    done = []
    for one in sorted(faults, key=lambda fault: _ORDER.get(fault.kind, 0)):
        known = _REPAIRS.get(one.kind)
        if known is None:
            done.append(Repair(one, None, _HINTS.get(one.kind, "restore the store from a backup")))
            continue
        action, act = known
        found = segment_named(store, one.where) if one.kind in _ON_SEGMENTS else None
        lost = act(store, one) if apply else _would_lose(store, one)
        if found is not None and found.codes:
            done.append(Repair(one, _SAVE_LOCAL, lost=lost, what="local features"))
        else:
            done.append(Repair(one, action, lost=lost))
    if apply and done:
        _publish_missing(store)
    return done


def _would_lose(store: Store, one: Fault) -> list[str]:
    if one.kind not in _ON_SEGMENTS:
        return []
    found = segment_named(store, one.where)
    return [] if found is None else _uris_of(store, [row for row in split_rows(store, found)[1] if not row.region])


def _save_segment(store: Store, one: Fault) -> list[str]:
    """Move the sound rows of a segment into a new one; put the images of the others into the ledger."""
    found = segment_named(store, one.where)
    if found is None:
        return []  # an earlier repair of the same segment took care of it
    sound, lost, opened = split_rows(store, found)
    merger = SegmentMerger(store.database, store.blobs, (found.space_id, found.dims), lambda rows: None)
    if sound and opened is not None:
        merger.replace([found.id], sound, {found.id: opened})
    uris = _lose(store, [row.content_id for row in lost if not row.region], found.space_id)
    lose_regions(store, [row.content_id for row in lost if row.region], found.space_id)
    with store.database.writing() as connection:
        advance_all(connection)
        # Indexes may read the segment, too; they are built again from what is sound.
        connection.execute(delete(generation).where(generation.c.space_id == found.space_id))
        unused = ~exists().where(embedding.c.segment_id == found.id)
        connection.execute(delete(segment).where(segment.c.id == found.id, unused))
        fault("repair.segment")
    return uris


def _lose(store: Store, content_ids: Iterable[int], space_id: int) -> list[str]:
    """Take back embeddings that are broken, and have the files of their images read again.

    The content is renamed as well: the file's hash then finds nothing known, so that the picture is embedded again,
    and each of its images becomes newer than the indexes that lack it. Local features are missed by `index --local`.
    """
    wanted = sorted(set(content_ids))
    uris: list[str] = []
    if not wanted:
        return uris
    with store.database.writing() as connection:
        advance_all(connection)
        connection.execute(delete(generation).where(generation.c.space_id == space_id))
        codes = connection.execute(select(space.c.numeric).where(space.c.id == space_id)).scalar() == CODES
        for part in chunks(wanted):
            mine = embedding.c.content_id.in_(part) & (embedding.c.space_id == space_id)
            connection.execute(delete(embedding).where(mine))
            if codes:
                uris += _unfinished(connection, part)
                continue
            uris += _to_ledger(connection, part, space_id)
            query = select(content.c.id, content.c.sha256).where(content.c.id.in_(part))
            for row in connection.execute(query).all():
                renamed = hashlib.sha256(b"lost " + bytes(row.sha256)).digest()
                connection.execute(update(content).where(content.c.id == row.id).values(sha256=renamed))
        fault("repair.lose")
    return uris


def _unfinished(connection: Connection, content_ids: Sequence[int]) -> list[str]:
    """Have the archives of images read again, as only their files can bring back local features; return the uris."""
    mine = image.c.content_id.in_(content_ids) & ~image.c.deleted
    connection.execute(update(source).where(source.c.id.in_(select(image.c.source_id).where(mine))).values(stamp=""))
    return list(connection.execute(select(image.c.uri).where(mine).order_by(image.c.uri)).scalars())


def _to_ledger(connection: Connection, content_ids: Sequence[int], space_id: int) -> list[str]:
    query = select(image.c.collection_id, image.c.uri, image.c.size_bytes, image.c.mtime_ns).distinct()
    query = query.join(collection, collection.c.id == image.c.collection_id)
    mine = image.c.content_id.in_(content_ids) & ~image.c.deleted & (collection.c.space_id == space_id)
    rows = connection.execute(query.where(mine)).all()
    detail = "its embedding was damaged; the file is read again by `index` or `retry`"
    entries = [row._asdict() | {"reason": LOST, "detail": detail, "attempts": 1} for row in rows]
    for entry in entries:
        known = (ledger.c.collection_id == entry["collection_id"]) & (ledger.c.uri == entry["uri"])
        connection.execute(delete(ledger).where(known))
        connection.execute(insert(ledger).values(**entry))
    return [row.uri for row in rows]


def _uris_of(store: Store, rows: Sequence[Row]) -> list[str]:
    with store.database.reading() as connection:
        return [
            uri
            for part in chunks([row.content_id for row in rows])
            for uri in connection.execute(
                select(image.c.uri).where(image.c.content_id.in_(part), ~image.c.deleted).order_by(image.c.uri)
            ).scalars()
        ]


def _lose_image(store: Store, one: Fault) -> list[str]:
    """Have the files of images without an embedding read again."""
    lost: list[str] = []
    for target in store.catalogue.collections():
        has = select(embedding.c.content_id).where(embedding.c.space_id == target.space_id, embedding.c.region == 0)
        query = select(image.c.content_id).where(
            image.c.collection_id == target.id,
            ~image.c.deleted,
            image.c.uri == one.where,
            image.c.content_id.not_in(has),
        )
        with store.database.reading() as connection:
            waiting = select(ledger.c.id).where(
                ledger.c.collection_id == target.id, ledger.c.uri == one.where, ledger.c.reason == LOST
            )
            ids = [] if connection.execute(waiting).first() else list(connection.execute(query).scalars())
        lost += _lose(store, ids, target.space_id) if ids else []
    return lost


def _lose_outside(store: Store, one: Fault) -> list[str]:
    """Take back embeddings that point to no row of any segment."""
    outside = (
        select(embedding.c.content_id, embedding.c.space_id, embedding.c.region)
        .outerjoin(segment, segment.c.id == embedding.c.segment_id)
        .where(segment.c.id.is_(None) | (embedding.c.row >= segment.c.rows) | (embedding.c.row < 0))
    )
    with store.database.reading() as connection:
        rows = connection.execute(outside).all()
    by_space: dict[int, list[int]] = {}
    for row in rows:
        if row.region:
            lose_regions(store, [row.content_id], row.space_id)
        else:
            by_space.setdefault(row.space_id, []).append(row.content_id)
    return [uri for space_id, ids in by_space.items() for uri in _lose(store, ids, space_id)]


def _forget_generation(store: Store, one: Fault) -> list[str]:
    with store.database.writing() as connection:
        advance_all(connection)
        connection.execute(delete(generation).where(generation.c.name == one.where))
        fault("repair.forget")
    return []


def _publish_missing(store: Store) -> None:
    """Publish a generation for each collection that has lost its own."""
    for target in store.catalogue.collections():
        generations = Generations(store.database, store.blobs, target)
        local = LocalIndexes(store.database, store.blobs, target)
        try:
            if lacks_an_index(store, target) and store.catalogue.count_images(target.id):
                generations.publish(target.sequence)
            if local.current() is None:
                local.publish()
        except CorruptFile as error:
            log.warning("no new index for %s: %s", target.name, error)


_SAVE = ("save the intact rows into a new segment; have the files of the others read again", _save_segment)
_SAVE_LOCAL = "save the intact local features into a new segment; the next `index --local` makes the others again"
_REBUILD = ("build the search index again from the segments", _forget_generation)
_COUNT = ("count the collection's commits on from the newest one there is", count_commits)
_ON_SEGMENTS = frozenset({"segment_damaged", "segment_changed", "embedding_unusable"})
_REPAIRS: dict[str, tuple[str, Act]] = {
    "segment_damaged": _SAVE,
    "segment_changed": _SAVE,
    "embedding_unusable": _SAVE,
    "embedding_outside_segment": ("drop what points nowhere; have the files read again", _lose_outside),
    "image_without_embedding": ("have the file read again", _lose_image),
    "regions_incomplete": ("drop what is there; the next `index` makes all of them again", drop_incomplete),
    "embedding_in_retired_segment": ("keep the segment in use", unretire),
    "image_of_the_future": _COUNT,
    "generation_of_the_future": _COUNT,
    "path_wrong": ("compute the path from the uri", compute_paths),
    "synonyms_wrong": ("compute the synonyms from the label", compute_synonyms),
    "label_dangling": ("drop labels of nothing", drop_orphans(content_label)),
    "synonym_dangling": ("drop synonyms of nothing", drop_orphans(synonym)),
    "embedding_without_content": ("drop embeddings of nothing", drop_orphans(embedding)),
    "ledger_dangling": ("drop ledger entries of no collection", drop_orphans(ledger)),
    "job_dangling": ("drop jobs of no collection", drop_orphans(job)),
    "source_dangling": ("drop archives and manifests of no collection", drop_orphans(source)),
    "reembedding_dangling": ("drop ways to spaces that are not there", drop_orphans(reembedding)),
    "post_transform_dangling": ("drop transforms of no collection", drop_orphans(post_transform)),
    "transform_damaged": ("forget it; the next index takes that of the one there is", forget_transforms),
    "transform_unknown": ("compare embeddings as they are stored, from the next index on", forget_transforms),
    LABELS_FROM.kind: ("show the labels of the collection's own space", forget(LABELS_FROM)),
    IMAGE_SOURCE.kind: ("forget the archive or manifest; the next `index` of it names it again", forget(IMAGE_SOURCE)),
    "metadata_unreadable": (f"keep the text, as the field `{KEPT_AS}` of new metadata", keep_text),
    "progress_unreadable": ("empty the job's progress; the next job has its own", empty(job.c.progress)),
    "calibration_dangling": ("drop calibrations of no collection", drop_orphans(calibration)),
    "api_key_dangling": ("drop keys for collections that are not there", drop_orphans(api_key)),
    "findings_unreadable": ("forget the calibration; `calibrate` makes another", empty(calibration.c.findings)),
    "report_unreadable": ("empty the report; `reembed` makes it again", empty(reembedding.c.report)),
}
_REPAIRS |= dict.fromkeys(
    (
        "generation_damaged",
        "generation_changed",
        "generation_dangling",
        "facts_unreadable",
        "generation_without_segment",
        "image_not_in_generation",
        "stranger_in_generation",
        "image_twice_in_generation",
        "place_wrong_in_generation",
        "local_features_not_in_index",
    ),
    _REBUILD,
)
# Segments first, indexes last: they are built from what the others mend.
_ORDER = dict.fromkeys(_ON_SEGMENTS, -1) | {kind: 1 for kind, known in _REPAIRS.items() if known is _REBUILD}
_HINTS = {
    "image_without_content": "remove the image with `lookalike remove --key`, and index its file again",
    "rule_of_regions_unknown": "a newer release cut regions: use it, or `lookalike index --no-regions`",
    "row_used_twice": "two pictures claim one embedding and nothing tells whose it is: restore the store from a backup",
}
