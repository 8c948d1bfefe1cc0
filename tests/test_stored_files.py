"""A stored image's file is read again by its uri, wherever it lies."""

import io
import os
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fsspec
import pytest

from indexer.sources import archive_members, remote_files, stored_files, tars
from indexer.sources.stored_files import StoredFiles, is_remote
from search.errors import BadImage
from search.records import uri_of_path
from tests.object_server import BUCKET, ObjectServer, empty_bucket, environment, object_system


def packed(path: Path, mode: str, **members: bytes) -> str:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, data in members.items():
            info = tarfile.TarInfo(f"{name}.jpg")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return uri_of_path(str(path))


def test_a_local_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "a b.jpg").write_bytes(b"picture")
    assert StoredFiles().read(uri_of_path(str(tmp_path / "a b.jpg"))) == b"picture"


def test_members_of_a_plain_tar_are_read_where_they_lie(tmp_path: Path) -> None:
    archive = packed(tmp_path / "a.tar", "w", one=b"first", two=b"second")
    assert StoredFiles().read(f"{archive}!/one.jpg") == b"first"
    assert StoredFiles(remote=False).read(f"{archive}!/two.jpg") == b"second"
    with pytest.raises(BadImage, match="holds it no more"):
        StoredFiles().read(f"{archive}!/three.jpg")


def test_an_archive_that_was_replaced_is_looked_into_again(tmp_path: Path) -> None:
    archive = packed(tmp_path / "a.tar", "w", one=b"first")
    assert StoredFiles().read(f"{archive}!/one.jpg") == b"first"
    packed(tmp_path / "a.tar", "w", zero=b"another", one=b"changed and longer")
    assert StoredFiles().read(f"{archive}!/one.jpg") == b"changed and longer"


def test_a_damaged_archive_says_so_for_what_lies_behind_the_damage(tmp_path: Path) -> None:
    for mode, name in (("w", "a.tar"), ("w:gz", "a.tar.gz")):
        archive = packed(tmp_path / name, mode, one=b"first", two=os.urandom(200_000))
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
        files = StoredFiles()
        assert files.read(f"{archive}!/one.jpg") == b"first"
        with pytest.raises(BadImage) as caught:
            files.read(f"{archive}!/three.jpg")
        assert caught.value.reason == "damaged_archive"


@pytest.fixture
def openings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The archives that were opened, each time."""
    names: list[str] = []
    opened = tars._opened

    def noted(path: str, *arguments: Any, **options: Any) -> Any:
        names.append(path)
        return opened(path, *arguments, **options)

    monkeypatch.setattr(tars, "_opened", noted)
    return names


NAMES = [f"{number:03d}" for number in range(40)]


def album(path: Path, mode: str) -> str:
    return packed(path, mode, **{name: f"picture {name}".encode() for name in NAMES})


@pytest.mark.parametrize("in_order", [False, True])
def test_a_packed_archive_is_read_once_for_all_who_ask_in_its_order(
    tmp_path: Path, openings: list[str], in_order: bool
) -> None:
    archive = album(tmp_path / "a.tar.gz", "w:gz")
    files = StoredFiles(in_order=in_order)
    for first, second in zip(NAMES[::2], NAMES[1::2], strict=True):
        for name in (second, first):  # threads overtake each other
            assert files.read(f"{archive}!/{name}.jpg") == f"picture {name}".encode()
    assert len(openings) == 1
    for name in ("gone", "gone too", "gone as well"):
        with pytest.raises(BadImage, match="holds it no more"):
            files.read(f"{archive}!/{name}.jpg")
    assert len(openings) == 1
    assert files.read(f"{archive}!/{NAMES[0]}.jpg") == b"picture 000"
    assert len(openings) == 2


def test_several_packed_archives_are_read_side_by_side(tmp_path: Path, openings: list[str]) -> None:
    archives = [album(tmp_path / f"{number}.tar.xz", "w:xz") for number in range(3)]
    files = StoredFiles(in_order=True)
    with ThreadPoolExecutor(4) as threads:
        uris = [f"{archive}!/{name}.jpg" for name in NAMES for archive in archives]
        assert [data[-3:].decode() for data in threads.map(files.read, uris)] == [n for n in NAMES for _ in archives]
    assert len(openings) == 3


def test_what_was_overtaken_too_long_ago_costs_another_pass(
    tmp_path: Path, openings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_files, "KEPT_BYTES", 100)
    archive = album(tmp_path / "a.tar.gz", "w:gz")
    files = StoredFiles()
    assert files.read(f"{archive}!/039.jpg") == b"picture 039"
    assert files.read(f"{archive}!/035.jpg") == b"picture 035"
    assert len(openings) == 1
    assert files.read(f"{archive}!/002.jpg") == b"picture 002"
    assert len(openings) == 2


def test_one_picture_far_inside_a_packed_archive_is_refused_and_a_job_goes_there(
    tmp_path: Path, openings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_files, "SCAN_BYTES", 1 << 20)
    archive = packed(tmp_path / "a.tar.gz", "w:gz", near=b"near", large=bytes(1 << 20), far=b"far")
    files = StoredFiles()
    for _ in range(2):
        with pytest.raises(BadImage, match="behind the first 1 MiB of an archive that is read from front to end; pack"):
            files.read(f"{archive}!/far.jpg")
    assert len(openings) == 1
    assert files.read(f"{archive}!/near.jpg") == b"near"
    assert StoredFiles(in_order=True).read(f"{archive}!/far.jpg") == b"far"


def test_a_packed_archive_under_the_name_of_a_plain_one_is_read_all_the_same(tmp_path: Path) -> None:
    archive = album(tmp_path / "a.tar", "w:gz")
    assert StoredFiles().read(f"{archive}!/007.jpg") == b"picture 007"


def test_a_packed_archive_that_was_replaced_is_read_anew(tmp_path: Path) -> None:
    archive, files = packed(tmp_path / "a.tar.gz", "w:gz", one=b"first", two=b"second"), StoredFiles()
    assert files.read(f"{archive}!/one.jpg") == b"first"
    packed(tmp_path / "a.tar.gz", "w:gz", one=b"another", two=b"changed and longer")
    assert files.read(f"{archive}!/two.jpg") == b"changed and longer"


def test_a_network_that_failed_once_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive, files = album(tmp_path / "a.tar.gz", "w:gz"), StoredFiles(in_order=True)
    with monkeypatch.context() as patch:
        patch.setattr(tars, "_opened", lambda *_, **__: (_ for _ in ()).throw(TimeoutError("slow")))
        with pytest.raises(BadImage, match="slow"):
            files.read(f"{archive}!/000.jpg")
    assert files.read(f"{archive}!/000.jpg") == b"picture 000"


def test_tables_of_contents_are_forgotten_when_they_are_too_many(
    tmp_path: Path, openings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_members, "TABLED_PICTURES", 2 * len(NAMES))
    archives = [album(tmp_path / f"{number}.tar", "w") for number in range(3)]
    files = StoredFiles()
    for archive in [*archives, archives[2], archives[1], archives[0]]:
        assert files.read(f"{archive}!/001.jpg") == b"picture 001"
    assert len(openings) == 4


def test_threads_that_want_the_same_table_of_contents_read_it_once(tmp_path: Path, openings: list[str]) -> None:
    archive, files = album(tmp_path / "a.tar", "w"), StoredFiles()
    with ThreadPoolExecutor(8) as threads:
        assert len(set(threads.map(files.read, [f"{archive}!/{name}.jpg" for name in NAMES]))) == len(NAMES)
    assert len(openings) == 1


@pytest.fixture
def bucket(object_server: ObjectServer) -> Iterator[Any]:
    """A file system over an empty bucket, which s3:// reaches."""
    object_server.calm()
    with environment(object_server):
        remote_files._system.cache_clear()
        fsspec.filesystem("s3", skip_instance_cache=True).clear_instance_cache()
        system = object_system()
        empty_bucket(system)
        yield system
    remote_files._system.cache_clear()
    object_server.calm()


def gets(server: ObjectServer) -> int:
    return sum(method == "GET" for method, _, _ in server.requests)


def test_single_pictures_of_a_plain_archive_in_a_bucket_are_asked_for_by_range(
    bucket: Any, object_server: ObjectServer, tmp_path: Path, openings: list[str]
) -> None:
    members = {name: os.urandom(3 << 20) for name in ("one", "two", "three")}
    packed(tmp_path / "a.tar", "w", **members)
    bucket.put_file(str(tmp_path / "a.tar"), f"{BUCKET}/a.tar")
    archive, files = f"s3://{BUCKET}/a.tar", StoredFiles()
    assert files.read(f"{archive}!/two.jpg") == members["two"]
    object_server.requests.clear()
    assert files.read(f"{archive}!/three.jpg") == members["three"]
    assert gets(object_server) == 1
    with pytest.raises(BadImage, match="holds it no more"):
        files.read(f"{archive}!/four.jpg")
    assert len(openings) == 1
    packed(tmp_path / "a.tar", "w", zero=b"0", two=b"changed")
    bucket.put_file(str(tmp_path / "a.tar"), f"{BUCKET}/a.tar")
    assert files.read(f"{archive}!/two.jpg") == b"changed"


@pytest.mark.parametrize(("name", "mode"), [("a.tar", "w"), ("a.tar.gz", "w:gz")])
def test_a_job_reads_an_archive_in_a_bucket_in_one_pass(
    bucket: Any, object_server: ObjectServer, tmp_path: Path, openings: list[str], name: str, mode: str
) -> None:
    album(tmp_path / name, mode)
    bucket.put_file(str(tmp_path / name), f"{BUCKET}/{name}")
    object_server.requests.clear()
    files = StoredFiles(in_order=True)
    for one in NAMES:
        assert files.read(f"s3://{BUCKET}/{name}!/{one}.jpg") == f"picture {one}".encode()
    assert len(openings) == 1
    assert gets(object_server) == 1  # what fits into one piece is one request


def test_a_packed_archive_in_a_bucket_gives_a_single_picture(bucket: Any, tmp_path: Path) -> None:
    album(tmp_path / "a.tar.bz2", "w:bz2")
    bucket.put_file(str(tmp_path / "a.tar.bz2"), f"{BUCKET}/a.tar.bz2")
    assert StoredFiles().read(f"s3://{BUCKET}/a.tar.bz2!/020.jpg") == b"picture 020"


def test_an_object_behind_a_url_is_read_unless_only_this_machine_may_be_asked() -> None:
    with fsspec.open("memory://stored/a.jpg", "wb") as file:
        file.write(b"far")
    assert StoredFiles().read("memory://stored/a.jpg") == b"far"
    assert is_remote("memory://stored/a.jpg")
    assert is_remote("s3://bucket/a.tar!/b.jpg")
    with pytest.raises(BadImage, match="no file of this machine"):
        StoredFiles(remote=False).read("memory://stored/a.jpg")
    with pytest.raises(BadImage, match="no file of this machine"):
        StoredFiles(remote=False).read("s3://bucket/a.tar!/b.jpg")


@pytest.mark.parametrize("name", ["gone.jpg", "gone.tar!/a.jpg"])
def test_what_is_gone_says_so(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadImage) as caught:
        StoredFiles().read(f"{uri_of_path(str(tmp_path))}/{name}")
    assert caught.value.reason == "vanished"
