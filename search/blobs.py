"""Immutable files of a store: written once under a fresh name, durable before anyone hears of them.

A name is a relative path such as `segments/0f3a.lks`. What the catalogue does not name does not exist; leftovers of a
crash are swept after an age guard.
"""

import errno
import os
import time
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from search.errors import CorruptFile, StoreUnavailable
from search.faults import fault

PARTIAL_SUFFIX = ".partial"


class LocalBlobs:
    """Blobs in a folder of this machine, by plain system calls with fsync."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def path(self, name: str) -> Path:
        """Return where the blob of this name lies."""
        return self._root / name

    def write(self, folder: str, suffix: str, parts: Iterable[bytes | memoryview], *, point: str) -> str:
        """Write a new blob durably and return its name; after this returns it survives a power cut.

        parts: written one after the other. point: prefix of the fault points passed on the way.

        Raises:
            StoreUnavailable: the disk is full or refuses the write; nothing remains under the final name.
        """
        target = self._root / folder / f"{uuid.uuid4().hex}{suffix}"
        partial = target.with_name(target.name + PARTIAL_SUFFIX)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("xb") as file:
                size = 0
                for part in parts:
                    size += file.write(part)
                    fault(f"{point}.write", file)
                file.flush()
                fault(f"{point}.fsync", file)
                os.fsync(file.fileno())
                if os.fstat(file.fileno()).st_size != size:
                    raise OSError(errno.EIO, f"the device kept fewer than the {size} bytes it took")
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
        """Return a blob as a read-only memory map, (expected_bytes,) uint8.

        Raises:
            CorruptFile: it is missing or has another length than the catalogue recorded.
        """
        path = self.path(name)
        try:
            size = path.stat().st_size
        except OSError as error:
            raise CorruptFile(f"{path} is missing: {error.strerror}") from error
        if size != expected_bytes:
            raise CorruptFile(f"{path} has {size} bytes, the catalogue recorded {expected_bytes}")
        return np.memmap(path, dtype=np.uint8, mode="r") if size else np.empty(0, np.uint8)

    def sweep(self, folder: str, named: frozenset[str], older_than_s: float) -> list[str]:
        """Remove files of a folder that the catalogue does not name; return their names.

        older_than_s: age guard, so that a file another process is about to name is left alone. Call it under the
        writer lock.
        """
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


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
