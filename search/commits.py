"""The commit protocol: what an indexing worker acknowledges, and how.

A batch first becomes a durable segment; then ONE transaction inserts the segment, content, embedding and image rows,
the ledger and the progress, under the collection's next commit sequence. Taking the sequence locks the collection's
row, so commits of one collection follow each other, and readers see sequences in commit order. Only after the
transaction is anything acknowledged. A crash before it leaves at most a segment that nobody names, swept later.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from sqlalchemy import Connection, delete, func, insert, select, update

from search.blobs import LocalBlobs
from search.database import Database, chunks, insert_missing
from search.errors import StoreUnavailable
from search.faults import fault
from search.labels import put_labels
from search.records import Collection, ContentFacts, Embeddings, Label, shown_path
from search.segments import SegmentRecord, write_segment
from search.sequences import next_sequence
from search.tables import content, embedding, image, job, ledger, segment

MAX_BATCH_ROWS = 1024
MAX_BATCH_S = 2.0


@dataclass(frozen=True, slots=True)
class NewImage:
    """A file that becomes, or changes, an image.

    content: the facts of a fresh content, or the id of one the catalogue has. image_id: the image that moved here or
    changed; None lets the key decide. labels: of the content, highest probability first; None when nobody asked.
    """

    key: str
    uri: str
    size_bytes: int
    mtime_ns: int
    content: ContentFacts | int
    image_id: int | None = None
    labels: tuple[Label, ...] | None = None


@dataclass(frozen=True, slots=True)
class FailedFile:
    """A file for the ledger."""

    uri: str
    reason: str
    detail: str
    size_bytes: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Batch:
    """What one commit makes durable together.

    images with ContentFacts own the rows of `embeddings` ((M, D) float32, unit length) in order; images with a
    content id own none.
    """

    images: Sequence[NewImage]
    embeddings: Embeddings
    failed: Sequence[FailedFile] = ()
    progress: Mapping[str, object] = field(default_factory=dict)


class Committer:
    """Commits the batches of one indexing job into one collection."""

    def __init__(self, database: Database, blobs: LocalBlobs, target: Collection) -> None:
        self._database = database
        self._blobs = blobs
        self._target = target
        self._job_id = self._start()

    def commit(self, batch: Batch) -> int:
        """Make a batch durable and visible; return its commit sequence. After this returns it is acknowledged.

        Raises:
            StoreUnavailable: the disk is full or the database does not answer; nothing of the batch is visible.
        """
        written = write_segment(self._blobs, batch.embeddings) if len(batch.embeddings) else None
        with self._database.writing() as connection:
            fault("commit.begin")
            sequence = next_sequence(connection, self._target.id)
            contents = self._contents(connection, batch, written)
            fault("commit.rows")
            _put_images(connection, self._target.id, batch.images, contents, sequence)
            named = {at: new.labels for at, new in zip(contents, batch.images, strict=True) if new.labels}
            put_labels(connection, self._target.space_id, named)
            _put_ledger(connection, self._target.id, batch)
            self._progress(connection, "running", batch.progress)
            fault("commit.end")
        fault("commit.done")
        return sequence

    def finish(self, state: str, progress: Mapping[str, object]) -> None:
        """Record how the job ended: `done`, `interrupted` or `failed`."""
        with self._database.writing() as connection:
            self._progress(connection, state, progress)

    def forget_failures(self, uris: Sequence[str]) -> None:
        """Take files out of the ledger that are not there any more."""
        with self._database.writing() as connection:
            _forget(connection, self._target.id, uris)

    def _start(self) -> int:
        now = time.time()
        values = {"collection_id": self._target.id, "kind": "index", "state": "running", "progress": {}}
        with self._database.writing() as connection:
            added = connection.execute(insert(job).values(**values, started_at=now, changed_at=now))
        key = added.inserted_primary_key
        return int(key[0]) if key is not None else 0

    def _progress(self, connection: Connection, state: str, progress: Mapping[str, object]) -> None:
        values = {"state": state, "progress": dict(progress), "changed_at": time.time()}
        connection.execute(update(job).where(job.c.id == self._job_id).values(values))

    def _contents(self, connection: Connection, batch: Batch, written: SegmentRecord | None) -> list[int]:
        """Insert what is new of segment, content and embedding; return the content id of each image."""
        facts = [new.content for new in batch.images if isinstance(new.content, ContentFacts)]
        known = {new.content for new in batch.images if not isinstance(new.content, ContentFacts)}
        _require_embedded(connection, self._target.space_id, known)
        ids = _put_contents(connection, facts)
        if written is not None:
            segment_id = _put_segment(connection, self._target.space_id, written)
            rows = [
                {
                    "content_id": ids[fact.sha256],
                    "space_id": self._target.space_id,
                    "region": 0,
                    "segment_id": segment_id,
                    "row": row,
                }
                for row, fact in enumerate(facts)
            ]
            insert_missing(connection, embedding, rows)
        return [
            ids[new.content.sha256] if isinstance(new.content, ContentFacts) else new.content for new in batch.images
        ]


def no_embeddings(dims: int) -> Embeddings:
    """Return the (0, D) matrix of a batch that embeds nothing."""
    return np.empty((0, dims), np.float32)


def _require_embedded(connection: Connection, space_id: int, content_ids: set[int]) -> None:
    """Refuse contents that compaction dropped after the pipeline had looked them up.

    Raises:
        StoreUnavailable: some are gone; another run embeds their files.
    """
    found = 0
    for part in chunks(sorted(content_ids)):
        mine = (embedding.c.space_id == space_id) & (embedding.c.region == 0) & embedding.c.content_id.in_(part)
        found += connection.execute(select(func.count()).select_from(embedding).where(mine)).scalar_one()
    if found < len(content_ids):
        gone = len(content_ids) - found
        raise StoreUnavailable(f"`compact` dropped {gone} unused embeddings that were needed again; run again to go on")


def _put_segment(connection: Connection, space_id: int, written: SegmentRecord) -> int:
    values = {
        "space_id": space_id,
        "name": written.name,
        "rows": written.rows,
        "size_bytes": written.size_bytes,
        "sha256": written.sha256,
        "checksums": written.checksums,
    }
    return int(connection.execute(insert(segment).values(values).returning(segment.c.id)).scalar_one())


def _put_contents(connection: Connection, facts: Sequence[ContentFacts]) -> dict[bytes, int]:
    # Sorted, so that two workers that meet on the same contents wait for each other instead of deadlocking.
    unique = sorted({fact.sha256: fact for fact in facts}.items())
    rows: list[dict[str, object]] = [
        {
            "sha256": sha256,
            "size_bytes": fact.size_bytes,
            "format": fact.format,
            "width": fact.width,
            "height": fact.height,
            "pixel_hash": fact.pixel_hash,
            "perceptual_hash": fact.perceptual_hash,
            "contrast": fact.contrast,
        }
        for sha256, fact in unique
    ]
    insert_missing(connection, content, rows)
    found: dict[bytes, int] = {}
    for part in chunks([sha256 for sha256, _ in unique]):
        query = select(content.c.sha256, content.c.id).where(content.c.sha256.in_(part))
        found |= {bytes(row.sha256): row.id for row in connection.execute(query)}
    return found


def _put_images(
    connection: Connection, collection_id: int, images: Sequence[NewImage], contents: list[int], sequence: int
) -> None:
    known = _ids_by_key(connection, collection_id, [new.key for new in images])
    # Under a key that is only its uri, a file is the image that lies there, whatever key a user gave that one.
    nameless = [new.uri for new in images if new.image_id is None and new.key == new.uri and new.key not in known]
    here = _keyed_at(connection, collection_id, nameless)
    inserts: dict[str, dict[str, object]] = {}
    for new, content_id in zip(images, contents, strict=True):
        values = {
            "key": new.key,
            "uri": new.uri,
            "path": shown_path(new.uri),
            "content_id": content_id,
            "size_bytes": new.size_bytes,
            "mtime_ns": new.mtime_ns,
        }
        image_id = new.image_id if new.image_id is not None else known.get(new.key)
        if image_id is None and new.uri in here:
            for image_id, key in here[new.uri]:
                _change_image(connection, image_id, values | {"key": key}, sequence)
        elif image_id is None:
            inserts[new.key] = values | {"collection_id": collection_id, "sequence": sequence, "metadata": {}}
        else:
            _change_image(connection, image_id, values, sequence)
    for part in chunks(inserts.values()):
        connection.execute(insert(image), part)


def _change_image(connection: Connection, image_id: int, values: Mapping[str, object], sequence: int) -> None:
    """Update an image; only another content makes it newer than the generations that know it."""
    connection.execute(
        update(image)
        .where(image.c.id == image_id, image.c.content_id != values["content_id"])
        .values(sequence=sequence)
    )
    connection.execute(update(image).where(image.c.id == image_id).values(dict(values)))


def _ids_by_key(connection: Connection, collection_id: int, keys: Sequence[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for part in chunks(keys):
        query = select(image.c.key, image.c.id).where(
            image.c.collection_id == collection_id, image.c.key.in_(part), ~image.c.deleted
        )
        found |= {row.key: row.id for row in connection.execute(query)}
    return found


def _keyed_at(connection: Connection, collection_id: int, uris: Sequence[str]) -> dict[str, list[tuple[int, str]]]:
    """Return the (id, key) of the images at these uris, by uri; uris without any are left out."""
    found: dict[str, list[tuple[int, str]]] = {}
    for part in chunks(uris):
        query = select(image.c.uri, image.c.id, image.c.key).where(
            image.c.collection_id == collection_id, image.c.uri.in_(part), ~image.c.deleted
        )
        for row in connection.execute(query):
            found.setdefault(row.uri, []).append((row.id, row.key))
    return found


def _forget(connection: Connection, collection_id: int, uris: Sequence[str]) -> None:
    for part in chunks(uris):
        connection.execute(delete(ledger).where(ledger.c.collection_id == collection_id, ledger.c.uri.in_(part)))


def _put_ledger(connection: Connection, collection_id: int, batch: Batch) -> None:
    """Write the failures of a batch, counting attempts on an unchanged file, and clear what succeeded."""
    _forget(connection, collection_id, [new.uri for new in batch.images])
    for failed in batch.failed:
        where = (ledger.c.collection_id == collection_id) & (ledger.c.uri == failed.uri)
        old = connection.execute(select(ledger).where(where)).first()
        same = old is not None and (old.size_bytes, old.mtime_ns) == (failed.size_bytes, failed.mtime_ns)
        values = {
            "reason": failed.reason,
            "detail": failed.detail,
            "size_bytes": failed.size_bytes,
            "mtime_ns": failed.mtime_ns,
            "attempts": old.attempts + 1 if old is not None and same else 1,
        }
        if old is None:
            connection.execute(insert(ledger).values(collection_id=collection_id, uri=failed.uri, **values))
        else:
            connection.execute(update(ledger).where(where).values(**values))
