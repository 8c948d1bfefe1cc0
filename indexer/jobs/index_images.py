"""Job: index images. Sources -> pipeline -> backbone -> commits -> a published generation."""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from indexer.backbones.backbone import Backbone
from indexer.backbones.fixed_projection import projected
from indexer.backbones.labelling import Label, Labeller
from indexer.decoding.decoding import Decoder
from indexer.jobs.decoder_deaths import DecoderDeaths
from indexer.jobs.movements import Movements
from indexer.jobs.outcomes import Counts, Failed, Ignored, Known, Outcome, Prepared, Unchanged
from indexer.jobs.pending import Pending
from indexer.jobs.pipeline import READ_THREADS, Pipeline, PipelineLimits
from indexer.jobs.planning import key_of
from indexer.jobs.progress import Progress
from indexer.jobs.region_embedding import embedded_regions
from indexer.jobs.remembering import RememberedSources
from indexer.jobs.sighting import Spectator
from indexer.jobs.summary import IndexSummary
from indexer.sources.found import FoundFile, archive_of
from indexer.sources.pruning import Part, Vanished, refusal
from indexer.sources.sources import MAX_FILE_BYTES, Source, Walk
from search.embeddings import unit_rows, usable_rows
from search.errors import LookalikeError
from search.finding.publishing import BackgroundPublisher, publish_if_due
from search.local.published import publish_local_if_due
from search.records import Collection, ContentFacts, Embeddings
from search.regions import REGIONS
from search.storing.commits import MAX_BATCH_ROWS, MAX_BATCH_S, Committer
from search.storing.image_rows import NewImage
from search.storing.origins import Origins
from search.storing.store import Store
from search.upkeep.sightings import Sighting

log = logging.getLogger(__name__)

REMOTE_READERS = 16  # each waits for the network most of the time


@dataclass(frozen=True, slots=True)
class IndexOptions:
    """How to index. batch_size: pictures per call of the backbone, at most 1,024. decoders: children kept busy.

    commit_rows, commit_s: a commit comes after this many rows or seconds, whichever is first. labeller: labels every
    picture that has no labels in this space yet. local: find the local features of pictures that have none; the decoder
    gives their keypoints. prune: remove what vanished. max_fraction: the share of the sources'
    images that may vanish at once, 0 to 1; None for the ordinary guard. retry: also files that have killed their
    decoder too often.
    """

    batch_size: int = 32
    decoders: int = 2
    commit_rows: int = MAX_BATCH_ROWS
    commit_s: float = MAX_BATCH_S
    max_file_bytes: int = MAX_FILE_BYTES
    labeller: Labeller | None = None
    prune: bool = False
    max_fraction: float | None = None
    retry: bool = False
    local: bool = False


class IndexJob:
    """One run of `index`, from the first file to the published generation."""

    def __init__(  # noqa: PLR0913, PLR0917 -- what it works with
        self,
        store: Store,
        target: Collection,
        backbone: Backbone,
        sources: Sequence[Source],
        progress: Progress,
        part: Part | None = None,
    ) -> None:
        """part: the sources are only what changed of others, as a watcher saw it."""
        self._store = store
        self._target = target
        self._backbone = backbone
        self._progress = progress
        self._sources = sources
        self._part = part
        self._origins = Origins(store.database, target.id)
        self._remembered = RememberedSources(self._origins, sources)
        self._movements = Movements(store.catalogue, self._origins, target, sources if part is None else part.roots)
        self._pending = Pending(target.space.dims)
        self._publisher = BackgroundPublisher(store, target, publish_local_if_due if target.local else None)
        self._spectator = Spectator(store, target, sources)
        self._sighting: Sighting | None = None
        self._refused: str | None = None
        self._counts = Counts()
        self._labeller: Labeller | None = None
        self._regions = target.regions_rule > 0
        self._failed: set[str] = set()
        self._deaths = DecoderDeaths()
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
        self._deaths.decoded = newest > 0
        self._labeller = options.labeller
        self._counts = Counts(
            labelled=None if options.labeller is None else 0,
            regioned=0 if self._regions else None,
            local=0 if options.local else None,
        )
        committer = Committer(self._store.database, self._store.blobs, self._target)
        found = Walk(self._sources, self._store.root, options.max_file_bytes, self._unchanged(options))
        pipeline = Pipeline(found, self._store.catalogue, self._origins, self._target, pool, self._limits(options))
        state = "failed"
        try:
            pipeline.start()
            self._consume(pipeline, committer, options)
            self._finish_files(pipeline, committer, found, newest, options)
            state = "done"
        except KeyboardInterrupt:
            state = "interrupted"
            self._commit(committer)
            raise
        finally:
            pipeline.close()
            self._publisher.close()
            committer.finish(state, self._counts.as_json() | self._seen())
        if self._target.labels_from is not None and options.labeller is not None:
            self._store.catalogue.labels.settle(self._target)
        self._publish()
        apart = {visit.uri: visit.apart for visit in found.visits.values() if visit.apart}
        return self._summary(pipeline, apart, time.perf_counter() - began)

    def _seen(self) -> dict[str, object]:
        """Return where the job looked and what it saw there, for `status`."""
        walked: dict[str, object] = {"walked": self._spectator.walked}
        return walked if self._sighting is None else walked | {"sighting": self._sighting.as_json()}

    def _unchanged(self, options: IndexOptions) -> dict[str, tuple[str, int]]:
        """Return the archives that need not be opened. Those of a retry must be: what is to be tried lies inside."""
        if options.retry or not any(source.kind == "archive" for source in self._sources):
            return {}
        ledger = self._store.catalogue.failures(self._target.id)
        wanted = {"labels": options.labeller is not None, "regions": self._regions, "local": options.local}
        return self._remembered.unchanged(ledger, **wanted)

    def _summary(self, pipeline: Pipeline, apart: Mapping[str, int], seconds: float) -> IndexSummary:
        busy = pipeline.busy_seconds() | self._busy
        bound_by = max(busy, key=lambda stage: busy[stage])
        offline = tuple(source.uri for source in self._sources if source.kind == "offline")
        return IndexSummary(self._target, self._counts, seconds, bound_by, self._refused, offline, apart)

    def _publish(self) -> None:
        try:
            publish_if_due(self._store, self._target, self._progress.publishing)
            if self._counts.local is not None:
                publish_local_if_due(self._store, self._target)
        except LookalikeError as error:
            # The type keeps its exit code; the message keeps the user calm.
            raise type(error)(
                f"what was indexed is safe, but the search index could not be renewed: {error}"
            ) from error

    def _limits(self, options: IndexOptions) -> PipelineLimits:
        # A manifest may name what lies behind the network, too.
        remote = any(source.remote or source.kind == "manifest" for source in self._sources)
        return PipelineLimits(
            options.decoders,
            max(1, 2 * options.batch_size // (1 + REGIONS * self._regions)),
            options.max_file_bytes,
            options.labeller is not None,
            REMOTE_READERS if remote else READ_THREADS,
            options.retry,
            self._regions,
            options.local,
        )

    def _consume(self, pipeline: Pipeline, committer: Committer, options: IndexOptions) -> None:
        waiting: list[Prepared] = []
        while not pipeline.ended:
            outcome = pipeline.take(timeout_s=0.2)
            if isinstance(outcome, Prepared):
                self._deaths.decoded = True
                self._count_local(outcome)
                if outcome.embeds or outcome.content_id is None:
                    waiting.append(outcome)
                else:
                    self._note_known(Known(outcome.file, outcome.content_id), local=outcome.local)
            elif outcome is not None:
                self._note(outcome)
            # A short batch is better than images that wait for the walk to find more.
            starved = outcome is None and bool(waiting)
            if len(waiting) >= options.batch_size or starved:
                self._embed(waiting, options.batch_size)
                waiting = []
            next_rows = options.batch_size * (1 + REGIONS * self._regions)
            if self._pending.rows + next_rows > options.commit_rows or self._pending.age_s > options.commit_s:
                self._commit(committer)
            self._progress.update(self._counts)
        self._embed(waiting, options.batch_size)
        self._commit(committer)

    def _embed(self, waiting: Sequence[Prepared], batch_size: int) -> None:
        if not waiting:
            return
        began = time.perf_counter()
        raw = self._backbone.embed(np.stack([item.pixels for item in waiting]))
        usable, rows = usable_rows(raw), unit_rows(projected(raw, self._backbone.space.dims))
        named = iter(self._labels_of(raw[usable]))
        regions = embedded_regions(self._backbone, rows, [item.regions for item in waiting], batch_size)
        for item, row, parts, good in zip(waiting, rows, regions, usable, strict=True):
            file = item.file
            if not good:
                detail = f"{self._target.space.backbone} answered with NaN, infinity or zero"
                self._note(Failed(file.uri, "invalid_embedding", detail, file.size_bytes, file.mtime_ns))
                continue
            labels = next(named)
            if item.content_id is not None:
                self._note_known(Known(file, item.content_id), labels, item.local)
            else:
                self._pending.add_new(replace(self._new(item, labels), local=item.local), row)
                self._counts.indexed += 1
            if parts is not None:
                self._pending.add_regions(item.facts if item.content_id is None else item.content_id, parts)
                self._counts.regioned = (self._counts.regioned or 0) + 1
        self._busy["embed"] += time.perf_counter() - began

    def _new(self, item: Prepared, labels: tuple[Label, ...] | None) -> NewImage:
        """Return the image of a fresh content. A key that the user gave stays with its place."""
        file, stored, key = item.file, item.stored, key_of(item.file)
        if key is None:
            chosen = stored.key if stored is not None and stored.key != stored.uri else file.uri
            return self._image(file, chosen, item.facts, None, labels)
        # An image that gets its first key keeps its id; every other is found by the key itself.
        adopted = stored is not None and stored.key != key and self._movements.claim(stored.image_id)
        return self._image(file, key, item.facts, stored.image_id if adopted and stored is not None else None, labels)

    def _image(
        self,
        file: FoundFile,
        key: str,
        content: ContentFacts | int,
        image_id: int | None,
        labels: tuple[Label, ...] | None,
    ) -> NewImage:
        origin = file.origin
        metadata = origin.metadata if origin is not None else None
        source_id = self._remembered.id_of(origin.source) if origin is not None and origin.source is not None else None
        place = (file.uri, file.size_bytes, file.mtime_ns)
        return NewImage(key, *place, content, image_id, labels, metadata, source_id)

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
            self._remembered.note_failure(archive_of(outcome.uri), outcome.reason)
            self._deaths.note(outcome)
            if outcome.fresh:
                self._pending.add_failed(outcome)
        elif isinstance(outcome, Known):
            self._note_known(outcome)

    def _count_local(self, item: Prepared) -> None:
        if self._counts.local is not None and item.local is not None:
            self._counts.local += 1

    def _note_known(
        self, known: Known, labels: tuple[Label, ...] | None = None, local: NDArray[np.uint8] | None = None
    ) -> None:
        """A content that has its embedding: a touched file, a moved image, one more copy, or what got what it lacked.

        labels, local: what it got.
        """
        file = known.file
        here = self._movements.stored_at(known)
        origin = here or self._movements.moved_from(known)
        if here is not None and here.content_id == known.content_id and here.uri == file.uri:
            self._counts.unchanged += 1
        elif origin is not None and (here is None or here.content_id == known.content_id):
            self._counts.moved += 1
        else:
            self._counts.indexed += 1
        # A key the user chose stays; a key that was only the uri follows the file.
        kept = origin.key if origin is not None and origin.key != origin.uri else file.uri
        image_id = origin.image_id if origin is not None else None
        image = self._image(file, key_of(file) or kept, known.content_id, image_id, labels)
        self._pending.add_known(replace(image, local=local))

    def _commit(self, committer: Committer) -> None:
        if self._pending.empty:
            return
        began = time.perf_counter()
        batch = self._pending.take(self._counts)
        committer.commit(batch)
        self._busy["commit"] += time.perf_counter() - began
        self._progress.acknowledged(batch.images)
        self._publisher.committed(len(batch.images))

    def _finish_files(
        self, pipeline: Pipeline, committer: Committer, found: Walk, newest: int, options: IndexOptions
    ) -> None:
        wanted = {"labels": options.labeller is not None, "regions": self._regions, "local": options.local}
        self._remembered.remember(found.visits, **wanted)
        if self._part is None:
            vanished = self._movements.vanished(pipeline.seen_ids, newest, found.visits)
            if options.prune:
                named = [*pipeline.seen_ids, *pipeline.named_ids]
                vanished += self._movements.left_manifests(named, newest, found.visits)
            ledger = [entry.uri for entry in self._store.catalogue.failures(self._target.id)]
            healed = self._movements.healed(ledger, frozenset(self._failed), found.visits)
        else:
            vanished = self._movements.gone(self._part.gone)
            healed = list(self._part.gone)
        self._counts.vanished = len(vanished.ids)
        if options.prune:
            self._prune(vanished, committer, options)
        committer.forget_failures(healed)
        met = {*pipeline.seen_ids, *self._movements.claimed}
        removed = self._counts.removed
        self._sighting = self._spectator.sighting(found.files, met, newest, frozenset(self._failed), removed)
        self._progress.update(self._counts)

    def _prune(self, vanished: Vanished, committer: Committer, options: IndexOptions) -> None:
        roots = self._sources if self._part is None else self._part.roots
        self._refused = refusal(vanished, roots, options.max_fraction)
        if self._refused is None:
            self._counts.removed = committer.remove(vanished.ids)
