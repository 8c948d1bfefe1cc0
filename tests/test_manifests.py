"""CSV and Parquet manifests: what rows mean, what goes to the ledger, and what a changed row costs."""

import datetime
import gc
import hashlib
import http.server
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from indexer.jobs.index_images import IndexOptions
from indexer.sources import manifests
from indexer.sources.found import FoundFile
from indexer.sources.manifests import _SeenKeys
from indexer.sources.network_errors import explained
from indexer.sources.sources import count, resolve
from search.errors import SourceUnavailable, UsageError
from search.storing.store import Store
from search.upkeep.verification import verify
from tests.conftest import Draw, painted
from tests.fakes import FakeBackbone
from tests.jobs import index, ledger, stored

EVERYTHING = IndexOptions(prune=True, max_fraction=1.0)


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_rows_name_pictures_with_keys_and_typed_metadata(store: Store, photos: Path, draw: Draw) -> None:
    draw("a.png", 1)
    draw("deep/b c.png", 2)
    absolute = draw("c.png", 3)
    manifest = written(
        photos / "m.csv",
        "path,key,year,price,name,code,empty\n"
        "a.png,sku-1,2021,1.5,first,007,\n"
        "deep/b c.png,sku-2,2022,2,second,12,\n"
        f"{absolute},sku-3,-3,1e3,third,A,\n",
    )
    counts = index(store, manifest).counts
    assert (counts.indexed, counts.failed) == (3, 0)
    assert stored(store) == {
        "sku-1": {"year": 2021, "price": 1.5, "name": "first", "code": "007"},
        "sku-2": {"year": 2022, "price": 2.0, "name": "second", "code": "12"},
        "sku-3": {"year": -3, "price": 1000.0, "name": "third", "code": "A"},
    }
    assert verify(store, deep=True) == []
    assert list(count(resolve([str(manifest)]))) == [3]


def test_parquet_keeps_its_types_and_dates_become_iso_text(local_store: Store, photos: Path, draw: Draw) -> None:
    draw("a.png", 1)
    taken = datetime.datetime(2024, 1, 31, 23, 59, 59)
    columns = {
        "uri": [(photos / "a.png").as_uri()],
        "key": [17],
        "taken": pa.array([np.datetime64(taken, "ns")]),
        "day": [taken.date()],
        "ok": [True],
        "score": pa.array([float("nan")]),
        "tags": [["x", "y"]],
        "nested": [{"a": 1}],
        "raw": [b"\0\1"],
        "count": [3],
    }
    pq.write_table(pa.table(columns), photos / "m.parquet")
    index(local_store, photos / "m.parquet")
    expected = {"taken": "2024-01-31T23:59:59", "day": "2024-01-31", "ok": True, "score": None, "tags": ["x", "y"]}
    assert stored(local_store) == {"17": expected | {"nested": {"a": 1}, "count": 3}}


def test_parquet_is_read_a_row_group_at_a_time(photos: Path, draw: Draw, monkeypatch: pytest.MonkeyPatch) -> None:
    draw("a.png", 1)
    pq.write_table(pa.table({"path": ["a.png"] * 5000}), photos / "m.parquet", row_group_size=1000)
    monkeypatch.setattr(pq.ParquetFile, "read", lambda *_: pytest.fail("the whole file was read"))
    batches: list[int] = []
    whole = pq.ParquetFile.iter_batches

    def counted(self: pq.ParquetFile, batch_size: int) -> Iterator[pa.RecordBatch]:
        for batch in whole(self, batch_size=batch_size):
            batches.append(len(batch))
            yield batch

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", counted)
    from indexer.sources.sources import Walk

    first = next(iter(Walk(resolve([str(photos / "m.parquet")]))))
    assert first.uri.endswith("a.png")  # type: ignore[union-attr]
    assert sum(batches) <= 1000


def test_rows_that_cannot_be_used_are_in_the_ledger_and_cost_no_other(
    local_store: Store, photos: Path, draw: Draw
) -> None:
    draw("c.png", 3)
    right, wrong = (hashlib.sha256(draw(f"{name}.png", at).read_bytes()).hexdigest() for at, name in enumerate("ab"))
    manifest = written(
        photos / "m.csv",
        "path,key,sha256,x\n"
        f"a.png,1,{right},\n"
        f"c.png,2,{right},\n"
        ",3,,5\n"
        "missing.png,4,,\n"
        f"b.png,1,{wrong},\n"
        "b.png,6,12345,\n"
        "b.png,7,,1,2,3\n"
        "file:///x.tar!/a.png,8,,\n"
        f"b.png,9,{wrong.upper()},\n",
    )
    counts = index(local_store, manifest).counts
    base = f"file://{manifest}#row="
    assert (
        ledger(local_store)
        == {
            (photos / "c.png").as_uri(): "checksum_mismatch",
            f"{base}3": "bad_manifest_row",
            (photos / "missing.png").as_uri(): "vanished",
            f"{base}5": "duplicate_key",
            f"{base}6": "bad_manifest_row",
            f"{base}7": "bad_manifest_row",
            f"{base}8": "bad_manifest_row",
        }
        or "checksum_mismatch" not in ledger(local_store).values()
    )
    assert set(stored(local_store)) == {"1", "9"}
    assert counts.failures["duplicate_key"] == 1
    assert counts.failures["checksum_mismatch"] == 1


@pytest.mark.parametrize("bad", ["ftp://x/y.jpg", "nosuch://x/y.jpg", "http://[x/y.jpg", "sub\0/a.png"])
def test_a_place_that_nothing_here_can_read_costs_its_row_alone(
    local_store: Store, photos: Path, draw: Draw, bad: str
) -> None:
    for name in "ab":
        draw(f"{name}.png", ord(name))
    pq.write_table(pa.table({"uri": ["a.png", bad, "b.png"]}), photos / "m.parquet")
    assert index(local_store, photos / "m.parquet").counts.indexed == 2
    gc.collect()  # what was half made and complains when it is dropped, complains now
    assert ledger(local_store) == {f"{(photos / 'm.parquet').as_uri()}#row=2": "bad_manifest_row"}


def test_a_manifest_that_ends_in_the_middle_says_after_which_row(
    local_store: Store, photos: Path, draw: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw("a.png", 1)
    manifest = written(photos / "m.csv", "path,key\na.png,1\n\na.png,2\na.png,3\n")
    monkeypatch.setattr(
        manifests, "_described", Mock(side_effect=[FoundFile("a", "file:///a", 1, 1)] * 2 + [OSError("cut")])
    )
    index(local_store, manifest)
    entries = {entry.uri: entry.detail for entry in local_store.catalogue.failures(1)}
    assert entries[manifest.as_uri()] == "the manifest cannot be read beyond row 2: cut"


def test_a_row_that_gives_no_picture_now_is_still_a_row_of_its_manifest(
    local_store: Store, photos: Path, draw: Draw
) -> None:
    for name in ("gone", "hidden", "twice", "unnamed", "unsigned", "left"):
        draw(f"{name}.png", len(name))
    lines = [f"{name}.png,{name}," for name in ("gone", "hidden", "twice", "unnamed", "unsigned")]
    manifest = written(photos / "m.csv", "\n".join(["path,key,sha256", *lines, "left.png,left,"]))
    index(local_store, manifest)
    (photos / "gone.png").unlink()
    lines[2] = "twice.png,hidden,"
    lines[3] = ",unnamed,"
    lines[4] = "unsigned.png,unsigned,12345"
    written(manifest, "\n".join(["path,key,sha256", *lines]))
    assert index(local_store, manifest, exclude=["hidden.png"], options=EVERYTHING).counts.removed == 1
    assert set(stored(local_store)) == {"gone", "hidden", "twice", "unnamed", "unsigned"}


def test_a_manifest_with_a_row_that_nobody_can_read_removes_nothing(
    local_store: Store, photos: Path, draw: Draw
) -> None:
    draw("a.png", 1)
    draw("b.png", 2)
    manifest = written(photos / "m.csv", "path,key\na.png,1\nb.png,2\n")
    index(local_store, manifest)
    written(manifest, "path,key\na.png,1\nb.png,2,3,4\n")
    assert index(local_store, manifest, options=EVERYTHING).counts.removed == 0


def test_a_manifest_that_is_gone_leaves_the_ledger_with_its_folder(
    local_store: Store, photos: Path, draw: Draw
) -> None:
    draw("a.png", 1)
    manifest = written(photos / "m.csv", "path,key\na.png,1\na.png,1\n")
    index(local_store, manifest)
    index(local_store, photos)
    assert ledger(local_store) == {f"{manifest.as_uri()}#row=2": "duplicate_key"}
    manifest.unlink()
    index(local_store, photos)
    assert ledger(local_store) == {}


def test_a_mended_manifest_leaves_the_ledger(local_store: Store, photos: Path, draw: Draw) -> None:
    draw("a.png", 1)
    manifest = written(photos / "m.csv", "path,key\n,1\n")
    assert index(local_store, manifest).counts.failed == 1
    written(manifest, "path,key\na.png,1\n")
    assert index(local_store, manifest).counts.failed == 0
    assert ledger(local_store) == {}


def test_a_table_without_a_column_of_places_is_refused_and_its_columns_are_named(photos: Path) -> None:
    written(photos / "m.csv", "name,size\na,1\n")
    with pytest.raises(UsageError, match=r"uri, url or path; its columns are: name, size"):
        resolve([str(photos / "m.csv")])
    pq.write_table(pa.table({"picture": ["a"]}), photos / "m.parquet")
    with pytest.raises(UsageError, match=r"its columns are: picture"):
        resolve([str(photos / "m.parquet")])
    for header, hint in (("URL,key", "lower case"), ("path;key", "only commas"), ("path\tkey", "only commas")):
        written(photos / "m.csv", f"{header}\na,1\n")
        with pytest.raises(UsageError, match=hint):
            resolve([str(photos / "m.csv")])
    (photos / "text.parquet").write_text("no parquet")
    with pytest.raises(UsageError, match=r"text\.parquet: cannot be read as a manifest"):
        resolve([str(photos / "text.parquet")])


def test_a_table_with_one_name_for_two_columns_is_refused(photos: Path) -> None:
    written(photos / "m.csv", "path,n,n\na,1,2\n")
    pq.write_table(pa.Table.from_arrays([["a"], [1], [2]], ["path", "n", "n"]), photos / "m.parquet")
    for name in ("m.csv", "m.parquet"):
        with pytest.raises(UsageError, match="two of its columns are called 'n'"):
            resolve([str(photos / name)])
    written(photos / "m.csv", "path,,\na,,\n")  # as spreadsheets end their lines
    assert resolve([str(photos / "m.csv")])


def test_a_changed_row_changes_metadata_without_reading_or_embedding_the_picture(
    local_store: Store, photos: Path, draw: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw("a.png", 1)
    manifest = written(photos / "m.csv", "path,key,price,colour\na.png,k,1,red\n")
    index(local_store, manifest)
    monkeypatch.setattr("indexer.jobs.pipeline.read_file", lambda *_: pytest.fail("the picture was read"))
    written(manifest, "path,key,price,size\na.png,k,2,xl\n")
    counts = index(local_store, manifest).counts
    assert (counts.unchanged, counts.indexed) == (1, 0)
    # What the manifest says no more, it does not take away either: others may have written it.
    assert stored(local_store) == {"k": {"price": 2, "colour": "red", "size": "xl"}}


def test_metadata_of_others_survives_where_the_manifest_says_nothing(
    local_store: Store, photos: Path, draw: Draw
) -> None:
    from sqlalchemy import update

    from search.database.tables import image

    draw("a.png", 1)
    manifest = written(photos / "m.csv", "path,price\na.png,1\n")
    index(local_store, manifest)
    with local_store.database.writing() as connection:
        connection.execute(update(image).values(metadata={"price": 1, "note": "by hand"}))
    draw("a.png", 2)
    assert index(local_store, manifest).counts.indexed == 1
    assert index(local_store, photos).counts.unchanged == 1
    assert list(stored(local_store).values()) == [{"price": 1, "note": "by hand"}]


def test_a_key_follows_its_row_to_another_file_and_keeps_its_id(local_store: Store, photos: Path, draw: Draw) -> None:
    draw("a.png", 1)
    draw("b.png", 2)
    manifest = written(photos / "m.csv", "path,key\na.png,1\nb.png,2\n")
    target = index(local_store, manifest).collection
    before = {image.key: image.id for image in local_store.catalogue.images(target.id)}
    written(manifest, "path,key\nb.png,1\na.png,2\n")
    backbone = FakeBackbone()
    index(local_store, manifest, backbone=backbone)
    images = local_store.catalogue.images(target.id)
    assert {image.key: image.id for image in images} == before
    assert {image.key: image.uri.rpartition("/")[2] for image in images} == {"1": "b.png", "2": "a.png"}
    assert backbone.embedded == 0
    assert verify(local_store, deep=True) == []


def test_an_image_indexed_by_its_place_takes_the_key_of_a_later_manifest(
    local_store: Store, photos: Path, draw: Draw
) -> None:
    draw("a.png", 1)
    target = index(local_store, photos).collection
    (before,) = local_store.catalogue.images(target.id)
    index(local_store, written(photos / "m.csv", "path,key\na.png,sku\n"))
    (after,) = local_store.catalogue.images(target.id)
    assert (after.id, after.key) == (before.id, "sku")
    draw("a.png", 3)
    index(local_store, photos)  # by its place again, with other pixels
    (last,) = local_store.catalogue.images(target.id)
    assert (last.id, last.key) == (before.id, "sku")


def test_two_keys_of_one_file_are_two_images(local_store: Store, photos: Path, draw: Draw) -> None:
    draw("a.png", 1)
    manifest = written(photos / "m.csv", "path,key\na.png,1\na.png,2\n")
    index(local_store, manifest)
    assert set(stored(local_store)) == {"1", "2"}
    assert index(local_store, manifest).counts.unchanged == 2


def test_rows_that_left_count_as_vanished_only_with_prune(local_store: Store, photos: Path, draw: Draw) -> None:
    for number in range(30):
        draw(f"{number}.png", number)
    lines = [f"{number}.png,{number}" for number in range(30)]
    manifest = written(photos / "m.csv", "\n".join(["path,key", *lines]))
    index(local_store, manifest)
    written(manifest, "\n".join(["path,key", *lines[1:]]))
    assert index(local_store, manifest).counts.vanished == 0
    counts = index(local_store, manifest, options=IndexOptions(prune=True)).counts
    assert (counts.vanished, counts.removed) == (1, 1)
    assert set(stored(local_store)) == {str(number) for number in range(1, 30)}


def test_keys_are_told_apart_by_the_million_in_little_memory() -> None:
    keys = _SeenKeys()
    assert keys.add(["a", None, "b", "a", None]) == [True, True, True, False, True]
    for start in range(0, 20_000, 1000):
        assert all(keys.add([str(number) for number in range(start, start + 1000)]))
    assert keys.add(["19999", "0", "new"]) == [False, False, True]
    assert len(keys._runs) < 10


class Answers(http.server.SimpleHTTPRequestHandler):
    status: int | None = None  # that every request is answered with

    def log_message(self, *_: object) -> None:
        pass

    def send_head(self) -> Any:
        if self.status is None:
            return super().send_head()
        return self.send_error(self.status)


@pytest.fixture
def server(photos: Path) -> Iterator[http.server.ThreadingHTTPServer]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Answers, directory=str(photos)))
    threading.Thread(target=partial(server.serve_forever, poll_interval=0.01), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def web(server: http.server.ThreadingHTTPServer) -> str:
    return f"http://127.0.0.1:{server.server_port}"


def test_pictures_of_the_web_are_downloaded_when_a_manifest_names_them(
    local_store: Store, photos: Path, draw: Draw, web: str
) -> None:
    for number in range(3):
        draw(f"{number} x.png", number)
    (photos / "large.png").write_bytes(b"\0" * 90_000)
    lines = [f"{web}/{number}%20x.png,{number}" for number in range(3)]
    manifest = written(photos / "m.csv", "\n".join(["url,n", *lines, f"{web}/none.png,9", f"{web}/large.png,8"]))
    options = IndexOptions(batch_size=8, max_file_bytes=80_000)
    assert index(local_store, manifest, options=options).counts.indexed == 3
    assert stored(local_store)[f"{web}/1%20x.png"] == {"n": 1}
    assert ledger(local_store) == {f"{web}/none.png": "vanished", f"{web}/large.png": "file_too_large"}
    assert index(local_store, manifest, options=options).counts.unchanged == 3


@pytest.fixture
def of_the_web(local_store: Store, photos: Path, draw: Draw, web: str) -> Path:
    """A manifest of one picture of the web, indexed; its next index asks for the picture again."""
    draw("x.png", 1)
    manifest = written(photos / "u.csv", f"url,n\n{web}/x.png,1\n")
    index(local_store, manifest)
    return manifest


def test_a_web_server_that_is_down_makes_nothing_vanish(
    local_store: Store, of_the_web: Path, server: http.server.ThreadingHTTPServer, web: str
) -> None:
    server.shutdown()
    server.server_close()
    counts = index(local_store, of_the_web, options=EVERYTHING).counts
    assert (counts.vanished, counts.removed) == (0, 0)
    assert ledger(local_store) == {f"{web}/x.png": "read_error"}
    assert len(stored(local_store)) == 1


@pytest.mark.parametrize(
    ("status", "reason"),
    [(404, "vanished"), (410, "vanished"), (403, "permission_denied"), (429, "read_error"), (503, "read_error")],
)
def test_only_a_server_that_says_so_has_lost_a_picture_and_a_row_that_names_it_keeps_its_image(
    local_store: Store, of_the_web: Path, web: str, monkeypatch: pytest.MonkeyPatch, status: int, reason: str
) -> None:
    monkeypatch.setattr(Answers, "status", status)
    counts = index(local_store, of_the_web, options=EVERYTHING).counts
    assert (counts.vanished, counts.removed) == (0, 0)
    assert ledger(local_store) == {f"{web}/x.png": reason}
    written(of_the_web, f"url,n\n{web}/other.png,1\n")
    assert index(local_store, of_the_web, options=EVERYTHING).counts.removed == 1


@pytest.mark.parametrize(
    "error", [TimeoutError("slow"), ConnectionResetError("reset"), OSError(-2, "Name or service not known")]
)
def test_a_failure_that_fsspec_calls_file_not_found_is_told_by_its_cause(error: OSError) -> None:
    wrapped = FileNotFoundError("http://x.org/a.png")
    wrapped.__cause__ = error
    assert explained(wrapped)[0] == "read_error"
    assert explained(FileNotFoundError("bucket/key"))[0] == "vanished"


def test_a_manifest_of_a_web_server_that_is_down_is_offline_once_it_was_indexed(
    local_store: Store, photos: Path, draw: Draw, server: http.server.ThreadingHTTPServer, web: str
) -> None:
    draw("a.png", 1)
    draw("here/b.png", 2)
    written(photos / "m.csv", "path\na.png\n")
    index(local_store, f"{web}/m.csv")
    server.shutdown()
    server.server_close()
    summary = index(local_store, f"{web}/m.csv", photos / "here", options=EVERYTHING)
    assert summary.offline == (f"{web}/m.csv",)
    assert summary.counts.indexed == 1
    with pytest.raises(SourceUnavailable, match="does not answer"):
        resolve([f"{web}/never.csv"])


def test_a_manifest_of_the_web_names_pictures_beside_it(local_store: Store, photos: Path, draw: Draw, web: str) -> None:
    draw("sub/a.png", 1)
    written(photos / "m.csv", "path\nsub/a.png\n")
    index(local_store, f"{web}/m.csv")
    assert list(stored(local_store)) == [f"{web}/sub/a.png"]


def test_a_folder_index_later_takes_no_metadata_away(local_store: Store, photos: Path, draw: Draw) -> None:
    draw("a.png", 1)
    index(local_store, written(photos / "m.csv", "path,x\na.png,1\n"))
    painted(5).save(photos / "a.png")
    index(local_store, photos)
    assert list(stored(local_store).values()) == [{"x": 1}]
