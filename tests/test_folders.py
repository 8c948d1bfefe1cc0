"""Folders that people name are known by every path that leads to them, and by what they are on disk."""

from dataclasses import replace
from pathlib import Path

import pytest

from search.duplicates.find_duplicates import below
from search.duplicates.keeper_rules import KeeperRules
from search.errors import UsageError
from search.folders import NamedFolders, absolute
from search.records import uri_of_path
from search.storing.folders import require_images_below
from tests.duplicate_groups import image_named
from tests.mounts import mount_again, with_own_mounts
from tests.planned_albums import Album, album

__all__ = ["album"]


@pytest.fixture
def masters(tmp_path: Path) -> Path:
    """A folder with another name: a symbolic link `link` beside it."""
    folder = tmp_path.resolve() / "photos" / "masters"
    (folder / "deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to(folder)
    return folder


def test_a_folder_that_is_named_through_a_link_or_with_dots_holds_what_lies_below_it(masters: Path) -> None:
    link = masters.parents[1] / "link"
    for named in (masters, link, link / ".." / "masters", masters / "deep" / ".."):
        folders = NamedFolders([absolute(named)])
        assert folders.hold(masters / "deep" / "a.jpg")
        assert folders.hold(masters / "a.jpg")
        assert not folders.hold(masters.parent / "a.jpg")
        assert not folders.hold(masters.with_name("masters too") / "a.jpg")


def test_a_folder_that_is_not_there_counts_by_its_path_alone() -> None:
    folders = NamedFolders([Path("/gone/masters"), Path("/gone")])
    assert folders.above(Path("/gone/masters/a.jpg")) == {0, 1}
    assert folders.above(Path("/gone/a.jpg")) == {1}


def test_the_second_path_of_a_mount_protects_prefers_and_finds_what_was_indexed_by_the_first(masters: Path) -> None:
    def looking() -> None:
        again = masters.parents[1] / "again"
        mount_again(masters, again)
        inside, outside = (
            replace(image_named(1), uri=uri_of_path(str(path / "a.jpg"))) for path in (masters / "deep", masters.parent)
        )
        rules = KeeperRules(protected=(again,), preferred=(again,))
        assert [rules.is_protected(image) for image in (inside, outside)] == [True, False]
        assert rules.preference(inside) < rules.preference(outside)
        assert below([inside, outside], again) == [inside]

    with_own_mounts(looking)


def test_a_folder_without_images_of_the_collection_is_refused_by_its_name(album: Album) -> None:
    album.put("masters/a.jpg", "picture a")
    album.index()
    assert album.target is not None
    other = album.store.open_collection("other", album.target.space)
    (album.photos.parent / "link").symlink_to(album.photos / "masters")
    for folder in (album.photos / "masters", album.photos.parent / "link"):
        require_images_below(album.store.catalogue, [album.target], "protect", folder)
    with pytest.raises(UsageError, match=r"protect is .*masters, below which no image of other lies; nothing was"):
        require_images_below(album.store.catalogue, [other], "protect", album.photos / "masters")
    (album.photos / "empty").mkdir()
    with pytest.raises(UsageError, match="within is .*empty, below which no image of default or other lies"):
        require_images_below(album.store.catalogue, [album.target, other], "within", album.photos / "empty")
