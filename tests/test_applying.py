"""The rules of safe deduplication: what is moved, by which action, and what is left."""

import errno
import os

import pytest

from search.errors import GuardRefused, UsageError
from search.plans import acting, restoring
from search.plans.history import Action
from search.plans.places import QUARANTINE
from search.plans.plan_files import PlanFiles
from tests.mounts import mount_again, with_own_mounts
from tests.planned_albums import Album, album

__all__ = ["album"]
NOBODY = 65_534


def test_a_copy_moves_into_the_quarantine_of_its_folder_and_searches_name_it_no_more(album: Album) -> None:
    plan = album.copies("a", "sub/b")
    before = album.files()
    report = album.apply(plan)
    assert (report.groups, report.files, report.skipped, report.stopped) == (2, 2, [], None)
    assert album.hidden(plan) == ["a copy.jpg", "sub/b copy.jpg"]
    moved = album.files()[f"{QUARANTINE}/{plan.id}/a copy.jpg"]
    assert moved == before["a copy.jpg"]
    assert {"a.jpg", "b.jpg"} < album.searched()
    assert not {"a copy.jpg", "b copy.jpg"} & album.searched()


def test_a_dry_run_looks_at_everything_and_changes_nothing(album: Album) -> None:
    plan = album.copies("a", "b")
    (album.photos / "b.jpg").unlink()
    before = album.files()
    report = album.apply(plan, dry_run=True)
    assert (report.files, [one.why for one in report.skipped]) == (1, ["is gone"])
    assert album.files() == before
    assert not PlanFiles(album.store.root).journal(plan.id).exists()


def test_exact_copies_and_confirmed_pairs_go_and_others_wait_for_include_near(album: Album) -> None:
    for name in ("a", "bytes", "pixels", "near", "confirmed"):
        album.put(f"{name}.jpg", "picture a" if name in ("a", "bytes") else f"picture {name}")
    album.index()
    plan = album.plan(
        album.group("a.jpg", "bytes.jpg"),
        album.group("other 1.jpg", "pixels.jpg", kind="same_pixels"),
        album.group("other 2.jpg", "near.jpg", kind="edited"),
        album.group("other 3.jpg", "confirmed.jpg", kind="cropped", confirmed=True),
    )
    report = album.apply(plan)
    assert album.hidden(plan) == ["bytes.jpg", "confirmed.jpg", "pixels.jpg"]
    assert report.left == {"near": 1}
    assert album.apply(plan, near=True).left == {"done": 3}
    assert album.hidden(plan) == ["bytes.jpg", "confirmed.jpg", "near.jpg", "pixels.jpg"]


def test_groups_of_more_than_fifty_wait_for_a_person(album: Album) -> None:
    names = [f"copy {number}.jpg" for number in range(51)]
    for name in ("a.jpg", *names):
        album.put(name, "picture a")
    album.index()
    plan = album.plan(album.group("a.jpg", *names))
    assert album.apply(plan, max_fraction=1).left == {"review": 51}
    assert album.hidden(plan) == []
    assert album.apply(plan, max_fraction=1, near=True).files == 51


def test_more_than_a_fifth_of_a_folder_needs_to_be_said(album: Album) -> None:
    names = [f"copy {number}.jpg" for number in range(6)]
    for name in ("a.jpg", *names):
        album.put(name, "picture a")
    album.index()  # 27 images
    plan = album.plan(album.group("a.jpg", *names))
    with pytest.raises(
        GuardRefused, match=r"6 of the 27 images in .*photos would go, more than 20%.*--max-fraction 0\.23.*HTTP"
    ):
        album.job(plan)
    with pytest.raises(UsageError, match="--max-fraction 1.5 is no share"):
        album.job(plan, max_fraction=1.5)
    assert album.apply(plan, max_fraction=0.23).files == 6


def test_what_went_before_by_the_same_plan_counts_too(album: Album) -> None:
    names = [f"copy {number}.jpg" for number in range(5)]
    for name in ("a.jpg", *names, "b.jpg", "b copy.jpg"):
        album.put(name, f"picture {name[0] if name[0] == 'b' else 'a'}")
    album.index()  # 28 images: 5 are less than a fifth, 6 are more
    plan = album.plan(album.group("a.jpg", *names), album.group("b.jpg", "b copy.jpg", kind="near"))
    assert album.apply(plan).files == 5
    with pytest.raises(GuardRefused, match="6 of the 28"):
        album.job(plan, near=True)


def test_nothing_moves_out_of_a_protected_folder(album: Album) -> None:
    for name in ("a.jpg", "kept/a copy.jpg", "kept too/a copy.jpg"):
        album.put(name, "picture a")
    album.index()
    group = album.group("a.jpg", "kept/a copy.jpg", "kept too/a copy.jpg")
    report = album.apply(album.plan(group, protected=[album.photos / "kept"]))
    assert (report.files, report.left) == (1, {"protected": 1})
    assert (album.photos / "kept" / "a copy.jpg").exists()


@pytest.mark.parametrize("mounted", ["before the plan", "after the plan"])
def test_nothing_moves_out_of_a_protected_folder_that_was_named_by_another_mount(album: Album, mounted: str) -> None:
    def protecting() -> None:
        again = album.photos.parent / "again"
        for name in ("a.jpg", "kept/a copy.jpg", "kept/deep/a copy.jpg"):
            album.put(name, "picture a")
        album.index()
        again.mkdir()
        if mounted == "before the plan":
            mount_again(album.photos / "kept", again)
        plan = album.plan(album.group("a.jpg", "kept/a copy.jpg", "kept/deep/a copy.jpg"), protected=[again])
        if mounted == "after the plan":
            mount_again(album.photos / "kept", again)
        report = album.apply(plan)
        assert report.files == 0
        if mounted == "before the plan":
            assert report.left == {"protected": 2}
        else:
            assert "lies in a protected folder" in report.skipped[0].why
        assert (album.photos / "kept" / "deep" / "a copy.jpg").exists()

    with_own_mounts(protecting)


@pytest.mark.parametrize("obstacle", ["link", "file"])
def test_a_quarantine_that_is_a_link_or_a_file_is_refused_before_anything_moves(album: Album, obstacle: str) -> None:
    plan = album.copies("a")
    place = album.photos / QUARANTINE
    place.symlink_to("/tmp") if obstacle == "link" else place.write_text("")
    with pytest.raises(
        GuardRefused, match="nothing was changed: .*quarantine cannot be used: a symbolic link or a file"
    ):
        album.apply(plan)


def test_a_hard_link_takes_the_place_of_a_copy_whose_own_file_waits_in_the_quarantine(album: Album) -> None:
    plan = album.copies("a")
    before = album.files()
    assert album.apply(plan, "hardlink").files == 1
    after = album.files()
    assert after["a copy.jpg"].inode == after["a.jpg"].inode == before["a.jpg"].inode
    assert after[f"{QUARANTINE}/{plan.id}/a copy.jpg"] == before["a copy.jpg"]
    assert "a copy.jpg" in album.searched()
    assert album.undo(plan).files == 1
    assert album.files() == before


def cloned(source: int, target: int) -> None:
    """Stand for the ioctl, of which few file systems know."""
    os.write(target, os.pread(source, 1 << 20, 0))


def test_a_clone_keeps_the_mode_the_times_and_the_attributes_of_what_it_replaces(
    album: Album, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = album.copies("a")
    path = album.photos / "a copy.jpg"
    path.chmod(0o640)
    os.setxattr(path, "user.note", b"mine")
    before = album.files()
    monkeypatch.setattr(acting, "clone", cloned)
    assert album.apply(plan, "reflink").files == 1
    after = album.files()["a copy.jpg"]
    assert after.inode not in (before["a copy.jpg"].inode, before["a.jpg"].inode)
    assert after._replace(inode=0) == before["a copy.jpg"]._replace(inode=0)
    assert album.undo(plan).files == 1
    assert album.files() == before


def test_a_clone_that_somebody_changed_since_is_not_overwritten(album: Album, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = album.copies("a")
    monkeypatch.setattr(acting, "clone", cloned)
    album.apply(plan, "reflink")
    (album.photos / "a copy.jpg").write_text("more than it was")
    assert [one.why for one in album.undo(plan).skipped] == [restoring.TAKEN]
    assert (album.photos / "a copy.jpg").read_text() == "more than it was"


@pytest.mark.parametrize(("action", "what"), [("reflink", "reflinks"), ("hardlink", "hard links")])
def test_a_file_system_that_cannot_link_is_refused_before_anything_moves(
    album: Album, action: Action, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unable(*_: object, **__: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    plan = album.copies("a")
    monkeypatch.setattr(acting, "clone", unable)
    monkeypatch.setattr(os, "link", unable)
    before = album.files()
    with pytest.raises(GuardRefused, match=f"its file system knows no {what}.*the action quarantine"):
        album.apply(plan, action)
    assert album.files() == before


def test_links_replace_copies_of_the_same_bytes_alone(album: Album) -> None:
    album.copies("a")
    plan = album.plan(album.group("other 1.jpg", "a copy.jpg", kind="same_pixels"))
    assert album.apply(plan, "hardlink").left == {"other_bytes": 1}


def test_sidecars_go_with_their_image_and_shared_ones_stay(album: Album) -> None:
    album.put("a copy.jpg.xmp", "edits of the copy")
    album.put("a copy.xmp", "belongs to a copy.jpg or a copy.png")
    album.put("a copy.png", "another picture of this name")
    plan = album.copies("a")
    before = album.files()
    report = album.apply(plan)
    assert (report.files, report.sidecars) == (1, 1)
    assert album.hidden(plan) == ["a copy.jpg", "a copy.jpg.xmp"]
    assert (album.photos / "a copy.xmp").exists()
    album.undo(plan)
    assert album.files() == before


def test_applying_twice_moves_nothing_twice(album: Album) -> None:
    plan = album.copies("a")
    assert album.apply(plan).files == 1
    assert album.apply(plan).left == {"done": 1}


def test_where_a_file_system_cannot_rename_to_a_free_name_in_one_step_a_link_does(
    album: Album, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = album.copies("a")
    before = album.files()
    monkeypatch.setattr("search.plans.renaming._in_one_step", lambda *_: errno.EINVAL)
    album.apply(plan)
    assert album.hidden(plan) == ["a copy.jpg"]
    (album.photos / "a copy.jpg").write_text("in the way")
    assert [one.why for one in album.undo(plan).skipped] == [restoring.TAKEN]
    (album.photos / "a copy.jpg").unlink()
    assert album.undo(plan).files == 1
    assert album.files() == before


def test_two_names_of_one_file_that_are_both_copies_both_move(album: Album) -> None:
    album.put("a.jpg", "picture a")
    album.put("one.jpg", "picture a")
    os.link(album.photos / "one.jpg", album.photos / "two.jpg")
    album.index()
    plan = album.plan(album.group("a.jpg", "one.jpg", "two.jpg"))
    before = album.files()
    assert album.apply(plan).files == 2
    assert album.hidden(plan) == ["one.jpg", "two.jpg"]
    album.undo(plan)
    assert album.files() == before


def test_a_new_file_with_the_bytes_of_a_quarantined_one_stays_in_the_catalogue(album: Album) -> None:
    plan = album.copies("a")
    album.apply(plan)
    album.put("a copy.jpg", "picture a")
    album.index()
    album.apply(plan)
    assert "a copy.jpg" in album.searched()
