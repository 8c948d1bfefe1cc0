"""Immutable files of a store: written once under a fresh name, durable before anyone hears of them.

A name is a relative path such as `segments/0f3a.lks`. What the catalogue does not name does not exist; leftovers of a
crash are swept after an age guard. `LocalBlobs` keeps them in a folder; search/blobs/object_blobs.py in object storage.
"""

import hashlib
import os
import time
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from search.errors import CorruptFile, StoreUnavailable
from search.faults import fault

PARTIAL_SUFFIX = ".partial"


class Blobs(Protocol):
    """Where segments and generations lie. Safe for several threads and processes.

    quick: writing a segment takes about as long as the rest of a commit, so the writer lock may wait for it.
    """

    quick: bool

    def write(self, folder: str, suffix: str, parts: Iterable[bytes | memoryview], *, point: str) -> str:
        """Write a new blob durably and return its name; after this returns it survives a power cut.

        parts: written one after the other. point: prefix of the fault points passed on the way.

        Raises:
            StoreUnavailable: the storage is full, refuses the write or does not answer; no name was given away.
        """
        ...

    def open(self, name: str, expected_bytes: int) -> NDArray[np.uint8]:
        """Return a blob as a read-only memory map, (expected_bytes,) uint8.

        Raises:
            CorruptFile: it is missing or has another length than the catalogue recorded.
            StoreUnavailable: the storage does not answer.
        """
        ...

    def local_path(self, name: str, expected_bytes: int) -> Path:
        """Return a file of this machine that holds a blob; open it at once, since a cache may drop it later.

        Raises:
            CorruptFile: it is missing or has another length than the catalogue recorded.
            StoreUnavailable: the storage does not answer.
        """
        ...

    def distrust(self, name: str) -> bool:
        """Hear that what was opened is not what was written; return whether opening it again may give a better copy."""
        ...

    def sha256(self, name: str) -> bytes:
        """Return the sha256 of a whole blob, read from where it lies and from no cache.

        Raises:
            CorruptFile: it is missing.
            StoreUnavailable: the storage does not answer.
        """
        ...

    def names(self, folder: str) -> list[str]:
        """Return the names of all blobs in a folder, in no order.

        Raises:
            StoreUnavailable: the storage does not answer.
        """
        ...

    def written_at(self, name: str) -> float | None:
        """Return when a blob was written, in seconds since 1970 by the storage's clock; None when it is not there.

        Raises:
            StoreUnavailable: the storage does not answer.
        """
        ...

    def sweep(self, folder: str, named: frozenset[str], older_than_s: float) -> list[str]:
        """Remove files of a folder that the catalogue does not name; return their names.

        older_than_s: age guard, so that a file another process is about to name is left alone. Call it under the
        writer lock.

        Raises:
            StoreUnavailable: the storage does not answer.
        """
        ...


class LocalBlobs:
    """Blobs in a folder of this machine, by plain system calls with fsync."""

    quick = True

    def __init__(self, root: Path) -> None:
        self._root = root

    def path(self, name: str) -> Path:
        """Return where the blob of this name lies."""
        return self._root / name

    def write(self, folder: str, suffix: str, parts: Iterable[bytes | memoryview], *, point: str) -> str:
        """As Blobs.write: temporary name, fsync, rename, fsync of the folder."""
        target = self._root / folder / f"{uuid.uuid4().hex}{suffix}"
        partial = target.with_name(target.name + PARTIAL_SUFFIX)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("xb") as file:
                written = write_parts(file, parts, f"{point}.write")
                fault(f"{point}.fsync", file.fileno())
                os.fsync(file.fileno())
                require_length(file, written)
            fault(f"{point}.rename")
            partial.rename(target)
            fault(f"{point}.folder")
            sync_folder(target.parent)
        except OSError as error:
            partial.unlink(missing_ok=True)
            target.unlink(missing_ok=True)
            raise StoreUnavailable(
                f"cannot write {target}: {error.strerror or error}; free space or permissions, then run again"
            ) from error
        return f"{folder}/{target.name}"

    def open(self, name: str, expected_bytes: int) -> NDArray[np.uint8]:
        """As Blobs.open."""
        return mapped(self.local_path(name, expected_bytes))

    def local_path(self, name: str, expected_bytes: int) -> Path:
        """As Blobs.local_path: the blob itself."""
        path = self.path(name)
        try:
            size = path.stat().st_size
        except OSError as error:
            raise CorruptFile(f"{path} is missing: {error.strerror}") from error
        if size != expected_bytes:
            raise CorruptFile(f"{path} has {size} bytes, the catalogue recorded {expected_bytes}")
        return path

    def distrust(self, name: str) -> bool:
        """As Blobs.distrust: there is but this one."""
        return False

    def sha256(self, name: str) -> bytes:
        """As Blobs.sha256."""
        try:
            with self.path(name).open("rb") as file:
                return hashlib.file_digest(file, "sha256").digest()
        except OSError as error:
            raise CorruptFile(f"{self.path(name)} cannot be read: {error.strerror}") from error

    def names(self, folder: str) -> list[str]:
        """As Blobs.names; half written ones are among them."""
        return [f"{folder}/{path.name}" for path in self._files(folder)]

    def written_at(self, name: str) -> float | None:
        """As Blobs.written_at."""
        try:
            return self.path(name).stat().st_mtime
        except OSError:
            return None

    def sweep(self, folder: str, named: frozenset[str], older_than_s: float) -> list[str]:
        """As Blobs.sweep."""
        swept = []
        deadline = time.time() - older_than_s
        for path in self._files(folder):
            name = f"{folder}/{path.name}"
            if name not in named and path.stat().st_mtime < deadline:
                path.unlink(missing_ok=True)
                swept.append(name)
        return swept

    def _files(self, folder: str) -> Iterator[Path]:
        root = self._root / folder
        return (path for path in root.iterdir() if path.is_file()) if root.is_dir() else iter(())


def write_parts(file: BinaryIO, parts: Iterable[bytes | memoryview], point: str) -> int:
    """Write the parts and flush; return how many bytes they are. point: the fault point passed on the way.

    Raises:
        OSError: the system refuses the write.
    """
    written = 0
    for part in parts:
        written += file.write(part)
    file.flush()
    fault(point, file.fileno())
    return written


def require_length(file: BinaryIO, written: int) -> None:
    """Compare the length of a file with what was written into it: some file systems lose bytes without a word.

    Raises:
        OSError: they differ.
    """
    size = os.fstat(file.fileno()).st_size
    if size != written:
        raise OSError(f"{size} of {written} bytes arrived")


def mapped(path: Path) -> NDArray[np.uint8]:
    """Return a file as a read-only memory map, (bytes,) uint8.

    Raises:
        OSError: it cannot be read.
    """
    return np.asarray(np.memmap(path, dtype=np.uint8, mode="r")) if path.stat().st_size else np.empty(0, np.uint8)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
