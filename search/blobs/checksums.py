"""xxh3 of every 64 KiB block of a blob, kept in the catalogue and compared when a block is first read."""

import hashlib
import os
import weakref
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import xxhash
from numpy.typing import NDArray

from search.errors import CorruptFile

BLOCK_BYTES = 64 * 1024


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

    By system calls and not by a memory map, so that what was read once does not stay resident in this process.
    """

    def __init__(self, name: str, path: Path, checksums: bytes) -> None:
        self._name = name
        self._checksums = checksums
        self._checked: set[int] = set()
        try:
            self._handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise CorruptFile(f"{name} is missing: {error.strerror}") from error
        weakref.finalize(self, os.close, self._handle)

    def read_into(self, places: Iterable[tuple[int, memoryview]]) -> None:
        """Fill each buffer with the bytes from its start on. Thread-safe.

        places: (start, buffer); the inner loop of every search.

        Raises:
            CorruptFile: a block in the range is not what was written.
        """
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


class CheckedBlob:
    """A memory-mapped blob that compares each block with its checksum before it is first used."""

    def __init__(self, name: str, data: NDArray[np.uint8], checksums: bytes) -> None:
        self._name = name
        self._data = data
        self._checksums = checksums
        blocks = -(-len(data) // BLOCK_BYTES)
        if len(checksums) != 8 * blocks:
            raise CorruptFile(f"{name}: {len(checksums) // 8} checksums for {blocks} blocks")
        self._checked = np.zeros(blocks, np.bool_)

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Return bytes [start, stop) as a view, (stop - start,) uint8.

        Raises:
            CorruptFile: a block in the range is not what was written.
        """
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
    return CorruptFile(f"{place} is damaged; `lookalike verify` tells what else is")
