"""A stored image's file is read again by its uri, wherever it lies."""

import io
import tarfile
from pathlib import Path

import fsspec
import pytest

from indexer.sources.stored_files import is_remote, read_stored
from search.errors import BadImage
from search.records import uri_of_path


def packed(path: Path, mode: str, **members: bytes) -> str:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, data in members.items():
            info = tarfile.TarInfo(f"{name}.jpg")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return uri_of_path(str(path))


def test_a_local_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "a b.jpg").write_bytes(b"picture")
    assert read_stored(uri_of_path(str(tmp_path / "a b.jpg"))) == b"picture"


def test_members_of_a_plain_tar_are_read_where_they_lie(tmp_path: Path) -> None:
    archive = packed(tmp_path / "a.tar", "w", one=b"first", two=b"second")
    assert read_stored(f"{archive}!/one.jpg") == b"first"
    assert read_stored(f"{archive}!/two.jpg", remote=False) == b"second"
    with pytest.raises(BadImage, match="holds it no more"):
        read_stored(f"{archive}!/three.jpg")


def test_an_archive_that_was_replaced_is_looked_into_again(tmp_path: Path) -> None:
    archive = packed(tmp_path / "a.tar", "w", one=b"first")
    assert read_stored(f"{archive}!/one.jpg") == b"first"
    packed(tmp_path / "a.tar", "w", zero=b"another", one=b"changed and longer")
    assert read_stored(f"{archive}!/one.jpg") == b"changed and longer"


def test_a_packed_archive_is_not_read_for_one_picture(tmp_path: Path) -> None:
    archive = packed(tmp_path / "a.tar.gz", "w:gz", one=b"first")
    with pytest.raises(BadImage, match="is packed"):
        read_stored(f"{archive}!/one.jpg")


def test_an_object_behind_a_url_is_read_unless_only_this_machine_may_be_asked() -> None:
    with fsspec.open("memory://stored/a.jpg", "wb") as file:
        file.write(b"far")
    assert read_stored("memory://stored/a.jpg") == b"far"
    assert is_remote("memory://stored/a.jpg")
    assert is_remote("s3://bucket/a.tar!/b.jpg")
    with pytest.raises(BadImage, match="no file of this machine"):
        read_stored("memory://stored/a.jpg", remote=False)
    with pytest.raises(BadImage, match="the whole archive only"):
        read_stored("s3://bucket/a.tar!/b.jpg")


@pytest.mark.parametrize("name", ["gone.jpg", "gone.tar!/a.jpg"])
def test_what_is_gone_says_so(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadImage) as caught:
        read_stored(f"{uri_of_path(str(tmp_path))}/{name}")
    assert caught.value.reason == "vanished"
