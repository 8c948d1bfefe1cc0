"""Job: write the images of a collection and their embeddings as files that any other program reads. Reads only.

    DEST/images.parquet   a row per image, by ascending id; its column `row` is the row in embeddings.npy
    DEST/embeddings.npy   (N, D) float16, as stored, or float32 of unit length
    DEST/export.json      the collection, its space, and the numbers of rows and dims

Read a page at a time, each in a transaction of its own, so that neither memory nor locks grow with the collection:
every row is true at the moment it is read.
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from sqlalchemy import Connection, Row, Select, func, select

from search.blobs.blobs import sync_folder
from search.blobs.segments import Segment, SegmentRecord
from search.conditions.where import Condition
from search.database.database import chunks
from search.database.tables import content, embedding, image, segment
from search.embeddings import unit_rows
from search.faults import fault
from search.moving.partial_folders import partial_folder
from search.records import Collection, Label, shown_path
from search.storing.labels import labels_of_images
from search.storing.store import Store

IMAGES, EMBEDDINGS, FACTS = "images.parquet", "embeddings.npy", "export.json"
PAGE_ROWS = 4_096
Dtype = Literal["float16", "float32"]
Progress = Callable[[int, int], None]

SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("key", pa.string()),
        ("uri", pa.string()),
        ("path", pa.string()),
        ("sha256", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("bytes", pa.int64()),
        ("format", pa.string()),
        ("taken_at", pa.string()),
        ("labels", pa.list_(pa.struct([("label", pa.string()), ("probability", pa.float64())]))),
        ("metadata", pa.string()),
        ("pixel_hash", pa.string()),
        ("perceptual_hash", pa.string()),
        ("contrast", pa.float64()),
        ("row", pa.int64()),
    ]
)


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What was written."""

    place: Path
    collection: str
    rows: int
    dims: int
    dtype: Dtype

    def as_json(self) -> dict[str, object]:
        """Return the object the `export` command prints."""
        return asdict(self) | {"place": str(self.place), "files": [IMAGES, EMBEDDINGS, FACTS]}


def export_rows(
    store: Store,
    target: Collection,
    place: Path,
    *,
    where: Condition | None = None,
    dtype: Dtype = "float16",
    progress: Progress = lambda done, total: None,
) -> ExportReport:
    """Write the images of a collection that `where` lets through to a folder that is not there yet.

    progress: called with (images written, images in all).

    Raises:
        UsageError: something is at this place already, or its folder is not there.
        CorruptFile: a segment is damaged; nothing is left at the place.
        StoreUnavailable: the disk is full, or the catalogue does not answer.
    """
    with partial_folder(place) as partial:
        rows = _write(_Pages(store, target, where), partial, dtype, progress)
        report = ExportReport(place, target.name, rows, target.space.dims, dtype)
        shape = report.as_json() | {"space": asdict(target.space) | {"fingerprint": target.space.fingerprint}}
        del shape["place"]
        with (partial / FACTS).open("x", encoding="utf-8") as file:
            json.dump(shape, file, indent=1)
            _sync(file)
        sync_folder(partial)
        fault("export.rename")
        partial.rename(place)
        sync_folder(place.parent)
    return report


@dataclass(frozen=True, slots=True)
class _Page:
    """Images as the catalogue has them at one moment, their labels, and the segments that hold their embeddings."""

    rows: Sequence[Row[Any]]
    labels: dict[int, tuple[Label, ...]]
    segments: dict[int, SegmentRecord]


class _Pages:
    """The images to export, a page at a time."""

    def __init__(self, store: Store, target: Collection, where: Condition | None) -> None:
        self.store = store
        self.target = target
        self._query = _images(target, where)
        with store.database.reading() as connection:
            self.total = connection.execute(select(func.count()).select_from(self._query.subquery())).scalar_one()

    def __iter__(self) -> Iterator[_Page]:
        last = 0
        while True:
            query = self._query.where(image.c.id > last).order_by(image.c.id).limit(PAGE_ROWS)
            with self.store.database.reading() as connection:
                rows = connection.execute(query).all()
                if not rows:
                    return
                labels = labels_of_images(connection, self.target.id, [row.id for row in rows])
                segments = _segments(connection, {row.segment_id for row in rows})
            yield _Page(rows, labels, segments)
            last = rows[-1].id


def _images(target: Collection, where: Condition | None) -> Select[Any]:
    here = (embedding.c.space_id == target.space_id) & (embedding.c.region == 0)
    query = (
        select(
            image.c.id,
            image.c.key,
            image.c.uri,
            image.c.metadata,
            content.c.sha256,
            content.c.width,
            content.c.height,
            content.c.size_bytes,
            content.c.format,
            content.c.taken_at,
            content.c.pixel_hash,
            content.c.perceptual_hash,
            content.c.contrast,
            embedding.c.segment_id,
            embedding.c.row,
        )
        .join(content, content.c.id == image.c.content_id)
        .join(embedding, (embedding.c.content_id == content.c.id) & here)
        .where(image.c.collection_id == target.id, ~image.c.deleted)
    )
    return query if where is None else query.where(where.sql(target.label_space_id))


def _segments(connection: Connection, ids: set[int]) -> dict[int, SegmentRecord]:
    columns = [segment.c[name] for name in SegmentRecord.__dataclass_fields__]
    query = select(segment.c.id, *columns)
    found = [row for part in chunks(sorted(ids)) for row in connection.execute(query.where(segment.c.id.in_(part)))]
    return {row[0]: SegmentRecord(*row[1:]) for row in found}


def _write(pages: _Pages, folder: Path, dtype: Dtype, progress: Progress) -> int:
    """Write both files of rows; return how many rows they have."""
    dims = pages.target.space.dims
    done = 0
    with ExitStack() as stack:
        table_file = stack.enter_context((folder / IMAGES).open("xb"))
        matrix_file = stack.enter_context((folder / EMBEDDINGS).open("xb"))
        matrix_file.write(npy_header(0, dims, dtype))
        with pq.ParquetWriter(table_file, SCHEMA) as table:
            for page in pages:
                fault("export.page")
                matrix = _stored(pages.store, page, dims)
                matrix_file.write(_as(matrix, dtype).tobytes())
                table.write_table(pa.Table.from_pylist(_shapes(page, done), schema=SCHEMA))
                done += len(page.rows)
                progress(done, max(done, pages.total))
        matrix_file.seek(0)
        matrix_file.write(npy_header(done, dims, dtype))
        _sync(table_file)
        _sync(matrix_file)
    return done


def _stored(store: Store, page: _Page, dims: int) -> NDArray[np.float16]:
    """Return the embeddings of a page, (N, D) float16, in its order."""
    places = np.array([(row.segment_id, row.row) for row in page.rows], np.int64).reshape(-1, 2)
    matrix = np.empty((len(places), dims), np.float16)
    for number, record in page.segments.items():
        here = np.flatnonzero(places[:, 0] == number)
        matrix[here] = Segment(store.blobs, record, dims).stored(places[here, 1])
    return matrix


def _as(matrix: NDArray[np.float16], dtype: Dtype) -> NDArray[Any]:
    return matrix.astype("<f2") if dtype == "float16" else unit_rows(matrix).astype("<f4")


def _shapes(page: _Page, first: int) -> list[dict[str, object]]:
    return [
        {
            "id": row.id,
            "key": row.key,
            "uri": row.uri,
            "path": shown_path(row.uri),
            "sha256": bytes(row.sha256).hex(),
            "width": row.width,
            "height": row.height,
            "bytes": row.size_bytes,
            "format": row.format,
            "taken_at": row.taken_at,
            "labels": [label.as_json() for label in page.labels.get(row.id, ())],
            "metadata": json.dumps(row.metadata),
            "pixel_hash": bytes(row.pixel_hash).hex(),
            "perceptual_hash": bytes(row.perceptual_hash).hex(),
            "contrast": row.contrast,
            "row": first + number,
        }
        for number, row in enumerate(page.rows)
    ]


def npy_header(rows: int, dims: int, dtype: Dtype) -> bytes:
    """Return the first 128 bytes of a .npy file: always as many, so that `rows` can be filled in at the end."""
    kind = {"float16": "<f2", "float32": "<f4"}[dtype]
    words = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': ({rows}, {dims}), }}"
    head = b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little")
    return head + words.ljust(117).encode() + b"\n"


def _sync(file: IO[Any]) -> None:
    file.flush()
    os.fsync(file.fileno())
