"""`dedup`, `apply`, `undo` and `purge` as people and scripts call them, with everything that can be wrong."""

import io
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from api.cli import main
from indexer.sources.found import FoundFile, UnreadableFile
from indexer.sources.local_files import look
from indexer.sources.sources import resolve, walk
from search.errors import UsageError
from search.plans.places import QUARANTINE
from search.plans.plan import Plan, canonical, checksum
from search.plans.plan_files import PlanFiles
from tests.planned_albums import Album, album

__all__ = ["album"]
Call = Callable[..., tuple[int, dict]]  # type: ignore[type-arg]


def called(store: Path, *arguments: object) -> int:
    """Return the exit code of a command."""
    try:
        main(["--store", str(store), "--progress", "none", *map(str, arguments)])
    except SystemExit as stop:
        return int(stop.code or 0)
    raise AssertionError("a command ends with its exit code")


@pytest.fixture
def run(album: Album, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run a command with --json; return its exit code and its one JSON object."""

    def call(*arguments: object, store: Path | None = None) -> tuple[int, dict]:  # type: ignore[type-arg]
        capsys.readouterr()
        code = called(store or album.store.root, "--json", *arguments)
        return code, json.loads(capsys.readouterr().out)

    return call


def test_from_dedup_to_purge(album: Album, run: Call) -> None:
    album.copies("a", "b")
    before = album.files()
    _, found = run("dedup")
    assert found["groups_total"] == 2
    assert Path(found["plan_path"]) == album.store.root / "plans" / f"{found['plan']}.json"
    code, tried = run("apply", found["plan"], "--dry-run")
    assert (code, tried["files"], album.files()) == (0, 2, before)
    code, done = run("apply", found["plan_path"], "--yes")
    assert (code, done["files"], done["groups"], done["skipped"], done["stopped"]) == (0, 2, 2, [], None)
    assert done["quarantines"] == [str(album.photos / QUARANTINE / found["plan"])]
    code, back = run("undo", found["plan"])
    assert (code, back["files"], back["recalled"], album.files()) == (0, 2, 2, before)
    run("apply", found["plan"], "--yes")
    code, kept = run("purge", "--yes")
    assert (code, kept["files"], kept["young"]) == (0, 0, 2)
    code, gone = run("purge", found["plan"], "--older-than", "0d", "--yes")
    assert (code, gone["files"], gone["plans"]) == (0, 2, [found["plan"]])
    assert run("undo", found["plan"])[1]["purged"] == 2


def test_a_plan_knows_the_protected_folders(album: Album, run: Call) -> None:
    album.copies("a")
    _, found = run("dedup", "--protect", album.photos)
    assert found["plan"] is None  # both are kept
    masters = album.photos / "masters"
    assert run("dedup", "--protect", masters)[0] == 2  # nobody should think that a mistyped folder is protected
    masters.mkdir()
    for option in ("--protect", "--within", "--prefer"):
        assert run("dedup", option, masters)[0] == 2  # nor that one without images is, or has no duplicates
    album.put("masters/b.jpg", "picture b")
    album.index()
    _, found = run("dedup", "--protect", masters)
    assert json.loads(Path(found["plan_path"]).read_text())["protected"] == [masters.as_uri()]


@pytest.mark.parametrize("way", ["link", "dots"])
def test_folders_mean_the_same_by_whatever_path_they_are_named(album: Album, run: Call, way: str) -> None:
    for name in ("masters/longer name.jpg", "masters/z.jpg", "a.jpg"):
        album.put(name, "picture a")
    album.index()
    masters = album.photos / "masters"
    (album.photos.parent / "link").symlink_to(masters)
    named = album.photos.parent / "link" if way == "link" else album.photos.parent / "link" / ".." / "masters"
    assert run("dedup", "--within", named)[1]["images"] == run("dedup", "--within", masters)[1]["images"] == 2
    for option in ("--protect", "--prefer"):
        found, direct = (run("dedup", option, folder)[1]["groups"] for folder in (named, masters))
        assert found == direct
        assert "/masters/" in found[0]["keeper"]["path"]


def test_where_nothing_is_a_copy_there_is_no_plan(album: Album, run: Call) -> None:
    album.index()
    _, found = run("dedup")
    assert (found["plan"], found["plan_path"], found["groups_total"]) == (None, None, 0)
    assert not list(album.store.root.glob("plans/*.json"))


def test_expires_is_how_long_a_plan_holds(album: Album, run: Call) -> None:
    album.copies("a")
    _, found = run("dedup", "--expires", "12h")
    plan = PlanFiles(album.store.root).load(found["plan"])
    assert plan.expires_at - plan.made_at == 43_200
    code, refused = run("dedup", "--expires", "soon")
    assert (code, refused["error"]["kind"]) == (2, "UsageError")
    assert "--expires 'soon'" in refused["error"]["message"]


def test_without_yes_and_without_a_terminal_nothing_moves(album: Album, run: Call) -> None:
    plan = album.copies("a")
    before = album.files()
    code, refused = run("apply", plan.id)
    assert code == 4
    assert "add --yes" in refused["error"]["message"]
    assert album.files() == before


class Terminal(io.StringIO):
    """Somebody who answers."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("yes", 0), ("n", 4), ("", 4), ("2", 4)])
def test_on_a_terminal_it_asks(
    album: Album, answer: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = album.copies("a")
    monkeypatch.setattr(sys, "stdin", Terminal(f"{answer}\n"))
    assert called(album.store.root, "apply", plan.id) == code
    asked = capsys.readouterr().err
    assert f"1 copy of {album.photos / 'a.jpg'}" in asked
    assert "move 1 copy of 1 group (9 B); `lookalike undo` brings them back? [y/N]" in asked
    assert bool(album.hidden(plan)) == (code == 0)


def test_who_asks_for_hard_links_reads_what_is_shared_from_then_on(
    album: Album, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = album.copies("a")
    shared = "one file from then on, with one mode and one date; an edit of one changes both"
    monkeypatch.setattr(sys, "stdin", Terminal("n\n"))
    for action, told in (("hardlink", True), ("quarantine", False)):
        assert called(album.store.root, "apply", plan.id, "--action", action, "--dry-run") == 0
        assert (shared in capsys.readouterr().out.replace("\n", " ")) == told
        assert called(album.store.root, "apply", plan.id, "--action", action) == 4
        assert (shared in capsys.readouterr().err) == told


@pytest.mark.parametrize(("answer", "code"), [("101", 0), ("y", 4)])
def test_of_more_than_a_hundred_files_their_number_is_typed(
    album: Album, answer: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(26):
        for name in ("a", "b", "c", "d", "e")[: 5 if number < 25 else 2]:
            album.put(f"{number} {name}.jpg", f"picture {number}")
    album.index()
    groups = [
        album.group(f"{n} a.jpg", *[f"{n} {name}.jpg" for name in ("b", "c", "d", "e")[: 4 if n < 25 else 1]])
        for n in range(26)
    ]
    plan = album.plan(*groups)
    monkeypatch.setattr(sys, "stdin", Terminal(f"{answer}\n"))
    assert called(album.store.root, "apply", plan.id, "--max-fraction", 1) == code


def edited(album: Album, plan: Plan) -> None:
    path = PlanFiles(album.store.root).path(plan.id)
    path.chmod(0o600)
    path.write_text(path.read_text().replace("a%20copy.jpg", "a.jpg"))


def expired(album: Album, plan: Plan) -> None:
    shape = plan.as_json() | {"expires_at": "2026-01-01T00:00:00Z"}
    path = PlanFiles(album.store.root).path(plan.id)
    path.chmod(0o600)
    path.write_bytes(canonical({**shape, "checksum": checksum(shape)}))


def damaged_journal(album: Album, plan: Plan) -> None:
    PlanFiles(album.store.root).journal(plan.id).write_text('{"event": "moving"}\n')


WRONG: dict[str, tuple[Callable[[Album, Plan], object], int, str]] = {
    "edited by hand": (edited, 4, "plans/{id}.json is not as `dedup` wrote it"),
    "expired": (expired, 4, "the plan {id} has expired on 2026-01-01T00:00:00Z"),
    "no quarantine": (
        lambda album, plan: (album.photos / QUARANTINE).write_text(""),
        4,
        "photos/.lookalike-quarantine",
    ),
    "root gone": (lambda album, plan: shutil.rmtree(album.photos), 4, "photos is not there; mount it"),
    "journal edited": (damaged_journal, 1, "line 1 of the journal"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_with_a_plan_is_said_in_a_line_and_nothing_moves(album: Album, run: Call, wrong: str) -> None:
    plan = album.copies("a")
    way, code, message = WRONG[wrong]
    way(album, plan)
    before = album.files() if album.photos.exists() else {}
    found, refused = run("apply", plan.id, "--yes")
    assert (found, message.format(id=plan.id) in refused["error"]["message"]) == (code, True), refused
    assert (album.files() if album.photos.exists() else {}) == before


def test_a_store_that_was_moved_refuses_its_old_plans_and_still_undoes_them(album: Album, run: Call) -> None:
    plan = album.copies("a", "b")
    before = album.files()
    run("apply", plan.id, "--yes")
    moved = Path(shutil.copytree(album.store.root, album.store.root.with_name("moved")))
    code, refused = run("apply", plan.id, "--yes", store=moved)
    assert (code, "was made in the store" in refused["error"]["message"]) == (4, True)
    assert run("undo", plan.id, store=moved)[0] == 0
    assert album.files() == before


@pytest.mark.parametrize("gone", ["a.jpg", "a copy.jpg"])
def test_a_group_that_is_not_as_planned_is_skipped_by_name_and_others_are_done(
    album: Album, run: Call, gone: str
) -> None:
    plan = album.copies("a", "b")
    (album.photos / gone).write_text("changed since")
    code, done = run("apply", plan.id, "--yes")
    assert (code, done["files"]) == (3, 1)
    why = "was changed since the plan was made"
    assert done["skipped"] == [{"group": 1, "path": str(album.photos / gone), "reason": why}]


def test_an_error_of_the_disk_is_exit_code_1_and_the_next_run_goes_on(
    album: Album, run: Call, fail: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = album.copies("a", "b")
    fail("quarantine.move:2:eio")
    code, done = run("apply", plan.id, "--yes")
    assert (code, done["files"]) == (1, 1)
    assert done["stopped"] == f"{album.photos / 'b copy.jpg'}: Input/output error"
    monkeypatch.delenv("LOOKALIKE_FAULT")
    code, done = run("apply", plan.id, "--yes")
    assert (code, done["files"], done["left"]) == (0, 1, {"done": 1})


def test_an_undo_that_a_full_disk_stops_does_not_say_that_nothing_is_there(
    album: Album, fail: Callable[[str], None], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = album.copies("a", "b")
    assert called(album.store.root, "apply", plan.id, "--yes") == 0
    capsys.readouterr()
    fail("undo.move:1:enospc")
    assert called(album.store.root, "undo", plan.id) == 1
    told = capsys.readouterr()
    assert told.out.startswith(
        "nothing was brought back\nthe other files are still in quarantine; the same command goes"
    )
    assert "No space left on device" in told.err
    monkeypatch.delenv("LOOKALIKE_FAULT")
    assert called(album.store.root, "undo", plan.id) == 0
    assert capsys.readouterr().out.startswith("2 files (")
    assert called(album.store.root, "undo", plan.id) == 0
    assert capsys.readouterr().out.startswith("there is nothing to bring back")


def test_another_apply_that_runs_is_exit_code_5(album: Album, run: Call) -> None:
    plan = album.copies("a")
    with PlanFiles(album.store.root).locked():
        for command in (("apply", plan.id, "--yes"), ("undo", plan.id), ("purge",)):
            assert run(*command)[0] == 5


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("apply", "20990101-00000000"), 2, "there is no plan 20990101-00000000"),
        (
            ("apply", "PLAN", "--action", "delete"),
            2,
            "--action 'delete' is not one of quarantine, hardlink, reflink, list",
        ),
        (("apply", "PLAN", "--include", "all"), 2, "--include 'all' is not near"),
        (("apply", "PLAN", "--action", "list"), 2, "--action list and -o FOLDER belong together"),
        (("apply", "PLAN", "-o", "x"), 2, "--action list and -o FOLDER belong together"),
        (("apply", "PLAN", "--max-fraction", "0"), 2, "--max-fraction 0 is no share"),
        (("apply", "PLAN", "--max-fraction", "0.01", "--yes"), 4, "say --max-fraction 0.05"),
        (("apply", "PLAN", "--action", "reflink", "--yes"), 4, "knows no reflinks"),
        (("undo", "nothing"), 2, "'nothing' is neither the id nor the file of a plan"),
        (("purge", "--older-than", "30"), 2, "--older-than '30' is no length of time"),
    ],
)
def test_a_wrong_argument_is_named_with_its_remedy(
    album: Album, run: Call, arguments: tuple[str, ...], code: int, message: str
) -> None:
    plan = album.copies("a")
    before = album.files()
    found, refused = run(*[plan.id if word == "PLAN" else word for word in arguments])
    assert (found, message in refused["error"]["message"]) == (code, True), refused
    assert album.files() == before


def test_a_list_touches_no_file(album: Album, run: Call, tmp_path: Path) -> None:
    plan = album.copies("a", "b")
    before = album.files()
    code, listed = run("apply", plan.id, "--action", "list", "-o", tmp_path / "lists")
    assert (code, listed["groups"], listed["files"]) == (0, 2, 2)
    assert Path(listed["keep"]).exists()
    assert Path(listed["drop"]).exists()
    assert album.files() == before


def test_a_dry_run_of_a_list_writes_nothing_and_refuses_what_the_list_would(
    album: Album, run: Call, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = album.copies("a", "b")
    place = tmp_path / "lists"
    arguments = ("apply", plan.id, "--action", "list", "-o", place)
    code, tried = run(*arguments, "--dry-run")
    assert (code, tried["dry_run"], tried["files"], place.exists()) == (0, True, 2, False)
    called(album.store.root, *arguments, "--dry-run")
    assert "nothing was written" in capsys.readouterr().out
    code, listed = run(*arguments)
    assert listed == tried | {"dry_run": False}
    code, refused = run(*arguments, "--dry-run")
    assert (code, "keep.parquet is there already" in refused["error"]["message"]) == (2, True)


def test_purge_asks_before_it_deletes_and_tells_what_it_keeps(album: Album, run: Call) -> None:
    plan = album.copies("a")
    run("apply", plan.id, "--yes")
    code, refused = run("purge", "--older-than", "0d")
    assert (code, "nothing brings them back" in refused["error"]["message"]) == (4, True)
    (album.photos / "a.jpg").unlink()
    code, kept = run("purge", "--older-than", "0d", "--yes")
    assert (code, kept["files"], Path(kept["kept"][0]["path"]).name) == (3, 0, "a copy.jpg")


def test_people_read_what_was_done_and_how_to_take_it_back(album: Album, capsys: pytest.CaptureFixture[str]) -> None:
    album.put("\x1b[31mred copy.jpg.xmp", "a sidecar")
    plan = album.copies("\x1b[31mred", "b")
    (album.photos / "b.jpg").unlink()
    called(album.store.root, "apply", plan.id, "--yes")
    text = capsys.readouterr().out
    assert "1 copy and 1 sidecar of 1 group (" in text
    assert f"skipped: group 2: {album.photos / 'b.jpg'} is gone" in text
    assert f"undo with: lookalike --store {album.store.root} undo {plan.id}" in text
    called(album.store.root, "undo", plan.id)
    assert "1 file and 1 sidecar (" in (text := capsys.readouterr().out)
    assert "1 image is found by searches again" in text
    assert "\x1b" not in text


def test_no_walk_enters_a_quarantine_and_naming_one_is_refused(album: Album) -> None:
    plan = album.copies("a")
    album.apply(plan)
    hidden = album.photos / QUARANTINE / plan.id / "a copy.jpg"
    found = [one.path for one in walk(resolve([str(album.photos)])) if isinstance(one, FoundFile)]
    assert found
    assert str(hidden) not in found
    for name in (hidden.parent, hidden):
        with pytest.raises(UsageError, match="lies in a quarantine, which is never indexed"):
            resolve([str(name)])
    assert resolve([f"{album.photos}/{QUARANTINE}/*/*.jpg"]) == []
    assert isinstance(look(str(hidden), named=True), UnreadableFile)  # as a row of a manifest names it
