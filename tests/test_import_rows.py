"""Embeddings from elsewhere: every row becomes an image or is in the ledger, and an export comes back as it was."""

import hashlib
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from search.embeddings import unit_rows
from search.errors import SpaceMismatch, UsageError
from search.finding.snapshot import SnapshotReader
from search.moving.embedding_shards import Shards, find_shards
from search.moving.export_rows import export_rows
from search.moving.import_rows import Imported, import_rows, imported_space, unit_or_kept
from search.records import Collection
from search.storing.store import Store
from search.upkeep.status import collection_status
from search.upkeep.verification import verify
from tests.stored_rows import add

DIMS = 6


def random(rows: int, dims: int = DIMS, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(size=(rows, dims))


def run(store: Store, shards: Shards, name: str = "clip") -> tuple[Imported, Collection]:
    target = store.open_collection("default", imported_space(name, shards.dims))
    return import_rows(store, target, shards), store.catalogue.collection("default")


def saved(path: Path, rows: Any) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, rows)
    return str(path)


def described(path: Path, **columns: list[Any]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
    return str(path)


@pytest.mark.parametrize("kind", ["<f2", "<f4", "<f8", ">f4"])
def test_rows_without_metadata_are_known_by_their_numbers(store: Store, tmp_path: Path, kind: str) -> None:
    rows = random(5).astype(kind)
    counts, target = run(store, find_shards(saved(tmp_path / "e.npy", rows), None))
    assert counts.as_json()["indexed"] == 5
    images = store.catalogue.images(target.id)
    assert [(one.key, one.uri, one.width) for one in images] == [(str(n), f"import:{n}", 0) for n in range(5)]
    _, stored = SnapshotReader(store.database, store.blobs, target).current().rows()
    np.testing.assert_allclose(stored, unit_rows(rows.astype(np.float64)), atol=1e-3)
    assert verify(store, deep=True) == []
    status = collection_status(store, target)
    assert (status.seen, status.images, status.searchable, status.index_rows) == (5, 5, 5, 5)


def test_clip_retrievals_folder_is_understood(store: Store, tmp_path: Path) -> None:
    for number, rows in ((2, 3), (10, 4)):
        saved(tmp_path / "img_emb" / f"img_emb_{number}.npy", random(rows, seed=number).astype(np.float16))
        described(
            tmp_path / "metadata" / f"metadata_{number}.parquet",
            image_path=[f"{number}/{row}.jpg" for row in range(rows)],
            caption=[f"picture {row} of {number}" for row in range(rows)],
            width=[640] * rows,
            similarity=[float("nan")] * rows,
        )
    shards = find_shards(str(tmp_path), None)
    assert [path.name for path in shards.embeddings] == ["img_emb_2.npy", "img_emb_10.npy"]
    counts, target = run(store, shards)
    assert counts.indexed == 7
    images = store.catalogue.images(target.id)
    assert [one.key for one in images] == [f"2/{row}.jpg" for row in range(3)] + [f"10/{row}.jpg" for row in range(4)]
    assert images[3].uri == f"file://{tmp_path}/metadata/10/0.jpg"
    assert (images[3].metadata, images[3].width) == ({"caption": "picture 0 of 10"}, 640)


def test_an_export_comes_back_with_identical_answers(store: Store, tmp_path: Path) -> None:
    with Store.create(tmp_path / "source") as other:
        source = add(other, 0, 40)
        export_rows(other, source, tmp_path / "out")
        before = SnapshotReader(other.database, other.blobs, source).current()
        exported = other.catalogue.images(source.id)
    counts, target = run(store, find_shards(str(tmp_path / "out"), None), name="again")
    assert counts.indexed == 40
    after = SnapshotReader(store.database, store.blobs, target).current()
    np.testing.assert_array_equal(after.rows()[1], before.rows()[1])
    for row in before.rows()[1][:5]:
        there, here = before.search(row[np.newaxis], 10), after.search(row[np.newaxis], 10)
        assert here.scores.tolist() == there.scores.tolist()
        assert here.ids.tolist() == there.ids.tolist()
    for one, original in zip(store.catalogue.images(target.id), exported, strict=True):
        names = (
            "key",
            "uri",
            "sha256",
            "pixel_hash",
            "width",
            "height",
            "size_bytes",
            "format",
            "contrast",
            "metadata",
        )
        assert [getattr(one, name) for name in names] == [getattr(original, name) for name in names]


def test_rows_near_unit_length_are_kept_bit_by_bit_and_others_are_scaled() -> None:
    stored = unit_rows(random(500, 3)).astype(np.float16)
    np.testing.assert_array_equal(unit_or_kept(stored).astype(np.float16), stored)
    wild = np.array([[3.0, 4.0, 0.0], [1e300, 0.0, 0.0], [0.0, 1e-300, 0.0], [np.nan, 1.0, 0.0], [0.0, 0.0, 0.0]])
    expected = np.array([[0.6, 0.8, 0.0], [1, 0, 0], [0, 1, 0], [0, 0, 0], [0, 0, 0]])
    np.testing.assert_allclose(unit_or_kept(wild), expected, atol=1e-6)


def test_unusable_rows_are_in_the_ledger_and_nowhere_else(store: Store, tmp_path: Path) -> None:
    rows = random(6).astype(np.float32)
    rows[1], rows[3, 2] = 0, np.nan
    rows[4, 0] = np.inf
    sha = [hashlib.sha256(bytes([n])).hexdigest() for n in range(6)]
    sha[5] = "no hash"
    meta = described(tmp_path / "m.parquet", key=[f"k{n}" for n in range(6)], sha256=sha)
    counts, target = run(store, find_shards(saved(tmp_path / "e.npy", rows), meta))
    assert counts.as_json() == {
        "seen": 6,
        "indexed": 2,
        "updated": 0,
        "unchanged": 0,
        "failed": 4,
        "failures_by_reason": {"corrupt": 1, "invalid_embedding": 3},
    }
    assert [one.key for one in store.catalogue.images(target.id)] == ["k0", "k2"]
    assert store.catalogue.images(target.id)[0].sha256.hex() == sha[0]
    assert [entry.uri for entry in store.catalogue.failures(target.id)] == [f"import:k{n}" for n in (1, 3, 4, 5)]


def test_a_second_run_leaves_everything_alone_and_an_interrupted_one_goes_on(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.moving.import_rows.MAX_BATCH_ROWS", 4)
    shards = find_shards(saved(tmp_path / "e.npy", random(10)), None)

    def stop(done: int, _total: int) -> None:
        if done >= 8:
            raise KeyboardInterrupt

    target = store.open_collection("default", imported_space("clip", DIMS))
    with pytest.raises(KeyboardInterrupt):
        import_rows(store, target, shards, stop)
    counts, target = run(store, shards)
    assert (counts.indexed, counts.unchanged) == (2, 8)
    before = target.sequence
    counts, target = run(store, shards)
    assert (counts.indexed, counts.unchanged, target.sequence) == (0, 10, before)
    assert len(store.catalogue.images(target.id)) == 10


def test_the_later_of_two_rows_with_one_key_replaces_the_earlier(store: Store, tmp_path: Path) -> None:
    rows = random(3)
    meta = described(tmp_path / "m.parquet", key=["a", "b", "a"])
    counts, target = run(store, find_shards(saved(tmp_path / "e.npy", rows), meta))
    assert (counts.indexed, counts.updated) == (2, 1)
    found = SnapshotReader(store.database, store.blobs, target).current().search(unit_rows(rows[2:]), 1)
    assert store.catalogue.image_by_key(target.id, "a").id == found.ids[0]
    assert found.scores[0] > 0.999


def test_what_does_not_match_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    saved(tmp_path / "a" / "0.npy", random(3))
    saved(tmp_path / "a" / "1.npy", random(3, dims=5))
    with pytest.raises(UsageError, match="1.npy has embeddings of 5 dims, .*0.npy of 6"):
        find_shards(str(tmp_path / "a"), None)
    meta = described(tmp_path / "m.parquet", key=["only one"])
    with pytest.raises(UsageError, match="has 3 rows, .* describes 1"):
        find_shards(str(tmp_path / "a" / "0.npy"), meta)
    with pytest.raises(UsageError, match="is no Parquet file"):
        find_shards(str(tmp_path / "a" / "0.npy"), str(tmp_path / "a" / "1.npy"))
    for wrong in ("nowhere.npy", str(tmp_path / "*.txt")):
        with pytest.raises(UsageError, match="name a file, a folder or a glob"):
            find_shards(wrong, None)


@pytest.mark.parametrize("kind", ["pickle", "objects", "whole numbers", "one row", "cut", "empty", "npz", "no dims"])
def test_a_file_that_holds_no_embeddings_is_refused_and_no_pickle_is_loaded(tmp_path: Path, kind: str) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "owned",))

    place = tmp_path / "e.npy"
    if kind == "pickle":
        place.write_bytes(pickle.dumps(Evil()))
    elif kind == "objects":
        np.save(place, np.array([[Evil()]], object), allow_pickle=True)
    elif kind == "npz":
        with place.open("wb") as file:
            np.savez(file, a=random(2))
    elif kind == "empty":
        place.write_bytes(b"")
    else:
        rows = {"whole numbers": np.ones((2, 2), int), "one row": np.ones(4), "no dims": np.ones((3, 0))}
        np.save(place, rows.get(kind, random(4)))
        if kind == "cut":
            place.write_bytes(place.read_bytes()[:-8])
    with pytest.raises(UsageError, match="e.npy (is no .npy file|holds)"):
        find_shards(str(place), None)
    assert not (tmp_path / "owned").exists()


def test_spaces_of_other_names_and_dims_do_not_mix(local_store: Store, tmp_path: Path) -> None:
    run(local_store, find_shards(saved(tmp_path / "e.npy", random(2)), None))
    for name, dims in (("other", DIMS), ("clip", DIMS + 1)):
        with pytest.raises(SpaceMismatch, match=r"holds embeddings of clip \(imported, 6 dims\)"):
            local_store.open_collection("default", imported_space(name, dims))
    for name in ("", " ", "x" * 201, "a\nb"):
        with pytest.raises(UsageError, match="cannot name a space"):
            imported_space(name, DIMS)
