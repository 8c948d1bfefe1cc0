"""Exact copies of one another whose keeper is a better near copy: all but one of them go by a plain `apply`."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from search.plans import acting
from search.plans.choosing import Wanted, choose
from search.plans.history import Action, History
from search.plans.keep_lists import write_lists
from search.plans.places import QUARANTINE
from search.plans.plan import Plan, canonical, checksum, parsed
from search.plans.renaming import rename_to_free
from search.storing.store import Store
from tests.file_snapshots import by_inode, snapshot
from tests.planned_albums import Album, album
from tests.planned_trees import Tree, applied, grown, indexed
from tests.planned_trees import planned as planned_tree

__all__ = ["album"]
SMALL = ("small.jpg", "sub/small copy.jpg", "small again.jpg")


def planned(album: Album, kind: str = "resized", **options: object) -> Plan:
    """Plan a group of a large picture and three exact copies of a smaller one, of which `small.jpg` is the best."""
    album.put("large.jpg", "the picture, with many pixels")
    for name in SMALL:
        album.put(name, "the picture, small")
    album.index()
    group = album.group("large.jpg", *SMALL, kind=kind, stand_in="small.jpg")  # type: ignore[arg-type]
    return album.plan(group, **options)


def test_of_copies_of_one_another_one_stays_though_all_are_near_copies_of_a_better_keeper(album: Album) -> None:
    plan = planned(album)
    before = album.files()
    report = album.apply(plan)
    assert (report.files, report.groups, report.left, report.skipped) == (2, 1, {"near": 1}, [])
    assert album.hidden(plan) == ["small again.jpg", "sub/small copy.jpg"]
    assert {"large.jpg", "small.jpg"} < album.searched()
    assert not {"small again.jpg", "small copy.jpg"} & album.searched()
    assert album.undo(plan).files == 2
    assert album.files() == before


def test_a_dry_run_counts_the_same(album: Album) -> None:
    plan = planned(album)
    before = album.files()
    report = album.apply(plan, dry_run=True)
    assert (report.files, report.groups, report.left) == (2, 1, {"near": 1})
    assert album.files() == before


def test_with_near_copies_all_go_for_the_sake_of_the_keeper(album: Album) -> None:
    plan = planned(album)
    assert album.apply(plan, near=True).files == 3
    assert album.hidden(plan) == sorted(SMALL)


def test_what_a_person_confirmed_goes_as_a_whole(album: Album) -> None:
    planned(album)
    group = album.group("large.jpg", *SMALL, kind="resized", stand_in="small.jpg", confirmed=True)
    assert album.apply(album.plan(group)).files == 3


@pytest.mark.parametrize("gone", [Path.unlink, lambda path: path.write_text("something else, as long")])
def test_where_the_one_to_stay_is_not_as_planned_its_copies_stay_and_it_is_named(
    album: Album, gone: Callable[[Path], object]
) -> None:
    plan = planned(album)
    gone(album.photos / "small.jpg")
    (skipped,) = (report := album.apply(plan)).skipped
    assert (report.files, skipped.group, skipped.path.name) == (0, 1, "small.jpg")
    assert album.hidden(plan) == []


def test_where_the_one_to_stay_goes_at_the_last_moment_its_copies_come_back(
    album: Album, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = planned(album)

    def rename(name: str, folder: int, new_name: str, new_folder: int) -> None:
        rename_to_free(name, folder, new_name, new_folder)
        (album.photos / "small.jpg").unlink(missing_ok=True)

    monkeypatch.setattr(acting, "take_away", rename)
    (skipped,) = album.apply(plan).skipped
    assert "the image to keep went away" in skipped.why
    assert album.hidden(plan) == []


def test_copies_that_turned_out_to_hold_other_bytes_stay(album: Album) -> None:
    plan = planned(album)
    path = album.photos / "small again.jpg"
    status = path.stat()
    path.write_text("the picture, SMALL")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    (skipped,) = album.apply(plan).skipped
    assert (skipped.path, skipped.why) == (path, "holds other bytes than when it was indexed")


def test_the_one_to_stay_is_never_moved_by_another_group_of_the_same_run(album: Album) -> None:
    """However wrong a report is: a file that others go for stays, under whatever name it is planned again."""
    planned(album)
    album.put("twin.jpg", "the picture, small")
    os.link(album.photos / "small.jpg", album.photos / "second name.jpg")
    album.index()
    right = album.group("large.jpg", "small.jpg", "small again.jpg", kind="resized", stand_in="small.jpg")
    plan = album.plan(right, album.group("twin.jpg", "second name.jpg"))
    report = album.apply(plan)
    assert [(one.group, one.path.name, one.why) for one in report.skipped] == [
        (2, "second name.jpg", "is the image to keep of another group, under another name")
    ]
    assert album.hidden(plan) == ["small again.jpg"]


def test_links_take_the_place_of_copies_of_what_stays(album: Album) -> None:
    plan = planned(album)
    before = album.files()
    assert album.apply(plan, "hardlink").files == 2
    now = album.files()
    assert {now[name].inode for name in SMALL} == {before["small.jpg"].inode}
    assert album.undo(plan).files == 2
    assert album.files() == before


def test_links_join_copies_with_the_keepers_pixels_and_other_bytes_among_themselves(album: Album) -> None:
    plan = planned(album, "same_pixels")
    report = album.apply(plan, "hardlink")
    assert (report.files, report.left) == (2, {"other_bytes": 1})
    assert len({album.files()[name].inode for name in (*SMALL, "large.jpg")}) == 2


def test_a_protected_copy_stands_in_for_those_outside(album: Album) -> None:
    album.put("masters/large.jpg", "the picture, with many pixels")
    for name in ("masters/small.jpg", "small.jpg"):
        album.put(name, "the picture, small")
    album.index()
    group = album.group("masters/large.jpg", "small.jpg", kind="resized", stand_in="masters/small.jpg")
    plan = album.plan(group, protected=[album.photos / "masters"])
    assert album.apply(plan).files == 1
    assert album.hidden(plan) == ["small.jpg"]


def test_a_second_name_of_what_stays_is_left(album: Album) -> None:
    for name in ("large.jpg", "small.jpg"):
        album.put(name, name)
    os.link(album.photos / "small.jpg", album.photos / "small link.jpg")
    album.index()
    group = album.group("large.jpg", "small.jpg", "small link.jpg", kind="resized", stand_in="small.jpg")
    assert album.apply(album.plan(group)).left == {"near": 2}


def test_a_large_group_waits_for_a_person_as_a_whole(album: Album) -> None:
    names = [f"small {number}.jpg" for number in range(51)]
    for name in names:
        album.put(name, "the picture, small")
    album.put("large.jpg", "the picture, with many pixels")
    album.index()
    plan = album.plan(album.group("large.jpg", *names, kind="resized", stand_in=names[0]))
    assert album.apply(plan, max_fraction=1).left == {"review": 51}


def test_lists_name_what_stays_and_its_copies(album: Album, tmp_path: Path) -> None:
    plan = planned(album)
    keep, drop = write_lists(plan, choose(plan, History(), Wanted(None)), tmp_path)
    assert [Path(uri).name for uri in pq.read_table(keep)["uri"].to_pylist()] == ["small.jpg"]
    rows = pq.read_table(drop).to_pylist()
    assert {(Path(row["keeper_uri"]).name, row["kind"], row["relation"]) for row in rows} == {
        ("small.jpg", "same_bytes", "identical")
    }
    assert len(rows) == 2


@pytest.mark.parametrize("actions", [("quarantine", "quarantine"), ("hardlink", "quarantine")])
def test_what_stayed_may_go_later_and_everything_can_be_purged_or_undone(
    album: Album, actions: tuple[Action, Action]
) -> None:
    plan = planned(album)
    before = album.files()
    for near, action in enumerate(actions):
        album.apply(plan, action, near=bool(near))
    assert "small.jpg" in album.hidden(plan)
    album.undo(plan)
    assert album.files() == before
    for near, action in enumerate(actions):
        album.apply(plan, action, near=bool(near))
    report = album.purge()
    assert (report.files, report.kept) == (3, [])
    assert (album.photos / "large.jpg").exists()


def test_a_copy_is_not_purged_once_what_stayed_for_it_is_gone(album: Album) -> None:
    plan = planned(album)
    album.apply(plan)
    (album.photos / "small.jpg").unlink()
    report = album.purge()
    assert (report.files, [one.path.name for one in report.kept]) == (0, ["small copy.jpg", "small again.jpg"])


def test_a_plan_of_the_first_format_is_still_read_and_means_what_it_meant(album: Album) -> None:
    shape: dict[str, Any] = planned(album).as_json()
    shape["format"] = 1
    (group,) = shape["groups"]
    del group["stand_ins"]
    for member in group["members"]:
        del member["copy_of"], member["same_as"]
    del group["keeper"]["same_as"]
    plan = parsed(canonical({**shape, "checksum": checksum(shape)}), "old.json")
    assert album.apply(plan).left == {"near": 3}
    assert album.apply(plan, near=True).files == 3


def test_a_plan_with_stand_ins_is_read_back_as_it_was_written(album: Album) -> None:
    plan = planned(album)
    text = json.dumps(plan.as_json()).encode()
    assert parsed(text, "p.json") == plan
    assert [file.sha256 for file in plan.groups[0].stand_ins] == [hashlib.sha256(b"the picture, small").hexdigest()]


@pytest.mark.parametrize("action", ["quarantine", "hardlink"])
def test_in_random_trees_no_two_files_of_the_same_bytes_are_left(
    quick_folder: Path, empty_store: Path, action: Action
) -> None:
    """Each tree has two contents that are near copies; what nobody confirmed is in up to four exact copies."""
    rng = np.random.default_rng(7)
    for number in range(12):
        place = quick_folder / f"{action} {number}"
        with Store(shutil.copytree(empty_store, place / "store")) as store:
            tree = grown(rng, place / "tree")
            target = indexed(store, tree, rng, rooted=True, joined=True)
            wanted = Wanted(action, max_fraction=1.0)
            assert applied(store, planned_tree(store, tree, target), wanted).skipped == []
        left = {path: file for path, file in snapshot(tree.root).items() if QUARANTINE not in Path(path).parts}
        files = [file for file in by_inode(left).values() if file.digest in tree_contents(tree)]
        assert len(files) == len({file.digest for file in files}), number


def tree_contents(tree: Tree) -> set[str]:
    """Return the sha256 of the images of a tree, without its sidecars."""
    found = (path for copies in tree.paths for path in copies if path.exists())
    return {hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def test_nothing_goes_for_the_sake_of_what_is_in_the_quarantine(album: Album) -> None:
    plan = planned(album)
    album.apply(plan, near=True)
    (album.photos / "small.jpg").write_text("another picture took its place")
    assert [one.path.name for one in album.undo(plan).skipped] == ["small.jpg"]
    report = album.apply(plan)
    assert (report.files, report.left, report.skipped) == (0, {"done": 1, "near": 2}, [])
