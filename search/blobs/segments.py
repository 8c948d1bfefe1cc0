"""Segments: immutable files of embeddings.

Format, little-endian: 8 bytes magic `LKSEG001`, uint32 dims, uint32 rows, 48 bytes zero, then rows x dims float16.
Rows are of unit length before rounding to float16; readers restore the length, so scores are true cosines.
"""

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from search.blobs.blobs import Blobs
from search.blobs.checksums import CheckedBlob, CheckedFile, block_checksums
from search.embeddings import lengthened
from search.errors import CorruptFile
from search.records import Embeddings

MAGIC = b"LKSEG001"
HEADER = struct.Struct("<8sII48x")
FOLDER = "segments"
SUFFIX = ".lks"
MANY_ROWS = 32  # from here on one look at the whole span is cheaper than one look per row


def place_of(row: int, dims: int) -> int:
    """Return the byte at which an embedding begins in its segment."""
    return HEADER.size + row * 2 * dims


@dataclass(frozen=True, slots=True)
class SegmentRecord:
    """A segment as the catalogue names it. checksums: xxh3 per 64 KiB block; sha256: of the whole file."""

    name: str
    rows: int
    size_bytes: int
    sha256: bytes
    checksums: bytes


def write_segment(blobs: Blobs, embeddings: NDArray[np.floating]) -> SegmentRecord:
    """Write (N, D) unit embeddings, or what else has halves, as a new durable segment that no one knows of yet.

    Raises:
        StoreUnavailable: the disk is full or refuses the write.
    """
    rows, dims = embeddings.shape
    data = HEADER.pack(MAGIC, dims, rows) + embeddings.astype("<f2").tobytes()
    name = blobs.write(FOLDER, SUFFIX, [data], point="segment")
    return SegmentRecord(name, rows, len(data), hashlib.sha256(data).digest(), block_checksums(data))


class Segment:
    """An open segment: memory-mapped, every block checked when first read."""

    def __init__(self, blobs: Blobs, record: SegmentRecord, dims: int, *, read_head: bool = True) -> None:
        """read_head False: the shape is believed, so that sound rows can be saved when the head is damaged.

        Raises:
            CorruptFile: the file is missing, has another length or another shape than recorded.
        """
        self._record = record
        self._dims = dims
        self._blob = CheckedBlob(blobs, record.name, record.size_bytes, record.checksums)
        self._file = CheckedFile(blobs, record.name, record.size_bytes, record.checksums)
        if not read_head:
            return
        header = HEADER.unpack(self._blob.read(0, HEADER.size).tobytes())
        if header != (MAGIC, dims, record.rows):
            raise CorruptFile(f"{record.name}: header says {header}, expected {dims} dims, {record.rows} rows")

    def read(self, rows: Sequence[int] | NDArray[np.int64]) -> Embeddings:
        """Return the embeddings at these rows, (len(rows), D) float32 of unit length, in the order asked.

        Raises:
            CorruptFile: a block that holds one of them is damaged, or a row is out of range.
        """
        wanted = np.asarray(rows, np.int64)
        if wanted.size and not (wanted.min() >= 0 and wanted.max() < self._record.rows):
            raise CorruptFile(f"{self._record.name}: row {wanted.max()} of {self._record.rows} was asked for")
        width = 2 * self._dims
        if len(wanted) > MANY_ROWS:
            return lengthened(self.stored(wanted))
        out = np.empty((len(wanted), self._dims), np.float16)
        for place, row in enumerate(wanted.tolist()):
            start = HEADER.size + row * width
            out[place] = self._blob.read(start, start + width).view("<f2")
        return lengthened(out)

    def stored(self, rows: NDArray[np.int64]) -> NDArray[np.float16]:
        """Return the embeddings at these rows, (len(rows), D) float16, as they were written.

        Raises:
            CorruptFile: a block that holds one of them is damaged, or a row is out of range.
        """
        if not len(rows):
            return np.empty((0, self._dims), np.float16)
        first, stop = int(rows.min()), int(rows.max()) + 1
        if first < 0 or stop > self._record.rows:
            raise CorruptFile(f"{self._record.name}: row {stop - 1} of {self._record.rows} was asked for")
        width = 2 * self._dims
        try:
            raw = self._blob.read(HEADER.size + first * width, HEADER.size + stop * width).view("<f2")
        except CorruptFile:
            if len(rows) == 1:
                raise
            # Damage between the rows is none of theirs.
            return np.concatenate([self.stored(rows[place : place + 1]) for place in range(len(rows))])
        picked: NDArray[np.float16] = raw.reshape(stop - first, self._dims)[rows - first]
        return picked

    def read_into(self, places: Sequence[tuple[int, memoryview]]) -> None:
        """Fill each buffer, of 2 * D bytes, with the embedding that begins at a byte (`place_of`), float16 as stored.

        Thread-safe.

        Raises:
            CorruptFile: its block is damaged, or it is out of range.
        """
        self._file.read_into(places)

    def read_all(self) -> Embeddings:
        """Return all embeddings, (N, D) float32 of unit length, in file order.

        Raises:
            CorruptFile: a block is damaged.
        """
        raw = self._blob.read(HEADER.size, self._record.size_bytes).view("<f2")
        return lengthened(raw.reshape(self._record.rows, self._dims))

    def check(self) -> None:
        """Compare every block with its checksum.

        Raises:
            CorruptFile: one is damaged.
        """
        self._blob.read(0, self._record.size_bytes)
