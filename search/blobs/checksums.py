"""xxh3 of every 64 KiB block of a blob, kept in the catalogue and compared when a block is first read."""

import hashlib
import logging
import os
import threading
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import xxhash
from numpy.typing import NDArray

from search.blobs.blobs import Blobs
from search.errors import CorruptFile

log = logging.getLogger(__name__)

Copy = TypeVar("Copy")

BLOCK_BYTES = 64 * 1024
VERIFY_TELLS = "; `lookalike verify` tells what else is"


def block_checksums(data: bytes) -> bytes:
    """Return the xxh3 of each 64 KiB block, 8 bytes each in order, as one byte string."""
    view = memoryview(data)
    starts = range(0, len(view), BLOCK_BYTES)
    return b"".join(xxhash.xxh3_64_digest(view[start : start + BLOCK_BYTES]) for start in starts)


class StreamedChecksums:
    """The same over bytes that come in pieces, with their sha256 and their number."""

    def __init__(self) -> None:
        self.sha256 = hashlib.sha256()
        self.size = 0
        self._blocks: list[bytes] = []
        self._rest = bytearray()

    def update(self, piece: bytes | memoryview) -> None:
        """Take the next piece."""
        self.sha256.update(piece)
        self.size += len(piece)
        self._rest += piece
        whole = len(self._rest) - len(self._rest) % BLOCK_BYTES
        if whole:
            self._blocks.append(block_checksums(bytes(self._rest[:whole])))
            del self._rest[:whole]

    def blocks(self) -> bytes:
        """Return what block_checksums returns of all pieces together."""
        return b"".join([*self._blocks, block_checksums(bytes(self._rest))])


class CheckedFile:
    """A blob that is read in small pieces, each block compared with its checksum before it is first used.

    By system calls and not by a memory map, so that what was read once does not stay resident in this process. Where
    the storage has a better copy of a damaged block, that one is read. Thread-safe.
    """

    def __init__(self, blobs: Blobs, name: str, size_bytes: int, checksums: bytes) -> None:
        """Raises:
        CorruptFile: it is missing or has another length.
        """
        self._copies = _Copies(blobs, name, lambda: _OpenFile(name, blobs.local_path(name, size_bytes), checksums))

    def read_into(self, places: Sequence[tuple[int, memoryview]]) -> None:
        """Fill each buffer with the bytes from its start on.

        places: (start, buffer); the inner loop of every search.

        Raises:
            CorruptFile: a block in the range is not what was written, and neither is a fresh copy.
        """
        copy = self._copies.current
        try:
            copy.read_into(places)
        except CorruptFile as error:
            self._copies.instead_of(copy, error).read_into(places)


class CheckedBlob:
    """A memory-mapped blob that compares each block with its checksum before it is first used.

    Where the storage has a better copy of a damaged block, that one is mapped. Thread-safe.
    """

    def __init__(self, blobs: Blobs, name: str, size_bytes: int, checksums: bytes) -> None:
        """Raises:
        CorruptFile: it is missing, or has another length or number of blocks.
        """
        self._copies = _Copies(blobs, name, lambda: _OpenMap(name, blobs.open(name, size_bytes), checksums))

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Return bytes [start, stop) as a view, (stop - start,) uint8.

        Raises:
            CorruptFile: a block in the range is not what was written, and neither is a fresh copy.
        """
        copy = self._copies.current
        try:
            return copy.read(start, stop)
        except CorruptFile as error:
            return self._copies.instead_of(copy, error).read(start, stop)


class _Copies(Generic[Copy]):
    """The copy of a blob that is read now; a damaged one is exchanged for a fresh one."""

    def __init__(self, blobs: Blobs, name: str, opened: Callable[[], Copy]) -> None:
        self._blobs = blobs
        self._name = name
        self._opened = opened
        self._lock = threading.Lock()
        self.current = opened()

    def instead_of(self, damaged: Copy, error: CorruptFile) -> Copy:
        """Return another copy, which other threads read from now on, too; raise the error where there can be none."""
        with self._lock:
            if self.current is damaged:
                if not self._blobs.distrust(self._name):
                    raise error
                self.current = self._opened()
                log.warning("%s was damaged while it was open; another copy is read now", self._name)
            return self.current


class _OpenFile:
    """An open file, which is closed when no thread reads it any more."""

    def __init__(self, name: str, path: Path, checksums: bytes) -> None:
        self._name = name
        self._checksums = checksums
        self._checked: set[int] = set()
        try:
            self._handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise CorruptFile(f"{name} is missing: {error.strerror}") from error
        weakref.finalize(self, os.close, self._handle)

    def read_into(self, places: Sequence[tuple[int, memoryview]]) -> None:
        handle, checked = self._handle, self._checked
        for start, buffer in places:
            size = len(buffer)
            first, last = start // BLOCK_BYTES, (start + size - 1) // BLOCK_BYTES
            if first not in checked or last not in checked or last - first > 1:
                self._check_all(first, last)
            if os.preadv(handle, [buffer], start) != size:
                raise CorruptFile(f"{self._name} ends before byte {start + size}")

    def _check_all(self, first: int, last: int) -> None:
        for block in range(first, last + 1):
            if block not in self._checked:
                self._check(block)

    def _check(self, block: int) -> None:
        piece = os.pread(self._handle, BLOCK_BYTES, block * BLOCK_BYTES)
        if xxhash.xxh3_64_digest(piece) != self._checksums[8 * block : 8 * block + 8]:
            raise _damaged(self._name, block)
        self._checked.add(block)


class _OpenMap:
    """A memory map."""

    def __init__(self, name: str, data: NDArray[np.uint8], checksums: bytes) -> None:
        self._name = name
        self._data = data
        self._checksums = checksums
        blocks = -(-len(data) // BLOCK_BYTES)
        if len(checksums) != 8 * blocks:
            raise CorruptFile(f"{name}: {len(checksums) // 8} checksums for {blocks} blocks")
        self._checked = np.zeros(blocks, np.bool_)

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        first, last = start // BLOCK_BYTES, -(-stop // BLOCK_BYTES)
        if not self._checked[first:last].all():
            for block in np.flatnonzero(~self._checked[first:last]) + first:
                self._check(int(block))
        return self._data[start:stop]

    def _check(self, block: int) -> None:
        piece = self._data[block * BLOCK_BYTES : (block + 1) * BLOCK_BYTES]
        if xxhash.xxh3_64_digest(piece.tobytes()) != self._checksums[8 * block : 8 * block + 8]:
            raise _damaged(self._name, block)
        self._checked[block] = True


def _damaged(name: str, block: int) -> CorruptFile:
    place = f"{name}: block {block} (bytes from {block * BLOCK_BYTES})"
    return CorruptFile(f"{place} is damaged{VERIFY_TELLS}")
