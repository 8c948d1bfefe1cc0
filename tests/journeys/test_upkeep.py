"""`remove`, `compact`, `status`, `verify`, `repair` and `retry` as a user meets them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from api.cli import main
from tests.conftest import painted

PICTURES = 12
Run = Callable[..., tuple[int, dict]]  # type: ignore[type-arg]


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photos/ (twelve pictures, half of them in old/, and a bad one) and a store/ that holds them."""
    folder = tmp_path_factory.mktemp("album")
    (folder / "photos" / "old").mkdir(parents=True)
    for number in range(PICTURES):
        painted(number, (64, 48)).save(folder / "photos" / ("old" if number % 2 else ".") / f"{number}.png")
    (folder / "photos" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut")
    with pytest.raises(SystemExit):
        main(["--store", str(folder / "store"), "--progress", "none", "index", str(folder / "photos")])
    return folder


@pytest.fixture
def copied(album: Path, tmp_path: Path) -> Path:
    """The album's store, for one test alone."""
    return Path(shutil.copytree(album / "store", tmp_path / "store"))


@pytest.fixture
def run(copied: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command with --json on the copied store; return its exit code and its one JSON object."""

    def call(*arguments: object) -> tuple[int, dict]:  # type: ignore[type-arg]
        capsys.readouterr()
        code = 0
        try:
            main(["--store", str(copied), "--progress", "none", "--json", *map(str, arguments)])
        except SystemExit as stop:
            code = int(stop.code or 0)
        return code, json.loads(capsys.readouterr().out)

    return call


def images(run: Run, album: Path) -> dict[str, str]:
    """Return the id of every image that a search finds, by the name of its file."""
    _, shape = run("search", "--key", (album / "photos" / "0.png").as_uri(), "-k", 100)
    return {Path(match["path"]).name: match["id"] for match in shape["matches"]}


def test_one_image_is_removed_by_id_and_another_by_key(run: Run, album: Path) -> None:
    everything = images(run, album)
    code, shape = run("remove", "--id", everything["2.png"])
    assert (code, shape["matched"], shape["removed"]) == (0, 1, 1)
    assert run("remove", "--key", (album / "photos" / "10.png").as_uri())[1]["removed"] == 1
    assert images(run, album).keys() == everything.keys() - {"2.png", "10.png"}
    code, shape = run("remove", "--id", everything["2.png"])
    assert (code, shape["error"]["kind"]) == (2, "ImageNotFound")


def test_a_folder_is_counted_first_and_removed_when_wanted(run: Run, album: Path) -> None:
    code, shape = run("remove", "--path", album / "photos" / "old", "--dry-run")
    assert (code, shape["matched"], shape["removed"], shape["dry_run"], len(shape["images"])) == (0, 6, 0, True, 6)
    assert len(images(run, album)) == PICTURES
    assert run("remove", "--path", album / "photos" / "old")[1]["removed"] == 6
    assert images(run, album).keys() == {f"{number}.png" for number in range(0, PICTURES, 2)}


def test_many_images_are_not_removed_unasked(run: Run, copied: Path) -> None:
    code, shape = run("remove", "--where", "width = 64")
    assert (code, shape["error"]["kind"]) == (4, "GuardRefused")
    assert "12 images; add --yes" in shape["error"]["message"]
    assert run("remove", "--where", "width = 64", "--yes")[1]["removed"] == PICTURES
    assert run("remove", "--where", "width = 64")[1]["removed"] == 0


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "exactly one of"),
        (["--id", 1, "--key", "a"], "exactly one of"),
        (["--where", "widht = 1"], "widht"),
        (["--path", "/no/such/folder"], "no image at or below /no/such/folder"),
        (["--key", "nobody"], "no image with key 'nobody'"),
    ],
)
def test_a_wish_that_cannot_be_met_is_told(run: Run, arguments: list[object], complaint: str) -> None:
    code, shape = run("remove", *arguments)
    assert code == 2
    assert complaint in shape["error"]["message"]


def test_compact_leaves_no_tombstone_and_the_same_answers(run: Run, album: Path) -> None:
    run("remove", "--id", images(run, album)["2.png"])
    before = images(run, album)
    code, shape = run("compact")
    assert (code, shape["tombstones_purged"], shape["damaged"]) == (0, 1, [])
    (status,) = run("status")[1]["collections"]
    assert (status["tombstones"], status["segments"], status["searchable"]) == (0, 1, PICTURES - 1)
    assert images(run, album) == before
    assert run("verify", "--deep") == (0, {"ok": True, "faults": []})


def test_long_upkeep_tells_programs_how_far_it_is(
    run: Run, album: Path, copied: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.work_progress.LINE_EVERY_S", -1)
    run("remove", "--path", album / "photos" / "old")
    left = PICTURES // 2
    for command in ("compact", "rebuild"):
        capsys.readouterr()
        with pytest.raises(SystemExit, match="0"):
            main(["--store", str(copied), "--progress", "json", "--json", command])
        events = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
        assert {"event": "progress", "done": left, "total": left, "unit": "rows"} in events


def test_status_says_that_all_is_searchable_within_80_columns(
    run: Run, album: Path, copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (shape,) = run("status")[1]["collections"]
    assert (shape["complete"], shape["summary"]) == (True, "12 of 12 images searchable; 1 file in the ledger")
    run("remove", "--id", images(run, album)["2.png"])
    quietly("--store", copied, "status")
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == f"store {copied}"
    assert "default: complete: 11 of 11 images searchable; 1 file in the ledger" in lines
    assert "  files seen  12 = 11 indexed + 1 only in the ledger" in lines
    assert max(map(len, lines)) <= 80


def test_repair_tells_first_and_then_saves_what_it_can(run: Run, album: Path, copied: Path) -> None:
    assert run("repair")[1] == {"ok": True, "applied": False, "repairs": [], "lost": [], "left": 0}
    everything = images(run, album)
    (segment,) = (copied / "segments").iterdir()
    data = bytearray(segment.read_bytes())
    data[-1] ^= 1
    segment.write_bytes(data)
    code, told = run("repair")
    assert (code, told["ok"], told["applied"]) == (1, False, False)
    assert "segment_damaged" in {one["kind"] for one in told["repairs"]}
    assert segment.exists()
    code, done = run("repair", "--apply")
    assert (code, done["ok"], done["applied"], done["lost"]) == (0, True, True, told["lost"])
    assert {item["reason"] for item in run("failures")[1]["items"]} == {"embedding_lost", "truncated"}
    (status,) = run("status")[1]["collections"]
    assert not status["complete"]
    code, shape = run("retry", "--reason", "embedding_lost")
    assert (code, shape["retried"], shape["indexed"]) == (0, len(done["lost"]), len(done["lost"]))
    assert images(run, album) == everything
    assert run("status")[1]["collections"][0]["complete"]


def test_retry_tries_the_files_of_the_ledger_and_only_those(run: Run, album: Path, copied: Path) -> None:
    code, shape = run("retry")
    assert (code, shape["retried"], shape["seen"], shape["failed"]) == (3, 1, 1, 1)
    assert run("retry", "--max-failed", 1)[0] == 0
    assert run("retry", "--reason", "empty")[1]["retried"] == 0
    code, shape = run("retry", "--reason", "whim")
    assert (code, shape["error"]["kind"]) == (2, "UsageError")
    assert "'whim' is not one of bad_manifest_row, " in shape["error"]["message"]


def test_retry_names_what_is_not_there_any_more(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "photos").mkdir()
    painted(1).save(tmp_path / "photos" / "a.png")
    (tmp_path / "photos" / "b.png").write_bytes(b"")
    store = ("--store", tmp_path / "store", "--progress", "none")
    assert quietly(*store, "index", tmp_path / "photos") == 3
    (tmp_path / "photos" / "b.png").unlink()
    capsys.readouterr()
    assert quietly(*store, "--json", "retry") == 0
    shape = json.loads(capsys.readouterr().out)
    assert (shape["retried"], shape["unreachable"]) == (0, [(tmp_path / "photos" / "b.png").as_uri()])
    painted(2).save(tmp_path / "photos" / "b.png")
    assert quietly(*store, "retry") == 0
    assert "1 tried: 1 indexed, 0 failed again" in capsys.readouterr().out


def test_what_failed_again_is_named_by_its_reason(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert quietly("--store", copied, "--progress", "none", "retry") == 3
    *_, tried, again = capsys.readouterr().out.splitlines()
    assert tried == "default: 1 tried: 0 indexed, 1 failed again"
    assert again == "failed again: truncated 1; `lookalike failures` names the files"


Shop = tuple[Path, Run]


@pytest.fixture
def shop(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Shop:
    """The folder of an indexed manifest: row 2 has the key of row 1, row 3 no place, and the picture of row 4 is not
    there. And what runs a command with --json on its store.
    """
    folder = tmp_path / "shop"
    folder.mkdir()
    painted(1).save(folder / "a.png")
    (folder / "m.csv").write_text("path,key\na.png,1\na.png,1\n,3\nlate.png,4\n")

    def call(*arguments: object) -> tuple[int, dict]:  # type: ignore[type-arg]
        capsys.readouterr()
        code = quietly("--store", tmp_path / "store", "--progress", "none", "--json", *arguments)
        return code, json.loads(capsys.readouterr().out)

    assert call("index", folder / "m.csv")[0] == 3
    return folder, call


def test_retry_reads_a_manifest_again_for_its_rows(shop: Shop) -> None:
    folder, call = shop
    code, shape = call("retry", "--reason", "duplicate_key")
    assert (code, shape["retried"], shape["unreachable"], shape["failed_again"]) == (3, 1, [], 1)
    (folder / "m.csv").write_text("path,key\na.png,1\nb.png,3\nlate.png,4\n")
    for number, name in enumerate(("b.png", "late.png")):
        painted(number + 2).save(folder / name)
    code, shape = call("retry")
    assert (code, shape["retried"], shape["cleared"], shape["failed_again"]) == (0, 3, 2, 0)
    assert call("failures")[1]["items"] == []
    for key in ("1", "3", "4"):  # also that of the picture which had an entry of its own
        assert len(call("search", "--key", key, "-k", 5)[1]["matches"]) == 3


def test_retry_does_not_index_a_file_without_the_checksum_of_its_manifest(shop: Shop) -> None:
    folder, call = shop
    (folder / "m.csv").write_text(f"path,key,sha256\na.png,1,{'0' * 64}\n")
    call("index", folder / "m.csv")
    painted(5).save(folder / "late.png")
    code, shape = call("retry")
    assert (code, shape["retried"], shape["indexed"]) == (0, 1, 1)
    assert shape["by_manifest"] == [(folder / "a.png").as_uri()]
    assert [item["reason"] for item in call("failures")[1]["items"]] == ["checksum_mismatch"]


def test_rows_of_a_manifest_that_is_gone_leave_the_ledger_by_retry(shop: Shop) -> None:
    folder, call = shop
    (folder / "m.csv").unlink()
    code, shape = call("retry")
    assert (code, shape["retried"], len(shape["forgotten"])) == (0, 0, 2)
    assert shape["unreachable"] == [(folder / "late.png").as_uri()]
    assert [item["reason"] for item in call("failures")[1]["items"]] == ["vanished"]


def test_rows_of_a_manifest_whose_folder_is_missing_stay_in_the_ledger(shop: Shop) -> None:
    folder, call = shop
    folder.rename(folder.parent / "unplugged")
    shape = call("retry")[1]
    assert (shape["forgotten"], len(shape["unreachable"])) == ([], 3)
    assert len(call("failures")[1]["items"]) == 3


def quietly(*arguments: object) -> int:
    try:
        main([*map(str, arguments)])
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0
