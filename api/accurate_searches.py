"""Accurate searches: the query seen in several ways, and the pixels of the likeliest images looked at."""

import time
from typing import NamedTuple

from indexer.backbones.backbones import BUILTIN_PREPARATION
from indexer.decoding.decoder_pool import DecoderPool
from indexer.devices import usable_cores
from indexer.query_embedder import ViewedPicture
from indexer.stored_keypoints import FileKeypoints
from search.finding.accurate import AccurateSearch, SeenPicture
from search.finding.find_similar import QueryContent, Wanted
from search.finding.snapshot import Snapshot
from search.geometry.keypoint_cache import KeypointCache
from search.geometry.verify import prepare, prepared
from search.records import Embeddings, ImageRecord, Match
from search.storing.catalogue import Catalogue
from search.storing.store import Store


class Looked(NamedTuple):
    """Matches of an accurate search. Times in milliseconds."""

    matches: list[Match]
    search_ms: float
    verify_ms: float


class AccurateSearches:
    """What accurate searches of one store share: decoding children, and the keypoints of images. Thread-safe."""

    def __init__(self, store: Store, *, remote: bool) -> None:
        """remote: images behind a network may be read, too."""
        self._catalogue: Catalogue = store.catalogue
        cores = usable_cores()
        # Children of their own: those of the queries' space prepare pictures, and must not wait for fifty others.
        self._pool = DecoderPool(BUILTIN_PREPARATION, children=cores)
        cache = KeypointCache(store.settings.keypoints, store.settings.keypoints_bytes)
        self._stored = FileKeypoints(self._pool, cache, remote=remote, threads=cores)

    def close(self) -> None:
        """End the decoding children."""
        self._pool.close()

    def by_picture(self, snapshot: Snapshot, viewed: ViewedPicture, wanted: Wanted) -> Looked:
        """Return the matches of a picture."""
        began = time.perf_counter()
        geometry = None if viewed.pixels is None else prepare(viewed.pixels)
        seen = SeenPicture(viewed.views, geometry, viewed.content)
        return self._search(snapshot, seen, wanted, began)

    def by_image(self, snapshot: Snapshot, image: ImageRecord, embedding: Embeddings, wanted: Wanted) -> Looked:
        """Return the matches of a stored image by its embedding, (1, D), and its file, where that can be read.

        Where it cannot, no match can be verified, and each says so.
        """
        began = time.perf_counter()
        keypoints = next(iter(self._stored.of([image])))
        geometry = None if keypoints is None else prepared(keypoints)
        seen = SeenPicture(embedding, geometry, QueryContent(image.sha256, image.pixel_hash))
        return self._search(snapshot, seen, wanted, began)

    def _search(self, snapshot: Snapshot, seen: SeenPicture, wanted: Wanted, began: float) -> Looked:
        search = AccurateSearch(snapshot, self._catalogue, self._stored)
        candidates = search.candidates(seen.views, wanted)
        found = time.perf_counter()
        matches = search.matches(seen, candidates, wanted)
        return Looked(matches, 1000 * (found - began), 1000 * (time.perf_counter() - found))
