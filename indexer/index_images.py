"""Job: index images. Sources -> pipeline -> backbone -> commits -> a published generation."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from indexer.backbone import Backbone
from indexer.decoding import Decoder
from indexer.labelling import Label, Labeller
from indexer.movements import Movements
from indexer.outcomes import Counts, Failed, Ignored, Known, Outcome, Prepared, Unchanged
from indexer.pipeline import QUARANTINE_REASONS, Pipeline, PipelineLimits
from indexer.sources import MAX_FILE_BYTES, Source, walk
from search.commits import MAX_BATCH_ROWS, MAX_BATCH_S, Batch, Committer, FailedFile, NewImage, no_embeddings
from search.embeddings import unit_rows, usable_rows
from search.errors import LookalikeError
from search.generations import Generations
from search.records import Collection, Embeddings
from search.store import Store

log = logging.getLogger(__name__)

HOPELESS_DEATHS = 50


@dataclass(frozen=True, slots=True)
class IndexOptions:
    """How to index. batch_size: pictures per call of the backbone, at most 1,024. decoders: children kept busy.

    commit_rows, commit_s: a commit comes after this many rows or seconds, whichever is first. labeller: labels every
    picture that has no labels in this space yet. retry: also files that have killed their decoder too often.
    """

    batch_size: int = 32
    decoders: int = 2
    commit_rows: int = MAX_BATCH_ROWS
    commit_s: float = MAX_BATCH_S
    max_file_bytes: int = MAX_FILE_BYTES
    labeller: Labeller | None = None
    retry: bool = False


@dataclass(frozen=True, slots=True)
class IndexSummary:
    """What an indexing job did. bound_by: the stage that was busiest."""

    collection: Collection
    counts: Counts
    seconds: float
    bound_by: str

    @property
    def images_per_second(self) -> float:
        """Images made searchable per second."""
        return (self.counts.indexed + self.counts.moved) / self.seconds if self.seconds else 0.0

    def as_json(self) -> dict[str, object]:
        """Return the object the `index` command prints."""
        head = {
            "collection": self.collection.name,
            "space": self.collection.space.name,
            "backbone": self.collection.space.backbone,
        }
        tail = {
            "seconds": round(self.seconds, 3),
            "images_per_second": round(self.images_per_second, 2),
            "bound_by": self.bound_by,
        }
        return head | self.counts.as_json() | tail


class Progress(Protocol):
    """Who is told how a job goes."""

    def update(self, counts: Counts) -> None:
        """Files were looked at; called often."""
        ...

    def acknowledged(self, images: Sequence[NewImage]) -> None:
        """These images are durable and searchable from now on."""
        ...


class IndexJob:
    """One run of `index`, from the first file to the published generation."""

    def __init__(
        self, store: Store, target: Collection, backbone: Backbone, sources: Sequence[Source], progress: Progress
    ) -> None:
        self._store = store
        self._target = target
        self._backbone = backbone
        self._progress = progress
        self._sources = sources
        self._movements = Movements(store.catalogue, target, sources)
        self._pending = _Pending(target.space.dims)
        self._counts = Counts()
        self._labeller: Labeller | None = None
        self._failed: set[str] = set()
        # Whether decoding has ever worked here.
        self._decoded = False
        self._deaths = 0
        self._busy = {"embed": 0.0, "commit": 0.0}

    def run(self, pool: Decoder, options: IndexOptions) -> IndexSummary:
        """Index everything, and return what was done. Interrupting keeps what was acknowledged.

        Raises:
            StoreUnavailable: the disk is full or the catalogue does not answer; run again to go on.
            KeyboardInterrupt: after the rows embedded so far were committed.
        """
        began = time.perf_counter()
        self._store.sweep()
        newest = self._store.catalogue.newest_image_id(self._target.id)
        self._decoded = newest > 0
        self._labeller = options.labeller
        self._counts.labelled = None if options.labeller is None else 0
        committer = Committer(self._store.database, self._store.blobs, self._target)
        pipeline = Pipeline(
            walk(self._sources, skip=self._store.root),
            self._store.catalogue,
            self._target,
            pool,
            PipelineLimits(
                options.decoders,
                2 * options.batch_size,
                options.max_file_bytes,
                options.labeller is not None,
                options.retry,
            ),
        )
        state = "failed"
        try:
            pipeline.start()
            self._consume(pipeline, committer, options)
            self._finish_files(pipeline, committer, newest)
            state = "done"
        except KeyboardInterrupt:
            state = "interrupted"
            self._commit(committer)
            raise
        finally:
            pipeline.close()
            committer.finish(state, self._counts.as_json())
        try:
            publish_if_due(self._store, self._target)
        except LookalikeError as error:
            # The type keeps its exit code; the message keeps the user calm.
            raise type(error)(
                f"what was indexed is safe, but the search index could not be renewed: {error}"
            ) from error
        busy = pipeline.busy_seconds() | self._busy
        bound_by = max(busy, key=lambda stage: busy[stage])
        return IndexSummary(self._target, self._counts, time.perf_counter() - began, bound_by)

    def _consume(self, pipeline: Pipeline, committer: Committer, options: IndexOptions) -> None:
        waiting: list[Prepared] = []
        while not pipeline.ended:
            outcome = pipeline.take(timeout_s=0.2)
            if isinstance(outcome, Prepared):
                self._decoded = True
                waiting.append(outcome)
            elif outcome is not None:
                self._note(outcome)
            # A short batch is better than images that wait for the walk to find more.
            starved = outcome is None and bool(waiting)
            if len(waiting) >= options.batch_size or starved:
                self._embed(waiting)
                waiting = []
            if self._pending.rows + options.batch_size > options.commit_rows or self._pending.age_s > options.commit_s:
                self._commit(committer)
            self._progress.update(self._counts)
        self._embed(waiting)
        self._commit(committer)

    def _embed(self, waiting: Sequence[Prepared]) -> None:
        if not waiting:
            return
        began = time.perf_counter()
        raw = self._backbone.embed(np.stack([item.pixels for item in waiting]))
        usable = usable_rows(raw)
        named = iter(self._labels_of(raw[usable]))
        for item, row, good in zip(waiting, unit_rows(raw), usable, strict=True):
            file = item.file
            if not good:
                detail = f"{self._target.space.backbone} answered with NaN, infinity or zero"
                self._note(Failed(file.uri, "invalid_embedding", detail, file.size_bytes, file.mtime_ns))
                continue
            labels = next(named)
            if item.content_id is not None:
                self._note_known(Known(file, item.content_id), labels)
                continue
            new = NewImage(file.uri, file.uri, file.size_bytes, file.mtime_ns, item.facts, labels=labels)
            self._pending.add_new(new, row)
            self._counts.indexed += 1
        self._busy["embed"] += time.perf_counter() - began

    def _labels_of(self, raw: Embeddings) -> Sequence[tuple[Label, ...] | None]:
        """Return the labels of each raw embedding, None for each when nobody asked."""
        if self._labeller is None or self._counts.labelled is None:
            return [None] * len(raw)
        found = self._labeller.labels(raw) if len(raw) else []
        self._counts.labelled += len(found)
        return found

    def _note(self, outcome: Outcome) -> None:
        counts = self._counts
        if isinstance(outcome, Unchanged):
            counts.unchanged += outcome.files
        elif isinstance(outcome, Ignored):
            counts.ignored += outcome.files
        elif isinstance(outcome, Failed):
            counts.failures[outcome.reason] += 1
            self._failed.add(outcome.uri)
            self._stop_if_hopeless(outcome)
            if outcome.fresh:
                self._pending.add_failed(outcome)
        elif isinstance(outcome, Known):
            self._note_known(outcome)

    def _stop_if_hopeless(self, failed: Failed) -> None:
        """A file that kills its decoder costs only itself; when all do, the machine is to blame and not the files.

        Raises:
            LookalikeError: the first pictures all killed their decoder.
        """
        if not failed.fresh or failed.reason not in QUARANTINE_REASONS:
            return
        self._deaths += 1
        if not self._decoded and self._deaths >= HOPELESS_DEATHS:
            raise LookalikeError(
                f"the first {self._deaths} pictures all killed their decoder (the last: {failed.detail}): something is "
                "wrong with this machine or installation; free memory, lower --workers, or look closer with --verbose"
            )

    def _note_known(self, known: Known, labels: tuple[Label, ...] | None = None) -> None:
        """A content that has its embedding: a touched file, a moved image, one more copy, or one that got labels."""
        file = known.file
        here = self._movements.stored_at(known)
        origin = here or self._movements.moved_from(known)
        if here is not None and here.content_id == known.content_id:
            self._counts.unchanged += 1
        elif here is None and origin is not None:
            self._counts.moved += 1
        else:
            self._counts.indexed += 1
        # A key the user chose stays; a key that was only the uri follows the file.
        key = origin.key if origin is not None and origin.key != origin.uri else file.uri
        image_id = origin.image_id if origin is not None else None
        content_id = known.content_id
        new = NewImage(key, file.uri, file.size_bytes, file.mtime_ns, content_id, image_id, labels)
        self._pending.add_known(new)

    def _commit(self, committer: Committer) -> None:
        if self._pending.empty:
            return
        began = time.perf_counter()
        batch = self._pending.take(self._counts)
        committer.commit(batch)
        self._busy["commit"] += time.perf_counter() - began
        self._progress.acknowledged(batch.images)

    def _finish_files(self, pipeline: Pipeline, committer: Committer, newest: int) -> None:
        self._counts.vanished = sum(1 for _ in self._movements.vanished(pipeline.seen_ids, newest))
        ledger = [entry.uri for entry in self._store.catalogue.failures(self._target.id)]
        committer.forget_failures(self._movements.healed(ledger, frozenset(self._failed)))
        self._progress.update(self._counts)


class _Pending:
    """What was embedded or noted since the last commit."""

    def __init__(self, dims: int) -> None:
        self._dims = dims
        self._images: list[NewImage] = []
        self._embeddings: list[np.ndarray[tuple[int, ...], np.dtype[np.float32]]] = []
        self._failed: list[FailedFile] = []
        self._since: float | None = None

    def add_new(self, image: NewImage, embedding: Embeddings) -> None:
        self._touch()
        self._images.append(image)
        self._embeddings.append(embedding)

    def add_known(self, image: NewImage) -> None:
        self._touch()
        self._images.append(image)

    def add_failed(self, failed: Failed) -> None:
        self._touch()
        self._failed.append(FailedFile(failed.uri, failed.reason, failed.detail, failed.size_bytes, failed.mtime_ns))

    @property
    def rows(self) -> int:
        return max(len(self._images), len(self._failed))

    @property
    def empty(self) -> bool:
        return self._since is None

    @property
    def age_s(self) -> float:
        return 0.0 if self._since is None else time.monotonic() - self._since

    def take(self, counts: Counts) -> Batch:
        embeddings = np.stack(self._embeddings) if self._embeddings else no_embeddings(self._dims)
        batch = Batch(self._images, embeddings, self._failed, counts.as_json())
        self._images, self._embeddings, self._failed, self._since = [], [], [], None
        return batch

    def _touch(self) -> None:
        if self._since is None:
            self._since = time.monotonic()


def publish_if_due(store: Store, target: Collection) -> None:
    """Publish a generation when the newer rows are many enough, or when the current one is damaged."""
    generations = Generations(store.database, store.blobs, target)
    current = generations.current()
    collection = store.catalogue.collection(target.name)
    damaged = current is not None and not generations.is_sound(current)
    changed = store.catalogue.count_changed_since(target.id, current.sequence if current is not None else 0)
    if damaged or generations.due(current, changed):
        generations.publish(collection.sequence)
