"""What people say beside `dedup`: where its report goes, and which exact copies they want kept."""

from pathlib import Path

from tests.journeys.test_planning import Call, run
from tests.planned_albums import Album, album

__all__ = ["album", "run"]


def test_a_report_replaces_another_one_only_when_told_and_never_another_file(
    album: Album, run: Call, tmp_path: Path
) -> None:
    album.copies("a")
    place = tmp_path / "report"
    assert run("dedup", "-o", place)[0] == 0
    (place / "notes.txt").write_text("mine")
    (place / "report.html").write_text("annotated by hand")
    plans = set(album.store.root.glob("plans/*.json"))
    code, refused = run("dedup", "-o", place)
    assert (code, refused["error"]["kind"]) == (4, "GuardRefused")
    assert (
        "holds a report already (report.html, groups.csv, groups.json, groups.parquet)" in refused["error"]["message"]
    )
    assert "--overwrite" in refused["error"]["message"]
    assert (place / "report.html").read_text() == "annotated by hand"
    assert set(album.store.root.glob("plans/*.json")) == plans, "it is refused before anything is compared"
    assert run("dedup", "-o", place, "--overwrite")[0] == 0
    assert "annotated by hand" not in (place / "report.html").read_text()
    assert (place / "notes.txt").read_text() == "mine"
    assert run("dedup", "--overwrite")[0] == 2
    assert run("dedup", "-o", place / "notes.txt")[0] == 2


def test_exact_copies_that_a_person_wants_kept_are_never_planned_until_that_is_taken_back(
    album: Album, run: Call
) -> None:
    album.copies("a", "b")
    one, other = album.photos / "a.jpg", album.photos / "a copy.jpg"
    assert run("verdicts", "say", one, other, "keep_both")[0] == 0
    album.put("later.jpg", "picture a")  # of the same bytes, and nobody was asked about it
    album.index()
    _, found = run("dedup")
    assert [Path(group["keeper"]["path"]).name for group in found["groups"]] == ["b.jpg"]
    run("apply", found["plan"], "--yes", "--include", "near")
    assert all((album.photos / name).exists() for name in ("a.jpg", "a copy.jpg", "later.jpg"))
    run("verdicts", "merge", one, other)
    _, found = run("dedup")
    assert [len(group["members"]) for group in found["groups"]] == [2]
