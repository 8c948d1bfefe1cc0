"""Accurate searches: the query seen in several ways, and the pixels of the likeliest images looked at."""

import hashlib
import logging
import threading
import time
from typing import NamedTuple

from indexer.backbones.backbones import BUILTIN_PREPARATION
from indexer.backbones.space_maps import SpaceMaps, Tell
from indexer.decoding.decode import DecodedImage
from indexer.decoding.decoder_pool import DecoderPool
from indexer.devices import usable_cores
from indexer.query_box import Box
from indexer.query_embedder import PART_PIXELS, VIEWED_PIXELS, ViewedPicture
from indexer.stored_pictures import StoredFilePictures, keypoints_of
from search.errors import ImageNotFound
from search.finding.accurate import AccurateSearch, SeenPicture
from search.finding.find_similar import QueryContent, Wanted
from search.finding.snapshot import Snapshot
from search.geometry.dense_maps import judged_by_maps
from search.geometry.explanation import Explanation, as_png, draw, explain
from search.geometry.keypoint_cache import KeypointCache
from search.geometry.keypoints import ASKED, Detail
from search.geometry.pages import page_by_page
from search.geometry.pixel_edits import PictureFile, edits_between
from search.geometry.verify import Query, prepared, verify
from search.local.reading import LocalReader
from search.records import Collection, Embeddings, ImageRecord, Match, SpaceSpec
from search.storing.store import Store

log = logging.getLogger(__name__)


class Looked(NamedTuple):
    """Matches of an accurate search. Times in milliseconds."""

    matches: list[Match]
    search_ms: float
    verify_ms: float


class Explained(NamedTuple):
    """Why two pictures are the same or not. picture: a PNG, both side by side."""

    facts: Explanation
    picture: bytes


class AccurateSearches:
    """What accurate searches of one store share: decoding children, and the keypoints of images. Thread-safe.

    stored: the pixels of indexed images. threads: that compare them.
    """

    def __init__(self, store: Store, *, remote: bool, tell: Tell = log.info) -> None:
        """remote: images behind a network may be read, too. tell: called with a line for people who wait."""
        self._tell = tell
        self._catalogue = store.catalogue
        self.threads = cores = usable_cores()
        # Children of their own: those of the queries' space prepare pictures, and must not wait for fifty others.
        self._pool = DecoderPool(BUILTIN_PREPARATION, children=cores)
        self._maps: dict[str, SpaceMaps] = {}
        self._lock = threading.Lock()
        cache = KeypointCache(store.settings.keypoints, store.settings.keypoints_bytes)
        self.stored = StoredFilePictures(self._pool, cache, remote=remote, threads=cores)
        self._store = store
        self._local: dict[int, LocalReader] = {}

    def close(self) -> None:
        """End the decoding children."""
        self._pool.close()

    def by_picture(self, snapshot: Snapshot, viewed: ViewedPicture, wanted: Wanted) -> Looked:
        """Return the matches of a picture."""
        began = time.perf_counter()
        geometry, file = _looked_at(viewed)
        return self._search(snapshot, SeenPicture(viewed.views, geometry, file, viewed.content), wanted, began)

    def by_embedding(self, snapshot: Snapshot, embedding: Embeddings, content: QueryContent, wanted: Wanted) -> Looked:
        """Return the matches of a stored image whose file cannot be had: none can be verified, and each says so.

        embedding: (1, D) float32 of unit length.
        """
        return self._search(snapshot, SeenPicture(embedding, None, None, content), wanted, time.perf_counter())

    def data_of(self, image: ImageRecord) -> bytes | None:
        """Return the file of a stored image, None where it is gone, out of reach, or has changed."""
        return self.stored.data(image)

    def explain(self, space: SpaceSpec, data: bytes, name: str, image: ImageRecord, box: Box | None) -> Explained:
        """Return why a picture, or a part of it, and a stored image are the same picture or not. name: for messages.

        space: of the image's collection, whose backbone makes maps where keypoints cannot judge.

        Raises:
            BadImage: the picture cannot be decoded.
            UsageError: the box lies outside the picture.
            ImageNotFound: the image's file cannot be read, or holds another picture by now.
        """
        geometry, file = self.looked_at(data, name, box)
        keypoints, stored = next(iter(self.stored.keypoints([image]))), self.stored.file(image)
        if keypoints is None or stored is None:
            raise ImageNotFound(
                f"the file of image {image.id} cannot be looked at: it is gone, elsewhere, or has changed"
            )
        found = verify(geometry, keypoints)
        if found.answer == "cannot":
            maps = self._maps_of(space)
            found = judged_by_maps(found, geometry.keypoints, keypoints, maps(file), maps(stored))
        found = page_by_page(found, geometry.keypoints, keypoints, lambda: file, lambda: stored) or found
        edits = edits_between(found, file, stored) if found.answer == "yes" else []
        return Explained(explain(found, edits), as_png(draw(found, file.pixels, stored.pixels)))

    def prepared(self, data: bytes, name: str) -> Query:
        """Return a picture ready to be compared with stored images; name is for messages.

        Raises:
            BadImage: the picture cannot be decoded.
        """
        return self.looked_at(data, name)[0]

    def looked_at(
        self, data: bytes, name: str, box: Box | None = None, detail: Detail = ASKED
    ) -> tuple[Query, PictureFile]:
        """Return a picture, or a part of it, ready to be compared with stored images, and its pixels.

        detail: with fewer keypoints it takes less time, and fewer small parts are found.

        Raises:
            BadImage: the picture cannot be decoded.
            UsageError: the box lies outside the picture.
        """
        return self.looked_at_decoded(data, self._pool.decode(data, name), name, box, detail)

    def looked_at_decoded(
        self, data: bytes, facts: DecodedImage, name: str, box: Box | None = None, detail: Detail = ASKED
    ) -> tuple[Query, PictureFile]:
        """Return the same of a picture that was decoded before. facts: what came of it."""
        pixels = self._pool.pixels(data, VIEWED_PIXELS if box is None else PART_PIXELS, name)
        size = (facts.width, facts.height)
        if box is not None:
            pixels, size = box.cut(pixels, size), box.within(size)
        sha256 = hashlib.sha256(data).hexdigest() if box is None else ""
        file = PictureFile(pixels, facts.format.upper(), sha256)
        return prepared(keypoints_of(pixels, size, detail)), file

    def _maps_of(self, space: SpaceSpec) -> SpaceMaps:
        with self._lock:
            return self._maps.setdefault(space.fingerprint, SpaceMaps(space, self._tell))

    def _search(self, snapshot: Snapshot, seen: SeenPicture, wanted: Wanted, began: float) -> Looked:
        sharing, maps = self._sharing(snapshot.collection), self._maps_of(snapshot.collection.space)
        search = AccurateSearch(snapshot, self._catalogue, self.stored, sharing, self.threads, maps)
        candidates = search.candidates(seen.views, wanted, seen.geometry)
        found = time.perf_counter()
        matches = search.matches(seen, candidates, wanted)
        return Looked(matches, 1000 * (found - began), 1000 * (time.perf_counter() - found))

    def _sharing(self, target: Collection) -> LocalReader:
        with self._lock:
            if target.id not in self._local:
                self._local[target.id] = LocalReader(self._store.database, self._store.blobs, target)
            return self._local[target.id]


def _looked_at(viewed: ViewedPicture) -> tuple[Query | None, PictureFile | None]:
    if viewed.pixels is None:
        return None, None
    sha256 = "" if viewed.content is None else viewed.content.sha256.hex()
    file = PictureFile(viewed.pixels, viewed.format.upper(), sha256)
    return prepared(keypoints_of(viewed.pixels, viewed.size, ASKED)), file
