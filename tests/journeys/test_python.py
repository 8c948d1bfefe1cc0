"""Notebooks and scripts."""

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lookalike
from bench.sample_collection import build
from search.duplicates.report import DuplicateReport
from search.errors import CollectionNotFound, GuardRefused, ImageNotFound, StoreNotFound, UsageError
from tests.conftest import Draw, painted
from tests.file_snapshots import snapshot


def test_the_three_journeys_from_a_script(tmp_path: Path, photos: Path, draw: Draw) -> None:
    paths = [draw(f"{number}.png", number, size=(200, 150)) for number in range(3)]
    (photos / "copy.png").write_bytes(paths[0].read_bytes())
    with lookalike.open(tmp_path / "store") as album:
        assert album.index(photos, progress=False).counts.indexed == 4
        best = album.search(paths[1], k=1)[0]
        assert (best.relation, best.image.uri) == ("identical", paths[1].as_uri())
        assert album.search(id=best.image.id, k=1)[0].image == best.image
        assert album.search(key=best.image.key, k=1)[0].image == best.image
        (group,) = album.dedup().groups
        assert {group.keeper.uri, group.members[0].image.uri} == {paths[0].as_uri(), (photos / "copy.png").as_uri()}


@pytest.fixture
def copies(tmp_path: Path, photos: Path, draw: Draw) -> Iterator[tuple[lookalike.Lookalike, DuplicateReport]]:
    """An indexed folder of ten pictures, of two of which there is a copy; and the report of `dedup`."""
    paths = [draw(f"{number}.png", number) for number in range(10)]
    for number in (0, 1):
        (photos / f"{number} copy.png").write_bytes(paths[number].read_bytes())
    with lookalike.open(tmp_path / "store") as album:
        album.index(photos, progress=False)
        yield album, album.dedup(threshold=0.9999, keep=["path"])


def test_deduplication_goes_the_whole_way_from_a_script(
    copies: tuple[lookalike.Lookalike, DuplicateReport], photos: Path
) -> None:
    album, report = copies
    before = snapshot(photos)
    plan = album.plan(report, expires="12h")
    assert plan is not None
    assert (plan.threshold_source, plan.expires_at - plan.made_at, len(plan.groups)) == ("user", 43_200, 2)
    assert album.apply(plan, dry_run=True, progress=False).files == 2
    assert snapshot(photos) == before
    done = album.apply(plan, progress=False)
    assert (done.files, done.skipped, (photos / "0 copy.png").exists()) == (2, [], False)
    assert album.undo(plan.id, progress=False).files == 2
    assert snapshot(photos) == before
    assert album.apply(plan, action="hardlink", progress=False).files == 2
    assert album.purge(plan, progress=False).young == 2
    assert album.purge(older_than="0d", dry_run=True, progress=False).files == 2
    assert album.purge(older_than="0d", progress=False).files == 2
    assert (photos / "0 copy.png").samefile(photos / "0.png")


def test_some_groups_of_a_report_can_be_planned_and_protected_folders_are_remembered(
    copies: tuple[lookalike.Lookalike, DuplicateReport], photos: Path
) -> None:
    album, report = copies
    for number, name in enumerate(("masters", "more")):
        (photos / name).mkdir()
        painted(90 + number, (64, 48)).save(photos / name / "one.png")
    album.index(photos, progress=False)
    album.dedup(threshold=0.9999, protect=[photos / "masters"])
    plan = album.plan(replace(report, groups=report.groups[:1]), protect=[photos / "more"])
    assert plan is not None
    assert (len(plan.groups), plan.protected) == (1, ((photos / "masters").as_uri(), (photos / "more").as_uri()))
    assert album.plan(replace(report, groups=())) is None
    changed = replace(plan, groups=(), expires_at=0)
    assert album.apply(changed, dry_run=True, progress=False).files == 1, "what counts is the plan's file"


def test_wrong_wishes_about_plans_are_clear_errors(copies: tuple[lookalike.Lookalike, DuplicateReport]) -> None:
    album, report = copies
    plan = album.plan(report)
    assert plan is not None
    with pytest.raises(UsageError, match="expires 'soon' is no length of time"):
        album.plan(report, expires="soon")
    with pytest.raises(UsageError, match="action 'list' is not one of quarantine, hardlink, reflink"):
        album.apply(plan, action="list")
    with pytest.raises(GuardRefused, match="--max-fraction 0.1"):
        album.apply(plan, max_fraction=0.01)
    for call in (album.apply, album.undo, album.purge):
        with pytest.raises(UsageError, match="there is no plan 20990101-00000000"):
            call("20990101-00000000")


@pytest.mark.parametrize("name", ["within", "protect", "prefer"])
def test_a_folder_that_is_not_there_is_refused_before_anything_is_compared(
    copies: tuple[lookalike.Lookalike, DuplicateReport], photos: Path, name: str
) -> None:
    album, report = copies
    gone = photos / "mistyped"
    with pytest.raises(UsageError, match=f"^{name} {gone} is no folder that exists; nothing was done"):
        album.dedup(**{name: gone if name == "within" else [photos, gone]})  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=f"^protect {gone} is no folder that exists"):
        album.plan(report, protect=[gone])


def test_every_photograph_finds_itself_first_with_a_score_of_one(tmp_path: Path) -> None:
    sample = build(tmp_path / "sample").photos
    paths = sorted(path for path in sample.rglob("*") if path.is_file() and path.suffix != ".txt")
    with lookalike.open(tmp_path / "store") as album:
        assert album.index(sample, progress=False).counts.failed == 0
        for path in paths:
            best = album.search(path, k=1)[0]
            assert best.relation == "identical"
            assert best.score == pytest.approx(1.0, abs=1e-3)


def test_nothing_indexed_yet_is_a_clear_error(tmp_path: Path, photos: Path, draw: Draw) -> None:
    with lookalike.open(tmp_path / "store") as album, pytest.raises(StoreNotFound, match="lookalike index"):
        album.search(id=1)
    with lookalike.open(tmp_path / "store") as album:
        album.index(draw("a.png", 1), progress=False)
    with lookalike.open(tmp_path / "store", collection="other") as other, pytest.raises(CollectionNotFound):
        other.dedup()


def test_what_is_excluded_is_passed_over_and_what_is_gone_is_pruned(tmp_path: Path, photos: Path, draw: Draw) -> None:
    paths = [draw(f"{number}.png", number) for number in range(4)]
    (photos / "thumbs").mkdir()
    paths[3].rename(photos / "thumbs" / "3.png")
    with lookalike.open(tmp_path / "store") as album:
        assert album.index(photos, exclude="thumbs", progress=False).counts.seen == 3
        paths[0].unlink()
        pruned = album.index(photos, exclude=["thumbs"], prune=True, max_fraction=0.5, progress=False)
        assert (pruned.counts.removed, pruned.refused) == (1, None)
        assert [match.image.uri for match in album.search(paths[1])] == [paths[1].as_uri(), paths[2].as_uri()]
        paths[1].unlink()
        refused = album.index(photos, prune=True, max_fraction=0.1, progress=False)
        assert refused.counts.removed == 0
        assert "--max-fraction" in (refused.refused or "")


def test_removed_images_are_found_no_more_and_compacted_away(tmp_path: Path, photos: Path, draw: Draw) -> None:
    paths = [draw(f"{folder}/{number}.png", number) for number, folder in enumerate("aabbb")]
    with lookalike.open(tmp_path / "store") as album:
        album.index(photos, progress=False)
        assert album.remove(path=photos / "a", dry_run=True) == 2
        assert len(album.search(paths[0])) == 5
        assert album.remove(path=photos / "a") == 2
        assert album.remove(key=paths[2].as_uri()) == 1
        assert album.remove(where='path like "%4.png"') == 1
        assert album.remove(where="width > 100000") == 0
        (left,) = album.search(paths[0])
        assert left.image.uri == paths[3].as_uri()
        assert album.compact(progress=False).tombstones_purged == 4
        (again,) = album.search(paths[0])
        assert (again.image, again.score) == (left.image, left.score)
        assert album.remove(id=left.image.id) == 1
        with pytest.raises(ImageNotFound):
            album.remove(id=left.image.id)


def test_exactly_one_way_to_name_what_is_removed_is_wanted(tmp_path: Path) -> None:
    with lookalike.open(tmp_path / "store") as album:
        for named in ({}, {"id": 1, "where": "id = 1"}):
            with pytest.raises(UsageError, match="exactly one of: id, key, path, where"):
                album.remove(**named)  # type: ignore[arg-type]


def test_exactly_one_query_is_wanted(tmp_path: Path) -> None:
    with lookalike.open(tmp_path / "store") as album, pytest.raises(UsageError, match="exactly one"):
        album.search("a.jpg", id=3)


def test_wrong_values_are_clear_errors(tmp_path: Path, draw: Draw) -> None:
    path = draw("a.png", 1)
    with lookalike.open(tmp_path / "store") as album:
        album.index(path, progress=False)
        for k in (0, -3, 5000):
            with pytest.raises(UsageError, match=f"k is {k}"):
                album.search(path, k=k)
        for share in (-0.1, 5, float("nan")):
            with pytest.raises(UsageError, match="max_fraction is"):
                album.index(path, prune=True, max_fraction=share)
        with pytest.raises(UsageError, match="threshold is nan"):
            album.dedup(float("nan"))
        with pytest.raises(UsageError, match=r"/nope\.jpg: No such file"):
            album.search("/nope.jpg")


def test_examples_and_unique_from_a_script(copies: tuple[lookalike.Lookalike, DuplicateReport], photos: Path) -> None:
    album, report = copies
    assert album.plan(report) is not None
    found = album.search(photos / "0.png", unique=True)
    assert (found[0].copies, sorted(match.copies or 0 for match in found)) == (1, [0] * 8 + [1, 1])
    ids = {match.image.uri.rsplit("/", 1)[1]: match.image.id for match in album.search(photos / "0.png", k=12)}
    like = [ids["3.png"], ids["4.png"]]
    both = album.search([photos / "3.png", photos / "4.png"], k=2)
    assert {match.image.id for match in both} == set(like)
    assert not set(like) & {match.image.id for match in album.search(like=like, unlike=[ids["0.png"]])}
    with pytest.raises(UsageError, match="exactly one of: image, id, key, embedding"):
        album.search(unlike=like)
    wrong: list[dict[str, Any]] = [
        {"box": (0, 0, 100)},
        {"k": "5"},
        {"k": 2.5},
        {"k": True},
        {"min_score": math.nan},
        {"min_score": "0.5"},
        {"where": 3},
    ]
    for options in wrong:
        (name,) = options
        with pytest.raises(UsageError, match=f"^{name} is "):
            album.search(photos / "0.png", **options)
    parts = [album.search(photos / "0.png", box=box) for box in ((4, 0, 50, 40.5), "4,0,50,40.5")]
    assert parts[0] == parts[1] != album.search(photos / "0.png")
    assert len(album.search(photos / "0.png", k=np.int64(2), min_score=np.float32(-1))) == 2  # type: ignore[arg-type]
