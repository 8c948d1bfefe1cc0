"""Counts that tell whether a store is complete: files seen = images + ledger, images = searchable."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection, exists, func, select

from search.errors import CorruptFile
from search.generations import Generations
from search.records import Collection
from search.snapshot import SnapshotReader
from search.space_upgrade import upgrade_as_json
from search.store import Store
from search.tables import embedding, image, job, ledger


@dataclass(frozen=True, slots=True)
class CollectionStatus:
    """The counts of one collection. searchable: images a search can return right now.

    seen: files that are an image or in the ledger, each once: a picture that went bad after it was indexed is both.
    ignored: files that the last job passed over. damage: why nothing can be searched, if so. upgrade: the way to
    another space, None when there is none (search/space_upgrade.py).
    """

    collection: Collection
    seen: int
    images: int
    searchable: int
    failed: int
    ignored: int
    tombstones: int
    segments: int
    index_kind: str | None
    index_rows: int
    delta_rows: int
    damage: str | None = None
    upgrade: Mapping[str, object] | None = None

    def as_json(self) -> dict[str, object]:
        """Return the collection object of `status` and of HTTP."""
        index = {
            "kind": self.index_kind,
            "rows": self.index_rows,
            "delta": self.delta_rows,
            "recall_target": 1.0,
            "recall_measured": None,
        }
        return {
            "name": self.collection.name,
            "space": self.collection.space.name,
            "backbone": self.collection.space.backbone,
            "licence": self.collection.space.licence,
            "licence_accepted": self.collection.licence_accepted,
            "licence_accepted_at": self.accepted_at,
            "labels": self.collection.labels,
            "seen": self.seen,
            "images": self.images,
            "searchable": self.searchable,
            "failed": self.failed,
            "ignored": self.ignored,
            "tombstones": self.tombstones,
            "segments": self.segments,
            "index": index,
            "damage": self.damage,
            "upgrade": None if self.upgrade is None else dict(self.upgrade),
        }

    @property
    def accepted_at(self) -> str | None:
        """Return when somebody agreed to the licence of the weights, as ISO 8601 in UTC; None while nobody did."""
        moment = self.collection.licence_accepted_at
        return None if moment is None else datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")


def collection_status(store: Store, target: Collection, reader: SnapshotReader | None = None) -> CollectionStatus:
    """Count a collection. reader: one that is open already, else a new one is opened for this question."""
    record = Generations(store.database, store.blobs, target).current()
    with store.database.reading() as connection:
        counts = _counts(connection, target)
    searchable, delta_rows, damage = 0, 0, None
    try:
        snapshot = (reader or SnapshotReader(store.database, store.blobs, target)).current()
    except CorruptFile as error:
        damage = str(error)
    else:
        searchable, delta_rows = len(snapshot), len(snapshot.delta.ids)
        if record is not None and snapshot.generation is None:
            damage = "the search index is damaged and left out; `lookalike rebuild` builds it again"
    return CollectionStatus(
        collection=target,
        searchable=searchable,
        index_kind=None if record is None else record.kind,
        index_rows=0 if record is None else record.rows,
        delta_rows=delta_rows,
        damage=damage,
        upgrade=upgrade_as_json(store, target),
        **counts,
    )


def _counts(connection: Connection, target: Collection) -> dict[str, int]:
    here = image.c.collection_id == target.id
    used = (
        select(func.count(func.distinct(embedding.c.segment_id)))
        .join(image, image.c.content_id == embedding.c.content_id)
        .where(here, embedding.c.space_id == target.space_id)
    )
    last = select(job.c.progress).where(job.c.collection_id == target.id).order_by(job.c.id.desc()).limit(1)
    progress: Mapping[str, object] | None = connection.execute(last).scalar()
    ignored = (progress or {}).get("ignored", 0)
    images = connection.execute(select(func.count()).where(here, ~image.c.deleted)).scalar_one()
    known = exists().where(here, ~image.c.deleted, image.c.uri == ledger.c.uri)
    unknown = select(func.count()).where(ledger.c.collection_id == target.id, ~known)
    return {
        "seen": images + connection.execute(unknown).scalar_one(),
        "images": images,
        "tombstones": connection.execute(select(func.count()).where(here, image.c.deleted)).scalar_one(),
        "failed": connection.execute(select(func.count()).where(ledger.c.collection_id == target.id)).scalar_one(),
        "segments": connection.execute(used).scalar_one(),
        "ignored": ignored if isinstance(ignored, int) else 0,
    }
