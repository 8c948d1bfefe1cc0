"""Undo restores everything and overwrites nothing; purge never deletes the last verified copy; journals are chains."""

import os
import shutil
import time
from collections import Counter
from functools import partial
from pathlib import Path

import pytest

from search.errors import CorruptFile, SourceUnavailable
from search.plans import purge_quarantine, restoring
from search.plans.journal import Journal, read_journal
from search.plans.places import QUARANTINE
from search.plans.plan_files import PlanFiles
from search.upkeep.compaction import compact
from tests.planned_albums import Album, album
from tests.planned_trees import in_a_child

__all__ = ["album"]
MONTH_S = 30 * 86_400


def test_undo_restores_paths_modes_times_and_attributes_and_the_same_image_is_found_again(album: Album) -> None:
    album.put("deep/er/a copy.jpg", "picture a").chmod(0o640)
    os.setxattr(album.photos / "deep/er/a copy.jpg", "user.note", b"mine")
    album.put("a.jpg", "picture a")
    album.index()
    plan = album.plan(album.group("a.jpg", "deep/er/a copy.jpg"))
    before, image = album.files(), album.image("deep/er/a copy.jpg")
    album.apply(plan)
    report = album.undo(plan)
    assert (report.files, report.recalled, report.to_index, report.skipped) == (1, 1, 0, [])
    assert album.files() == before
    assert album.image("deep/er/a copy.jpg") == image
    assert "a copy.jpg" in album.searched()


def test_undo_may_be_run_again_and_then_finds_nothing_to_do(album: Album) -> None:
    plan = album.copies("a")
    assert album.undo(plan).files == 0
    album.apply(plan)
    assert [album.undo(plan).files, album.undo(plan).files] == [1, 0]


def test_what_was_undone_can_be_applied_again(album: Album) -> None:
    plan = album.copies("a")
    for _ in range(2):
        assert album.apply(plan).files == 1
        assert album.undo(plan).files == 1


@pytest.mark.parametrize("keeper_stays", [True, False])
def test_what_was_written_through_a_link_is_not_undone(album: Album, *, keeper_stays: bool) -> None:
    plan = album.copies("a", "b")
    album.apply(plan, action="hardlink")
    if not keeper_stays:
        (album.photos / "a.jpg").unlink()  # the link is the last name of the file
    with (album.photos / "a copy.jpg").open("ab") as file:
        file.write(b"my edit of today")
    report = album.undo(plan)
    told = [(one.path.name, one.why) for one in report.skipped]
    assert (report.files, told) == (1, [("a copy.jpg", restoring.EDITED)])
    assert (album.photos / "a copy.jpg").read_bytes().endswith(b"my edit of today")


def test_undo_overwrites_nothing_and_restores_the_rest(album: Album) -> None:
    plan = album.copies("a", "b")
    album.apply(plan)
    (album.photos / "a copy.jpg").write_text("a new picture")
    report = album.undo(plan)
    assert (report.files, [(one.path.name, one.why) for one in report.skipped]) == (
        1,
        [("a copy.jpg", restoring.TAKEN)],
    )
    assert (album.photos / "a copy.jpg").read_text() == "a new picture"
    (album.photos / "a copy.jpg").write_text("picture a")  # of the same bytes, and still another file
    assert album.undo(plan).files == 0
    (album.photos / "a copy.jpg").unlink()
    assert album.undo(plan).files == 1


def test_undo_needs_no_plan_and_knows_no_expiry(album: Album) -> None:
    plan = album.copies("a", lifetime_s=1)
    album.apply(plan)
    files = PlanFiles(album.store.root)
    place = files.path(plan.id)
    place.chmod(0o600)
    place.write_text("edited")
    assert files.id_of(str(place)) == plan.id
    place.unlink()
    assert files.id_of(plan.id) == plan.id
    assert album.undo(plan).files == 1


def test_undo_makes_a_folder_again_that_was_removed_because_it_was_empty(album: Album) -> None:
    album.put("a.jpg", "picture a")
    album.put("copies/a.jpg", "picture a")
    album.index()
    plan = album.plan(album.group("a.jpg", "copies/a.jpg"))
    album.apply(plan)
    (album.photos / "copies").rmdir()
    assert album.undo(plan).files == 1
    assert (album.photos / "copies" / "a.jpg").read_text() == "picture a"


def test_what_a_person_moved_back_or_deleted_by_hand_is_told_apart(album: Album) -> None:
    plan = album.copies("a", "b")
    album.apply(plan)
    hidden = album.photos / QUARANTINE / plan.id
    (hidden / "a copy.jpg").rename(album.photos / "a copy.jpg")
    (hidden / "b copy.jpg").unlink()
    report = album.undo(plan)
    assert [(one.path.name, one.why) for one in report.skipped] == [("b copy.jpg", "is gone from the quarantine")]
    assert "a copy.jpg" in album.searched()
    assert "b copy.jpg" not in album.searched()


def test_after_compact_undo_says_which_images_wait_for_index(album: Album) -> None:
    album.copies("a")
    plan = album.plan(album.group("other 1.jpg", "a copy.jpg", kind="near", confirmed=True))
    (album.photos / "a.jpg").unlink()
    album.apply(plan)
    compact(album.store, older_than_s=-1)
    report = album.undo(plan)
    assert (report.files, report.recalled, report.to_index) == (1, 0, 1)


def test_an_image_that_was_removed_by_hand_before_does_not_come_back(album: Album) -> None:
    from search.storing.removals import remove_images

    plan = album.copies("a")
    assert album.target is not None
    remove_images(album.store.database, album.target, [album.image("a copy.jpg").id])
    album.apply(plan)
    assert album.undo(plan).recalled == 0
    assert "a copy.jpg" not in album.searched()


def test_a_disk_that_is_not_there_is_no_reason_to_call_its_files_lost(album: Album) -> None:
    plan = album.copies("a")
    album.apply(plan)
    album.photos.rename(album.photos.with_name("unplugged"))
    with pytest.raises(SourceUnavailable, match="photos is not there; mount it"):
        album.undo(plan)
    assert "so nothing of the plan" in album.purge().kept[0].why
    album.photos.with_name("unplugged").rename(album.photos)
    assert album.undo(plan).files == 1


def test_purge_deletes_what_is_old_enough_while_what_is_kept_is_still_what_it_was(
    album: Album, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = album.copies("a", "b")
    album.apply(plan)
    assert (album.purge(MONTH_S).files, album.purge(MONTH_S).young) == (0, 2)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + MONTH_S + 60)
    before = album.files()
    assert album.purge(MONTH_S, dry_run=True).files == 2
    assert album.files() == before
    assert album.purge(MONTH_S).files == 2
    assert not (album.photos / QUARANTINE).exists()
    assert album.undo(plan).purged == 2


def test_purge_keeps_what_may_be_the_last_copy_and_says_why(album: Album) -> None:
    plan = album.copies("gone", "edited", "linked", "fine")
    album.apply(plan)
    (album.photos / "gone.jpg").unlink()
    status = (album.photos / "edited.jpg").stat()
    (album.photos / "edited.jpg").write_text("drutcip edited")
    os.utime(album.photos / "edited.jpg", ns=(status.st_atime_ns, status.st_mtime_ns))
    (album.photos / "linked.jpg").unlink()
    (album.photos / "linked.jpg").symlink_to(album.photos / QUARANTINE / plan.id / "linked copy.jpg")
    report = album.purge()
    assert report.files == 1
    why = {one.path.name: one.why for one in report.kept}
    assert "gone.jpg: is gone" in why["gone copy.jpg"]
    assert "the image that is kept for it was changed" in why["edited copy.jpg"]
    assert "a symbolic link is in its place" in why["linked copy.jpg"]
    assert album.hidden(plan) == ["edited copy.jpg", "gone copy.jpg", "linked copy.jpg"]


def test_purge_keeps_a_file_that_was_changed_in_the_quarantine(album: Album) -> None:
    plan = album.copies("a")
    album.apply(plan)
    (album.photos / QUARANTINE / plan.id / "a copy.jpg").write_text("notes")
    assert [one.why for one in album.purge().kept] == ["was changed in the quarantine"]


@pytest.mark.parametrize("saved", ["a.jpg", "hidden"])
@pytest.mark.parametrize("moment", ["purge.delete", "purge.going"])
def test_purge_deletes_nothing_that_was_saved_in_the_very_moment(
    album: Album, saved: str, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = album.copies("a")
    album.apply(plan)
    hidden = album.photos / QUARANTINE / plan.id / "a copy.jpg"
    path = hidden if saved == "hidden" else album.photos / saved

    def fault(point: str) -> None:
        if point == moment:
            album.put("new", "what somebody saved").replace(path)

    monkeypatch.setattr(purge_quarantine, "fault", fault)
    report = album.purge()
    assert path.read_text() == "what somebody saved"
    assert report.files == (saved, moment).count("hidden") * (moment == "purge.going")
    if saved == "a.jpg":
        assert "went away or was changed this moment" in report.kept[0].why
        assert hidden.read_text() == "picture a"
    assert all("lookalike" not in name for name in album.hidden(plan))


def _purge(album: Album) -> None:
    album.purge()


def test_a_purge_that_was_killed_before_it_deleted_goes_on(
    album: Album,
) -> None:
    plan = album.copies("a")
    album.apply(plan)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOOKALIKE_FAULT", "purge.going:1:kill")
        patch.setattr("search.faults._hits", Counter())
        in_a_child(partial(_purge, album))
    assert album.hidden(plan) != ["a copy.jpg"]
    assert album.undo(plan).files == 1
    assert (album.photos / "a copy.jpg").read_text() == "picture a"


def test_purge_deletes_a_sidecar_only_where_the_kept_image_has_the_same(album: Album) -> None:
    for name, text in (("a.jpg.xmp", "same"), ("a copy.jpg.xmp", "same"), ("b copy.jpg.xmp", "only here")):
        album.put(name, text)
    plan = album.copies("a", "b")
    album.apply(plan)
    report = album.purge()
    assert (report.files, [one.path.name for one in report.kept]) == (3, ["b copy.jpg.xmp"])
    assert album.undo(plan).sidecars == 1


def test_what_is_kept_does_not_become_young_again(album: Album, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = album.copies("a")
    album.apply(plan)
    keeper = album.photos / "a.jpg"
    keeper.rename(album.photos / "aside")
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + MONTH_S + 60)
    assert len(album.purge(MONTH_S).kept) == 1
    (album.photos / "aside").rename(keeper)
    assert album.purge(MONTH_S).files == 1


@pytest.mark.parametrize("wrong", [0.0, 86_400.0])
def test_a_clock_of_1970_does_not_make_files_old(album: Album, wrong: float, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = album.copies("a")
    right = time.time()
    monkeypatch.setattr(time, "time", lambda: wrong)
    album.apply(plan)
    monkeypatch.setattr(time, "time", lambda: right)
    assert album.purge(MONTH_S, dry_run=True).files == 0
    assert (album.purge(MONTH_S).files, album.purge(MONTH_S).young) == (0, 1)
    monkeypatch.setattr(time, "time", lambda: right + MONTH_S + 60)
    assert album.purge(MONTH_S).files == 1


def test_a_clock_that_goes_back_makes_nothing_older(album: Album, monkeypatch: pytest.MonkeyPatch) -> None:
    album.apply(album.copies("a"))
    monkeypatch.setattr(time, "time", lambda: purge_quarantine.EARLIEST + 1)
    assert album.purge(MONTH_S).young == 1


def test_what_was_deleted_by_hand_is_no_trouble_for_purge(album: Album) -> None:
    album.apply(album.copies("a"))
    shutil.rmtree(album.photos / QUARANTINE)
    assert (album.purge().files, album.purge().kept) == (0, [])


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """A journal of three lines."""
    path = tmp_path / "x.journal"
    with Journal(path) as opened:
        for number in range(3):
            opened.append("event", {"number": number, "name": "ä"})
    return path


def test_a_journal_is_read_as_it_was_written(journal: Path) -> None:
    assert [(line.event, line.body) for line in read_journal(journal)] == [
        ("event", {"n": number, "number": number, "name": "ä"}) for number in range(3)
    ]


@pytest.mark.parametrize("line", [0, 1, 2])
@pytest.mark.parametrize("change", ["edited", "removed", "doubled"])
def test_a_journal_that_somebody_changed_is_refused_with_the_line(journal: Path, line: int, change: str) -> None:
    lines = journal.read_bytes().splitlines(keepends=True)
    if change == "edited":
        lines[line] = lines[line].replace(b'"number":', b'"number": 7', 1)
    elif change == "removed" and line < 2:  # an end that is missing was never written
        del lines[line]
    else:
        lines.insert(line, lines[line])
    journal.write_bytes(b"".join(lines))
    with pytest.raises(CorruptFile, match=r"line \d of the journal .* is not as it was written"):
        read_journal(journal)


@pytest.mark.parametrize("cut", [1, 5, 60])
def test_a_line_that_was_never_finished_is_taken_off_and_the_journal_goes_on(journal: Path, cut: int) -> None:
    journal.write_bytes(journal.read_bytes()[:-cut])
    assert len(read_journal(journal)) == 2
    with Journal(journal) as opened:
        opened.append("event", {"number": 9})
    assert [line.body["number"] for line in read_journal(journal)] == [0, 1, 9]
