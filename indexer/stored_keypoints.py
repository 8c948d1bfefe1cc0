"""Keypoints of indexed images, from their files or from what is remembered of them."""

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from indexer.decoding.decoder_pool import DecoderPool
from indexer.sources.stored_files import StoredFiles, is_remote
from search.errors import BadImage
from search.geometry.keypoint_cache import KeypointCache
from search.geometry.keypoints import Keypoints, extract
from search.records import ImageRecord

WORKING_PIXELS: Final = 800  # longest side that keypoints are looked for in


class FileKeypoints:
    """The StoredKeypoints (search/finding/accurate.py) of images whose files can be read. Thread-safe."""

    def __init__(self, pool: DecoderPool, cache: KeypointCache, *, remote: bool, threads: int) -> None:
        """remote: also what lies behind a network. threads: images looked at side by side."""
        self._pool = pool
        self._cache = cache
        self._remote = remote
        self._files = StoredFiles(remote=remote)
        self._threads = threads

    def of(self, images: Sequence[ImageRecord]) -> Iterator[Keypoints | None]:
        """Yield the keypoints of each image in order, None where its file is not what was indexed any more."""
        with ThreadPoolExecutor(self._threads) as threads:
            yield from threads.map(self._of, images)

    def _of(self, image: ImageRecord) -> Keypoints | None:
        name = image.sha256.hex()
        known = self._cache.find(name)
        if known is not None:
            return known
        if is_remote(image.uri) and not self._remote:
            return None
        try:
            data = self._files.read(image.uri)
            if hashlib.sha256(data).digest() != image.sha256:
                return None
            keypoints = extract(self._pool.pixels(data, WORKING_PIXELS, image.uri))
        except BadImage:
            return None
        self._cache.keep(name, keypoints)
        return keypoints
