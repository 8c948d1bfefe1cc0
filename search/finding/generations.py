"""Generations: one published version of a collection's index, a cache that segments can always rebuild."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import delete, insert, select

from search.blobs.blobs import Blobs
from search.blobs.checksums import CheckedBlob, StreamedChecksums
from search.blobs.generation_files import Section, array_section, packed, unpacked
from search.database.database import Database
from search.database.sequences import is_true, may_be_named
from search.database.tables import generation
from search.errors import CorruptFile
from search.faults import fault
from search.finding.segment_cache import SegmentCache
from search.index.exact import EXACT, ExactIndex
from search.index.inverted import InvertedIndex
from search.index.projection import Projection
from search.index.training import Built, build
from search.records import Collection, Embeddings
from search.storing.catalogue import Catalogue, Located

FOLDER: Final = "generations"
SUFFIX: Final = ".lkg"
STREAMED_ROWS: Final = 4_096  # embeddings in memory while a generation is written
KEPT: Final = 2  # the current one, and the one before it for readers that are just opening it
# Above this many rows an approximate index is faster; up to it comparing all is.
EXACT_ROWS: Final = 10_000
# A delta is searched exactly, so publishing can wait until it is worth the work, but not until searching it is.
DELTA_ROWS: Final = 1_000
DELTA_SHARE: Final = 0.1
LARGEST_DELTA: Final = 20_000

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class GenerationRecord:
    """A generation as the catalogue names it. sequence: the last commit it knows. facts: what was measured of it."""

    id: int
    sequence: int
    kind: str
    rows: int
    name: str
    size_bytes: int
    sha256: bytes
    checksums: bytes
    facts: dict[str, Any] = field(default_factory=dict)


class Generation:
    """An open generation. ids, segments, rows: (N,), the image and the place of each index row, ids ascending."""

    def __init__(
        self,
        record: GenerationRecord,
        index: ExactIndex | InvertedIndex,
        projection: Projection | None,
        places: tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int32]],
        stored: SegmentCache,
    ) -> None:
        self.record = record
        self.index = index
        self.projection = projection
        self.ids, self.segments, self.rows = places
        self._stored = stored

    @property
    def per_neighbour(self) -> int:
        """Return how many candidates are ranked by their embeddings for each neighbour wanted."""
        return int(self.record.facts.get("per_neighbour", 1))

    @property
    def filtered_per_neighbour(self) -> int:
        """Return the same for searches with a filter."""
        return int(self.record.facts.get("filtered_per_neighbour", 1))

    def embeddings_at(self, rows: NDArray[np.int64]) -> Embeddings:
        """Return the embeddings of index rows, (len(rows), D) float32 of unit length, in the order asked.

        Raises:
            CorruptFile: a segment that holds one of them is damaged.
        """
        if isinstance(self.index, ExactIndex):
            return self.index.embeddings()[rows]
        return self._stored.read(self.segments[rows].astype(np.int64), self.rows[rows].astype(np.int64))


class Generations:
    """Publishes and opens the generations of one collection."""

    def __init__(self, database: Database, blobs: Blobs, target: Collection) -> None:
        self._database = database
        self._blobs = blobs
        self._target = target
        self._catalogue = Catalogue(database)
        self._mine = (generation.c.collection_id == target.id, generation.c.space_id == target.space_id)
        self._newest = (generation.c.sequence.desc(), generation.c.id.desc())

    def current(self) -> GenerationRecord | None:
        """Return the newest generation, None before the first."""
        return next(iter(self.newest()), None)

    def newest(self) -> list[GenerationRecord]:
        """Return the generations there are, the newest first."""
        columns = [generation.c[name] for name in GenerationRecord.__dataclass_fields__]
        query = select(*columns).where(*self._mine).order_by(*self._newest).limit(KEPT)
        with self._database.reading() as connection:
            return [GenerationRecord(*row) for row in connection.execute(query)]

    def is_true(self, found: Generation) -> bool:
        """Return whether an open generation may be searched: nothing that it needs or hides was purged since."""
        newest = self.current()
        if newest is not None and newest.id == found.record.id:
            return True
        with self._database.reading() as connection:
            return is_true(connection, self._target.id, found.record.sequence, np.unique(found.segments).tolist())

    def purged_after(self, sequence: int) -> bool:
        """Return whether an image was purged from the catalogue whose removal is newer than a commit."""
        with self._database.reading() as connection:
            return not is_true(connection, self._target.id, sequence, [])

    def open(self, record: GenerationRecord) -> Generation:
        """Return a generation whose every byte was compared with its checksum.

        Raises:
            CorruptFile: it is missing, truncated, damaged or foreign.
        """
        blob = CheckedBlob(self._blobs, record.name, record.size_bytes, record.checksums)
        whole = blob.read(0, record.size_bytes)
        sections, numbers = unpacked(record.name, whole)
        dims = self._target.space.dims
        places = (sections["ids"].view("<i8"), sections["segments"].view("<i4"), sections["rows"].view("<i4"))
        stored = SegmentCache(self._catalogue, self._blobs, dims)
        if record.kind == EXACT:
            return Generation(record, ExactIndex.load(sections["index"], record.rows, dims), None, places, stored)
        axes = sections["axes"].view("<f4").reshape(dims, -1)
        projection = Projection(sections["mean"].view("<f4"), axes, numbers["low"], numbers["scale"])
        slacks = (numbers["slack"], numbers["filtered_slack"])
        index = InvertedIndex.load(sections["index"], record.rows, projection.dims, *slacks)
        return Generation(record, index, projection, places, stored)

    def due(self, current: GenerationRecord | None, changed_rows: int) -> bool:
        """Tell whether so many rows newer than the current generation are worth a new one."""
        if current is None:
            return changed_rows > 0
        return changed_rows > min(LARGEST_DELTA, max(DELTA_ROWS, DELTA_SHARE * current.rows))

    def publish(self, sequence: int, progress: Progress = lambda done, total: None) -> GenerationRecord | None:
        """Build, write and name a generation of all commits up to `sequence`; None when there is nothing in it.

        progress: called with (rows done, rows in all).

        Raises:
            CorruptFile: a segment it needs is damaged.
            StoreUnavailable: the disk is full or the database does not answer; the old generation stays.
        """
        target = self._target
        located = _living(self._catalogue.changed_since(target.id, target.space_id, 0, until=sequence))
        rows = len(located.ids)
        if not rows:
            return None
        stored = _Stored(self._catalogue, self._blobs, target.space.dims, located)
        built = build(stored, target.recall_target, progress) if rows > EXACT_ROWS else None
        parts = _exact_file(stored, located) if built is None else _inverted_file(built, located)
        sums = StreamedChecksums()
        name = self._blobs.write(FOLDER, SUFFIX, _summed(parts, sums), point="generation")
        with self._database.writing() as connection:
            fault("generation.row")
            if not may_be_named(connection, self._target.id, sequence, np.unique(located.segments).tolist()):
                return self.current()  # a compaction meanwhile knows better; what was written is swept
            values = {
                "collection_id": target.id,
                "space_id": target.space_id,
                "sequence": sequence,
                "kind": EXACT if built is None else built.index.kind,
                "rows": rows,
                "name": name,
                "size_bytes": sums.size,
                "sha256": sums.sha256.digest(),
                "checksums": sums.blocks(),
                "facts": {} if built is None else _facts(built),
            }
            connection.execute(insert(generation).values(values))
        fault("generation.done")
        progress(rows, rows)
        self._retire()
        return self.current()

    def is_sound(self, record: GenerationRecord) -> bool:
        """Return whether every byte of a generation is what was written, in the format of this release."""
        try:
            blob = CheckedBlob(self._blobs, record.name, record.size_bytes, record.checksums)
            unpacked(record.name, blob.read(0, record.size_bytes))
        except CorruptFile:
            return False
        return True

    def _retire(self) -> None:
        """Forget all but the newest generations; their files go with the next sweep."""
        newest = select(generation.c.id).where(*self._mine).order_by(*self._newest).limit(KEPT)
        with self._database.writing() as connection:
            kept = list(connection.execute(newest).scalars())
            connection.execute(delete(generation).where(*self._mine, generation.c.id.not_in(kept)))


class _Stored:
    """The embeddings of located images by number, a few thousand at a time."""

    def __init__(self, catalogue: Catalogue, blobs: Blobs, dims: int, located: Located) -> None:
        self.dims = dims
        self._catalogue = catalogue
        self._blobs = blobs
        self._located = located

    def __len__(self) -> int:
        return len(self._located.ids)

    def read(self, numbers: NDArray[np.int64]) -> Embeddings:
        # A cache for each part: what it mapped is let go with it.
        segments = SegmentCache(self._catalogue, self._blobs, self.dims)
        return segments.read(self._located.segments[numbers], self._located.rows[numbers])

    def parts(self) -> Iterator[Embeddings]:
        for start in range(0, len(self), STREAMED_ROWS):
            yield self.read(np.arange(start, min(start + STREAMED_ROWS, len(self))))


def _living(located: Located) -> Located:
    alive = ~located.deleted
    return Located(located.ids[alive], located.segments[alive], located.rows[alive], located.deleted[alive])


def _places(located: Located) -> dict[str, Section]:
    return {
        "ids": array_section(located.ids),
        "segments": array_section(located.segments.astype(np.int32)),
        "rows": array_section(located.rows.astype(np.int32)),
    }


def _exact_file(stored: _Stored, located: Located) -> Iterator[bytes | memoryview]:
    """Yield the bytes of an exact generation, without ever holding more than a few thousand embeddings."""
    rows, dims = len(stored), stored.dims
    size = sum(len(part) for part in ExactIndex.streamed([], rows, dims)) + 4 * rows * dims
    index = Section(size, ExactIndex.streamed(stored.parts(), rows, dims), lead=size - 4 * rows * dims)
    return packed({"index": index} | _places(located), {})


def _inverted_file(built: Built, located: Located) -> Iterator[bytes | memoryview]:
    projection = built.projection
    arrays: dict[str, NDArray[Any]] = {"index": built.index.dump(), "mean": projection.mean, "axes": projection.axes}
    sections = {name: array_section(array) for name, array in arrays.items()}
    numbers = {"low": projection.low, "scale": projection.scale, "slack": built.measured.slack}
    numbers["filtered_slack"] = built.measured.filtered_slack
    return packed(sections | _places(located), numbers)


def _facts(built: Built) -> dict[str, object]:
    return asdict(built.measured) | {"lists": built.index.lists, "code_dims": built.projection.dims}


def _summed(parts: Iterable[bytes | memoryview], sums: StreamedChecksums) -> Iterator[bytes | memoryview]:
    for part in parts:
        sums.update(part)
        yield part
