"""Small JPEGs of stored images, made in the decoding children and kept in a bounded memory."""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable

from indexer.decoding.decoder_pool import DecoderPool
from indexer.sources.stored_files import StoredFiles, is_remote
from search.errors import ImageNotFound
from search.records import ImageRecord
from search.storing.uploads import SCHEME

CACHE_BYTES = 64 * 1024 * 1024


class Thumbnails:
    """Makes and remembers thumbnails. Thread-safe."""

    def __init__(self, pool: DecoderPool, small: Callable[[bytes], bytes | None] = lambda _sha256: None) -> None:
        """small: gives the picture that is kept instead of an original, by the original's sha256."""
        self._pool = pool
        self._small = small
        # Only what lies on this machine: a visitor must not make the server ask others.
        self._files = StoredFiles(remote=False)
        self._kept: OrderedDict[tuple[bytes, int], bytes] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, image: ImageRecord, size: int) -> bytes:
        """Return a JPEG of the image's file whose long side is at most `size` pixels.

        Raises:
            ImageNotFound: the file is not on this machine, or holds another picture now.
            BadImage: the file cannot be read or decoded any more.
        """
        name = (image.sha256, size)
        with self._lock:
            found = self._kept.get(name)
            if found is not None:
                self._kept.move_to_end(name)
                return found
        made = self._make(image, size)
        with self._lock:
            if name not in self._kept:
                self._kept[name] = made
                self._bytes += len(made)
            while self._bytes > CACHE_BYTES:
                _, oldest = self._kept.popitem(last=False)
                self._bytes -= len(oldest)
        return made

    def _make(self, image: ImageRecord, size: int) -> bytes:
        if image.uri.startswith(SCHEME) and (small := self._small(image.sha256)) is not None:
            return self._pool.thumbnail(small, size)
        if is_remote(image.uri):
            raise ImageNotFound(f"{image.uri} is no file of this machine")
        data = self._files.read(image.uri)
        if hashlib.sha256(data).digest() != image.sha256:
            raise ImageNotFound(f"{image.uri} has changed since it was indexed; index it again")
        return self._pool.thumbnail(data, size)
