"""Exports: every image once, each beside its embedding, in files that other programs read."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from search.conditions.where import parse
from search.embeddings import unit_rows
from search.errors import CorruptFile, StoreUnavailable, UsageError
from search.faults import EXPORT_POINTS
from search.finding.snapshot import SnapshotReader
from search.moving import export_rows as module
from search.moving.export_rows import Dtype, export_rows
from search.records import Collection
from search.storing.store import Store
from tests.album_rows import ROWS
from tests.stored_rows import add


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_row_n_of_the_embeddings_belongs_to_the_image_that_says_so(
    album_store: Store, album_rows: Collection, tmp_path: Path, dtype: Dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAGE_ROWS", 4)
    report = export_rows(album_store, album_rows, tmp_path / "out", dtype=dtype)
    assert (report.rows, report.dims) == (6, album_rows.space.dims)
    matrix = np.load(tmp_path / "out" / "embeddings.npy", mmap_mode="r", allow_pickle=False)
    assert (matrix.shape, matrix.dtype) == ((6, album_rows.space.dims), dtype)
    table = pq.read_table(tmp_path / "out" / "images.parquet").to_pylist()
    ids, stored = SnapshotReader(album_store.database, album_store.blobs, album_rows).current().rows()
    assert [one["id"] for one in table] == ids.tolist()
    for one, expected in zip(table, stored, strict=True):
        row = unit_rows(np.asarray(matrix[one["row"]])[np.newaxis])[0]
        np.testing.assert_allclose(row, expected, atol=1e-6)


def test_every_column_says_what_the_catalogue_says(album_store: Store, album_rows: Collection, tmp_path: Path) -> None:
    export_rows(album_store, album_rows, tmp_path / "out")
    table = pq.read_table(tmp_path / "out" / "images.parquet").to_pylist()
    for one, row in zip(table, ROWS, strict=True):
        seen = (one["key"], one["uri"], one["path"], one["width"], one["height"], one["format"])
        assert seen == (row.key, row.uri, row.path, row.width, row.height, row.format)
        labels = () if row.labels is None else row.labels
        assert tuple(label["label"] for label in one["labels"]) == labels
        assert json.loads(one["metadata"]) == row.metadata
        assert one["taken_at"] == row.taken_at
    facts = json.loads((tmp_path / "out" / "export.json").read_text())
    assert facts["space"]["fingerprint"] == album_rows.space.fingerprint
    assert (facts["rows"], facts["dtype"], facts["collection"]) == (6, "float16", "default")


@pytest.mark.parametrize(("where", "keys"), [("width >= 640", "bde"), ("key = 'none'", "")])
def test_a_condition_says_which(
    album_store: Store, album_rows: Collection, tmp_path: Path, where: str, keys: str
) -> None:
    export_rows(album_store, album_rows, tmp_path / "out", where=parse(where))
    table = pq.read_table(tmp_path / "out" / "images.parquet").to_pylist()
    assert "".join(one["key"] for one in table) == keys
    assert [one["row"] for one in table] == list(range(len(keys)))
    assert np.load(tmp_path / "out" / "embeddings.npy").shape == (len(keys), album_rows.space.dims)


@pytest.mark.parametrize("point", EXPORT_POINTS)
def test_a_full_disk_leaves_no_export(
    local_store: Store, tmp_path: Path, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = add(local_store, 0, 3)
    monkeypatch.setenv("LOOKALIKE_FAULT", f"{point}:1:enospc")
    monkeypatch.setattr("search.faults._hits", {point: 0})
    with pytest.raises(StoreUnavailable, match="No space left"):
        export_rows(local_store, target, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_a_damaged_segment_stops_it_and_leaves_nothing(local_store: Store, tmp_path: Path) -> None:
    target = add(local_store, 0, 3)
    path = next((local_store.root / "segments").iterdir())
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(CorruptFile, match=path.name):
        export_rows(local_store, target, tmp_path / "out")
    assert [found.name for found in tmp_path.iterdir()] == ["store"]


def test_what_is_there_already_is_not_overwritten(local_store: Store, tmp_path: Path) -> None:
    target = add(local_store, 0, 3)
    (tmp_path / "out").mkdir()
    with pytest.raises(UsageError, match="exists"):
        export_rows(local_store, target, tmp_path / "out")
