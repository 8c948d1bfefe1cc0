"""`dedup --between`, from the report to the plan, `apply` and `undo`: images that one collection has of another one."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from search.plans.places import QUARANTINE
from tests.file_snapshots import snapshot
from tests.journeys.test_planning import run
from tests.planned_albums import Album, album
from tests.planned_trees import Tree, indexed

__all__ = ["album", "run"]
Call = Callable[..., tuple[int, dict]]  # type: ignore[type-arg]
BETWEEN = ("dedup", "--between", "exam")


def put(folder: Path, **texts: str) -> None:
    folder.mkdir(exist_ok=True)
    for name, text in texts.items():
        folder.joinpath(f"{name}.jpg").write_text(text)


def index_exam(album: Album, folder: Path, *more: Path) -> None:
    """Let the catalogue know a folder as the collection `exam`."""
    files = [*sorted(folder.glob("*.jpg")), *more]
    indexed(album.store, Tree(folder, [[one] for one in files], []), np.random.default_rng(0), rooted=True, name="exam")


@pytest.fixture
def exam(album: Album, quick_folder: Path) -> Path:
    """A folder beside the album whose `q` and `r` the album has, too, as `lesson` and `book`; indexed as `exam`."""
    folder = quick_folder / "exam"
    put(folder, q="question", r="riddle", alone="seen nowhere else")
    put(album.photos, lesson="question", book="riddle")
    album.index()
    index_exam(album, folder)
    return folder


def members(found: dict) -> dict[str, list[str]]:  # type: ignore[type-arg]
    return {
        Path(group["keeper"]["path"]).name: [Path(one["path"]).name for one in group["members"]]
        for group in found["groups"]
    }


def test_a_leak_is_planned_applied_and_undone(album: Album, exam: Path, run: Call) -> None:
    before = album.files(), snapshot(exam)
    _, found = run(*BETWEEN)
    assert members(found) == {"q.jpg": ["lesson.jpg"], "r.jpg": ["book.jpg"]}
    plan = json.loads(Path(found["plan_path"]).read_text())
    roots = {Path(root["path"]): root["images"] for root in plan["roots"]}
    assert roots == {album.photos: 22, exam: 3}
    code, done = run("apply", found["plan"], "--yes")
    assert (code, done["files"], done["skipped"]) == (0, 2, [])
    assert done["quarantines"] == [str(album.photos / QUARANTINE / found["plan"])]
    assert not {"lesson.jpg", "book.jpg"} & album.searched()
    assert snapshot(exam) == before[1]
    code, back = run("undo", found["plan"])
    assert (code, back["files"], back["recalled"]) == (0, 2, 2)
    assert (album.files(), snapshot(exam)) == before
    assert run("dedup", "--between", "exam")[1]["groups_total"] == 2


def test_a_leak_stays_when_what_it_is_a_copy_of_changed_or_went(album: Album, exam: Path, run: Call) -> None:
    _, found = run(*BETWEEN)
    put(exam, q="another question")
    exam.joinpath("r.jpg").unlink()
    before = album.files()
    code, done = run("apply", found["plan"], "--yes")
    assert (code, done["files"], album.files()) == (3, 0, before)
    assert sorted(Path(one["path"]).name for one in done["skipped"]) == ["q.jpg", "r.jpg"]


def test_a_file_that_is_an_image_of_both_collections_is_never_moved(album: Album, exam: Path, run: Call) -> None:
    index_exam(album, exam, album.photos / "lesson.jpg")
    before = album.files()
    _, found = run(*BETWEEN)
    assert sorted(name for group in members(found).values() for name in group) == ["book.jpg", "lesson.jpg"]
    code, done = run("apply", found["plan"], "--yes")
    assert (code, done["files"], done["left"]) == (0, 1, {"elsewhere": 1})
    assert "lesson.jpg" in album.searched()
    assert before.keys() - album.files().keys() == {"book.jpg"}


def test_no_more_than_a_fifth_of_our_folder_goes_however_many_images_the_other_one_has(
    album: Album, quick_folder: Path, run: Call
) -> None:
    shared = {f"s{number}": f"shared {number}" for number in range(6)}
    put(quick_folder / "exam", **shared, **{f"e{number}": f"exam {number}" for number in range(40)})
    put(album.photos, **shared)
    album.index()
    index_exam(album, quick_folder / "exam")
    _, found = run(*BETWEEN)
    code, refused = run("apply", found["plan"], "--yes")
    assert code == 4
    assert "6 of the 26 images" in refused["error"]["message"]
    assert run("apply", found["plan"], "--yes", "--max-fraction", ".25")[1]["files"] == 6


def test_the_report_has_a_page_and_tables(album: Album, exam: Path, quick_folder: Path, run: Call) -> None:
    _, found = run(*BETWEEN, "-o", quick_folder / "report")
    folder = Path(found["report"]).parent
    assert "in the collection exam" in folder.joinpath("report.html").read_text()
    rows = list(csv.DictReader(folder.joinpath("groups.csv").read_text().splitlines()))
    assert [(row["role"], Path(row["path"]).name) for row in rows] == [
        ("keeper", "q.jpg"), ("member", "lesson.jpg"), ("keeper", "r.jpg"), ("member", "book.jpg"),
    ]  # fmt: skip
    assert pq.read_table(folder / "groups.parquet")["role"].to_pylist() == ["keeper", "member"] * 2
    assert members(json.loads(folder.joinpath("groups.json").read_text())) == members(found)


def test_the_next_run_compares_only_what_is_new(album: Album, exam: Path, run: Call) -> None:
    run(*BETWEEN)
    (kept,) = album.store.root.glob("pairs/*")
    assert kept.name == "1-2.pairs"
    written = kept.stat().st_mtime_ns
    assert run(*BETWEEN)[1]["groups_total"] == 2
    assert kept.stat().st_mtime_ns == written
    put(album.photos, late="seen nowhere else")
    index_exam(album, exam)
    album.index()
    assert members(run(*BETWEEN)[1])["alone.jpg"] == ["late.jpg"]
