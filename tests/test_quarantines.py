"""A quarantine that cannot be used: its groups are skipped; where nothing else is left, the whole plan is refused."""

import errno
import fcntl
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from search.errors import GuardRefused
from search.plans import acting, quarantines, renaming, restoring
from search.plans.apply_plan import ApplyReport
from search.plans.history import Action
from search.plans.places import QUARANTINE
from search.plans.plan import Plan
from search.plans.plan_files import PlanFiles
from tests.mounts import make_read_only, mount_new, with_own_mounts
from tests.planned_albums import Album, album
from tests.planned_trees import Tree, indexed

__all__ = ["album"]


def in_two_folders(album: Album) -> tuple[Plan, Path, Path]:
    """Plan a group in each of two folders that were indexed apart; return their places, too."""
    here, there = album.photos / "here", album.photos / "there"
    names = {}
    for folder in (here, there):
        copies = [album.put(f"{folder.name}/{name}.jpg", f"picture {folder.name}") for name in ("a", "a copy")]
        others = [[album.put(f"{folder.name}/other {n}.jpg", f"{folder.name} {n}")] for n in range(9)]
        names[folder] = Tree(folder, [copies, *others], [])
    for tree in names.values():
        album.target = indexed(album.store, tree, np.random.default_rng(0), rooted=True, joined=False)
    groups = [album.group(f"{folder.name}/a.jpg", f"{folder.name}/a copy.jpg") for folder in names]
    return album.plan(*groups), here, there


def require_first_group_skipped(report: ApplyReport, place: Path, why: str) -> None:
    assert [(one.group, one.path, one.why) for one in report.skipped] == [(1, place, why)]
    assert (report.groups, report.files, report.stopped) == (1, 1, None)


WRONG: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "a link": (
        lambda here: (here / QUARANTINE).symlink_to("/tmp"),
        f"here/{QUARANTINE}",
        "cannot be used: a symbolic link or a file is in its place",
    ),
    "a file": (
        lambda here: (here / QUARANTINE).write_text(""),
        f"here/{QUARANTINE}",
        "cannot be used: a symbolic link or a file is in its place",
    ),
    "gone": (lambda here: here.rename(here.with_name("elsewhere")), "here", quarantines.NOT_THERE),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_groups_of_a_folder_without_a_quarantine_are_skipped_and_others_are_done(album: Album, wrong: str) -> None:
    plan, here, there = in_two_folders(album)
    way, place, why = WRONG[wrong]
    way(here)
    before = album.files()
    require_first_group_skipped(album.apply(plan, dry_run=True, max_fraction=1), album.photos / place, why)
    assert album.files() == before
    report = album.apply(plan, max_fraction=1)
    require_first_group_skipped(report, album.photos / place, why)
    assert report.quarantines == [there / QUARANTINE / plan.id]
    assert not (there / "a copy.jpg").exists()
    with pytest.raises(GuardRefused, match=f"nothing was changed: .*{place} {why}"):
        album.apply(plan, max_fraction=1)  # nothing else is left now


def test_groups_on_a_read_only_disk_are_skipped_and_others_are_done(album: Album) -> None:
    plan, here, there = in_two_folders(album)
    why = "cannot be used: it is read-only, or closed to this user"

    def with_one_disk_read_only() -> None:
        make_read_only(here)
        for dry_run in (True, False):
            require_first_group_skipped(album.apply(plan, dry_run=dry_run, max_fraction=1), here / QUARANTINE, why)
        make_read_only(there)
        for dry_run in (True, False):
            with pytest.raises(GuardRefused, match=f"nothing was changed: .*{why}"):
                album.apply(plan, dry_run=dry_run, max_fraction=1)

    with_own_mounts(with_one_disk_read_only)


def test_where_no_folder_has_a_quarantine_all_is_refused_and_the_first_is_named(album: Album) -> None:
    plan, here, there = in_two_folders(album)
    for folder in (here, there):
        (folder / QUARANTINE).write_text("")
    for dry_run in (True, False):
        with pytest.raises(GuardRefused, match=r"here/.lookalike-quarantine .* and so it is with 1 more folder"):
            album.apply(plan, max_fraction=1, dry_run=dry_run)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_disk_that_is_full_or_broken_refuses_everything(
    album: Album, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, here, there = in_two_folders(album)
    make = os.mkdir

    def mkdir(path: str, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        if dir_fd is not None and Path(f"/proc/self/fd/{dir_fd}").readlink() == there:
            raise OSError(code, os.strerror(code))
        make(path, mode, dir_fd=dir_fd)

    before = album.files()
    monkeypatch.setattr(os, "mkdir", mkdir)
    with pytest.raises(GuardRefused, match=f"nothing was changed: .*there/{QUARANTINE}: {os.strerror(code)}"):
        album.apply(plan, max_fraction=1)
    assert album.files() == before


def test_a_dry_run_says_that_a_file_system_knows_no_reflinks_and_leaves_no_trace(
    album: Album, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unable(source: int, target: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    plan = album.copies("a")
    monkeypatch.setattr(acting, "clone", unable)
    before, changed_ns = album.files(), album.photos.stat().st_mtime_ns
    with pytest.raises(GuardRefused, match="its file system knows no reflinks"):
        album.apply(plan, "reflink", dry_run=True)
    assert (album.files(), album.photos.stat().st_mtime_ns) == (before, changed_ns)
    assert not PlanFiles(album.store.root).journal(plan.id).exists()


def test_a_dry_run_where_clones_can_be_made_says_nothing(album: Album, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = album.copies("a")
    monkeypatch.setattr(acting, "clone", lambda source, target: None)
    report = album.apply(plan, "reflink", dry_run=True)
    assert (report.files, report.skipped, report.notes) == (1, [], [])


def test_a_dry_run_on_a_system_without_unnamed_files_says_what_it_cannot_know(
    album: Album, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = album.copies("a")
    monkeypatch.delattr(os, "O_TMPFILE")
    report = album.apply(plan, "reflink", dry_run=True)
    assert (report.files, report.notes) == (1, [f"{album.photos}: {quarantines.UNTRIED}"])


@pytest.mark.parametrize("action", ["quarantine", "hardlink"])
def test_a_disk_that_is_mounted_as_the_quarantine_is_seen_by_a_dry_run(
    album: Album, action: Action, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = album.copies("a")
    (album.photos / QUARANTINE).mkdir()
    look = os.fstat

    def fstat(handle: int) -> os.stat_result:
        status = look(handle)
        if Path(f"/proc/self/fd/{handle}").readlink().name != QUARANTINE:
            return status
        return os.stat_result((*status[:2], status.st_dev + 1, *status[3:10]))

    monkeypatch.setattr(os, "fstat", fstat)
    with pytest.raises(GuardRefused, match="another file system is mounted there"):
        album.apply(plan, action, dry_run=True)


@pytest.mark.parametrize("kind", ["xfs", "btrfs"])
def test_a_real_clone_shares_the_blocks_of_the_keeper_and_is_undone(album: Album, tmp_path: Path, kind: str) -> None:
    def cloning() -> None:
        mount_new(kind, tmp_path / "disk", album.photos)
        text = "picture " * 4096  # smaller files lie within the file system's own tables
        for name in ("a.jpg", "a copy.jpg", *(f"other {number}.jpg" for number in range(9))):
            album.put(name, text if name[0] == "a" else name)
        album.index()
        plan = album.plan(album.group("a.jpg", "a copy.jpg"))
        before = album.files()
        assert album.apply(plan, "reflink", dry_run=True).files == 1
        assert album.apply(plan, "reflink").files == 1
        assert album.files()["a copy.jpg"].inode != before["a copy.jpg"].inode
        os.sync()
        assert first_block(album.photos / "a copy.jpg") == first_block(album.photos / "a.jpg")
        album.undo(plan)
        assert album.files() == before
        assert first_block(album.photos / "a copy.jpg") != first_block(album.photos / "a.jpg")

    with_own_mounts(cloning)


@pytest.mark.parametrize(
    ("action", "flags", "why"),
    [
        ("hardlink", (renaming.EXCHANGE,), "cannot exchange two files in one step; the action quarantine works"),
        ("quarantine", (renaming.NOREPLACE,), "can bring nothing back without overwriting what is there"),
    ],
)
def test_a_file_system_that_could_only_overwrite_is_refused_before_anything_moves(
    album: Album, action: Action, flags: tuple[int, ...], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As NFS cannot exchange files, and some FUSE file systems know neither such renames nor hard links."""
    plan = album.copies("a")
    rename, link = renaming._in_one_step, os.link

    def without(*arguments: Any) -> int:
        return errno.EINVAL if arguments[-1] in flags else rename(*arguments)

    def unable(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(renaming, "_in_one_step", without)
    monkeypatch.setattr(os, "link", unable if action == "quarantine" else link)
    before = album.files()
    with pytest.raises(GuardRefused, match=f"nothing was changed: .*{why}"):
        album.apply(plan, action)
    assert album.files() == before


def test_a_link_on_a_file_system_that_cannot_exchange_is_undone_after_it_was_moved_away(
    album: Album, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = album.copies("a")
    before = album.files()
    album.apply(plan, "hardlink")
    monkeypatch.setattr(renaming, "_in_one_step", lambda *_: errno.EINVAL)
    assert [one.why for one in album.undo(plan).skipped] == [restoring.NO_EXCHANGE]
    (album.photos / "a copy.jpg").unlink()
    assert album.undo(plan).files == 1
    assert album.files() == before


def first_block(path: Path) -> int:
    """Return where on its disk a file begins, in bytes (the ioctl FS_IOC_FIEMAP of Linux)."""
    asked = bytearray(struct.pack("=QQLLLL", 0, 1 << 40, 0, 0, 1, 0) + bytes(56))
    with path.open("rb") as file:
        fcntl.ioctl(file, 0xC020660B, asked)
    physical: int = struct.unpack_from("=Q", asked, 32 + 8)[0]
    return physical
