"""What was moved by a plan comes back by a store that was restored from a backup, or it is said why not."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from search.errors import CorruptFile, GuardRefused, SourceUnavailable
from search.moving import backup
from search.moving.backup import back_up
from search.moving.restore import restore
from search.plans.apply_plan import require_valid
from search.plans.journal import Journal, read_journal
from search.plans.places import QUARANTINE
from search.plans.plan_files import PlanFiles
from search.plans.undo_plan import UndoReport, undo
from search.storing.store import Store
from search.storing.verdicts import Verdicts, verdict_on
from tests.planned_albums import Album, album

__all__ = ["album"]


@pytest.fixture
def restored(album: Album, quick_folder: Path) -> Iterator[Callable[[], Store]]:
    """Back the album's store up, restore it into another folder, and open it."""
    opened: list[Store] = []

    def again(name: str = "backup") -> Store:
        back_up(album.store, quick_folder / name)
        restore(quick_folder / name, quick_folder / "again")
        opened.append(Store(quick_folder / "again"))
        return opened[-1]

    yield again
    for store in opened:
        store.close()


def undone(store: Store, plan_id: str) -> UndoReport:
    with PlanFiles(store.root).locked():
        return undo(store, plan_id)


@pytest.mark.parametrize("name", ["backup", "backup.tar"])
def test_a_restored_store_undoes_what_was_done_before(album: Album, restored: Callable[..., Store], name: str) -> None:
    album.put("b copy.jpg.xmp", "sidecar")
    plan = album.copies("a", "b")
    before, images = album.files(), album.searched()
    album.apply(plan)
    store = restored(name)
    assert PlanFiles(store.root).load(plan.id) == plan
    report = undone(store, plan.id)
    assert (report.files, report.sidecars, report.recalled, report.skipped) == (2, 1, 2, [])
    assert album.files() == before
    ours = album.store
    album.store = store
    assert album.searched() == images
    album.store = ours
    with pytest.raises(GuardRefused, match="was made in the store"):
        require_valid(store, plan)


def test_pictures_that_were_restored_too_are_other_files_of_the_same_bytes(
    album: Album, restored: Callable[..., Store]
) -> None:
    plan = album.copies("a", "b")
    before = {name: file for name, file in album.files().items() if name.endswith(".jpg")}
    album.apply(plan)
    store = restored()
    old = album.photos.rename(album.photos.with_name("old"))
    with pytest.raises(SourceUnavailable, match="is not there; mount it"):
        undone(store, plan.id)
    shutil.copytree(old, album.photos)  # by their bytes: other inodes
    altered = album.photos / QUARANTINE / plan.id / "b copy.jpg"
    altered.write_text("altered since")
    report = undone(store, plan.id)
    assert (report.files, report.recalled) == (1, 1)
    assert [(one.path, one.why) for one in report.skipped] == [
        (altered, "is not the file that was moved there; look at it, and move it by hand")
    ]
    assert before.keys() - album.files().keys() == {"b copy.jpg"}
    altered.write_text("picture b")
    assert undone(store, plan.id).files == 1
    assert album.files().keys() >= before.keys()


def test_what_was_purged_after_the_backup_is_named(album: Album, restored: Callable[..., Store]) -> None:
    plan = album.copies("a")
    album.apply(plan)
    store = restored()
    album.purge()
    report = undone(store, plan.id)
    assert report.files == 0
    assert [one.why for one in report.skipped] == ["is gone from the quarantine"]


def test_a_journal_is_copied_as_far_as_it_is_whole(album: Album, restored: Callable[..., Store]) -> None:
    plan = album.copies("a", "b")
    before = album.files()
    album.apply(plan)
    journal = PlanFiles(album.store.root).journal(plan.id)
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(lines[0] + lines[1][:20])  # as right after the first intent
    store = restored()
    assert PlanFiles(store.root).journal(plan.id).read_bytes() == lines[0]
    assert undone(store, plan.id).files == 2
    assert album.files() == before


def test_what_people_said_is_in_the_backup(album: Album, restored: Callable[..., Store]) -> None:
    album.copies("a")
    said = verdict_on(album.image("a.jpg").sha256.hex(), album.image("other 1.jpg").sha256.hex(), "keep_both")
    Verdicts(album.store.database).say([said])
    assert Verdicts(restored().database).all() == [said]


def forged(path: Path, **changed: str) -> None:
    """Write a journal anew, with every hash right, whose moves say something else."""
    lines = read_journal(path)
    path.unlink()
    with Journal(path) as journal:
        for line in lines:
            body = dict(line.body)
            if line.event == "moving":
                body["files"] = [{**file, **changed} for file in body["files"]]
            journal.append(line.event, body)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("quarantine", "file:///etc/passwd"),
        ("home", "file:///home/me/.ssh/authorized_keys"),
        ("temporary", "../../precious"),
        ("temporary", "precious.jpg"),
    ],
)
def test_a_journal_that_names_other_places_is_neither_backed_up_nor_restored(
    album: Album, quick_folder: Path, field: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = album.copies("a")
    album.apply(plan)
    forged(PlanFiles(album.store.root).journal(plan.id), **{field: value})
    report = back_up(album.store, quick_folder / "backup")
    assert report.left_out == (f"plans/{plan.id}.journal",)
    assert f"plans/{plan.id}.json" in {file.name for file in report.manifest.files}
    monkeypatch.setattr(backup, "objection_to", lambda name, data: None)
    back_up(album.store, quick_folder / "forged")
    with pytest.raises(CorruptFile, match="is not what `apply` writes: .*; do not use this backup"):
        restore(quick_folder / "forged", quick_folder / "again")
    assert list((quick_folder / "again").iterdir()) == []
