"""What searching needs, put together once: a store, its collections' readers, and embedders on demand.

Shared by the command line, the server and `lookalike.py`. Thread-safe.
"""

import logging
import os
import threading
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakKeyDictionary

from api.queries import Found, QueryRequest
from search.calibration.current import current_calibration, with_probability
from search.duplicates.thresholds import default_threshold
from search.errors import UsageError
from search.finding.find_similar import QueryContent, Wanted, find_similar
from search.finding.plain_pictures import identical_images, note_on, why_plain_image
from search.finding.recall_watch import RecallWatch
from search.finding.snapshot import Snapshot, SnapshotReader
from search.finding.unique import Collapsing
from search.index.pair_finder import Progress as DedupProgress
from search.pairing.collection_pairs import CollectionPairs
from search.pairing.pair_file import FOLDER as PAIRS_FOLDER
from search.plans.stored_groups import StoredGroups
from search.records import Collection, Embeddings, ImageRecord, Match
from search.storing.store import Store
from search.upkeep.status import CollectionStatus, collection_status

if TYPE_CHECKING:
    from api.accurate_searches import AccurateSearches, Explained
    from api.duplicates import Duplicates
    from indexer.backbones.space_maps import Tell
    from indexer.query_embedder import QueryEmbedder
    from search.calibration.calibration import Calibration
    from search.moving.export_neighbours import Neighbourhood, NeighbourWriter

log = logging.getLogger(__name__)
R = TypeVar("R")

LINGER_S = 0.003  # that a GPU waits for pictures still being decoded: a batch takes it hardly longer than one picture


class Workspace:
    """One open store and everything loaded for it so far."""

    def __init__(
        self,
        root: Path,
        *,
        device: str = "auto",
        weights: Path | None = None,
        children: int = 1,
        lasting: bool = False,
        tell: "Tell" = log.info,
    ) -> None:
        """Open the store; nothing else is loaded before it is needed.

        lasting: whether many queries will come, so that torch becomes worth its second: it resizes five times as fast.
        tell: called with a line where a search takes seconds longer than others, for people who wait.

        Raises:
            LookalikeError: by name, why the store cannot be opened.
        """
        self._stack = ExitStack()
        self.store = self._stack.enter_context(Store(root))
        self._device = device
        self._weights = weights
        self._children = children
        self._lasting = lasting
        self._tell = tell
        self.recall_watch = RecallWatch()
        self._groups = StoredGroups(self.store)
        self._calibrations = WeakKeyDictionary[Snapshot, "Calibration | None"]()
        self._readers: dict[int, SnapshotReader] = {}
        self._embedders: dict[int, QueryEmbedder] = {}
        self._accurate_searches: AccurateSearches | None = None
        self._lock = threading.Lock()
        self._loading = threading.Lock()  # of backbones, which takes seconds: readers must not wait for it

    def close(self) -> None:
        """End the decoding children and close the store."""
        self._stack.close()

    def __enter__(self) -> "Workspace":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def collection(self, name: str) -> Collection:
        """Return a collection.

        Raises:
            CollectionNotFound: there is none of this name.
        """
        return self.store.catalogue.collection(name)

    def search_by_picture(self, target: Collection, data: bytes, name: str, wanted: QueryRequest) -> Found:
        """Return the images closest to a picture given as bytes; name is for messages.

        Raises:
            BadImage: it cannot be decoded.
            LookalikeError: the backbone cannot be loaded, or a segment is damaged.
        """
        while True:
            picture = self.embedder(target).view(data, name, wanted.part(), every=wanted.accurate)
            snapshot = self.snapshot(target)
            if snapshot.collection.space_id == target.space_id:
                break
            target = snapshot.collection  # promoted since it was looked up: the query must be of the same space
        if picture.plain is not None:
            plain = self._identical(snapshot, picture.content, picture.plain, wanted)
            return replace(plain, decode_ms=picture.decode_ms)
        if wanted.accurate:
            known = self.calibration(snapshot)
            looked = self.accurate_searches().by_picture(snapshot, picture, self.limits(snapshot, wanted, known))
            return Found(
                with_probability(looked.matches, known, looked=True),
                picture.decode_ms,
                picture.embed_ms,
                looked.search_ms,
                looked.verify_ms,
            )
        found = self._search(snapshot, picture.views, picture.content, wanted)
        return Found(found.matches, picture.decode_ms, picture.embed_ms, found.search_ms)

    def search_by_image(self, target: Collection, image: ImageRecord, wanted: QueryRequest) -> Found:
        """Return the images closest to a stored one, which is its own first match. Only `accurate` needs the backbone.

        Raises:
            ImageNotFound: it was deleted meanwhile.
        """
        if wanted.box is not None:
            raise UsageError("a box needs the picture itself: give the image's file instead of its id or key")
        snapshot = self.snapshot(target)
        plain = why_plain_image(image)
        if plain is not None:
            return self._identical(snapshot, QueryContent(image.sha256, image.pixel_hash), plain, wanted)
        embedding = snapshot.embedding_of(image.id)
        if wanted.accurate:
            return self._look_from(snapshot, image, embedding, wanted)
        return self._search(snapshot, embedding, QueryContent(image.sha256, image.pixel_hash), wanted)

    def _look_from(self, snapshot: Snapshot, image: ImageRecord, embedding: Embeddings, wanted: QueryRequest) -> Found:
        """Search accurately by a stored image: by its file, or by its embedding alone where that cannot be had."""
        searches, known = self.accurate_searches(), self.calibration(snapshot)
        limits = self.limits(snapshot, wanted, known)
        data = None if snapshot.collection.space.is_imported else searches.data_of(image)
        decode_ms = embed_ms = 0.0
        if data is None:
            looked = searches.by_embedding(snapshot, embedding, QueryContent(image.sha256, image.pixel_hash), limits)
        else:
            picture = self.embedder(snapshot.collection).view(data, image.uri)
            looked = searches.by_picture(snapshot, picture, limits)
            decode_ms, embed_ms = picture.decode_ms, picture.embed_ms
        matches = with_probability(looked.matches, known, looked=True)
        return Found(matches, decode_ms, embed_ms, looked.search_ms, looked.verify_ms)

    def explain(
        self, target: Collection, data: bytes, name: str, image: ImageRecord, box: str | None = None
    ) -> "Explained":
        """Return why a picture and a stored image are the same picture or not; name is for messages.

        Raises:
            BadImage: the picture cannot be decoded.
            UsageError: box is no box, or lies outside the picture.
            ImageNotFound: the image's file cannot be looked at.
        """
        part = QueryRequest(box=box).part()
        return self.accurate_searches().explain(target.space, data, name, image, part)

    def difference(self, image: ImageRecord, keeper: ImageRecord) -> bytes:
        """Return a small JPEG of a keeper that glows where an image shows something else.

        Raises:
            ImageNotFound: the file of one cannot be looked at.
        """
        from api.duplicate_report.pictures import difference_of

        return difference_of(self.accurate_searches().stored, image, keeper)

    @property
    def duplicates(self) -> "Duplicates":
        """Return what finds the duplicates of collections."""
        from api.duplicates import Duplicates

        return Duplicates(self)

    def calibration(self, snapshot: Snapshot) -> "Calibration | None":
        """Return what is known of the scores of a snapshot, None where nothing is that still holds."""
        if snapshot not in self._calibrations:  # another calibration makes another snapshot
            self._calibrations[snapshot] = current_calibration(self.store.database, snapshot)
        return self._calibrations[snapshot]

    def collection_pairs(self, images: int) -> CollectionPairs:
        """Return what compares all images with each other, which are so many, and keeps what it found in the store."""
        from api.pair_finders import pair_finder

        finder = pair_finder(images, self._device)
        return CollectionPairs(self.store.database, self.store.root / PAIRS_FOLDER, finder)

    def export_neighbours(
        self,
        target: Collection,
        place: Path,
        wanted: "Neighbourhood",
        write: "NeighbourWriter[R]",
        progress: DedupProgress = lambda done, total: None,
    ) -> R:
        """Write the nearest images of every image. write: in which format, a function of search/moving/."""
        from api.pair_finders import pair_finder

        snapshot = self.snapshot(target)
        finder = pair_finder(len(snapshot), self._device)
        return write(snapshot, self.store.catalogue, place, wanted, finder, progress)

    def status(self, name: str | None = None) -> list[CollectionStatus]:
        """Return the counts of every collection, or of the one of this name.

        Raises:
            CollectionNotFound: there is none of this name.
        """
        targets = self.store.catalogue.collections() if name is None else [self.collection(name)]
        return [collection_status(self.store, target, self._reader(target)) for target in targets]

    def snapshot(self, target: Collection) -> Snapshot:
        """Return what can be searched right now."""
        return self._reader(target).current()

    def embedder(self, target: Collection) -> "QueryEmbedder":
        """Return the embedder of a collection's space, loading its backbone at the first call.

        Raises:
            LookalikeError: the backbone cannot be loaded.
        """
        with self._loading:
            if target.space_id not in self._embedders:
                self._embedders[target.space_id] = self._load_embedder(target)
            return self._embedders[target.space_id]

    def _load_embedder(self, target: Collection) -> "QueryEmbedder":
        from indexer.backbones.backbones import BUILTIN, load_for_space
        from indexer.decoding.decoder_pool import DecoderPool
        from indexer.devices import CPU, choose_device
        from indexer.query_embedder import QueryEmbedder

        # One --weights file cannot belong to every collection of a store: the built-in backbone needs none.
        weights = None if target.space.backbone == BUILTIN else self._weights
        backbone = load_for_space(target.space, weights=weights, device=self._device)
        children = min(self._children, os.cpu_count() or 1)
        resize = None
        if self._lasting:
            from indexer.decoding.resizing import resizer

            resize = resizer(backbone.preparation)
        pool = self._stack.enter_context(DecoderPool(backbone.preparation, children=children, resize=resize))
        linger_s = 0.0 if choose_device(self._device) == CPU else LINGER_S
        return QueryEmbedder(backbone, pool, linger_s)

    def embedded(self) -> tuple[int, int]:
        """Return how many batches of query pictures were embedded so far, and how many pictures."""
        batches = [one.batches for one in [*self._embedders.values()]]
        return sum(one.batches for one in batches), sum(one.pictures for one in batches)

    def accurate_searches(self) -> "AccurateSearches":
        """Return what accurate searches share, made at the first call."""
        with self._loading:
            if self._accurate_searches is None:
                from api.accurate_searches import AccurateSearches

                # A visitor must not make a server ask others for files.
                self._accurate_searches = AccurateSearches(self.store, remote=not self._lasting, tell=self._tell)
                self._stack.callback(self._accurate_searches.close)
            return self._accurate_searches

    def _reader(self, target: Collection) -> SnapshotReader:
        with self._lock:
            if target.id not in self._readers:
                self._readers[target.id] = SnapshotReader(self.store.database, self.store.blobs, target)
            return self._readers[target.id]

    def _identical(self, snapshot: Snapshot, content: QueryContent | None, plain: str, wanted: QueryRequest) -> Found:
        """Return the images identical with a picture that shows next to nothing. plain: in what way."""
        began = time.perf_counter()
        limits = self.limits(snapshot, wanted, None)
        target = snapshot.collection
        matches = identical_images(self.store.catalogue, target, content, limits, looked=wanted.accurate)
        if limits.groups is not None:
            matches = Collapsing(self.store.database, target.id, limits.groups).counted(matches[:1])
        search_ms = 1000 * (time.perf_counter() - began)
        return Found(matches, 0.0, 0.0, search_ms, note=note_on(plain, content))

    def _search(
        self,
        snapshot: Snapshot,
        query: Embeddings,
        content: QueryContent | None,
        wanted: QueryRequest,
    ) -> Found:
        began = time.perf_counter()
        known = self.calibration(snapshot)
        limits = self.limits(snapshot, wanted, known)
        matches = find_similar(snapshot, self.store.catalogue, query, content, limits, self.watching)
        matches = with_probability(matches, known, looked=False)
        return Found(matches, 0.0, 0.0, 1000 * (time.perf_counter() - began))

    @property
    def watching(self) -> RecallWatch | None:
        """Who checks the recall of searches, None where the process would end before a check does."""
        return self.recall_watch if self._lasting else None

    def matches(
        self,
        snapshot: Snapshot,
        query: Embeddings,
        wanted: QueryRequest,
        *,
        leave_out: frozenset[int] = frozenset(),
        as_picture: bool,
    ) -> list[Match]:
        """Return the matches of an embedding, (1, D) float32 of unit length, but for some images.

        as_picture: whether it is that of one picture; what scores mean is known of those alone.
        """
        known = self.calibration(snapshot) if as_picture else None
        limits = replace(self.limits(snapshot, wanted, known), leave_out=leave_out)
        if not as_picture:
            limits = replace(limits, threshold=None)
        matches = find_similar(snapshot, self.store.catalogue, query, None, limits)
        return with_probability(matches, known, looked=False)

    def limits(self, snapshot: Snapshot, wanted: QueryRequest, known: "Calibration | None") -> Wanted:
        """Return what the caller wants, with the score from which a match is `probable`: none where nobody knows it."""
        threshold = None if known is None else known.review.score
        if threshold is None and snapshot.transform.is_none:
            threshold = default_threshold(snapshot.collection.space)  # measured for scores without a transform
        groups = self._groups.of(snapshot.collection.name) if wanted.unique else None
        return Wanted(wanted.k, wanted.min_score, threshold, wanted.condition(), groups)
