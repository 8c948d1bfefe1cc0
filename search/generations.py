"""Generations: one published version of a collection's index, a cache that segments can always rebuild.

One file: 8 bytes magic `LKGEN001`, uint32 header length, a JSON header with the place of each section, then the
sections at multiples of 64 bytes: `index` (FAISS's own serialisation), `ids` (image id of each row, int64 ascending),
`segments` and `rows` (where each row's embedding lies, int64). Only a file whose checksums the catalogue holds is
ever read, so FAISS never sees foreign bytes.
"""

import json
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import delete, insert, select

from search.blobs import LocalBlobs
from search.catalogue import Catalogue, Located
from search.checksums import CheckedBlob, StreamedChecksums
from search.database import Database
from search.errors import CorruptFile
from search.faults import fault
from search.index import EXACT, ExactIndex
from search.records import Collection, Embeddings
from search.segment_cache import SegmentCache
from search.sequences import may_be_named
from search.tables import generation

MAGIC = b"LKGEN001"
HEAD = struct.Struct("<8sI")
ALIGNMENT = 64
FOLDER = "generations"
SUFFIX = ".lkg"
STREAMED_ROWS = 4_096  # embeddings in memory while a generation is written
KEPT = 2  # the current one, and the one before it for readers that are just opening it
# A delta is searched exactly, so publishing can wait until it is worth writing the whole index again.
DELTA_ROWS = 1000
DELTA_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class GenerationRecord:
    """A generation as the catalogue names it. sequence: the last commit it knows."""

    id: int
    sequence: int
    kind: str
    rows: int
    name: str
    size_bytes: int
    sha256: bytes
    checksums: bytes


@dataclass(frozen=True, slots=True)
class Generation:
    """An open generation. ids, segments, rows: (N,) int64, the image and the place of each index row."""

    record: GenerationRecord
    index: ExactIndex
    ids: NDArray[np.int64]
    segments: NDArray[np.int64]
    rows: NDArray[np.int64]


class Generations:
    """Publishes and opens the generations of one collection."""

    def __init__(self, database: Database, blobs: LocalBlobs, target: Collection) -> None:
        self._database = database
        self._blobs = blobs
        self._target = target
        self._mine = (generation.c.collection_id == target.id, generation.c.space_id == target.space_id)

    def current(self) -> GenerationRecord | None:
        """Return the newest generation, None before the first."""
        columns = [generation.c[name] for name in GenerationRecord.__dataclass_fields__]
        query = select(*columns).where(*self._mine)
        with self._database.reading() as connection:
            row = connection.execute(query.order_by(generation.c.id.desc()).limit(1)).first()
        return None if row is None else GenerationRecord(*row)

    def open(self, record: GenerationRecord) -> Generation:
        """Return a generation whose every byte was compared with its checksum.

        Raises:
            CorruptFile: it is missing, truncated, damaged or foreign.
        """
        data = self._blobs.open(record.name, record.size_bytes)
        whole = CheckedBlob(record.name, data, record.checksums).read(0, record.size_bytes)
        sections = _unpack(record.name, whole)
        index = ExactIndex.load(sections["index"], record.rows, self._target.space.dims)
        places = [sections[name].view("<i8") for name in ("ids", "segments", "rows")]
        return Generation(record, index, *places)

    def due(self, current: GenerationRecord | None, changed_rows: int) -> bool:
        """Tell whether so many rows newer than the current generation are worth a new one."""
        if current is None:
            return changed_rows > 0
        return changed_rows > max(DELTA_ROWS, DELTA_SHARE * current.rows)

    def publish(self, sequence: int) -> GenerationRecord | None:
        """Build, write and name a generation of all commits up to `sequence`; None when there is nothing in it.

        Raises:
            CorruptFile: a segment it needs is damaged.
            StoreUnavailable: the disk is full or the database does not answer; the old generation stays.
        """
        catalogue = Catalogue(self._database)
        located = catalogue.changed_since(self._target.id, self._target.space_id, 0, until=sequence)
        located = _living(located)
        if not len(located.ids):
            return None
        sums = StreamedChecksums()
        name = self._blobs.write(FOLDER, SUFFIX, _summed(self._parts(catalogue, located), sums), point="generation")
        with self._database.writing() as connection:
            fault("generation.row")
            if not may_be_named(connection, self._target.id, sequence, np.unique(located.segments).tolist()):
                return self.current()  # a compaction meanwhile knows better; what was written is swept
            values = {
                "collection_id": self._target.id,
                "space_id": self._target.space_id,
                "sequence": sequence,
                "kind": EXACT,
                "rows": len(located.ids),
                "name": name,
                "size_bytes": sums.size,
                "sha256": sums.sha256.digest(),
                "checksums": sums.blocks(),
            }
            connection.execute(insert(generation).values(values))
        fault("generation.done")
        self._retire()
        return self.current()

    def _parts(self, catalogue: Catalogue, located: Located) -> Iterator[bytes]:
        """Yield the bytes of a generation file in order, a few thousand embeddings at a time."""
        rows, dims = len(located.ids), self._target.space.dims
        head, gaps = _layout(rows, dims)
        yield head
        yield from ExactIndex.streamed(self._embeddings(catalogue, located), rows, dims)
        for gap, section in zip(gaps, (located.ids, located.segments, located.rows, None), strict=True):
            yield bytes(gap)
            if section is not None:
                yield section.astype("<i8").tobytes()

    def _embeddings(self, catalogue: Catalogue, located: Located) -> Iterator[Embeddings]:
        for start in range(0, len(located.ids), STREAMED_ROWS):
            part = slice(start, start + STREAMED_ROWS)
            # A cache for each part: what it mapped is let go with it.
            segments = SegmentCache(catalogue, self._blobs, self._target.space.dims)
            yield segments.read(located.segments[part], located.rows[part])

    def is_sound(self, record: GenerationRecord) -> bool:
        """Return whether every byte of a generation is what was written."""
        try:
            data = self._blobs.open(record.name, record.size_bytes)
            CheckedBlob(record.name, data, record.checksums).read(0, record.size_bytes)
        except CorruptFile:
            return False
        return True

    def _retire(self) -> None:
        """Forget all but the newest generations; their files go with the next sweep."""
        newest = select(generation.c.id).where(*self._mine).order_by(generation.c.id.desc()).limit(KEPT)
        with self._database.writing() as connection:
            kept = list(connection.execute(newest).scalars())
            connection.execute(delete(generation).where(*self._mine, generation.c.id.not_in(kept)))


def _living(located: Located) -> Located:
    alive = ~located.deleted
    return Located(located.ids[alive], located.segments[alive], located.rows[alive], located.deleted[alive])


def _layout(rows: int, dims: int) -> tuple[bytes, list[int]]:
    """Return the head of a file, padded, and the zeros before each section after the first and at the end."""
    index = sum(len(part) for part in ExactIndex.streamed([], rows, dims)) + 4 * rows * dims
    sizes = {"index": index, "ids": 8 * rows, "segments": 8 * rows, "rows": 8 * rows}
    # Offsets count from the end of the header, so that the header's own length does not matter.
    places, offset = {}, 0
    for name, size in sizes.items():
        places[name] = (offset, size)
        offset += _aligned(size)
    header = json.dumps(places).encode()
    start = _aligned(HEAD.size + len(header))
    head = (HEAD.pack(MAGIC, len(header)) + header).ljust(start, b"\0")
    return head, [_aligned(size) - size for size in sizes.values()]


def _summed(parts: Iterable[bytes], sums: StreamedChecksums) -> Iterator[bytes]:
    for part in parts:
        sums.update(part)
        yield part


def _unpack(name: str, data: NDArray[np.uint8]) -> dict[str, NDArray[np.uint8]]:
    magic, length = HEAD.unpack(data[: HEAD.size].tobytes())
    if magic != MAGIC:
        raise CorruptFile(f"{name} is not a generation: it begins with {magic!r}")
    places = json.loads(data[HEAD.size : HEAD.size + length].tobytes())
    start = _aligned(HEAD.size + length)
    return {key: data[start + offset : start + offset + size] for key, (offset, size) in places.items()}


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
