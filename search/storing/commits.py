"""The commit protocol: what an indexing worker acknowledges, and how.

A batch first becomes a durable segment; then ONE transaction inserts the segment, content, embedding and image rows,
the ledger and the progress, under the collection's next commit sequence. Taking the sequence locks the collection's
row, so commits of one collection follow each other, and readers see sequences in commit order. Only after the
transaction is anything acknowledged. A crash before it leaves at most a segment that nobody names, swept later.

What the rows need is prepared before the lock is taken, and the segment is written by another thread meanwhile: the
transaction names it, and commits, only when it is durable.
"""

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, func, insert, select, update

from search.blobs.blobs import Blobs
from search.blobs.segments import SegmentRecord, write_segment
from search.database.bulk import Row, among, insert_missing_rows
from search.database.database import Database, chunks
from search.database.sequences import lock_collections, next_sequence
from search.database.tables import content, embedding, job
from search.errors import StoreUnavailable, UsageError
from search.faults import fault
from search.records import Collection, ContentFacts, Embeddings
from search.storing.image_rows import NewImage, put_images
from search.storing.labels import put_labels
from search.storing.ledger import FailedFile, forget_failures, put_failures
from search.storing.local_rows import as_stored, put_records
from search.storing.region_rows import EMBEDDING_COLUMNS, Regions, put_regions, show_regions
from search.storing.segment_rows import put_segment
from search.storing.tombstones import tombstone

MAX_BATCH_ROWS = 1024
MAX_BATCH_S = 2.0
UNIT_TOLERANCE = 1e-2  # float16 is off by a tenth of that
CONTENT_COLUMNS = (
    "sha256",
    "size_bytes",
    "format",
    "width",
    "height",
    "pixel_hash",
    "perceptual_hash",
    "contrast",
    "taken_at",
)


@dataclass(frozen=True, slots=True)
class Batch:
    """What one commit makes durable together.

    images with ContentFacts own the rows of `embeddings` ((M, D) float32, unit length) in order; images with a
    content id own none. regions: of contents of these images, whole ones or known ones; None for none.
    """

    images: Sequence[NewImage]
    embeddings: Embeddings
    failed: Sequence[FailedFile] = ()
    progress: Mapping[str, object] = field(default_factory=dict)
    regions: Regions | None = None

    @property
    def rows(self) -> Embeddings:
        """Return all embeddings, whole pictures first, as they lie in the segment."""
        return self.embeddings if self.regions is None else np.concatenate([self.embeddings, self.regions.embeddings])


class Committer:
    """Commits the batches of one indexing job into one collection."""

    def __init__(self, database: Database, blobs: Blobs, target: Collection, *, job: str | None = "index") -> None:
        """job: the kind of its row in the table of jobs; None for commits that belong to none."""
        self._database = database
        self._blobs = blobs
        self._target = target
        self._writer = ThreadPoolExecutor(1, "segment")
        self._job_id = None if job is None else self._start(job)

    def commit(self, batch: Batch) -> int:
        """Make a batch durable and visible; return its commit sequence. After this returns it is acknowledged.

        Raises:
            StoreUnavailable: the disk is full or the database does not answer; nothing of the batch is visible.
            UsageError: the embeddings are not one row of unit length, in the dims of the space, for each fresh content.
        """
        _require_usable(batch, self._target.space.dims)
        writing = _Writing(self._segment(batch.rows), self._segment(as_stored([new.local for new in batch.images])))
        try:
            sequence = self._put(batch, _content_rows(batch), writing)
        finally:
            wait(writing)
        fault("commit.done")
        return sequence

    def _segment(self, embeddings: NDArray[np.floating]) -> "Future[SegmentRecord | None]":
        """Start to write a segment; where that takes long, nothing is locked before it is done."""
        writing: Future[SegmentRecord | None]
        if not len(embeddings):
            writing = Future()
            writing.set_result(None)
            return writing
        writing = self._writer.submit(write_segment, self._blobs, embeddings)
        if not self._blobs.quick:
            wait([writing])
        return writing

    def _put(self, batch: Batch, rows: Sequence[Row], writing: "_Writing") -> int:
        for one in writing:
            if one.done():
                one.result()  # what failed already needs no transaction
        with self._database.writing() as connection:
            fault("commit.begin")
            if batch.regions is not None and batch.regions.known:
                lock_collections(connection)  # images of others get these regions, too
            sequence = next_sequence(connection, self._target)
            insert_missing_rows(connection, content, CONTENT_COLUMNS, rows)
            ids = _content_ids(connection, [row[0] for row in rows])
            contents = [
                ids[new.content.sha256] if isinstance(new.content, ContentFacts) else new.content
                for new in batch.images
            ]
            known = {new.content for new in batch.images if not isinstance(new.content, ContentFacts)}
            _require_embedded(connection, self._target.space_id, known)
            fault("commit.rows")
            put_images(connection, self._target.id, batch.images, contents, sequence)
            named = {at: new.labels for at, new in zip(contents, batch.images, strict=True) if new.labels}
            put_labels(connection, self._target.space_id, named)
            put_failures(connection, self._target.id, [new.uri for new in batch.images], batch.failed)
            self._progress(connection, "running", batch.progress)
            self._put_embeddings(connection, batch, ids, writing.embeddings.result())
            owners = [at for at, new in zip(contents, batch.images, strict=True) if new.local is not None]
            put_records(connection, writing.records.result(), owners)
            if batch.regions is not None:
                show_regions(connection, self._target.space_id, batch.regions.known)
            fault("commit.end")
        return sequence

    def remove(self, ids: Sequence[int]) -> int:
        """Turn images into tombstones, 1,024 in a commit; return how many were not before. No search finds them then.

        Raises:
            StoreUnavailable: the disk is full or the database does not answer; whole commits are done or undone.
        """
        removed = 0
        for part in chunks(ids, MAX_BATCH_ROWS):
            with self._database.writing() as connection:
                fault("commit.begin")
                sequence = next_sequence(connection, self._target)
                removed += tombstone(connection, self._target.id, part, sequence)
                fault("commit.end")
            fault("commit.done")
        return removed

    def finish(self, state: str, progress: Mapping[str, object]) -> None:
        """Record how the job ended: `done`, `interrupted` or `failed`."""
        with self._database.writing() as connection:
            self._progress(connection, state, progress)

    def forget_failures(self, uris: Sequence[str]) -> None:
        """Take files out of the ledger that are not there any more."""
        with self._database.writing() as connection:
            forget_failures(connection, self._target.id, uris)

    def _start(self, kind: str) -> int:
        now = time.time()
        values = {"collection_id": self._target.id, "kind": kind, "state": "running", "progress": {}}
        with self._database.writing() as connection:
            added = connection.execute(insert(job).values(**values, started_at=now, changed_at=now))
        key = added.inserted_primary_key
        return int(key[0]) if key is not None else 0

    def _progress(self, connection: Connection, state: str, progress: Mapping[str, object]) -> None:
        if self._job_id is None:
            return
        values = {"state": state, "progress": dict(progress), "changed_at": time.time()}
        connection.execute(update(job).where(job.c.id == self._job_id).values(values))

    def _put_embeddings(
        self, connection: Connection, batch: Batch, ids: Mapping[bytes, int], written: SegmentRecord | None
    ) -> None:
        if written is None:
            return
        segment_id = put_segment(connection, self._target.space_id, written)
        facts = [new.content for new in batch.images if isinstance(new.content, ContentFacts)]
        # Sorted, as the contents are; of two files with one content the first row counts.
        rows = sorted((ids[fact.sha256], self._target.space_id, 0, segment_id, row) for row, fact in enumerate(facts))
        insert_missing_rows(connection, embedding, EMBEDDING_COLUMNS, rows)
        if batch.regions is not None:
            put_regions(connection, self._target.space_id, batch.regions.places(ids, len(facts)), segment_id)


class _Writing(NamedTuple):
    """The segments of one batch on their way to the disk."""

    embeddings: "Future[SegmentRecord | None]"
    records: "Future[SegmentRecord | None]"


def _require_usable(batch: Batch, dims: int) -> None:
    """Refuse what no search could find, or would find everywhere. Costs one pass over the batch."""
    fresh = sum(isinstance(new.content, ContentFacts) for new in batch.images)
    if batch.embeddings.shape != (fresh, dims):
        raise UsageError(f"embeddings of shape {batch.embeddings.shape} for {fresh} contents in a space of {dims} dims")
    if batch.regions is not None:
        batch.regions.require_four_rows_each(dims)
    rows = batch.rows
    squares = np.einsum("nd,nd->n", rows, rows)
    for row in np.flatnonzero(~(np.abs(squares - 1) < UNIT_TOLERANCE)).tolist():
        raise UsageError(f"embedding {row} has the squared length {squares[row]}, not 1: scale it, or leave it out")


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


def _content_rows(batch: Batch) -> list[Row]:
    """Return the rows of the fresh contents of a batch, each once.

    Sorted, so that two workers that meet on the same contents wait for each other instead of deadlocking.
    """
    fresh = {new.content.sha256: new.content for new in batch.images if isinstance(new.content, ContentFacts)}
    return [tuple(getattr(fact, name) for name in CONTENT_COLUMNS) for _, fact in sorted(fresh.items())]


def _content_ids(connection: Connection, hashes: Sequence[object]) -> dict[bytes, int]:
    return dict(among(connection, "SELECT sha256, id FROM content WHERE sha256 IN ?*", (), hashes))
