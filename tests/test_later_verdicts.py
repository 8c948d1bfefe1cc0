"""What people say after a plan was made counts: nothing of which both shall stay is moved, or deleted."""

import pytest

from search.plans.history import Action
from search.storing.verdicts import Verdicts, verdict_on
from tests.planned_albums import Album, album

__all__ = ["album"]


def say(album: Album, one: str, other: str, said: str) -> None:
    first, second = (album.image(name).sha256.hex() for name in (one, other))
    Verdicts(album.store.database).say([verdict_on(first, second, said)])


@pytest.mark.parametrize("said", ["keep_both", "not_duplicate", "different", "stack"])
def test_a_pair_that_people_keep_apart_since_the_plan_was_made_stays(album: Album, said: str) -> None:
    for name in ("one", "two"):
        album.put(f"{name}.jpg", f"picture {name}")
    album.copies("a")
    plan = album.plan(album.group("one.jpg", "two.jpg", kind="same_pixels"), album.group("a.jpg", "a copy.jpg"))
    say(album, "two.jpg", "one.jpg", said)
    assert album.apply(plan, near=True).left == {"verdict": 1}
    assert album.hidden(plan) == ["a copy.jpg"]


def test_a_near_copy_that_people_confirm_since_the_plan_was_made_goes_without_a_new_plan(album: Album) -> None:
    for name in ("one", "two", "three"):
        album.put(f"{name}.jpg", f"picture {name}")
    album.index()
    plan = album.plan(album.group("one.jpg", "two.jpg", "three.jpg", kind="cropped"))
    assert album.apply(plan).left == {"near": 2}
    say(album, "one.jpg", "three.jpg", "duplicate")
    assert album.apply(plan).files == 1
    assert album.hidden(plan) == ["three.jpg"]


@pytest.mark.parametrize("action", ["quarantine", "hardlink"])
def test_files_of_the_same_bytes_stay_where_people_want_every_one(album: Album, action: Action) -> None:
    plan = album.copies("a")
    say(album, "a.jpg", "a.jpg", "keep_both")
    assert album.apply(plan, action).left == {"verdict": 1}


def test_exact_copies_of_one_another_stay_where_people_want_both(album: Album) -> None:
    for name in ("keeper", "png", "bmp"):
        album.put(f"{name}.jpg", f"picture {name}")
    album.index()
    plan = album.plan(album.group("keeper.jpg", "png.jpg", "bmp.jpg", kind="resized", stand_in="png.jpg"))
    assert album.apply(plan, dry_run=True).files == 1
    say(album, "png.jpg", "bmp.jpg", "keep_both")
    assert album.apply(plan).left == {"near": 2}


def test_what_was_moved_before_people_wanted_it_kept_is_not_deleted_and_comes_back(album: Album) -> None:
    album.put("a copy.xmp", "stars")
    plan = album.copies("a", "b")
    assert album.apply(plan).files == 2
    say(album, "a.jpg", "a.jpg", "keep_both")
    report = album.purge()
    assert report.files == 1
    assert [(one.path.name, one.why) for one in report.kept] == [
        (name, f"is to stay, as people have said since: `undo {plan.id}` brings it back")
        for name in ("a copy.jpg", "a copy.xmp")
    ]
    assert album.undo(plan).files == 1
    assert (album.photos / "a copy.xmp").read_text() == "stars"
