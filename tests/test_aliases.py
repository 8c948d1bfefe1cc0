"""A file that was indexed by two paths, as through a second mount of its folder, is one file: named, and left alone."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from search.duplicates.groups import DuplicateGroup
from search.plans import acting
from search.plans.aliases import Aliases, Entry
from search.plans.choosing import Wanted, choose
from search.plans.group_moves import ALIAS
from search.plans.history import History
from search.plans.keep_lists import write_lists
from search.plans.plan import Plan
from search.plans.renaming import rename_to_free
from tests.mounts import mount_again, with_own_mounts
from tests.planned_albums import Album, album
from tests.planned_trees import Tree, indexed

__all__ = ["album"]
FOLDER = (7, 1)  # device and inode of the folder in which the files below lie


@pytest.mark.parametrize(
    ("path", "entry", "file", "names", "known"),
    [
        ("the same name of the same folder", Entry(*FOLDER, "a.jpg"), (7, 2), 1, "first"),
        ("though it has other names, too", Entry(*FOLDER, "a.jpg"), (7, 2), 3, "first"),
        ("another spelling where case does not count", Entry(*FOLDER, "A.JPG"), (7, 2), 1, "first"),
        ("a hard link is a name of its own", Entry(*FOLDER, "link.jpg"), (7, 2), 2, None),
        ("another file", Entry(*FOLDER, "b.jpg"), (7, 3), 1, None),
        ("another disk", Entry(8, 1, "a.jpg"), (8, 2), 1, None),
    ],
)
def test_what_is_one_name_of_one_folder_is_one_file(
    path: str, entry: Entry, file: tuple[int, int], names: int, known: str | None
) -> None:
    aliases = Aliases()
    assert aliases.of("first", Entry(*FOLDER, "a.jpg"), (7, 2), 1) is None
    assert aliases.of(path, entry, file, names) == known


def mounted_twice(album: Album) -> Plan:
    """Plan a group of two files, each of which was indexed by two paths; in a child with mounts of its own."""
    for name in ("a", "a copy"):
        album.put(f"x/{name}.jpg", "picture a")
    mount_again(album.photos / "x", album.photos / "y")
    album.index()
    return album.plan(album.group("x/a.jpg", "y/a.jpg", "x/a copy.jpg", "y/a copy.jpg"))


def test_of_a_folder_that_is_mounted_twice_each_file_moves_once_and_the_keeper_never(album: Album) -> None:
    def moving() -> None:
        plan = mounted_twice(album)
        keeper, copy = ((album.photos / "x" / name).as_uri() for name in ("a.jpg", "a copy.jpg"))
        assert [member.file.same_as for member in plan.groups[0].members] == [keeper, None, copy]
        assert plan.groups[0].members[0].file.why_not == (
            f"it is the same file as {album.photos / 'x' / 'a.jpg'}, which this path leads to as well"
        )
        before = album.files()
        report = album.apply(plan)
        assert (report.files, report.left, report.skipped) == (1, {"alias": 2}, [])
        assert (album.photos / "y" / "a.jpg").exists()
        album.undo(plan)
        assert album.files() == before

    with_own_mounts(moving)


def test_lists_never_say_to_drop_what_is_the_keeper_by_another_path(album: Album, tmp_path: Path) -> None:
    def listing() -> None:
        plan = mounted_twice(album)
        _, drop = write_lists(plan, choose(plan, History(), Wanted(None)), tmp_path / "lists")
        uris = pq.read_table(drop)["uri"].to_pylist()
        assert [Path(uri).parent.name for uri in uris] == ["x"]

    with_own_mounts(listing)


def test_a_file_of_the_other_collection_never_moves_whatever_path_it_has_there(album: Album, tmp_path: Path) -> None:
    def planning() -> None:
        files = [album.put(f"x/{name}.jpg", "picture a") for name in ("a", "b")]
        only_here = album.put("only here.jpg", "picture a")
        mount_again(album.photos / "x", tmp_path / "mounted")
        album.index()
        seen = Tree(tmp_path / "mounted", [[tmp_path / "mounted" / file.name for file in files]], [])
        other = indexed(album.store, seen, np.random.default_rng(0), rooted=True, name="test")
        kept = album.store.catalogue.images(other.id)[0]
        members = album.group("x/a.jpg", "x/b.jpg", only_here.name).members
        plan = album.plan(DuplicateGroup(kept, "in the other", members), keepers_in=other)
        why = [member.file.why_not for member in plan.groups[0].members]
        assert why == ["the collection test, whose files are kept, has this very file", None]

    with_own_mounts(planning)


@pytest.fixture
def one_file(album: Album, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path, Path], None]:
    """A function that makes two files come and go together, as one does through two mounts with their own devices."""

    def join(one: Path, other: Path) -> None:
        aside = other.with_name("aside")

        def rename(name: str, folder: int, new_name: str, new_folder: int) -> None:
            rename_to_free(name, folder, new_name, new_folder)
            if name == new_name == one.name:
                other.rename(aside) if other.exists() else aside.rename(other)

        monkeypatch.setattr(acting, "take_away", rename)
        monkeypatch.setattr(acting, "rename_to_free", rename)
        monkeypatch.setattr("search.plans.restoring.rename_to_free", rename)

    return join


def test_where_only_moving_shows_that_two_are_one_the_group_comes_back_and_both_are_named(
    album: Album, one_file: Callable[[Path, Path], None]
) -> None:
    for name in ("a.jpg", "first.jpg", "one.jpg", "two.jpg"):
        album.put(name, "picture a")
    album.index()
    plan = album.plan(album.group("a.jpg", "first.jpg", "one.jpg", "two.jpg"))
    one_file(album.photos / "one.jpg", album.photos / "two.jpg")
    before = album.files()
    (skipped,) = album.apply(plan).skipped
    assert (skipped.path.name, skipped.why) == ("two.jpg", ALIAS.format(album.photos / "one.jpg"))
    assert album.files() == before
