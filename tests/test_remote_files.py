"""fsspec URLs as sources: an object store in this process, a memory, and what the network does wrong."""

import io
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import fsspec
import pytest
from moto.server import ThreadedMotoServer

from indexer.jobs.index_images import IndexOptions
from indexer.sources.found import Found, FoundFile, UnreadableFile
from indexer.sources.remote_files import RemoteContent, canonical, file_system, stamp_of, uri_of_object
from indexer.sources.sidecars import sidecar_name
from indexer.sources.sources import resolve, walk
from search.errors import BadImage, SourceUnavailable, UsageError
from search.storing.store import Store
from tests.conftest import painted
from tests.fakes import FakeBackbone
from tests.jobs import index, ledger, stored
from tests.test_tars import packed, samples


def picture(number: int) -> bytes:
    file = io.BytesIO()
    painted(number).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def memory() -> Iterator[Any]:
    """An empty memory:// file system."""
    system = fsspec.filesystem("memory")
    system.store.clear()
    system.pseudo_dirs[:] = [""]
    yield system
    system.store.clear()


@pytest.fixture(scope="module")
def s3_server() -> Iterator[str]:
    """A server that speaks S3, on a free port."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An empty bucket called bkt, which s3:// reaches."""
    from indexer.sources import remote_files

    for name, value in {
        "AWS_ENDPOINT_URL": s3_server,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    remote_files._system.cache_clear()
    fsspec.filesystem("s3", skip_instance_cache=True).clear_instance_cache()
    client = boto3.client("s3")
    client.create_bucket(Bucket="bkt")
    yield client
    for one in client.list_objects_v2(Bucket="bkt").get("Contents", []):
        client.delete_object(Bucket="bkt", Key=one["Key"])
    client.delete_bucket(Bucket="bkt")
    remote_files._system.cache_clear()


def put(client: Any, key: str, data: bytes) -> None:
    client.put_object(Bucket="bkt", Key=key, Body=data)


def test_a_folder_of_objects_is_indexed_and_only_what_changed_is_read_again(
    local_store: Store, bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(6):
        put(bucket, f"photos/{number % 2}/{number} ä.png", picture(number))
    put(bucket, "photos/notes.txt", b"words")
    put(bucket, "other/9.png", picture(9))
    put(bucket, "photos/0/0 ä.png.json", b'{"title": "first"}')
    first = index(local_store, "s3://bkt/photos/").counts
    assert (first.indexed, first.failed) == (6, 0)
    assert stored(local_store)["s3://bkt/photos/0/0%20%C3%A4.png"] == {"title": "first"}
    put(bucket, "photos/0/2 ä.png", picture(20))
    read: list[str] = []
    whole = RemoteContent.read

    def noted(self: RemoteContent, max_bytes: int) -> bytes:
        read.append(self.url)
        return whole(self, max_bytes)

    monkeypatch.setattr(RemoteContent, "read", noted)
    again = index(local_store, "s3://bkt/photos/").counts
    assert (again.indexed, again.unchanged) == (1, 5)
    assert read == ["s3://bkt/photos/0/2%20%C3%A4.png"]


@pytest.fixture
def pages(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Lists three objects a page; the requests for pages are put into this list."""
    asked: list[dict[str, Any]] = []
    system = file_system("s3://bkt")[0]
    call = type(system).call_s3

    def noted(self: Any, method: str, **options: Any) -> Any:
        asked.append(options)
        return call(self, method, **options)

    monkeypatch.setattr("indexer.sources.s3_listing.PAGE_OBJECTS", 3)
    monkeypatch.setattr(type(system), "call_s3", noted)
    return asked


def listed(url: str, *exclude: str) -> Iterator[Found]:
    return walk(resolve([url], exclude))


def test_a_large_flat_folder_is_listed_page_by_page_while_it_is_walked(
    bucket: Any, pages: list[dict[str, Any]]
) -> None:
    for number in range(10):
        put(bucket, f"flat/{number}.png", b"")
    found = listed("s3://bkt/flat")
    first = next(found)
    assert isinstance(first, FoundFile)
    assert first.path == "s3://bkt/flat/0.png"
    assert len(pages) == 1
    assert [one.path for one in found if isinstance(one, FoundFile)] == [f"s3://bkt/flat/{n}.png" for n in range(1, 10)]
    assert len(pages) == 4


def test_a_page_boundary_parts_no_picture_from_its_sidecar(bucket: Any, pages: list[dict[str, Any]]) -> None:
    names = ["a.jpg", "a.json", "a.png", "a.png.json", "b.1.json", "b.1.png", "b.2.png", "b.json", "c.png", "d/a.png"]
    for name in names:
        put(bucket, f"p/{name}", b"")
    beside = {
        one.uri.removeprefix("s3://bkt/p/"): one.sidecar and one.sidecar.uri.removeprefix("s3://bkt/p/")
        for one in listed("s3://bkt/p")
        if isinstance(one, FoundFile)
    }
    # As a listing of the folder as a whole would tell.
    assert beside == {name: sidecar_name(name, names) for name in names if not name.endswith(".json")}
    assert beside["a.png"] == "a.png.json"
    assert beside["a.jpg"] == "a.json"
    assert beside["b.1.png"] == "b.1.json"
    assert beside["d/a.png"] is None


def test_folders_that_are_passed_over_cost_a_page_at_most(bucket: Any, pages: list[dict[str, Any]]) -> None:
    for number in range(20):
        put(bucket, f"p/.trash/{number}.png", b"")
        put(bucket, f"p/thumbs/deep/{number}.png", b"")
    for name in ("a.png", "thumbs.png", "thumbs0.png", "z.png"):
        put(bucket, f"p/{name}", b"")
    found = [one.uri for one in listed("s3://bkt/p", "thumbs") if isinstance(one, FoundFile)]
    assert found == [f"s3://bkt/p/{name}" for name in ("a.png", "thumbs.png", "thumbs0.png", "z.png")]
    assert len(pages) <= 5


def test_a_page_that_fails_ends_the_walk_and_nothing_counts_as_vanished(
    local_store: Store, bucket: Any, pages: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        put(bucket, f"p/{number}.png", picture(number))
    index(local_store, "s3://bkt/p")
    system = file_system("s3://bkt")[0]
    call = type(system).call_s3

    def flaky(self: Any, method: str, **options: Any) -> Any:
        if "ContinuationToken" in options:
            raise OSError("no second page")
        return call(self, method, **options)

    monkeypatch.setattr(type(system), "call_s3", flaky)
    prune = IndexOptions(prune=True, max_fraction=1.0)
    counts = index(local_store, "s3://bkt/p", options=prune).counts
    assert (counts.vanished, counts.removed) == (0, 0)
    assert ledger(local_store) == {"s3://bkt/p": "read_error"}


@pytest.mark.parametrize("sorted_pages", [0, 1])
def test_a_server_that_sorts_otherwise_is_listed_by_folders_if_its_first_page_tells(
    bucket: Any, pages: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, sorted_pages: int
) -> None:
    for number in range(6):
        put(bucket, f"p/{number}.png", b"")
    system = file_system("s3://bkt")[0]
    call = type(system).call_s3

    def shuffled(self: Any, method: str, **options: Any) -> Any:
        page = call(self, method, **options)
        if len(pages) > sorted_pages:
            page["Contents"].reverse()
        return page

    monkeypatch.setattr(type(system), "call_s3", shuffled)
    found = list(listed("s3://bkt/p"))
    if sorted_pages:
        assert isinstance(found[-1], UnreadableFile)
        assert "another order" in found[-1].detail
    else:
        assert [one.path for one in found if isinstance(one, FoundFile)] == [f"s3://bkt/p/{n}.png" for n in range(6)]


def test_a_single_object_and_a_glob_are_sources(local_store: Store, bucket: Any) -> None:
    for key in ("a/1.png", "a/x/2.png", "a/x/y/3.png", "a/4.jpg"):
        put(bucket, key, picture(len(key)))
    assert index(local_store, "s3://bkt/a/1.png").counts.indexed == 1
    assert index(local_store, "s3://bkt/a/*/*.png").counts.seen == 1
    assert index(local_store, "s3://bkt/a/**/*.png").counts.seen == 3


def test_an_archive_in_a_bucket_is_streamed_and_not_opened_again_unchanged(
    local_store: Store, bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, mode in (("12.tar", "w"), ("13.tar.gz", "w:gz")):
        put(bucket, name, packed(tmp_path / name, samples(range(4)), mode).read_bytes())
    assert index(local_store, "s3://bkt/12.tar", "s3://bkt/13.tar.gz").counts.seen == 8
    assert "s3://bkt/12.tar!/0003.png" in stored(local_store)
    monkeypatch.setattr("indexer.sources.tars._opened", lambda *_: pytest.fail("it was opened"))
    assert index(local_store, "s3://bkt/12.tar", "s3://bkt/13.tar.gz").counts.unchanged == 8


def test_a_manifest_in_a_bucket_names_objects_beside_it(local_store: Store, bucket: Any) -> None:
    put(bucket, "d/a b.png", picture(1))
    put(bucket, "e.png", picture(2))
    put(bucket, "d/m.csv", b"path,key,n\na b.png,1,5\ns3://bkt/e.png,2,6\n")
    index(local_store, "s3://bkt/d/m.csv")
    assert stored(local_store) == {"1": {"n": 5}, "2": {"n": 6}}


def test_a_missing_bucket_or_object_is_one_clear_error(bucket: Any) -> None:
    for url in ("s3://no-such-bucket/x/", "s3://bkt/no-such-folder/"):
        with pytest.raises(UsageError, match="there is no such bucket, folder or object"):
            resolve([url])


def test_missing_credentials_are_one_clear_error(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from botocore.exceptions import NoCredentialsError

    put(bucket, "a.png", picture(1))

    def refuse(*_: object, **__: object) -> None:
        raise NoCredentialsError

    monkeypatch.setattr("s3fs.S3FileSystem.info", refuse)
    with pytest.raises(UsageError, match="AWS_ACCESS_KEY_ID"):
        resolve(["s3://bkt/a.png"])


def test_a_protocol_nobody_speaks_is_one_clear_error() -> None:
    with pytest.raises(UsageError, match="nosuch:// cannot be read here"):
        resolve(["nosuch://x/y"])


def test_an_unreachable_server_is_unavailable_and_known_images_make_it_offline(
    local_store: Store, memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        memory.pipe(f"/p/{number}.png", picture(number))
    index(local_store, "memory://p")

    def down(*_: object, **__: object) -> None:
        raise ConnectionError("no route")

    monkeypatch.setattr(type(memory), "info", down)
    with pytest.raises(SourceUnavailable, match="no route; try again"):
        resolve(["memory://p"])
    memory.pipe("/q/9.png", picture(9))
    summary = index(local_store, "memory://p", options=IndexOptions(prune=True))
    assert summary.offline == ("memory://p",)
    assert summary.refused is not None
    assert "offline" in summary.refused
    assert len(stored(local_store)) == 3


def test_what_goes_wrong_with_one_object_costs_no_other(
    local_store: Store, memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        memory.pipe(f"/p/{number}.png", picture(number))
    opened = type(memory)._open

    def flaky(self: Any, path: str, *args: Any, **options: Any) -> Any:
        if path.endswith("1.png"):
            raise TimeoutError("slow")
        if path.endswith("2.png"):
            raise PermissionError("secret")
        return opened(self, path, *args, **options)

    monkeypatch.setattr(type(memory), "_open", flaky)
    assert index(local_store, "memory://p").counts.indexed == 2
    assert ledger(local_store) == {"memory://p/1.png": "read_error", "memory://p/2.png": "permission_denied"}
    monkeypatch.setattr(type(memory), "_open", opened)
    assert index(local_store, "memory://p").counts.indexed == 2
    assert ledger(local_store) == {}


def test_a_listing_that_fails_costs_its_folder_and_nothing_counts_as_vanished(
    local_store: Store, memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(40):
        memory.pipe(f"/p/{number % 2}/{number}.png", picture(number))
    index(local_store, "memory://p")
    listed = type(memory).ls

    def flaky(self: Any, path: str, **options: Any) -> Any:
        if path.endswith("/1"):
            raise OSError("listing failed")
        return listed(self, path, **options)

    monkeypatch.setattr(type(memory), "ls", flaky)
    prune = IndexOptions(prune=True, max_fraction=1.0)
    counts = index(local_store, "memory://p", options=prune).counts
    assert (counts.unchanged, counts.vanished, counts.removed) == (20, 0, 0)
    assert ledger(local_store) == {"memory://p/1": "read_error"}
    monkeypatch.setattr(type(memory), "ls", listed)
    memory.rm("/p/1/1.png")
    counts = index(local_store, "memory://p", options=IndexOptions(prune=True)).counts
    assert (counts.vanished, counts.removed) == (1, 1)


def test_a_vanished_object_is_reported_and_excluded_ones_are_not(local_store: Store, memory: Any) -> None:
    for number in range(3):
        memory.pipe(f"/p/{number}.png", picture(number))
    memory.pipe("/p/thumbs/9.png", picture(9))
    index(local_store, "memory://p")
    memory.rm("/p/0.png")
    counts = index(local_store, "memory://p", exclude=["thumbs"]).counts
    assert (counts.vanished, counts.unchanged) == (1, 2)


def test_a_changed_sidecar_of_an_object_is_no_new_embedding(local_store: Store, memory: Any) -> None:
    memory.pipe("/p/a.png", picture(1))
    memory.pipe("/p/a.json", b'{"x": 1}')
    index(local_store, "memory://p")
    memory.pipe("/p/a.json", b'{"x": 2}')
    backbone = FakeBackbone()
    index(local_store, "memory://p", backbone=backbone)
    assert backbone.embedded == 0
    assert stored(local_store) == {"memory://p/a.png": {"x": 2}}


def test_urls_are_percent_encoded_once_and_back() -> None:
    assert canonical("s3://bkt/a%20b ä.png") == "s3://bkt/a%20b%20%C3%A4.png"
    assert canonical(canonical("s3://bkt/100%25!.png")) == "s3://bkt/100%25%21.png"
    assert canonical("https://x.org/a%20b?q=1") == "https://x.org/a%20b?q=1"
    assert uri_of_object("memory", "/p/a.png") == "memory://p/a.png"


def test_an_object_without_date_and_tag_counts_as_new_each_time() -> None:
    assert stamp_of({"size": 3}) != stamp_of({"size": 3})
    assert stamp_of({"ETag": "x", "size": 3}) == stamp_of({"ETag": "x", "size": 3})
    assert stamp_of({"ETag": "x", "size": 3}) != stamp_of({"ETag": "y", "size": 3})
    assert stamp_of({"Last-Modified": "Sun, 06 Nov 1994 08:49:37 GMT"}) // 1_000_000_000 == 784111777


def test_an_object_larger_than_the_limit_is_not_downloaded_whole(memory: Any) -> None:
    memory.pipe("/p/a.png", b"\0" * 5_000_000)
    with pytest.raises(BadImage, match="more than 1000 bytes"):
        RemoteContent("memory://p/a.png").read(1000)
