"""A store whose segments and generations lie in a bucket: the whole journey, against a real S3 server."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from api.cli import main
from search.blobs import object_blobs
from search.blobs.checksums import BLOCK_BYTES
from search.errors import StoreUnavailable, UsageError
from search.finding.generations import Generations
from search.finding.snapshot import SnapshotReader
from search.settings import GIB, read_settings
from search.storing.store import Store
from search.upkeep.verification import verify
from tests.conftest import Draw, new_database
from tests.fakes import FAKE_DIMS
from tests.jobs import index
from tests.object_server import BUCKET, ObjectServer, empty_bucket, environment, object_system
from tests.stored_rows import add, embeddings_of

URL = f"s3://{BUCKET}/photos"


@pytest.fixture
def bucket(object_server: ObjectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    object_server.calm()
    monkeypatch.setenv("LOOKALIKE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(object_blobs, "ATTEMPTS", 1)
    with environment(object_server):
        system = object_system()
        empty_bucket(system)
        yield system
    object_server.calm()


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, bucket: Any, tmp_path: Path, photos: Path, draw: Draw) -> Iterator[Store]:
    """Six pictures, indexed and published, on each database."""
    catalogue = None
    if request.param == "postgresql":
        catalogue = new_database(request.getfixturevalue("postgresql"))
    for number in range(6):
        draw(f"{number}.png", number)
    with Store.create(tmp_path / "store", catalogue=catalogue, blobs=URL) as made:
        index(made, photos)
        yield made


def objects(bucket: Any, folder: str) -> list[str]:
    return [path.removeprefix(f"{BUCKET}/photos/") for path in bucket.find(f"{BUCKET}/photos/{folder}")]


def found(store: Store) -> int:
    """Search every image by its own embedding, with a fresh reader; return how many there are."""
    snapshot = SnapshotReader(store.database, store.blobs, store.catalogue.collection("default")).current()
    ids, embeddings = snapshot.rows()
    for image_id, row in zip(ids.tolist(), embeddings, strict=True):
        assert snapshot.search(row[np.newaxis], 1).ids.tolist() == [image_id]
    return len(ids)


def test_what_is_indexed_into_a_bucket_is_found_by_a_machine_that_has_nothing_of_it(
    store: Store, bucket: Any, tmp_path: Path, photos: Path, draw: Draw
) -> None:
    assert found(store) == 6
    assert (len(objects(bucket, "segments")), len(objects(bucket, "generations"))) == (1, 1)
    assert not (store.root / "segments").exists()
    shutil.rmtree(tmp_path / "cache")
    draw("new.png", 7)
    index(store, photos)
    with Store(store.root) as again:
        assert found(again) == 7
        assert verify(again, deep=True) == []


def test_a_damaged_cache_changes_no_answer(store: Store, tmp_path: Path) -> None:
    for path in (tmp_path / "cache").rglob("*.lk?"):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    with Store(store.root) as again:
        assert found(again) == 6
        assert verify(again, deep=True) == []


def test_a_cache_that_goes_bad_under_an_open_snapshot_changes_no_answer(
    bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.finding.generations.EXACT_ROWS", 100)  # an index that reads embeddings when it ranks
    with Store.create(tmp_path / "store", blobs=URL) as store:
        images = 3 * BLOCK_BYTES // (2 * FAKE_DIMS)
        target = add(store, 0, images)
        Generations(store.database, store.blobs, target).publish(target.sequence)
        snapshot = SnapshotReader(store.database, store.blobs, target).current()
        last = embeddings_of(images - 1, 1)
        before = snapshot.embedding_of(1)  # the segment is open now, and its last block not read yet
        (copy,) = (tmp_path / "cache").rglob("*.lks")
        data, written = bytearray(copy.read_bytes()), copy.stat().st_mtime_ns
        for place in range(100, len(data), 2000):
            data[place] ^= 64
        copy.write_bytes(data)
        os.utime(copy, ns=(written, written))
        found = snapshot.search(last, 1)
        assert (found.ids.tolist(), found.scores.tolist()) == ([images], [pytest.approx(1.0, abs=1e-3)])
        assert snapshot.embedding_of(1).tolist() == before.tolist()


@pytest.mark.parametrize(("folder", "kind"), [("segments", "segment"), ("generations", "generation")])
def test_verify_looks_at_the_objects_and_not_at_their_copies(store: Store, bucket: Any, folder: str, kind: str) -> None:
    (name,) = objects(bucket, folder)
    path = f"{BUCKET}/photos/{name}"
    data = bytearray(bucket.cat(path))
    data[-1] ^= 1
    bucket.pipe(path, bytes(data))
    assert [fault.kind for fault in verify(store, deep=True)] == [f"{kind}_changed"]
    bucket.rm(path)
    (fault,) = verify(store)
    assert (fault.kind, fault.where) == (f"{kind}_damaged", name)
    assert "is missing" in fault.detail


def test_a_sweep_removes_what_nothing_names(store: Store, bucket: Any) -> None:
    orphan = store.blobs.write("segments", ".lks", [b"orphan"], point="segment")
    assert store.sweep() == []
    assert store.sweep(older_than_s=-1) == [orphan]
    assert len(objects(bucket, "segments")) == 1
    assert found(store) == 6


def test_a_commit_whose_segment_cannot_be_stored_is_not_acknowledged(
    store: Store, object_server: ObjectServer, photos: Path, draw: Draw
) -> None:
    draw("new.png", 7)
    object_server.fail = 10**6
    with pytest.raises(StoreUnavailable, match=f"cannot write {URL}/segments/"):
        index(store, photos)
    assert found(store) == 6
    object_server.calm()
    index(store, photos)
    assert found(store) == 7


def test_a_bucket_that_is_gone_is_try_again_and_never_a_part_of_the_answer(
    store: Store, bucket: Any, tmp_path: Path
) -> None:
    shutil.rmtree(tmp_path / "cache")
    bucket.rm(BUCKET, recursive=True)
    with Store(store.root) as again, pytest.raises(StoreUnavailable, match="there is no bucket 'pictures'; make the"):
        found(again)


def test_init_writes_the_url_and_refuses_the_blobs_of_another_store(
    bucket: Any, tmp_path: Path, photos: Path, draw: Draw, capsys: pytest.CaptureFixture[str]
) -> None:
    draw("0.png", 0)
    first, second = tmp_path / "first", tmp_path / "second"
    with pytest.raises(SystemExit, match="0"):
        main(["--store", str(first), "--json", "init", "--blobs", URL])
    assert json.loads(capsys.readouterr().out) == {"store": str(first)}
    assert f'blobs = "{URL}"' in (first / "store.toml").read_text()
    with Store(first) as store:
        index(store, photos)
    with pytest.raises(UsageError, match=f"{URL} holds 2 blobs that this catalogue does not know"):
        Store.create(second, blobs=URL)
    assert not (second / "store.toml").exists()
    Store.create(second, blobs=f"{URL}2").close()


def test_init_without_the_bucket_makes_no_store(bucket: Any, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--store", str(tmp_path / "store"), "init", "--blobs", "s3://nowhere/photos"])
    assert stop.value.code == 5
    assert not (tmp_path / "store" / "store.toml").exists()


def test_the_environment_names_the_bucket_and_the_room_for_copies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "store.toml").write_text('format = 1\nblobs = "s3://one/x"\ncache_gib = 0.5\n')
    monkeypatch.setenv("LOOKALIKE_CACHE", str(tmp_path / "elsewhere"))
    settings = read_settings(tmp_path)
    assert (settings.blobs, settings.cache_bytes) == ("s3://one/x", GIB // 2)
    assert settings.cache == tmp_path / "elsewhere" / "blobs"
    monkeypatch.setenv("LOOKALIKE_BLOBS", "s3://two/y")
    monkeypatch.setenv("LOOKALIKE_CACHE_GIB", "3")
    settings = read_settings(tmp_path)
    assert (settings.blobs, settings.cache_bytes) == ("s3://two/y", 3 * GIB)


@pytest.mark.parametrize("place", ["memory://x", "file:///x", "s3://", "s3:///"])
def test_a_place_that_keeps_nothing_is_refused(tmp_path: Path, place: str) -> None:
    with pytest.raises(UsageError, match="use a folder, or object storage such as s3://bucket/prefix"):
        Store.create(tmp_path / "store", blobs=place)


@pytest.mark.parametrize("size", ["0", "-1", "much", "nan", "inf"])
def test_a_cache_without_a_size_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: str) -> None:
    (tmp_path / "store.toml").write_text("format = 1\n")
    monkeypatch.setenv("LOOKALIKE_CACHE_GIB", size)
    with pytest.raises(UsageError, match=f"cache_gib is '{size}', expected a number of GiB above 0"):
        read_settings(tmp_path)
