"""Copies of blobs of object storage in a folder of this machine: checked before use, dropped when room is short.

The name of a blob may end in its checksum: `segments/0f3a-DIGEST.lks`, DIGEST being 32 hexadecimal digits of xxh3. A
copy of another length or digest is removed, and fetched again by the caller. Several processes may share the folder:
files appear whole, by rename, and one that is dropped stays readable for those who have mapped it.
"""

import logging
import os
import time
import uuid
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import xxhash

from search.blobs.blobs import PARTIAL_SUFFIX, require_length, write_parts
from search.errors import StoreUnavailable
from search.faults import fault

log = logging.getLogger(__name__)

READ_BYTES = 1024 * 1024
DIGEST_DIGITS = 32
PARTIAL_AGE_S = 3600.0
# The folder is looked through again when this share of its size was added, so that adding a file stays cheap.
SCANNED_SHARE = 8


@dataclass(frozen=True, slots=True)
class Spooled:
    """A file that is on its way into storage. digest: xxh3 of its bytes, 32 hexadecimal digits."""

    path: Path
    size_bytes: int
    digest: str


class BlobCache:
    """The cache of one store's blobs. Thread-safe."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        """folder: of this store alone. max_bytes: the newest blob stays even when it alone is larger."""
        self.folder = folder
        self._max_bytes = max_bytes
        self._unscanned = max_bytes
        self._verified: dict[str, tuple[int, int, int]] = {}

    def partial(self) -> Path:
        """Return a fresh name for a file that is still being written.

        Raises:
            StoreUnavailable: the folder cannot be made.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self.unusable(error) from error
        return self.folder / f"{uuid.uuid4().hex}{PARTIAL_SUFFIX}"

    def spool(self, parts: Iterable[bytes | memoryview], point: str) -> Spooled:
        """Write the parts into a file of this folder. point: prefix of the fault point passed.

        Raises:
            StoreUnavailable: the disk is full or refuses the write.
        """
        path, hashed = self.partial(), xxhash.xxh3_128()
        try:
            with path.open("xb") as file:
                written = write_parts(file, _hashed(parts, hashed), f"{point}.write")
                require_length(file, written)
        except OSError as error:
            path.unlink(missing_ok=True)
            raise self.unusable(error) from error
        return Spooled(path, written, hashed.hexdigest())

    def keep(self, partial: Path, name: str) -> Path:
        """Give a whole file its name, make room for it, and return where it is.

        Raises:
            StoreUnavailable: the folder cannot be written.
        """
        place = self.folder / name
        try:
            fault("cache.rename")
            place.parent.mkdir(parents=True, exist_ok=True)
            size = partial.stat().st_size
            partial.replace(place)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise self.unusable(error) from error
        self._unscanned += size
        if self._unscanned * SCANNED_SHARE > self._max_bytes:
            self._make_room(place)
            self._unscanned = 0
        return place

    def find(self, name: str, expected_bytes: int) -> Path | None:
        """Return the copy of a blob, None when there is none or the one there was not what was stored."""
        place = self.folder / name
        try:
            found = place.stat()
            if found.st_size == expected_bytes and self._is_sound(name, place, found):
                # Its time of use, by which the least recently used are dropped.
                os.utime(place, ns=(time.time_ns(), found.st_mtime_ns))
                return place
            log.warning("%s is damaged; it is fetched again", place)
            place.unlink(missing_ok=True)
        except FileNotFoundError:
            pass
        except OSError as error:
            log.warning("%s cannot be read (%s); the blob is fetched again", place, error.strerror)
        return None

    def distrust(self, name: str) -> None:
        """Compare a copy again before its next use, though nobody seems to have written to it; a disk can do that.

        A copy whose name has no checksum is dropped.
        """
        self._verified.pop(name, None)
        if digest_in(name) is None:
            with suppress(OSError):  # gone already; or it stays, and its reader finds it damaged once more
                (self.folder / name).unlink()

    def unusable(self, error: OSError) -> StoreUnavailable:
        """Return the error of a cache that cannot be written."""
        return StoreUnavailable(
            f"cannot write the cache {self.folder}: {error.strerror or error}; free space, or name another folder in "
            "LOOKALIKE_CACHE, then run again"
        )

    def _is_sound(self, name: str, place: Path, found: os.stat_result) -> bool:
        """Compare a file with the digest in its name, once for every state of the file that this process meets."""
        state = (found.st_ino, found.st_mtime_ns, found.st_size)
        if self._verified.get(name) == state:
            return True
        sound = is_sound(place, name)
        if sound:
            self._verified[name] = state
        return sound

    def _make_room(self, newest: Path) -> None:
        used, files = 0, []
        for path, found in self._files():
            if path.suffix == PARTIAL_SUFFIX:
                if found.st_mtime < time.time() - PARTIAL_AGE_S:
                    path.unlink(missing_ok=True)
            else:
                used += found.st_size
                files.append((found.st_atime_ns, found.st_size, path))
        for _, size, path in sorted(files):
            if used <= self._max_bytes:
                break
            if path != newest:
                path.unlink(missing_ok=True)
                used -= size

    def _files(self) -> Iterable[tuple[Path, os.stat_result]]:
        for path in self.folder.rglob("*.*"):
            with suppress(FileNotFoundError):  # another process dropped it meanwhile
                yield path, path.stat()


def digest_in(name: str) -> str | None:
    """Return the digest in a blob's name, None for one that was not written to object storage."""
    _, dash, digest = Path(name).stem.rpartition("-")
    return digest if dash and len(digest) == DIGEST_DIGITS else None


def is_sound(path: Path, name: str) -> bool:
    """Return whether a file is what the digest in a blob's name says; True where the name has none.

    Raises:
        OSError: it cannot be read.
    """
    wanted = digest_in(name)
    if wanted is None:
        return True
    hashed = xxhash.xxh3_128()
    with path.open("rb") as file:
        while piece := file.read(READ_BYTES):
            hashed.update(piece)
    return hashed.hexdigest() == wanted


def _hashed(parts: Iterable[bytes | memoryview], hashed: xxhash.xxh3_128) -> Iterable[bytes | memoryview]:
    for part in parts:
        hashed.update(part)
        yield part
