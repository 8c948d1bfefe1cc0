"""`remove`, `compact`, `status`, `verify`, `repair` and `retry` as a user meets them."""

import json
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
    import shutil

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


def names(run: Run) -> set[str]:
    _, shape = run("search", "--id", 1, "-k", 100)
    return {Path(match["path"]).name for match in shape["matches"]}


def test_one_image_is_removed_by_id_and_another_by_key(run: Run, album: Path) -> None:
    everything = names(run)
    code, shape = run("remove", "--id", 5)
    assert (code, shape["matched"], shape["removed"]) == (0, 1, 1)
    key = (album / "photos" / "10.png").as_uri()
    assert run("remove", "--key", key)[1]["removed"] == 1
    assert names(run) == everything - {Path(shape["images"][0]["path"]).name, "10.png"}
    code, shape = run("remove", "--id", 5)
    assert (code, shape["error"]["kind"]) == (2, "ImageNotFound")


def test_a_folder_is_counted_first_and_removed_when_wanted(run: Run, album: Path) -> None:
    code, shape = run("remove", "--path", album / "photos" / "old", "--dry-run")
    assert (code, shape["matched"], shape["removed"], shape["dry_run"], len(shape["images"])) == (0, 6, 0, True, 6)
    assert len(names(run)) == PICTURES
    assert run("remove", "--path", album / "photos" / "old")[1]["removed"] == 6
    assert names(run) == {f"{number}.png" for number in range(0, PICTURES, 2)}


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


def test_compact_leaves_no_tombstone_and_the_same_answers(run: Run) -> None:
    run("remove", "--id", 3)
    before = run("search", "--id", 1, "-k", 100)[1]["matches"]
    code, shape = run("compact")
    assert (code, shape["tombstones_purged"], shape["damaged"]) == (0, 1, [])
    (status,) = run("status")[1]["collections"]
    assert (status["tombstones"], status["segments"], status["searchable"]) == (0, 1, PICTURES - 1)
    after = run("search", "--id", 1, "-k", 100)[1]["matches"]
    assert [match["id"] for match in after] == [match["id"] for match in before]
    assert run("verify", "--deep") == (0, {"ok": True, "faults": []})
