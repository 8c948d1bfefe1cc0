"""Right before a file is moved everything is looked at again: what does not fit skips its group, a bad disk ends it."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from search.errors import GuardRefused
from search.plans import acting, disk, group_moves
from search.plans.history import Move
from search.plans.places import QUARANTINE
from search.plans.renaming import rename_to_free
from search.plans.verifying import VerifiedFile, VerifiedGroup
from tests.planned_albums import Album, album

__all__ = ["album"]
NOBODY = 65_534


def rewritten(path: Path) -> None:
    """Write other bytes, and give the file its old size and date back."""
    status = path.stat()
    path.write_bytes(path.read_bytes()[::-1])
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def lengthened(path: Path) -> None:
    path.write_text("more than it was")


def replaced(path: Path) -> None:
    data = path.read_bytes()
    path.rename(path.with_name("old"))
    path.write_bytes(data)


def linked(path: Path) -> None:
    path.rename(path.with_name("target"))
    path.symlink_to(path.with_name("target"))


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def behind_a_link(path: Path) -> None:
    path.parent.rename(path.parent.with_name("moved"))
    path.parent.symlink_to(path.parent.with_name("moved"))


CHANGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "rewritten": (rewritten, "holds other bytes than when it was indexed"),
    "lengthened": (lengthened, "was changed since the plan was made"),
    "replaced": (replaced, "is another file than when the plan was made"),
    "removed": (Path.unlink, "is gone"),
    "a link": (linked, "a symbolic link is in its place"),
    "behind a link": (behind_a_link, "a symbolic link is in its place"),
    "a folder": (a_folder, "is no regular file"),
    "a pipe": (a_pipe, "is no regular file"),
}


@pytest.mark.parametrize("name", ["x/a.jpg", "x/a copy.jpg"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_keeper_or_member_that_changed_skips_its_whole_group_and_is_named(
    album: Album, change: str, name: str
) -> None:
    for one in ("x/a.jpg", "x/a copy.jpg", "y/another copy.jpg", "b.jpg", "b copy.jpg"):
        album.put(one, "picture b" if one[0] == "b" else "picture a")
    album.index()
    plan = album.plan(album.group("x/a.jpg", "y/another copy.jpg", "x/a copy.jpg"), album.group("b.jpg", "b copy.jpg"))
    way, why = CHANGES[change]
    way(album.photos / name)
    (skipped,) = (report := album.apply(plan)).skipped
    path = album.photos / ("x/a.jpg" if change == "behind a link" else name)  # the keeper is looked at first
    assert (skipped.group, skipped.path) == (1, path)
    assert why in skipped.why
    assert (report.files, album.hidden(plan)) == (1, ["b copy.jpg"])


def test_a_second_name_of_the_keeper_is_left_since_moving_it_frees_nothing(album: Album) -> None:
    album.put("a.jpg", "picture a")
    os.link(album.photos / "a.jpg", album.photos / "a copy.jpg")
    album.index()
    plan = album.plan(album.group("a.jpg", "a copy.jpg"))
    assert album.apply(plan).left == {"linked": 1}


def test_a_member_that_became_the_keeper_of_another_group_is_not_moved(album: Album) -> None:
    plan = album.copies("a", "b")
    (album.photos / "a copy.jpg").unlink()
    os.link(album.photos / "b.jpg", album.photos / "a copy.jpg")
    album.index()
    wrong = album.plan(
        album.group("a.jpg", "a copy.jpg", kind="near", confirmed=True), album.group("b.jpg", "b copy.jpg")
    )
    report = album.apply(wrong)
    assert [(one.path.name, one.why) for one in report.skipped] == [
        ("a copy.jpg", "is the image to keep of another group, under another name")
    ]
    assert album.hidden(plan) == []


@pytest.fixture
def at_the_rename(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[..., None]], None]:
    """A function that makes something happen right before each rename into the quarantine."""

    def arm(happening: Callable[..., None]) -> None:
        def rename(name: str, folder: int, new_name: str, new_folder: int) -> None:
            happening(name)
            rename_to_free(name, folder, new_name, new_folder)

        monkeypatch.setattr(acting, "take_away", rename)

    return arm


def test_the_same_file_through_two_mounts_comes_back_though_its_device_numbers_differ(
    album: Album, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = album.copies("a")
    keeper, aside = album.photos / "a.jpg", album.photos / "aside"

    def rename(name: str, folder: int, new_name: str, new_folder: int) -> None:
        rename_to_free(name, folder, new_name, new_folder)
        keeper.rename(aside) if keeper.exists() else aside.rename(keeper)  # it had been the same file all along

    monkeypatch.setattr(acting, "take_away", rename)
    monkeypatch.setattr(acting, "rename_to_free", rename)
    before = album.files()
    (skipped,) = album.apply(plan).skipped
    assert "the image to keep went away" in skipped.why
    assert album.files() == before


def test_a_keeper_that_is_written_to_between_the_hash_and_the_move_stops_the_move(
    album: Album, at_the_rename: Callable[[Callable[..., None]], None]
) -> None:
    plan = album.copies("a")
    at_the_rename(lambda name: lengthened(album.photos / "a.jpg"))
    (skipped,) = album.apply(plan).skipped
    assert skipped.why == "the image to keep is being written to"
    assert album.hidden(plan) == []


def test_a_file_that_is_put_in_the_place_of_a_member_at_the_last_moment_is_brought_back(
    album: Album, at_the_rename: Callable[[Callable[..., None]], None]
) -> None:
    plan = album.copies("a")
    path = album.photos / "a copy.jpg"
    at_the_rename(lambda name: replaced(path) if not path.with_name("old").exists() else None)
    (skipped,) = album.apply(plan).skipped
    assert skipped.why == "was replaced or written to in the very moment"
    assert path.exists()
    assert album.hidden(plan) == []


def test_a_folder_on_another_file_system_cannot_be_the_quarantine(
    album: Album, at_the_rename: Callable[[Callable[..., None]], None]
) -> None:
    plan = album.copies("a", "b")

    def refuse(name: str) -> None:
        if name == "b copy.jpg":
            raise OSError(errno.EXDEV, "Invalid cross-device link")

    at_the_rename(refuse)
    report = album.apply(plan)
    assert [(one.path.name, one.why.partition(";")[0]) for one in report.skipped] == [
        ("b copy.jpg", "lies on another file system than its quarantine")
    ]
    assert album.hidden(plan) == ["a copy.jpg"]


def test_a_group_whose_second_file_cannot_be_moved_is_whole_again(
    album: Album, at_the_rename: Callable[[Callable[..., None]], None]
) -> None:
    for name in ("a.jpg", "first.jpg", "second.jpg"):
        album.put(name, "picture a")
    album.index()
    plan = album.plan(album.group("a.jpg", "first.jpg", "second.jpg"))
    before = album.files()

    def full(name: str) -> None:
        if name == "second.jpg":
            raise OSError(errno.ENOSPC, "No space left on device", name)

    at_the_rename(full)
    report = album.apply(plan)
    assert report.stopped == f"{album.photos / 'second.jpg'}: No space left on device"
    assert (report.files, album.files()) == (0, before)


def test_the_first_error_of_a_disk_ends_everything(
    album: Album, at_the_rename: Callable[[Callable[..., None]], None]
) -> None:
    plan = album.copies("a", "b", "c")

    def fail(name: str) -> None:
        if name == "b copy.jpg":
            raise OSError(errno.EIO, "Input/output error", name)

    at_the_rename(fail)
    report = album.apply(plan)
    assert report.stopped == f"{album.photos / 'b copy.jpg'}: Input/output error"
    assert album.hidden(plan) == ["a copy.jpg"]
    assert "a copy.jpg" not in album.searched()


def test_a_folder_that_may_not_be_written_skips_its_groups_and_names_the_file(album: Album) -> None:
    plan = album.copies("a", "closed/b")
    is_root = os.geteuid() == 0
    for path in (album.photos.parent, *album.photos.parent.rglob("*")) if is_root else ():
        os.chown(path, NOBODY, NOBODY)
    (album.photos / "closed").chmod(0o555)
    os.seteuid(NOBODY if is_root else os.geteuid())  # root may write everywhere
    try:
        (skipped,) = album.apply(plan).skipped
    finally:
        os.seteuid(0 if is_root else os.geteuid())
        (album.photos / "closed").chmod(0o755)
    assert (skipped.path.name, skipped.why) == ("b copy.jpg", "its folder is read-only, or closed to this user")
    assert album.hidden(plan) == ["a copy.jpg"]


def test_a_group_whose_second_file_does_not_fit_at_the_last_moment_is_whole_again(
    album: Album, at_the_rename: Callable[[Callable[..., None]], None]
) -> None:
    for name in ("a.jpg", "first.jpg", "second.jpg", "b.jpg", "b copy.jpg"):
        album.put(name, "picture b" if name[0] == "b" else "picture a")
    album.index()
    plan = album.plan(album.group("a.jpg", "first.jpg", "second.jpg"), album.group("b.jpg", "b copy.jpg"))

    def refuse(name: str) -> None:
        if name == "second.jpg":
            raise PermissionError(errno.EACCES, "Permission denied")

    at_the_rename(refuse)
    (skipped,) = album.apply(plan).skipped
    assert (skipped.path.name, "closed to this user" in skipped.why) == ("second.jpg", True)
    assert album.hidden(plan) == ["b copy.jpg"]
    assert "first.jpg" in album.searched()


def test_a_member_that_is_written_to_between_the_hash_and_the_move_is_not_moved(
    album: Album, monkeypatch: pytest.MonkeyPatch
) -> None:
    def act_late(move: Move, file: VerifiedFile, group: VerifiedGroup) -> None:
        rewritten(file.path)
        acting.act(move, file, group)

    plan = album.copies("a")
    monkeypatch.setattr(group_moves, "act", act_late)
    (skipped,) = album.apply(plan).skipped
    assert skipped.why == "was changed a moment ago"
    assert album.hidden(plan) == []


def test_a_file_that_grows_while_it_is_hashed_is_being_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "growing"
    path.write_bytes(b"picture")
    read = os.pread

    def read_and_grow(handle: int, amount: int, at: int) -> bytes:
        if at == 0:
            lengthened(path)
        return read(handle, amount, at)

    monkeypatch.setattr(os, "pread", read_and_grow)
    with disk.opened(path) as file, pytest.raises(disk.Mismatch, match="is being written to"):
        disk.sha256_of(file)


def test_another_disk_that_is_mounted_as_the_quarantine_is_refused(
    album: Album, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = album.copies("a")
    look = os.fstat

    def fstat(handle: int) -> os.stat_result:
        status = look(handle)
        if Path(f"/proc/self/fd/{handle}").readlink().name != QUARANTINE:
            return status
        return os.stat_result((*status[:2], status.st_dev + 1, *status[3:10]))

    monkeypatch.setattr(os, "fstat", fstat)
    with pytest.raises(GuardRefused, match="another file system is mounted there"):
        album.apply(plan)


def test_a_file_on_another_disk_than_its_root_cannot_be_quarantined(album: Album) -> None:
    from dataclasses import replace

    plan = album.copies("a")
    if Path("/").stat().st_dev == album.photos.stat().st_dev:
        pytest.skip("all folders here are on one disk")
    (group,) = plan.groups
    member = replace(group.members[0], file=replace(group.members[0].file, root="file:///"))
    wrong = replace(plan, groups=(replace(group, members=(member,)),))
    (skipped,) = album.apply(wrong, dry_run=True).skipped
    assert "lies on another file system than /" in skipped.why
