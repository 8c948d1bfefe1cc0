"""Blobs in object storage: fsspec's memory for the rules, a real S3 server for its failures."""

import hashlib
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import fsspec
import pytest

from search.blobs import object_blobs
from search.blobs.blob_cache import BlobCache, digest_in
from search.blobs.blobs import Blobs, LocalBlobs
from search.blobs.checksums import BLOCK_BYTES, CheckedBlob, CheckedFile, block_checksums
from search.blobs.object_blobs import ObjectBlobs
from search.errors import CorruptFile, StoreUnavailable, UsageError
from tests.object_server import BUCKET, ObjectServer, empty_bucket, environment, object_system

DATA = b"embeddings" * 1000


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_blobs, "FIRST_WAIT_S", 0.001)
    monkeypatch.setattr(object_blobs, "ATTEMPTS", 2)
    monkeypatch.setattr("search.faults._hits", Counter())


@pytest.fixture(scope="module")
def system(object_server: ObjectServer) -> Iterator[Any]:
    """The file system of the server, while the environment names it."""
    with environment(object_server):
        yield object_system()


@pytest.fixture
def server(object_server: ObjectServer, system: Any) -> Iterator[ObjectServer]:
    empty_bucket(system)
    object_server.calm()
    yield object_server
    object_server.calm()


@pytest.fixture
def cache(tmp_path: Path) -> BlobCache:
    return BlobCache(tmp_path / "cache", 10**9)


@pytest.fixture
def in_memory(cache: BlobCache) -> Iterator[ObjectBlobs]:
    yield ObjectBlobs("memory://store", cache)
    fsspec.filesystem("memory").store.clear()


@pytest.fixture
def in_s3(server: ObjectServer, cache: BlobCache) -> ObjectBlobs:
    return ObjectBlobs(f"s3://{BUCKET}/photos", cache)


@pytest.fixture(params=["folder", "memory", "s3"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Blobs:
    if request.param == "folder":
        return LocalBlobs(tmp_path / "blobs")
    found: Blobs = request.getfixturevalue(f"in_{request.param}")
    return found


def put(blobs: Blobs, data: bytes = DATA) -> str:
    return blobs.write("segments", ".lks", [data[:7], memoryview(data)[7:]], point="segment")


def cached(cache: BlobCache) -> list[Path]:
    return [path for path in cache.folder.rglob("*") if path.is_file()]


def stored(name: str) -> bytes:
    data: bytes = fsspec.filesystem("memory").cat(f"memory://store/{name}")
    return data


def test_what_was_written_is_read_wherever_it_lies(blobs: Blobs) -> None:
    name = put(blobs)
    assert bytes(blobs.open(name, len(DATA))) == DATA
    assert blobs.local_path(name, len(DATA)).read_bytes() == DATA
    assert blobs.sha256(name) == hashlib.sha256(DATA).digest()
    assert blobs.names("segments") == [name]
    assert blobs.names("generations") == []


def test_equal_blobs_get_names_of_their_own(blobs: Blobs) -> None:
    assert put(blobs) != put(blobs)
    assert len(blobs.names("segments")) == 2


def test_an_empty_blob_can_be_read(blobs: Blobs) -> None:
    assert len(blobs.open(put(blobs, b""), 0)) == 0


def test_a_blob_that_is_missing_or_of_another_length_is_named(blobs: Blobs) -> None:
    with pytest.raises(CorruptFile, match=r"segments/none.lks is missing"):
        blobs.open("segments/none.lks", 5)
    with pytest.raises(CorruptFile, match=r"segments/none.lks"):
        blobs.sha256("segments/none.lks")
    name = put(blobs)
    with pytest.raises(CorruptFile, match=f"has {len(DATA)} bytes, the catalogue recorded {len(DATA) + 1}"):
        blobs.open(name, len(DATA) + 1)


def test_old_unnamed_blobs_are_swept_and_young_or_named_ones_stay(blobs: Blobs) -> None:
    named, orphan = put(blobs), put(blobs)
    assert blobs.sweep("segments", frozenset({named}), older_than_s=3600) == []
    assert blobs.sweep("segments", frozenset({named}), older_than_s=-1) == [orphan]
    assert blobs.names("segments") == [named]


POINTS = ("segment.put", "segment.confirm")


@pytest.mark.parametrize("action", ["enospc", "short", "cut"])
@pytest.mark.parametrize("point", POINTS)
def test_an_upload_that_loses_bytes_or_room_gives_no_name_away(
    in_memory: ObjectBlobs, cache: BlobCache, monkeypatch: pytest.MonkeyPatch, point: str, action: str
) -> None:
    monkeypatch.setenv("LOOKALIKE_FAULT", f"{point}:1:{action}")
    heals = (point, action) in {("segment.put", "enospc"), ("segment.confirm", "cut")}
    if heals:  # tried again; and there is no file to cut any more
        assert stored(put(in_memory)) == DATA
    else:
        with pytest.raises(StoreUnavailable, match="cannot write"):
            put(in_memory)
        assert cached(cache) == []
    monkeypatch.delenv("LOOKALIKE_FAULT")
    assert stored(put(in_memory)) == DATA


@pytest.mark.parametrize("action", ["eio", "enospc", "short", "cut"])
def test_a_file_that_ends_early_on_its_way_to_storage_is_an_error(
    in_memory: ObjectBlobs, cache: BlobCache, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    monkeypatch.setenv("LOOKALIKE_FAULT", f"segment.write:1:{action}")
    with pytest.raises(StoreUnavailable, match="cannot write the cache .* LOOKALIKE_CACHE"):
        put(in_memory)
    assert cached(cache) == []
    assert in_memory.names("segments") == []


def test_a_cache_that_cannot_keep_a_blob_loses_nothing(
    in_memory: ObjectBlobs, cache: BlobCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOOKALIKE_FAULT", "cache.rename:1:enospc")
    name = put(in_memory)
    assert cached(cache) == []
    assert bytes(in_memory.open(name, len(DATA))) == DATA


@pytest.mark.parametrize("action", ["short", "enospc"])
def test_a_download_that_fails_leaves_no_half_file(
    in_memory: ObjectBlobs, cache: BlobCache, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    name = put(in_memory)
    (cache.folder / name).unlink()
    monkeypatch.setenv("LOOKALIKE_FAULT", f"cache.write:1:{action}")
    with pytest.raises(StoreUnavailable):
        in_memory.open(name, len(DATA))
    assert cached(cache) == []


def test_a_download_that_was_cut_is_made_again(
    in_memory: ObjectBlobs, cache: BlobCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = put(in_memory)
    (cache.folder / name).unlink()
    monkeypatch.setenv("LOOKALIKE_FAULT", "cache.write:1:cut")
    assert bytes(in_memory.open(name, len(DATA))) == DATA


def test_an_object_that_is_not_what_was_written_is_never_used(in_memory: ObjectBlobs, cache: BlobCache) -> None:
    name = put(in_memory)
    (cache.folder / name).unlink()
    fsspec.filesystem("memory").pipe(f"memory://store/{name}", DATA[:-1] + b"?")
    with pytest.raises(CorruptFile, match="is damaged: its checksum is not"):
        in_memory.open(name, len(DATA))
    assert cached(cache) == []


def damaged(data: bytes, how: str) -> bytes:
    return data[:-1] if how == "truncated" else data[:500] + bytes([data[500] ^ 1]) + data[501:]


@pytest.mark.parametrize("how", ["truncated", "flipped"])
@pytest.mark.parametrize("seen", [False, True])
def test_a_damaged_copy_is_fetched_again(in_memory: ObjectBlobs, cache: BlobCache, how: str, seen: bool) -> None:
    name = put(in_memory)
    if seen:
        in_memory.open(name, len(DATA))
    (cache.folder / name).write_bytes(damaged(DATA, how))
    assert bytes(in_memory.open(name, len(DATA))) == DATA
    assert (cache.folder / name).read_bytes() == DATA


LONG = b"".join(number.to_bytes(8, "little") for number in range(3 * BLOCK_BYTES // 8))
Opened = Callable[[Blobs, str], Callable[[int], bytes]]


def by_map(blobs: Blobs, name: str) -> Callable[[int], bytes]:
    opened = CheckedBlob(blobs, name, len(LONG), block_checksums(LONG))
    return lambda start: opened.read(start, start + 8).tobytes()


def by_calls(blobs: Blobs, name: str) -> Callable[[int], bytes]:
    opened = CheckedFile(blobs, name, len(LONG), block_checksums(LONG))

    def read(start: int) -> bytes:
        buffer = bytearray(8)
        opened.read_into([(start, memoryview(buffer))])
        return bytes(buffer)

    return read


def rot(path: Path) -> None:
    """Change the last byte of a file as a bad disk does: nobody wrote to it."""
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)[0]
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("opened", [by_map, by_calls])
@pytest.mark.parametrize("digest", [True, False])
def test_a_copy_that_goes_bad_while_it_is_open_is_exchanged_for_a_fresh_one(
    in_memory: ObjectBlobs, cache: BlobCache, opened: Opened, digest: bool, caplog: pytest.LogCaptureFixture
) -> None:
    name = in_memory.write("segments", ".lks", [LONG], point="segment")
    if not digest:
        fsspec.filesystem("memory").pipe("memory://store/segments/plain.lks", LONG)
        name = "segments/plain.lks"
    read = opened(in_memory, name)
    assert read(0) == LONG[:8]
    rot(cache.folder / name)
    assert read(len(LONG) - 8) == LONG[-8:]
    assert f"{name} was damaged while it was open" in caplog.text
    assert (cache.folder / name).read_bytes() == LONG
    fsspec.filesystem("memory").store.clear()
    assert read(BLOCK_BYTES) == LONG[BLOCK_BYTES : BLOCK_BYTES + 8]  # it was fetched once


@pytest.mark.parametrize("opened", [by_map, by_calls])
def test_a_copy_that_goes_bad_is_an_error_where_the_object_is_no_better(
    in_memory: ObjectBlobs, cache: BlobCache, opened: Opened
) -> None:
    name = in_memory.write("segments", ".lks", [LONG], point="segment")
    read = opened(in_memory, name)
    assert read(0) == LONG[:8]
    rot(cache.folder / name)
    fsspec.filesystem("memory").pipe(f"memory://store/{name}", LONG[:-1] + b"?")
    with pytest.raises(CorruptFile, match=f"{name} is damaged: its checksum is not"):
        read(len(LONG) - 8)


@pytest.mark.parametrize("opened", [by_map, by_calls])
def test_a_blob_of_this_machine_that_goes_bad_is_an_error_at_once(tmp_path: Path, opened: Opened) -> None:
    blobs = LocalBlobs(tmp_path)
    name = blobs.write("segments", ".lks", [LONG], point="segment")
    read = opened(blobs, name)
    rot(blobs.path(name))
    with pytest.raises(CorruptFile, match="block 2 .* is damaged; `lookalike verify`"):
        read(len(LONG) - 8)


def test_a_copy_in_the_cache_needs_no_storage(in_memory: ObjectBlobs) -> None:
    name = put(in_memory)
    fsspec.filesystem("memory").store.clear()
    assert bytes(in_memory.open(name, len(DATA))) == DATA
    with pytest.raises(CorruptFile, match="is missing"):
        in_memory.sha256(name)  # the proof is about the object, not about its copy


def test_what_was_used_longest_ago_goes_first_and_stays_readable_for_those_who_hold_it(tmp_path: Path) -> None:
    cache = BlobCache(tmp_path / "cache", 3 * len(DATA))
    blobs = ObjectBlobs("memory://store", cache)
    first, second, third = (put(blobs) for _ in range(3))
    held = blobs.open(second, len(DATA))
    blobs.open(first, len(DATA))  # used again
    blobs.open(third, len(DATA))
    fourth = put(blobs)
    assert {path.name for path in cached(cache)} == {Path(name).name for name in (first, third, fourth)}
    assert bytes(held) == DATA
    assert bytes(blobs.open(second, len(DATA))) == DATA


def test_a_blob_larger_than_the_cache_stays_until_the_next(tmp_path: Path) -> None:
    cache = BlobCache(tmp_path / "cache", 10)
    blobs = ObjectBlobs("memory://store", cache)
    first = put(blobs)
    assert bytes(blobs.open(first, len(DATA))) == DATA
    assert [digest_in(path.name) for path in cached(cache)] == [digest_in(first)]


def test_half_files_of_killed_processes_go_when_they_are_old(tmp_path: Path) -> None:
    cache = BlobCache(tmp_path / "cache", 10)
    old, young = cache.partial(), cache.partial()
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    put(ObjectBlobs("memory://store", cache))
    assert young.exists()
    assert not old.exists()


def test_two_caches_of_one_folder_see_each_others_work(in_memory: ObjectBlobs, cache: BlobCache) -> None:
    name = put(in_memory)
    other = ObjectBlobs("memory://store", BlobCache(cache.folder, 10**9))
    fsspec.filesystem("memory").store.clear()
    assert bytes(other.open(name, len(DATA))) == DATA


def test_a_name_without_a_checksum_is_read_by_its_length(in_memory: ObjectBlobs) -> None:
    # Such as a blob of a local store that was copied into a bucket.
    name = f"segments/{'0' * 32}.lks"
    fsspec.filesystem("memory").pipe(f"memory://store/{name}", DATA)
    assert digest_in(name) is None
    assert bytes(in_memory.open(name, len(DATA))) == DATA


def test_a_new_blob_is_put_on_the_condition_that_its_name_is_free(in_s3: ObjectBlobs, server: ObjectServer) -> None:
    name = put(in_s3)
    puts = [(path, condition) for method, path, condition in server.requests if method == "PUT"]
    assert puts == [(f"/{BUCKET}/photos/{name}", "*")]
    assert ("HEAD", f"/{BUCKET}/photos/{name}", "") in server.requests


def test_a_server_that_knows_no_conditions_is_used_without(in_s3: ObjectBlobs, server: ObjectServer) -> None:
    server.unconditional = True
    put(in_s3)
    name = put(in_s3)
    assert [condition for method, _, condition in server.requests if method == "PUT"] == ["*", "", ""]
    assert in_s3.sha256(name) == hashlib.sha256(DATA).digest()


def test_a_put_that_fails_is_tried_again(in_s3: ObjectBlobs, server: ObjectServer) -> None:
    server.fail = 3
    assert in_s3.sha256(put(in_s3)) == hashlib.sha256(DATA).digest()


def test_a_put_that_keeps_failing_is_an_error_that_names_the_bucket(in_s3: ObjectBlobs, server: ObjectServer) -> None:
    server.fail = 10**6
    with pytest.raises(StoreUnavailable, match=rf"cannot write s3://{BUCKET}/photos/.*: planted; check the network"):
        put(in_s3)
    server.fail = 0
    assert in_s3.names("segments") == []


def test_a_put_whose_answer_was_lost_counts(in_s3: ObjectBlobs, server: ObjectServer) -> None:
    server.lose = 1
    name = put(in_s3)
    assert in_s3.names("segments") == [name]
    assert in_s3.sha256(name) == hashlib.sha256(DATA).digest()


def test_a_put_that_times_out_after_it_succeeded_counts(
    in_s3: ObjectBlobs, server: ObjectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_blobs, "READ_TIMEOUT_S", 0.3)
    server.lose, server.lose_after_s = 1, 0.6
    name = put(in_s3)
    assert in_s3.names("segments") == [name]
    assert in_s3.sha256(name) == hashlib.sha256(DATA).digest()


def test_a_slow_network_is_waited_for(in_s3: ObjectBlobs, server: ObjectServer, cache: BlobCache) -> None:
    server.delay_s = 0.1
    name = put(in_s3)
    (cache.folder / name).unlink()
    assert bytes(in_s3.open(name, len(DATA))) == DATA


def test_a_big_blob_travels_in_parts(
    in_s3: ObjectBlobs, server: ObjectServer, cache: BlobCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_blobs, "PART_BYTES", 5 * 2**20)
    data = hashlib.shake_128(b"big").digest(12 * 2**20)
    server.fail, server.lose = 1, 1  # one part is tried again, one is sent twice
    name = put(in_s3, data)
    assert len([one for one in server.requests if one[0] == "PUT"]) == 5
    (cache.folder / name).unlink()
    assert bytes(in_s3.open(name, len(data))) == data


def test_a_bucket_that_is_gone_says_so_and_is_no_missing_blob(
    in_s3: ObjectBlobs, system: Any, cache: BlobCache
) -> None:
    name = put(in_s3)
    (cache.folder / name).unlink()
    system.rm(BUCKET, recursive=True)
    for call in (lambda: put(in_s3), lambda: in_s3.open(name, len(DATA)), lambda: in_s3.names("segments")):
        with pytest.raises(StoreUnavailable, match=f"(?i)s3://{BUCKET}/photos.*bucket.*; make the bucket, or name"):
            call()


def test_a_server_that_is_not_there_is_try_again(
    cache: BlobCache, monkeypatch: pytest.MonkeyPatch, server: ObjectServer
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(StoreUnavailable, match=r"s3://pictures/.*; check the network and AWS_ENDPOINT_URL"):
        put(ObjectBlobs(f"s3://{BUCKET}/photos", cache))


def test_missing_credentials_are_named(
    cache: BlobCache, monkeypatch: pytest.MonkeyPatch, server: ObjectServer, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(StoreUnavailable, match="check the credentials"):
        put(ObjectBlobs(f"s3://{BUCKET}/photos", cache))


def test_a_missing_package_names_the_extra(cache: BlobCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.delitem(import_module("fsspec.registry")._registry, "s3", raising=False)
    with pytest.raises(UsageError, match=r"a package is missing: pip install 'lookalike\[s3\]'"):
        ObjectBlobs(f"s3://{BUCKET}/photos", cache).names("segments")


def test_an_unknown_protocol_is_named(cache: BlobCache) -> None:
    with pytest.raises(UsageError, match="gopher"):
        ObjectBlobs("gopher://somewhere", cache).names("segments")
