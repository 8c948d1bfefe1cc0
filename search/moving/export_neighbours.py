"""Job: write the nearest neighbours of every image of a collection to a Parquet file. Reads only.

A row per image and neighbour, by ascending id and then rank. Every score is exact, whatever device finds it.
"""

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from search.blobs.blobs import sync_folder
from search.faults import fault
from search.finding.snapshot import Snapshot
from search.index.pair_finder import Nearest, PairFinder
from search.moving.partial_folders import partial_folder
from search.storing.catalogue import Catalogue

PAGE_IMAGES = 4_096
Progress = Callable[[int, int], None]

SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("key", pa.string()),
        ("rank", pa.int32()),
        ("neighbour_id", pa.int64()),
        ("neighbour_key", pa.string()),
        ("score", pa.float32()),
    ]
)


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """Which neighbours of an image: at most k, and only those that score at least `min_score`."""

    k: int = 10
    min_score: float = -1.0


R = TypeVar("R")
# Writes the neighbours of a snapshot's images to a place that is not there yet; what it was is told by its report.
NeighbourWriter = Callable[[Snapshot, Catalogue, Path, Neighbourhood, PairFinder, Progress], R]


@dataclass(frozen=True, slots=True)
class NeighboursReport:
    """What was written. images: whose neighbours were looked for; rows: pairs in the file; k: most for each image."""

    place: Path
    collection: str
    images: int
    k: int
    rows: int

    def as_json(self) -> dict[str, object]:
        """Return the object the `neighbours` command prints."""
        return asdict(self) | {"place": str(self.place)}


def export_neighbours(
    snapshot: Snapshot,
    catalogue: Catalogue,
    place: Path,
    wanted: Neighbourhood,
    finder: PairFinder,
    progress: Progress = lambda done, total: None,
) -> NeighboursReport:
    """Write the nearest of each image to a file that is not there yet.

    Costs O(N^2 * D) and the memory of all embeddings in float32. progress: called with (images done, images in all).

    Raises:
        UsageError: something is at this place already, or its folder is not there.
        CorruptFile: a segment is damaged; nothing is left at the place.
        StoreUnavailable: the disk is full.
    """
    ids, embeddings = snapshot.rows()
    with partial_folder(place) as partial:
        # One more: each image is the nearest of itself, unless as many copies come before it.
        found = finder.nearest(embeddings, embeddings, wanted.k + 1, progress)
        file = partial / place.name
        rows = _write(file, ids, _keys(snapshot, catalogue, ids), without_itself(found), wanted.min_score)
        fault("export.rename")
        file.rename(place)
        sync_folder(place.parent)
    return NeighboursReport(place, snapshot.collection.name, len(ids), wanted.k, rows)


def without_itself(found: Nearest) -> Nearest:
    """Return the neighbours of row n at place n, without n: one fewer for each."""
    count, width = found.rows.shape
    drop = found.rows == np.arange(count)[:, np.newaxis]
    drop[~drop.any(axis=1), width - 1 :] = True
    shape = (count, max(0, width - 1))
    return Nearest(found.scores[~drop].reshape(shape), found.rows[~drop].reshape(shape))


def _keys(snapshot: Snapshot, catalogue: Catalogue, ids: NDArray[np.int64]) -> NDArray[np.object_]:
    """Return the key of each image, (N,); None of those that were removed since the snapshot was taken."""
    keys = np.full(len(ids), None, object)
    for start in range(0, len(ids), PAGE_IMAGES):
        page = ids[start : start + PAGE_IMAGES].tolist()
        records = catalogue.images_by_id(snapshot.collection.id, page)
        keys[start : start + len(page)] = [records[image].key if image in records else None for image in page]
    return keys


def _write(path: Path, ids: NDArray[np.int64], keys: NDArray[np.object_], found: Nearest, min_score: float) -> int:
    """Write the file; return how many rows it has."""
    written = 0
    there = np.array([key is not None for key in keys], np.bool_)
    with path.open("xb") as file:
        with pq.ParquetWriter(file, SCHEMA) as table:
            for start in range(0, len(ids), PAGE_IMAGES):
                fault("export.page")
                rows, scores = (each[start : start + PAGE_IMAGES] for each in (found.rows, found.scores))
                wanted = (scores >= np.float32(min_score)) & there[rows] & there[start : start + len(rows), np.newaxis]
                places, ranks = np.nonzero(wanted)
                near, images = rows[places, ranks], places + start
                columns = [ids[images], keys[images], ranks + 1, ids[near], keys[near], scores[places, ranks]]
                arrays = [pa.array(each, column.type) for each, column in zip(columns, SCHEMA, strict=True)]
                table.write_table(pa.Table.from_arrays(arrays, schema=SCHEMA))
                written += len(images)
        file.flush()
        os.fsync(file.fileno())
    return written
