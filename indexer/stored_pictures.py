"""What the pixels of indexed images say, from their files or from what is remembered of them."""

import hashlib
import threading
from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from indexer.decoding.decoder_pool import LARGEST_THUMBNAIL, DecoderPool
from indexer.file_facts import file_facts
from indexer.sources.stored_files import StoredFiles, is_remote
from search.duplicates.measuring import Measured
from search.errors import BadImage
from search.geometry.enlargement import detail_profile
from search.geometry.keypoint_cache import KeypointCache
from search.geometry.keypoints import STORED, Detail, Keypoints, extract
from search.geometry.pixel_edits import PictureFile
from search.geometry.recompression import earlier_quality
from search.records import ImageRecord

READ_PIXELS: Final = 1_024  # longest side that is looked at
AHEAD: Final = 12  # images looked at before the caller asks for them
KEPT: Final = 24  # pictures of READ_PIXELS, 3 MB at most each: who chooses among copies asks for the same ones again


class StoredFilePictures:
    """The StoredPictures (search/finding/accurate.py) of images whose files can be read. Thread-safe."""

    def __init__(self, pool: DecoderPool, cache: KeypointCache, *, remote: bool, threads: int) -> None:
        """remote: also what lies behind a network. threads: images looked at side by side."""
        self._pool = pool
        self._cache = cache
        self._remote = remote
        self._files = StoredFiles(remote=remote)
        self._threads = threads
        self._recent = _Recent(KEPT)

    def keypoints(self, images: Sequence[ImageRecord]) -> Iterator[Keypoints | None]:
        """Yield the keypoints of each image in order, None where its file is not what was indexed any more."""
        if len(images) == 1:
            yield self._keypoints(images[0])
            return
        waiting: deque[Future[Keypoints | None]] = deque()
        with ThreadPoolExecutor(self._threads) as threads:
            try:
                for image in images:
                    if len(waiting) == AHEAD:
                        yield waiting.popleft().result()
                    waiting.append(threads.submit(self._keypoints, image))
                while waiting:
                    yield waiting.popleft().result()
            finally:  # also where nobody wants the rest
                for future in waiting:
                    future.cancel()

    def file(self, image: ImageRecord) -> PictureFile | None:
        """Return the pixels of an image, its long side at most READ_PIXELS, None as in `keypoints`."""
        pixels = self._pixels(image)
        return None if pixels is None else _picture_file(image, pixels)

    def looked_at(self, image: ImageRecord) -> tuple[Keypoints | None, PictureFile | None]:
        """Return what `keypoints` and `file` say of an image, its file read once."""
        pixels = self._pixels(image)
        if pixels is None:
            return self._cache.find(image.sha256.hex()), None
        return self._cache.get(image.sha256.hex(), lambda: _keypoints_in(image, pixels)), _picture_file(image, pixels)

    def data(self, image: ImageRecord) -> bytes | None:
        """Return the bytes of an image's file, None as in `keypoints`."""
        if is_remote(image.uri) and not self._remote:
            return None
        try:
            data = self._files.read(image.uri)
        except BadImage:
            return None
        return data if hashlib.sha256(data).digest() == image.sha256 else None

    def measured(self, images: Sequence[ImageRecord]) -> list[Measured | None]:
        """Return what the file of each image says beside its picture, None as in `keypoints`."""
        with ThreadPoolExecutor(self._threads) as threads:
            return list(threads.map(self._measured, images))

    def _measured(self, image: ImageRecord) -> Measured | None:
        data = self.data(image)
        if data is None:
            return None
        facts = file_facts(data)
        try:
            pixels = self._pool.pixels(data, LARGEST_THUMBNAIL, image.uri)
        except BadImage:
            return None
        # Reduced pixels are as fine as pixels get.
        whole = max(pixels.shape[:2]) == max(image.width, image.height)
        profile = detail_profile(pixels) if whole else None
        # A lossless file of pixels that JPEG rounded is no better than that JPEG was.
        earlier = earlier_quality(pixels) if whole and facts.lossless else None
        return Measured(
            profile, facts.quality if earlier is None else earlier, facts.lossless and earlier is None, facts.tags
        )

    def whole(self, image: ImageRecord) -> NDArray[np.uint8] | None:
        """Return the pixels of an image in its full size, None as in `keypoints`, and of one that is too large."""
        data = self.data(image)
        if data is None or max(image.width, image.height) > LARGEST_THUMBNAIL:
            return None
        try:
            return self._pool.pixels(data, LARGEST_THUMBNAIL, image.uri)
        except BadImage:
            return None

    def _keypoints(self, image: ImageRecord) -> Keypoints | None:
        known = self._cache.find(image.sha256.hex())
        return self.looked_at(image)[0] if known is None else known

    def _pixels(self, image: ImageRecord) -> NDArray[np.uint8] | None:
        data = self.data(image)
        known = None if data is None else self._recent.find(image.sha256)
        if data is None or known is not None:
            return known
        try:
            pixels = self._pool.pixels(data, READ_PIXELS, image.uri)
        except BadImage:
            return None
        self._recent.keep(image.sha256, pixels)
        return pixels


class _Recent:
    """The pixels that were read last, by the sha256 of their files. Thread-safe."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept = OrderedDict[bytes, NDArray[np.uint8]]()
        self._lock = threading.Lock()

    def find(self, sha256: bytes) -> NDArray[np.uint8] | None:
        with self._lock:
            found = self._kept.get(sha256)
            if found is not None:
                self._kept.move_to_end(sha256)
            return found

    def keep(self, sha256: bytes, pixels: NDArray[np.uint8]) -> None:
        with self._lock:
            self._kept[sha256] = pixels
            self._kept.move_to_end(sha256)
            if len(self._kept) > self._most:
                self._kept.popitem(last=False)


def _keypoints_in(image: ImageRecord, pixels: NDArray[np.uint8]) -> Keypoints:
    return keypoints_of(pixels, (image.width, image.height))


def _picture_file(image: ImageRecord, pixels: NDArray[np.uint8]) -> PictureFile:
    return PictureFile(pixels, image.format.upper(), image.sha256.hex())


def keypoints_of(pixels: NDArray[np.uint8], size: tuple[int, int], detail: Detail = STORED) -> Keypoints:
    """Return the keypoints of a picture in places of its full size. pixels: reduced or not; size: width and height."""
    return replace(extract(pixels, detail), width=size[0], height=size[1])
