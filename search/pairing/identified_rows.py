"""Rows that know which images they belong to, and by what they can be known again in another run."""

from typing import Final, Protocol

import numpy as np
import xxhash
from numpy.typing import NDArray
from sqlalchemy import select

from search.database.database import Database
from search.database.tables import segment
from search.finding.snapshot import Snapshot
from search.index.pair_scoring import RowSource
from search.index.post_transform import PostTransform
from search.records import Embeddings

UNKNOWN: Final = np.uint64(0)
_ODD: Final = np.uint64(0x9E37_79B9_7F4A_7C15)  # spreads row numbers over 64 bits


class IdentifiedRows(RowSource, Protocol):
    """A RowSource of images. ids: (N,) int64 ascending.

    places: (N,) uint64, where each embedding lies, UNKNOWN where that cannot be said. Files of embeddings never change,
    and their names are used once, so whoever has the same place has the same embedding.
    """

    @property
    def ids(self) -> NDArray[np.int64]:
        """Image ids."""
        ...

    @property
    def places(self) -> NDArray[np.uint64]:
        """Where the embeddings lie."""
        ...


class SnapshotRows:
    """Some images of a snapshot, read when they are asked for."""

    def __init__(
        self,
        snapshot: Snapshot,
        database: Database,
        ids: NDArray[np.int64],
        transform: PostTransform | None = None,
    ) -> None:
        """ids: ascending. transform: instead of that of the snapshot."""
        self.ids = np.asarray(ids, np.int64)
        self._snapshot = snapshot
        self._transform = transform
        used = snapshot.transform if transform is None else transform
        self.dims = used.dims_of(snapshot.collection.space.dims)
        self.places = _places(snapshot, database, self.ids)

    def __len__(self) -> int:
        return len(self.ids)

    def read(self, numbers: NDArray[np.int64]) -> Embeddings:
        """As RowSource.read.

        Raises:
            CorruptFile: a segment is damaged.
        """
        if self._transform is None:
            return self._snapshot.embeddings_of(self.ids[numbers])
        return self._transform.apply(self._snapshot.embeddings_of(self.ids[numbers], stored=True))


def digests(rows: Embeddings) -> NDArray[np.uint64]:
    """Return the xxh3 of each row, (N,) uint64."""
    wide = np.ascontiguousarray(rows, "<f4")
    return np.fromiter((xxhash.xxh3_64_intdigest(row) for row in wide), np.uint64, len(wide))


def _places(snapshot: Snapshot, database: Database, ids: NDArray[np.int64]) -> NDArray[np.uint64]:
    segments, rows = snapshot.places_of(ids)
    there = segments >= 0
    used, which = np.unique(segments[there], return_inverse=True)
    names = {}
    with database.reading() as connection:
        names = {row.id: row.name for row in connection.execute(select(segment.c.id, segment.c.name))}
    known = [xxhash.xxh3_64_intdigest(names[number].encode()) if number in names else 0 for number in used.tolist()]
    files = np.array(known, np.uint64)[which]
    places = np.full(len(ids), UNKNOWN)
    with np.errstate(over="ignore"):
        mixed = (files ^ (rows[there].astype(np.uint64) + np.uint64(1)) * _ODD) | np.uint64(1)
    places[there] = np.where(files == UNKNOWN, UNKNOWN, mixed)
    return places
