"""Counts that tell whether a store is complete: files seen = images + ledger, images = embeddings = searchable."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, exists, func, select

from search.calibration.calibration import Calibration
from search.calibration.calibrations import Calibrations
from search.database.tables import collection, embedding, image, job, ledger
from search.errors import CorruptFile
from search.finding.generations import EXACT_ROWS, Generations
from search.finding.snapshot import Snapshot, SnapshotReader
from search.geometry.local_features import PARTS, RECORD_BYTES
from search.local.published import LocalIndexes
from search.records import NO_TRANSFORM, Collection
from search.regions import IN_REGIONS
from search.spaces.space_upgrade import upgrade_as_json
from search.storing.region_rows import count_images_with_regions
from search.storing.store import Store, spec_of
from search.upkeep.sightings import disagreements, ignored_files

log = logging.getLogger(__name__)

TRIES = 5
ENTRY_BYTES = PARTS + 8  # of a local feature in its index: a code, and whose it is
CONTENT_BYTES = 8
# How a job ended that has not looked at every file: `running` also stands for one that was killed.
UNFINISHED = {"running": "is running or was killed", "interrupted": "was interrupted", "failed": "failed"}


@dataclass(frozen=True, slots=True)
class CollectionStatus:
    """The counts of one collection. searchable: images a search can return right now.

    seen: files that indexing jobs have seen, by their own count (search/upkeep/sightings.py); images + ledger_only, or
    something is missing, which disagreements tell. ledger_only: files in the ledger that are no image: a picture that
    went bad after it was indexed is both.
    ignored: files that jobs passed over. embedded: images that have an embedding in the collection's space.
    last_job: how the last indexing job ended, None before the first. damage: why nothing can be searched, if so.
    upgrade: the way to another space, None when there is none (search/spaces/space_upgrade.py). labels_of: the
    space whose labels the images have, None for the collection's own. index_facts: what was measured of an approximate
    index (search/index/training.py), nothing for an exact one. transform: what searches do to embeddings right now,
    which is not what the collection is to have (`collection.transform`) before there is an index that does it.
    with_regions: images that can be found by their regions. regions_index: the kind of the index of those, if any.
    local_images: how many have local features; local_bytes: of each, in segments and in their
    index; local_fixed_bytes: of that index, however many images it knows.
    """

    collection: Collection
    seen: int
    images: int
    ledger_only: int
    searchable: int
    failed: int
    ignored: int
    tombstones: int
    segments: int
    index_kind: str | None
    index_rows: int
    delta_rows: int
    embedded: int
    last_job: str | None
    damage: str | None = None
    upgrade: Mapping[str, object] | None = None
    labels_of: str | None = None
    disagreements: Sequence[str] = ()
    index_facts: Mapping[str, float] = field(default_factory=dict)
    transform: str = NO_TRANSFORM
    calibration: Calibration | None = None
    calibration_objection: str | None = None
    with_regions: int = 0
    regions_index: str | None = None
    local_images: int = 0
    local_bytes: float = 0.0
    local_fixed_bytes: int = 0

    @property
    def complete(self) -> bool:
        """Return whether every file that was seen is searchable or in the ledger, and the last job saw all of them."""
        return not self.missing

    @property
    def missing(self) -> list[str]:
        """Return what keeps the collection from being complete, a sentence each."""
        found = [] if self.damage is None else [self.damage]
        if self.embedded < self.images:
            lost = self.images - self.embedded
            found.append(f"{lost:,} of {self.images:,} images have no embedding; `lookalike index` makes it again")
        if self.searchable != self.embedded and self.damage is None:
            counts = f"{self.embedded:,} images have an embedding, {self.searchable:,} are searchable"
            found.append(f"{counts}; `lookalike verify` tells why")
        found += self.disagreements
        if self.last_job in UNFINISHED:
            found.append(f"the last `index` {UNFINISHED[self.last_job]}; run it again to go on")
        return found

    @property
    def summary(self) -> str:
        """Return the counts as a sentence."""
        files = "file" if self.failed == 1 else "files"
        ledger = f"; {self.failed:,} {files} in the ledger" if self.failed else ""
        return f"{self.searchable:,} of {self.images:,} images searchable{ledger}"

    def as_json(self) -> dict[str, object]:
        """Return the collection object of `status` and of HTTP."""
        index = {
            "kind": self.index_kind,
            "rows": self.index_rows,
            "delta": self.delta_rows,
            "recall_target": self.index_facts.get("recall_target", 1.0),
            "recall_measured": self.index_facts.get("recall"),
            "transform": self.transform,
            "transform_chosen": self.collection.transform,
            "explanation": self.index_explanation,
        }
        return {
            "name": self.collection.name,
            "space": self.collection.space.name,
            "backbone": self.collection.space.backbone,
            "licence": self.collection.space.licence,
            "licence_accepted": self.collection.licence_accepted,
            "licence_accepted_at": self.accepted_at,
            "labels": self.collection.labels,
            "labels_of": self.labels_of,
            "seen": self.seen,
            "images": self.images,
            "ledger_only": self.ledger_only,
            "searchable": self.searchable,
            "failed": self.failed,
            "ignored": self.ignored,
            "tombstones": self.tombstones,
            "segments": self.segments,
            "index": index,
            "embeddings": self.embedded,
            "complete": self.complete,
            "summary": self.summary,
            "missing": self.missing,
            "damage": self.damage,
            "regions": self.regions_as_json,
            "upgrade": None if self.upgrade is None else dict(self.upgrade),
            "calibration": self.calibration_as_json,
            "local": {
                "kept": self.collection.local,
                "images": self.local_images,
                "bytes_per_image": round(self.local_bytes),
                "fixed_bytes": self.local_fixed_bytes,
            },
        }

    @property
    def regions_as_json(self) -> dict[str, object] | None:
        """Return how many images are found by their regions, too, None where only whole pictures are searched."""
        if not self.collection.regions_rule:
            return None
        waiting = self.images - self.with_regions
        facts = {"rule": self.collection.regions_rule, "images": self.with_regions, "waiting": waiting}
        return facts | {"index": self.regions_index, "explanation": self.regions_explained}

    @property
    def regions_explained(self) -> str:
        """Return in a sentence what of the collection is searched in regions."""
        if not self.collection.regions_rule:
            return "no; `lookalike index --regions` also finds a picture inside a collage or a screenshot"
        waiting = self.images - self.with_regions
        told = f"{self.with_regions:,} of {self.images:,} images"
        return f"{told}; `lookalike index` makes those of the other {waiting:,}" if waiting else told

    @property
    def calibration_as_json(self) -> dict[str, object] | None:
        """Return the newest calibration without its curve, None where nobody has calibrated."""
        if self.calibration is None:
            return None
        shape = self.calibration.as_json()
        names = ("made_at", "automatic", "review", "verified", "prevalence", "images")
        held = {"current": self.calibration_objection is None, "objection": self.calibration_objection}
        return held | {name: shape[name] for name in names}

    @property
    def calibration_explained(self) -> str:
        """Return in a sentence what is known of scores."""
        if self.calibration is None:
            return "none; `lookalike calibrate` finds out what scores mean"
        if self.calibration_objection is not None:
            return f"not used any more: {self.calibration_objection}; run `lookalike calibrate` again"
        found = self.calibration
        if found.automatic.score is None and found.review.score is None:
            images = f"{found.sampled:,} {'image' if found.sampled == 1 else 'images'}"
            return f"{found.date[:10]}; the evidence of {images} shows no threshold"
        return f"{found.date[:10]}; {found.automatic.explanation}; for review: {found.review.explanation}"

    @property
    def index_explanation(self) -> str:
        """Return in a sentence or two what kind of index there is, and why, and what it does to embeddings."""
        return self._index_kind_explained + self._transform_explained

    @property
    def _index_kind_explained(self) -> str:
        if self.index_kind is None:
            return "no index yet: every image is compared"
        if not self.index_facts:
            return f"every image is compared, which is fastest up to {EXACT_ROWS:,} images"
        facts = self.index_facts
        return (
            f"a search compares {100 * facts['compared']:.1f} % of the images (in {facts['lists']:,.0f} lists) and "
            f"finds {100 * facts['recall']:.1f} % of the 10 nearest (target {100 * facts['recall_target']:g} %)"
        )

    @property
    def _transform_explained(self) -> str:
        chosen = self.collection.transform
        if self.transform == chosen:
            return "" if chosen == NO_TRANSFORM else f"; scores are cosines after the transform {chosen}"
        now = "as they are stored" if self.transform == NO_TRANSFORM else f"after the transform {self.transform}"
        return f"; embeddings are compared {now}, not yet with {chosen}: `lookalike rebuild` tells what is missing"

    @property
    def accepted_at(self) -> str | None:
        """Return when somebody agreed to the licence of the weights, as ISO 8601 in UTC; None while nobody did."""
        moment = self.collection.licence_accepted_at
        return None if moment is None else datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")


def collection_status(store: Store, target: Collection, reader: SnapshotReader | None = None) -> CollectionStatus:
    """Count a collection. reader: one that is open already, else a new one is opened for this question."""
    used = reader or SnapshotReader(store.database, store.blobs, target)
    for _ in range(TRIES):
        found, sequence, seen = _looked_at(store, target, used)
        if sequence == seen:
            break  # nothing was committed between the two looks that are compared
    return found


def _looked_at(store: Store, target: Collection, reader: SnapshotReader) -> tuple[CollectionStatus, int, int]:
    """Return the counts, and the commits that the catalogue and the searchable snapshot knew when they were counted."""
    record = Generations(store.database, store.blobs, target).current()
    with store.database.reading() as connection:
        counts = _counts(connection, target)
    sequence = counts.pop("sequence")
    measured, objection = None, None
    searchable, delta_rows, seen, damage, transform = 0, 0, sequence, None, NO_TRANSFORM
    try:
        snapshot = reader.current()
    except CorruptFile as error:
        damage = str(error)
    else:
        measured, objection = _calibration(store, snapshot)
        searchable, delta_rows, seen = len(snapshot), len(snapshot.delta.ids), snapshot.collection.sequence
        used, transform = snapshot.generation, snapshot.transform.kind
        if record is not None and (used is None or used.record.id < record.id):
            damage = "the search index is damaged and left out; `lookalike rebuild` builds it again"
    growing, fixed = _local_bytes(store, target)
    found = CollectionStatus(
        collection=target,
        searchable=searchable,
        index_kind=None if record is None else record.kind,
        index_rows=0 if record is None else record.rows,
        delta_rows=delta_rows,
        index_facts={}
        if record is None
        else {name: fact for name, fact in record.facts.items() if name != "transform"},
        transform=transform,
        calibration=measured,
        calibration_objection=objection,
        damage=damage,
        upgrade=upgrade_as_json(store, target),
        labels_of=_labels_of(store, target),
        regions_index=_regions_index(store, target),
        local_images=store.catalogue.local.count(target),
        local_bytes=growing,
        local_fixed_bytes=fixed,
        **counts,
    )
    return found, sequence, seen


def _calibration(store: Store, snapshot: Snapshot) -> tuple[Calibration | None, str | None]:
    """Return the newest calibration of a collection, and why it does not hold any more."""
    target, fingerprint = snapshot.collection, snapshot.transform.fingerprint
    known = Calibrations(store.database)
    try:
        found = known.newest(target, fingerprint) or known.last(target)
    except CorruptFile as error:
        log.warning("%s", error)
        return None, None
    return found, None if found is None else found.objection(target.space_id, fingerprint, len(snapshot))


def _regions_index(store: Store, target: Collection) -> str | None:
    if not target.regions_rule:
        return None
    record = Generations(store.database, store.blobs, target, IN_REGIONS).current()
    return None if record is None else record.kind


def _local_bytes(store: Store, target: Collection) -> tuple[float, int]:
    """Return what the local features of an image take, in segments and in their index, and what the index takes once.

    That is half a megabyte of lists and centres, which must not look as if few images were large.
    """
    record = LocalIndexes(store.database, store.blobs, target).current()
    if record is None:
        return 0.0, 0
    growing = ENTRY_BYTES * int(record.facts["features"]) + CONTENT_BYTES * record.rows
    return RECORD_BYTES + growing / record.rows, record.size_bytes - growing


def _labels_of(store: Store, target: Collection) -> str | None:
    if target.labels_from is None:
        return None
    with store.database.reading() as connection:
        return spec_of(connection, target.labels_from).name


def _counts(connection: Connection, target: Collection) -> dict[str, Any]:
    here = image.c.collection_id == target.id
    used = (
        select(func.count(func.distinct(embedding.c.segment_id)))
        .join(image, image.c.content_id == embedding.c.content_id)
        .where(here, embedding.c.space_id == target.space_id)
    )
    last = select(job.c.state).where(job.c.collection_id == target.id, job.c.kind == "index")
    newest = connection.execute(last.order_by(job.c.id.desc()).limit(1)).first()
    in_space = (embedding.c.space_id == target.space_id) & (embedding.c.region == 0)
    embedded = exists().where(embedding.c.content_id == image.c.content_id, in_space)
    images = connection.execute(select(func.count()).where(here, ~image.c.deleted)).scalar_one()
    known = exists().where(here, ~image.c.deleted, image.c.uri == ledger.c.uri)
    unknown = select(func.count()).where(ledger.c.collection_id == target.id, ~known)
    ledger_only = connection.execute(unknown).scalar_one()
    differing = disagreements(connection, target)
    return {
        "sequence": connection.execute(select(collection.c.sequence).where(collection.c.id == target.id)).scalar_one(),
        "seen": images + ledger_only + sum(differing.values()),
        "images": images,
        "ledger_only": ledger_only,
        "disagreements": tuple(differing),
        "tombstones": connection.execute(select(func.count()).where(here, image.c.deleted)).scalar_one(),
        "failed": connection.execute(select(func.count()).where(ledger.c.collection_id == target.id)).scalar_one(),
        "segments": connection.execute(used).scalar_one(),
        "ignored": ignored_files(connection, target),
        "embedded": connection.execute(select(func.count()).where(here, ~image.c.deleted, embedded)).scalar_one(),
        "last_job": None if newest is None else newest.state,
        "with_regions": count_images_with_regions(connection, target) if target.regions_rule else 0,
    }
